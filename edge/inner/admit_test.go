package inner_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/edge/inner"
)

// catcher is a path that keeps what is sent.
type catcher struct {
	pkts [][]byte
	err  error
}

func (c *catcher) Send(pkt []byte) error {
	if c.err != nil {
		return c.err
	}
	c.pkts = append(c.pkts, append([]byte(nil), pkt...))
	return nil
}

func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// ip makes an IPv4 packet with a right checksum; edit comes before it.
func ip(src, dst netip.Addr, proto byte, payload []byte, edit func(b []byte)) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	b = append(b, payload...)
	if edit != nil {
		edit(b)
	}
	if h := int(b[0]&0x0f) * 4; h <= len(b) {
		binary.BigEndian.PutUint16(b[10:], 0)
		binary.BigEndian.PutUint16(b[10:], sum(b[:h]))
	}
	return b
}

// ports is the head of a TCP or UDP header.
func ports(dst uint16, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x30, 0x39}, dst), rest...)
}

func echo(payload ...byte) []byte {
	b := append([]byte{8, 0, 0, 0, 0, 1, 0, 2}, payload...)
	binary.BigEndian.PutUint16(b[2:], sum(b))
	return b
}

// Everything that isn't asked for is dropped before the stack, each under its
// own name, and nothing comes back for it.
func TestDefaultDeny(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	var a, b catcher
	n.SetRoute(host(phoneA), &a)
	n.SetRoute(host(phoneB), &b)
	tcp, err := n.ListenTCP(443)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	syn := func(port uint16) []byte { return ports(port, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0) }
	dgram := func(port uint16) []byte { return ports(port, 0, 8, 0, 0) }
	set := func(at int, v byte) func([]byte) { return func(b []byte) { b[at] = v } }
	cut := func(n int) func([]byte) { return func(b []byte) { b[3] = byte(n) } }
	none := netip.MustParseAddr("10.90.7.7")
	for _, c := range []struct {
		name   string
		pkt    []byte
		reason string
	}{
		{"nothing", nil, "malformed"},
		{"a nibble", []byte{0x45}, "malformed"},
		{"IPv6", make([]byte, 60), "malformed"},
		{"header of four words", ip(phoneA, gateway, 6, syn(443), set(0, 0x44)), "malformed"},
		{"longer than it is", ip(phoneA, gateway, 6, syn(443), set(2, 0xff)), "malformed"},
		{"shorter than its header", ip(phoneA, gateway, 6, syn(443), cut(19)), "malformed"},
		{"TCP cut", ip(phoneA, gateway, 6, syn(443)[:19], nil), "malformed"},
		{"UDP cut", ip(phoneA, gateway, 17, dgram(5684)[:7], nil), "malformed"},
		{"ICMP cut", ip(phoneA, gateway, 1, echo()[:7], nil), "malformed"},
		{"IP options", ip(phoneA, gateway, 6, append([]byte{7, 4, 4, 0}, syn(443)...), set(0, 0x46)), "ip-options"},
		{"options beyond the packet", ip(phoneA, gateway, 1, echo(), set(0, 0x4f)), "ip-options"},
		{"first fragment", ip(phoneA, gateway, 6, syn(443), set(6, 0x20)), "fragment"},
		{"last fragment", ip(phoneA, gateway, 6, syn(443), set(7, 9)), "fragment"},
		{"header checksum", func() []byte { p := ip(phoneA, gateway, 1, echo(), nil); p[10]++; return p }(), "header-checksum"},
		{"source unknown", ip(none, gateway, 6, syn(443), nil), "source-without-route"},
		{"source of the gateway", ip(gateway, gateway, 6, syn(443), nil), "source-without-route"},
		{"phone to phone", ip(phoneA, phoneB, 6, syn(443), nil), "phone-to-phone"},
		{"phone to itself", ip(phoneA, phoneA, 1, echo(), nil), "phone-to-phone"},
		{"an address without a terminal", ip(phoneA, none, 6, syn(443), nil), "destination"},
		{"the internet", ip(phoneA, netip.MustParseAddr("198.51.100.1"), 6, syn(443), nil), "destination"},
		{"broadcast", ip(phoneA, netip.MustParseAddr("255.255.255.255"), 17, dgram(5684), nil), "destination"},
		{"multicast", ip(phoneA, netip.MustParseAddr("224.0.0.1"), 17, dgram(5684), nil), "destination"},
		{"TCP port closed", ip(phoneA, gateway, 6, syn(22), nil), "tcp-port"},
		{"TCP to a UDP port", ip(phoneA, gateway, 6, syn(5684), nil), "tcp-port"},
		{"UDP port closed", ip(phoneA, gateway, 17, dgram(2123), nil), "udp-port"},
		{"UDP to a TCP port", ip(phoneA, gateway, 17, dgram(443), nil), "udp-port"},
		{"ICMP redirect", ip(phoneA, gateway, 1, []byte{5, 1, 0, 0, 10, 90, 0, 9}, nil), "icmp-type"},
		{"ICMP unreachable", ip(phoneA, gateway, 1, []byte{3, 4, 0, 0, 0, 0, 0, 68}, nil), "icmp-type"},
		{"ICMP echo reply", ip(phoneA, gateway, 1, []byte{0, 0, 0, 0, 0, 1, 0, 1}, nil), "icmp-type"},
		{"ICMP echo with a code", ip(phoneA, gateway, 1, []byte{8, 1, 0, 0, 0, 1, 0, 1}, nil), "icmp-type"},
		{"IGMP", ip(phoneA, gateway, 2, make([]byte, 8), nil), "protocol"},
		{"IP in IP", ip(phoneA, gateway, 4, make([]byte, 40), nil), "protocol"},
		{"GRE", ip(phoneA, gateway, 47, make([]byte, 8), nil), "protocol"},
		{"SCTP", ip(phoneA, gateway, 132, make([]byte, 12), nil), "protocol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rose := rising(n)
			n.Deliver(c.pkt)
			if got := rose(); !maps.Equal(got, map[string]uint64{c.reason: 1}) {
				t.Errorf("counters rose by %v, want %s by 1", got, c.reason)
			}
		})
	}
	if len(a.pkts)+len(b.pkts) != 0 {
		t.Errorf("something was sent: %x %x", a.pkts, b.pkts)
	}
}

// The gateway answers ping, with what was sent.
func TestPing(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	var a catcher
	n.SetRoute(host(phoneA), &a)
	n.Deliver(append(ip(phoneA, gateway, 1, echo([]byte("hello")...), nil), 0xee)) // and an octet of padding
	if len(a.pkts) != 1 {
		t.Fatalf("%d packets came back, want 1", len(a.pkts))
	}
	got := a.pkts[0]
	if len(got) != 33 || got[20] != 0 || string(got[28:]) != "hello" || sum(got[20:]) != 0 ||
		netip.AddrFrom4([4]byte(got[12:16])) != gateway || netip.AddrFrom4([4]byte(got[16:20])) != phoneA {
		t.Errorf("answer %x", got)
	}
}

// What can't go down is counted: the terminal is gone, or its path refuses.
func TestDownlinkLost(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	a := catcher{err: errors.New("no tunnel")}
	n.SetRoute(host(phoneA), &a)
	rose := rising(n)
	n.Deliver(ip(phoneA, gateway, 1, echo(), nil))
	if got := rose(); got["path-refused"] != 1 {
		t.Errorf("counters rose by %v, want path-refused", got)
	}
	c, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	n.DelRoute(host(phoneA))
	rose()
	if _, err := c.WriteTo([]byte("x"), udpAddr(phoneA, 9)); err != nil {
		t.Fatal(err)
	}
	if got := rose(); got["no-route"] != 1 {
		t.Errorf("counters rose by %v, want no-route", got)
	}
	n.Deliver(ip(phoneA, gateway, 1, echo(), nil))
	if got := rose(); got["source-without-route"] != 1 {
		t.Errorf("counters rose by %v, want source-without-route", got)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]inner.Config{
		"no address":         {},
		"small MTU for IPv6": {Addresses: []netip.Addr{gateway, netip.MustParseAddr("2001:db8::1")}, MTU: 1279},
		"link-local":         {Addresses: []netip.Addr{netip.MustParseAddr("fe80::1")}},
		"loopback":           {Addresses: []netip.Addr{netip.IPv6Loopback()}},
		"zone":               {Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1%eth0")}},
		"no address at all":  {Addresses: []netip.Addr{{}}},
		"any":                {Addresses: []netip.Addr{netip.IPv4Unspecified()}},
		"twice":              {Addresses: []netip.Addr{gateway, gateway}},
		"small MTU":          {Addresses: []netip.Addr{gateway}, MTU: 575},
		"large MTU":          {Addresses: []netip.Addr{gateway}, MTU: 65536},
	} {
		if n, err := inner.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
			n.Close()
		}
	}
}

// Whatever a terminal sends, the network lives and only ever talks back to a
// terminal, in whole packets.
func FuzzDeliver(f *testing.F) {
	f.Add(ip(phoneA, gateway, 1, echo(1, 2, 3), nil))
	f.Add(ip(phoneA, gateway, 6, ports(443, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0), nil))
	f.Add(ip(phoneA, gateway, 6, ports(443, 0, 0, 0, 1, 0, 0, 0, 0, 0xf0, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 0, 3, 0), nil))
	f.Add(ip(phoneA, gateway, 17, ports(5684, 0, 12, 0, 0, 1, 2, 3, 4), nil))
	f.Add(ip(phoneA, gateway, 17, ports(5684, 0xff, 0xff, 0, 0), nil))
	f.Add(ip6(phoneA6, gateway6, 58, echo6(phoneA6, gateway6, 1, 2, 3), nil))
	f.Add(ip6(phoneA6, gateway6, 6, ports(443, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0), nil))
	f.Add(ip6(phoneA6, gateway6, 17, ports(5684, 0, 12, 0, 0, 1, 2, 3, 4), nil))
	f.Add(ip6(phoneA6, gateway6, 44, []byte{17, 0, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4}, nil))
	n := newNetwork(f, inner.Config{Addresses: bothGateways})
	if _, err := n.ListenTCP(443); err != nil {
		f.Fatal(err)
	}
	if _, err := n.ListenUDP(5684); err != nil {
		f.Fatal(err)
	}
	n.SetRoute(host(phoneA), checker{f})
	n.SetRoute(host(phoneA6), checker{f})
	f.Fuzz(func(t *testing.T, b []byte) {
		n.Deliver(b)
		// Once more with a right header checksum, to get past the first gate.
		if len(b) >= 20 {
			b = append([]byte(nil), b...)
			binary.BigEndian.PutUint16(b[10:], 0)
			binary.BigEndian.PutUint16(b[10:], sum(b[:20]))
			n.Deliver(b)
		}
		if n.Counters()["panic"] != 0 {
			t.Fatalf("panicked on %x", b)
		}
	})
}

type checker struct{ f *testing.F }

func (c checker) Send(pkt []byte) error {
	if len(pkt) >= 40 && pkt[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(pkt[4:])) == len(pkt) {
		return nil
	}
	if len(pkt) < 20 || int(binary.BigEndian.Uint16(pkt[2:])) != len(pkt) || sum(pkt[:20]) != 0 {
		panic("a broken packet went down")
	}
	return nil
}
