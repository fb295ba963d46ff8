package gtpu_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/apn/gtpu"
)

var (
	gateway6   = netip.MustParseAddr("2001:db8:ffff::1")
	linkLocal1 = netip.MustParseAddr("fe80::1")
	allRouters = netip.MustParseAddr("ff02::2")
	allNodes   = netip.MustParseAddr("ff02::1")
	nobody6    = netip.IPv6Unspecified()
)

// prefix6 is the /64 of a session, inner6 an address in it, and onLink the
// link-local address that the session was told to take.
func prefix6(id byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, id})
}

func inner6(id byte) netip.Addr {
	a := prefix6(id).As16()
	a[8], a[15] = 0x12, 0x34
	return netip.AddrFrom16(a)
}

func onLink(id byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 11: 1, 15: id})
}

// dual gives a tunnel a /64 beside its IPv4 address, only6 instead of it.
func dual(t *gtpu.Tunnel) {
	t.Prefix6 = prefix6(byte(t.Session))
	t.InterfaceID = [8]byte{3: 1, 7: byte(t.Session)}
}

func only6(t *gtpu.Tunnel) {
	dual(t)
	t.Inner = netip.Addr{}
}

// ip6 makes an IPv6 packet. The hop limit is what neighbour discovery needs.
func ip6(src, dst netip.Addr, next byte, payload ...byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 255
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, payload...)
}

// datagram6 is a UDP datagram without a checksum: the plane doesn't look.
func datagram6(port uint16, payload ...byte) []byte {
	h := binary.BigEndian.AppendUint16([]byte{0x30, 0x39}, port)
	h = binary.BigEndian.AppendUint16(h, uint16(8+len(payload)))
	return append(append(h, 0, 0), payload...)
}

func udp6(src, dst netip.Addr, port uint16, payload ...byte) []byte {
	return ip6(src, dst, 17, datagram6(port, payload...)...)
}

// icmp6 makes an ICMPv6 packet, checksum and all.
func icmp6(src, dst netip.Addr, typ byte, body ...byte) []byte {
	m := append([]byte{typ, 0, 0, 0}, body...)
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(m)))
	pseudo = append(append(pseudo, 0, 0, 0, 58), m...)
	if len(pseudo)%2 == 1 {
		pseudo = append(pseudo, 0)
	}
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		if sum += uint32(binary.BigEndian.Uint16(pseudo[i:])); sum > 0xffff {
			sum -= 0xffff
		}
	}
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum))
	return ip6(src, dst, 58, m...)
}

// extension is a header of the common form, in eights of octets.
func extension(next byte, eights int) []byte {
	h := make([]byte, 8*eights)
	h[0], h[1] = next, byte(eights-1)
	h[2], h[3] = 1, byte(len(h)-4) // PadN
	return h
}

func chain(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// What a terminal may send over IPv6 reaches the inner network, from any
// address of its /64.
func TestUplinkIPv6(t *testing.T) {
	me := inner6(2)
	other := prefix6(2).Next()
	routed := extension(17, 3)
	routed[2], routed[3] = 3, 0 // segments left: none
	auth := []byte{17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}
	port := datagram6(443, 1, 2)
	for _, c := range []struct {
		name string
		pkt  []byte
	}{
		{"UDP", udp6(me, gateway6, 5684, 1, 2, 3)},
		{"another address of the /64", udp6(other, gateway6, 5684)},
		{"TCP", ip6(me, gateway6, 6, make([]byte, 20)...)},
		{"echo request", icmp6(me, gateway6, 128, 0, 1, 0, 1)},
		{"nothing", ip6(me, gateway6, 59)},
		{"hop-by-hop options", ip6(me, gateway6, 0, chain(extension(17, 1), port)...)},
		{"destination options", ip6(me, gateway6, 60, chain(extension(17, 2), port)...)},
		{"routing that was gone through", ip6(me, gateway6, 43, chain(routed, port)...)},
		{"authentication", ip6(me, gateway6, 51, chain(auth, port)...)},
		{"three headers", ip6(me, gateway6, 0, chain(extension(60, 1), extension(60, 1), extension(17, 1), port)...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, family := range []func(*gtpu.Tunnel){dual, only6} {
				bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
					r.Carry(put(tunnel(2, family)))
					r.arrive(sgw, gpdu(0x1002, append(c.pkt[:len(c.pkt):len(c.pkt)], 0, 0)))
					if len(r.uplinked()) != 1 || string(r.uplinked()[0]) != string(c.pkt) {
						t.Errorf("uplink got %x, want %x", r.uplinked(), c.pkt)
					}
					r.counted(t, taken(c.pkt))
				})
			}
		})
	}
}

func TestUplinkIPv6Drops(t *testing.T) {
	me, gw, other := inner6(2), gateway6, inner6(3)
	outer6 := netip.MustParseAddr("2001:db8:aaaa::1")
	routed := extension(17, 3)
	routed[2], routed[3] = 0, 1 // one segment left
	cut := udp6(me, gw, 53)
	cut[5]++
	gtp := datagram6(2152)
	long := chain(extension(60, 1), extension(60, 1), extension(60, 1), extension(60, 1), extension(60, 1),
		extension(60, 1), extension(60, 1), extension(17, 1), datagram6(53))
	for _, c := range []struct {
		name, reason string
		pkt          []byte
	}{
		{"header cut", "inner-malformed", udp6(me, gw, 53)[:39]},
		{"length beyond the payload", "inner-malformed", cut},
		{"UDP cut", "inner-malformed", ip6(me, gw, 17, 1, 2, 3, 4, 5, 6, 7)},
		{"ICMPv6 cut", "inner-malformed", ip6(me, gw, 58, 128, 0, 0)},
		{"extension cut", "inner-malformed", ip6(me, gw, 60, extension(17, 1)[:7]...)},
		{"extension longer than the packet", "inner-malformed", ip6(me, gw, 60, extension(17, 2)[:8]...)},
		{"jumbo payload", "inner-malformed", ip6(me, gw, 0)},
		{"source of another", "inner-source", udp6(other, gw, 53)},
		{"source of the gateway", "inner-source", udp6(gw, gw, 53)},
		{"no source", "inner-source", udp6(nobody6, gw, 53)},
		{"mapped IPv4 source", "inner-source", udp6(netip.MustParseAddr("::ffff:10.90.0.2"), gw, 53)},
		{"link-local source", "link-local", udp6(onLink(2), gw, 53)},
		{"link-local source of another", "inner-source", udp6(onLink(3), gw, 53)},
		{"link-local source outside of fe80::/64", "inner-source", udp6(netip.MustParseAddr("fe80:0:0:1::1:0:2"), gw, 53)},
		{"ping to the gateway's link-local address", "link-local", icmp6(onLink(2), linkLocal1, 128, 0, 1, 0, 1)},
		{"link-local destination", "link-local", udp6(me, linkLocal1, 53)},
		{"link-local destination of another", "link-local", udp6(me, onLink(3), 53)},
		{"link-local to link-local of another", "link-local", udp6(onLink(2), onLink(3), 53)},
		{"multicast", "multicast", udp6(me, netip.MustParseAddr("ff02::fb"), 5353)},
		{"multicast from link-local", "link-local", udp6(onLink(2), netip.MustParseAddr("ff02::fb"), 5353)},
		{"wide multicast", "multicast", udp6(me, netip.MustParseAddr("ff0e::1"), 9)},
		{"to another terminal", "phone-to-phone", udp6(me, other, 53)},
		{"to another terminal's /64", "phone-to-phone", udp6(me, prefix6(3).Next(), 53)},
		{"to itself", "phone-to-phone", udp6(me, me, 53)},
		{"to another terminal behind options", "phone-to-phone", ip6(me, other, 60, chain(extension(17, 1), datagram6(53))...)},
		{"to the outside of the gateway", "inner-to-gateway-outer", ip6(me, outer6, 6, make([]byte, 20)...)},
		{"to the outside of the gateway in IPv6's clothes", "inner-reserved", udp6(me, netip.MustParseAddr("::ffff:127.0.10.1"), 53)},
		{"to nobody", "inner-reserved", udp6(me, nobody6, 53)},
		{"to loopback", "inner-reserved", udp6(me, netip.IPv6Loopback(), 53)},
		{"GTP-C inside", "gtp-in-gtp", udp6(me, gw, 2123)},
		{"GTP-U inside", "gtp-in-gtp", udp6(me, gw, 2152)},
		{"PFCP inside", "gtp-in-gtp", udp6(me, gw, 8805)},
		{"GTP-U behind hop-by-hop options", "gtp-in-gtp", ip6(me, gw, 0, chain(extension(17, 1), gtp)...)},
		{"GTP-U behind two headers", "gtp-in-gtp", ip6(me, gw, 0, chain(extension(60, 2), extension(17, 3), gtp)...)},
		{"GTP-U in a first fragment", "inner-fragment", ip6(me, gw, 44, chain([]byte{17, 0, 0, 1, 0, 0, 0, 1}, gtp)...)},
		{"a later fragment", "inner-fragment", ip6(me, gw, 44, chain([]byte{17, 0, 0, 8, 0, 0, 0, 1}, gtp)...)},
		{"a fragment of one", "inner-fragment", ip6(me, gw, 44, chain([]byte{17, 0, 0, 0, 0, 0, 0, 1}, gtp)...)},
		{"source route", "inner-source-route", ip6(me, gw, 43, chain(routed, datagram6(53))...)},
		{"hop-by-hop options in the middle", "inner-next-header", ip6(me, gw, 60, chain(extension(0, 1), extension(17, 1), gtp)...)},
		{"headers without end", "inner-next-header", ip6(me, gw, 60, long...)},
		{"IPv6 in IPv6", "inner-next-header", ip6(me, gw, 41, udp6(me, gw, 2152)...)},
		{"encrypted", "inner-next-header", ip6(me, gw, 50, make([]byte, 32)...)},
		{"MLD report", "mld", ip6(onLink(2), netip.MustParseAddr("ff02::16"), 0, chain([]byte{58, 0, 5, 2, 0, 0, 1, 0}, []byte{143, 0, 0, 0, 0, 0, 0, 0})...)},
		{"MLD report of a terminal without an address", "mld", ip6(nobody6, netip.MustParseAddr("ff02::16"), 0, chain([]byte{58, 0, 5, 2, 0, 0, 1, 0}, []byte{143, 0, 0, 0, 0, 0, 0, 0})...)},
		{"router advertisement", "neighbour-discovery", icmp6(onLink(2), allNodes, 134, make([]byte, 12)...)},
		{"neighbour advertisement", "neighbour-discovery", icmp6(onLink(2), allNodes, 136, make([]byte, 20)...)},
		{"redirect", "neighbour-discovery", icmp6(onLink(2), inner6(3), 137, make([]byte, 36)...)},
		{"router advertisement to another terminal", "neighbour-discovery", icmp6(me, other, 134, make([]byte, 12)...)},
		{"router solicitation of another", "inner-source", icmp6(onLink(3), allRouters, 133, 0, 0, 0, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{Outer: []netip.Addr{outer6}}, func(t *testing.T, r *rig) {
				r.Carry(put(tunnel(2, dual), tunnel(3, only6)))
				r.arrive(sgw, gpdu(0x1002, c.pkt))
				r.counted(t, counts{c.reason: 1})
				if len(r.uplinked()) != 0 || len(r.written()) != 0 {
					t.Error("something came through, or was answered")
				}
			})
		})
	}
}

// An IPv4 packet doesn't go up a tunnel that was given no IPv4 address.
func TestUplinkIPv4InIPv6Tunnel(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, only6)))
		for _, src := range []netip.Addr{inner(2), netip.IPv4Unspecified()} {
			r.arrive(sgw, gpdu(0x1002, udp(src, gateway, 53)))
			r.counted(t, counts{"inner-source": 1})
		}
	})
}

// Every next header, alone and behind each header that is looked behind:
// nothing goes through but what can be judged, and GTP is found wherever it
// hides.
func TestUplinkEveryNextHeader(t *testing.T) {
	passes := map[byte]bool{6: true, 58: true, 59: true}
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, dual)))
		for next := range 256 {
			for _, before := range []byte{0, 43, 60} {
				body := datagram6(2152, make([]byte, 32)...)
				body[2], body[3] = 0x08, 0x68 // 2152
				if next == 58 {
					body[0] = 128
				}
				inside := extension(byte(next), 1)
				inside[2], inside[3] = 4, 0
				for _, pkt := range [][]byte{
					ip6(inner6(2), gateway6, byte(next), body...),
					ip6(inner6(2), gateway6, before, chain(inside, body)...),
				} {
					r.forgetUplink()
					r.arrive(sgw, gpdu(0x1002, pkt))
					if up := len(r.uplinked()) == 1; up && !passes[byte(next)] || !up && passes[byte(next)] {
						t.Errorf("next header %d (after %d): came up %v", next, before, up)
					}
				}
			}
		}
		if n := r.Counters()["panic"]; n != 0 {
			t.Errorf("%d panics", n)
		}
	})
}

// IPv6 goes down by the /64 of its destination.
func TestSendIPv6(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, dual), tunnel(3, only6)))
		for id := byte(2); id <= 3; id++ {
			for _, to := range []netip.Addr{inner6(id), prefix6(id), prefix6(id).Next()} {
				pkt := udp6(gateway6, to, 9, 1)
				if err := r.Send(pkt); err != nil {
					t.Fatal(err)
				}
				if out := r.written(); len(out) != 1 || string(out[0].b) != string(gpdu(0x2000+uint32(id), pkt)) {
					t.Errorf("to %v: sent %v", to, out)
				}
			}
		}
		r.counted(t, counts{"downlink-packets": 6, "downlink-bytes": 6 * 49})
		for _, c := range []struct {
			name   string
			pkt    []byte
			err    error
			reason string
		}{
			{"nobody's /64", udp6(gateway6, inner6(4), 9), gtpu.ErrNoTunnel, "no-tunnel"},
			{"multicast", udp6(gateway6, allNodes, 9), gtpu.ErrNoTunnel, "no-tunnel"},
			{"to a link-local address", udp6(gateway6, onLink(2), 9), gtpu.ErrPacket, "link-local"},
			{"from a link-local address", udp6(onLink(3), inner6(2), 9), gtpu.ErrPacket, "link-local"},
			{"short", udp6(gateway6, inner6(2), 9)[:39], gtpu.ErrPacket, "downlink-malformed"},
			{"IPv4 to a terminal without", udp(gateway, inner(3), 9), gtpu.ErrNoTunnel, "no-tunnel"},
		} {
			if err := r.Send(c.pkt); err != c.err {
				t.Errorf("%s: %v, want %v", c.name, err, c.err)
			}
			r.counted(t, counts{c.reason: 1})
		}
	})
}
