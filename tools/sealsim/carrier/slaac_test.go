package carrier

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

var (
	router = netip.MustParseAddr("fe80::1")
	host   = netip.MustParseAddr("fe80::1:1") // of the first session
	inside = netip.MustParseAddr("2001:db8:0:1::1:1")
)

// advertisement is a router advertisement with options.
func advertisement(lifetime byte, options ...[]byte) []byte {
	body := []byte{134, 0, 0, 0, 64, 0, 0, lifetime, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, o := range options {
		body = append(body, o...)
	}
	return body
}

func prefixOption(flags byte, prefix string) []byte {
	o := []byte{3, 4, 64, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
	return append(o, netip.MustParseAddr(prefix).AsSlice()...)
}

var mtuOption = []byte{5, 1, 0, 0, 0, 0, 0x05, 0x78}

// packet6 is an ICMPv6 packet made with another library's checksum.
func packet6(from, to netip.Addr, hops byte, body []byte) []byte {
	m := must(icmp.ParseMessage(58, body))
	raw := must(m.Marshal(icmp.IPv6PseudoHeader(from.AsSlice(), to.AsSlice())))
	p := append([]byte{0x60, 0, 0, 0, byte(len(raw) >> 8), byte(len(raw)), 58, hops}, from.AsSlice()...)
	return append(append(p, to.AsSlice()...), raw...)
}

func attach6(t *testing.T, c *Carrier) *Bearer {
	t.Helper()
	who := subscriber(1)
	who.PDNType = IPv6
	b, err := c.Attach(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAutoconfigure(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach6(t, c)
		solicited := make(chan []byte, 1)
		go func() {
			_ = g.userMessage() // lost
			solicited <- g.userMessage().(*v1.TPDU).Payload
			g.downlink(g.peer[1].user, packet6(router, host, 255, advertisement(200, prefixOption(0x40, "2001:db8:0:1::"), mtuOption)))
		}()
		began := time.Now()
		r, err := b.Autoconfigure(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != solicitationInterval {
			t.Errorf("solicited again after %v", took)
		}
		if r.Address != inside || r.Router != router || r.MTU != 1400 || r.OnLink || r.Lifetime != 200*time.Second || r.Valid != (1<<32-1)*time.Second {
			t.Errorf("%+v", r)
		}
		p := <-solicited
		h := must(ipv6.ParseHeader(p))
		if h.HopLimit != 255 || h.NextHeader != 58 || h.Dst.String() != "ff02::2" || h.Src.String() != host.String() || h.PayloadLen != 8 {
			t.Errorf("solicitation: %v", h)
		}
		m := must(icmp.ParseMessage(58, p[40:]))
		if m.Type != ipv6.ICMPTypeRouterSolicitation || string(must(m.Marshal(icmp.IPv6PseudoHeader(h.Src, h.Dst)))) != string(p[40:]) {
			t.Errorf("solicitation: % x", p[40:])
		}
		if n, _ := b.Advertisements(); n != 1 {
			t.Errorf("%d advertisements", n)
		}
	})
}

func TestNoRouter(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, _ *gateway, c *Carrier) {
		b := attach6(t, c)
		began := time.Now()
		if _, err := b.Autoconfigure(t.Context()); !errors.Is(err, ErrNoRouter) || time.Since(began) != maxSolicitations*solicitationInterval {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := attach(t, c).Autoconfigure(t.Context()); err == nil || errors.Is(err, ErrNoRouter) {
			t.Errorf("without IPv6: %v", err)
		}
		if _, err := b.Ping(t.Context(), netip.MustParseAddr("2001:db8::1")); err == nil {
			t.Error("pinged without an address")
		}
	})
}

// What a terminal can't use, the simulator complains about.
func TestUselessAdvertisements(t *testing.T) {
	good := prefixOption(0x40, "2001:db8:0:1::")
	expired, short := append([]byte(nil), good...), append([]byte(nil), good...)
	copy(expired[4:8], []byte{0, 0, 0, 0})
	short[2] = 63
	for name, packet := range map[string][]byte{
		"another prefix":               packet6(router, host, 255, advertisement(1, prefixOption(0x40, "2001:db8:0:2::"))),
		"no prefix":                    packet6(router, host, 255, advertisement(1, mtuOption)),
		"two prefixes":                 packet6(router, host, 255, advertisement(1, good, good)),
		"not for autoconfiguration":    packet6(router, host, 255, advertisement(1, prefixOption(0x80, "2001:db8:0:1::"))),
		"prefix of 63 bits":            packet6(router, host, 255, advertisement(1, short)),
		"more bits than the prefix":    packet6(router, host, 255, advertisement(1, prefixOption(0x40, "2001:db8:0:1::1"))),
		"prefix that isn't valid":      packet6(router, host, 255, advertisement(1, expired)),
		"no router any more":           packet6(router, host, 255, advertisement(0, good)),
		"from afar":                    packet6(router, host, 254, advertisement(1, good)),
		"from a global address":        packet6(inside, host, 255, advertisement(1, good)),
		"option of length 0":           packet6(router, host, 255, advertisement(1, good, make([]byte, 8))),
		"option beyond the end":        packet6(router, host, 255, advertisement(1, good, []byte{5, 2, 0, 0, 0, 0, 0, 0})),
		"trailing bytes":               packet6(router, host, 255, advertisement(1, good, []byte{5})),
		"advertisement cut very short": packet6(router, host, 255, advertisement(1)[:12]),
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
				b := attach6(t, c)
				go func() {
					_ = g.userMessage()
					g.downlink(g.peer[1].user, packet)
				}()
				if _, err := b.Autoconfigure(t.Context()); !errors.Is(err, ErrProtocol) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// A packet with a wrong checksum is none of the terminal's.
func TestAdvertisementWithAWrongChecksum(t *testing.T) {
	p := packet6(router, host, 255, advertisement(1, prefixOption(0x40, "2001:db8:0:1::")))
	if new(terminal).hears(p) != true {
		t.Error("not heard")
	}
	p[len(p)-1] ^= 1
	if new(terminal).hears(p) {
		t.Error("heard")
	}
	for i := range p {
		new(terminal).hears(p[:i])
	}
}

func FuzzAdvertisement(f *testing.F) {
	f.Add(advertisement(1, prefixOption(0x40, "2001:db8:0:1::"), mtuOption))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := readAdvertisement(router, 255, b); err == nil && r.Prefix.Bits() != 64 {
			t.Errorf("accepted %+v", r)
		}
	})
}

func TestPing(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		who := subscriber(1)
		who.PDNType = IPv4v6
		b := must(c.Attach(t.Context(), who))
		// reply answers the next echo request from an address, after something
		// that only looks like the answer.
		reply := func(family int, from netip.Addr) {
			p := g.userMessage().(*v1.TPDU).Payload
			if family == 4 {
				h := must(icmp.ParseIPv4Header(p))
				m := must(icmp.ParseMessage(1, p[20:]))
				if sum(0, p[:20]) != 0xffff || m.Type != ipv4.ICMPTypeEcho || !h.Src.Equal(b.Address().AsSlice()) {
					t.Errorf("echo request: %v, %+v", h, m)
				}
				m.Type = ipv4.ICMPTypeEchoReply
				raw := must(m.Marshal(nil))
				q := append([]byte(nil), p[:20]...)
				copy(q[12:], from.AsSlice())
				copy(q[16:], p[12:16])
				q[10], q[11] = 0, 0
				s := ^sum(0, q)
				q[10], q[11] = byte(s>>8), byte(s)
				g.downlink(g.peer[1].user, append(q, raw...))
				return
			}
			h := must(ipv6.ParseHeader(p))
			m := must(icmp.ParseMessage(58, p[40:]))
			m.Type = ipv6.ICMPTypeEchoReply
			src, _ := netip.AddrFromSlice(h.Src)
			g.downlink(g.peer[1].user, packet6(from, src, 64, must(m.Marshal(nil))))
		}
		four, six := netip.MustParseAddr("10.90.0.254"), netip.MustParseAddr("2001:db8::1")
		go reply(4, four)
		if _, err := b.Ping(t.Context(), four); err != nil {
			t.Error(err)
		}
		go reply(6, router)
		if _, err := b.Ping(t.Context(), router); err != nil {
			t.Error(err)
		}
		go func() {
			_ = g.userMessage()
			g.downlink(g.peer[1].user, packet6(router, host, 255, advertisement(9, prefixOption(0x40, "2001:db8:0:1::"))))
		}()
		must(b.Autoconfigure(t.Context()))
		go reply(6, six)
		if _, err := b.Ping(t.Context(), six); err != nil {
			t.Error(err)
		}
		// An answer from elsewhere is none, and goes to the phone.
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			reply(6, router)
			_, _ = b.Recv(ctx)
			cancel()
		}()
		if _, err := b.Ping(ctx, six); !errors.Is(err, context.Canceled) {
			t.Errorf("answered from elsewhere: %v", err)
		}
	})
}
