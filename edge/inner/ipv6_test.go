package inner_test

import (
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/inner"
)

// ip6 makes an IPv6 packet.
func ip6(src, dst netip.Addr, next byte, payload []byte, edit func(b []byte)) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	b = append(b, payload...)
	if edit != nil {
		edit(b)
	}
	return b
}

// pseudo is the checksum of an upper layer with its pseudo-header (RFC 8200 8.1).
func pseudo(src, dst netip.Addr, next byte, payload []byte) uint16 {
	s, d := src.As16(), dst.As16()
	b := slices.Concat(s[:], d[:], binary.BigEndian.AppendUint32(nil, uint32(len(payload))), []byte{0, 0, 0, next}, payload)
	return sum(b)
}

func icmp6(src, dst netip.Addr, kind, code byte, body ...byte) []byte {
	b := append([]byte{kind, code, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[2:], pseudo(src, dst, 58, b))
	return b
}

func echo6(src, dst netip.Addr, payload ...byte) []byte {
	return icmp6(src, dst, 128, 0, append([]byte{0, 1, 0, 2}, payload...)...)
}

// As TestDefaultDeny, in IPv6.
func TestDefaultDeny6(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: bothGateways})
	var a, b catcher
	n.SetRoute(host(phoneA6), &a)
	n.SetRoute(host(phoneA), &a)
	n.SetRoute(host(phoneB6), &b)
	n.SetRoute(netip.MustParsePrefix("2001:db8:90::/64"), &b) // around the gateway's own address
	listen(t, n, 443)
	udp, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	syn := ports(443, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0)
	set := func(at int, v byte) func([]byte) { return func(b []byte) { b[at] = v } }
	behind := func(header []byte, payload []byte) []byte { return append(header, payload...) }
	mapped := netip.AddrFrom16(phoneA.As16())
	linkLocal, otherLinkLocal := netip.MustParseAddr("fe80::2"), netip.MustParseAddr("fe80::1")
	none := netip.MustParseAddr("2001:db8:90:77::1")
	for _, c := range []struct {
		name   string
		pkt    []byte
		reason string
	}{
		{"a nibble", []byte{0x60}, "malformed"},
		{"header cut", ip6(phoneA6, gateway6, 6, nil, nil)[:39], "malformed"},
		{"longer than it is", ip6(phoneA6, gateway6, 6, syn, set(5, 21)), "malformed"},
		{"shorter than TCP", ip6(phoneA6, gateway6, 6, syn, set(5, 19)), "malformed"},
		{"UDP cut", ip6(phoneA6, gateway6, 17, ports(5684, 0, 8, 0), nil), "malformed"},
		{"ICMP cut", ip6(phoneA6, gateway6, 58, echo6(phoneA6, gateway6)[:7], nil), "malformed"},
		{"jumbogram", ip6(phoneA6, gateway6, 0, []byte{6, 0, 0xc2, 4, 0, 1, 0, 0}, set(5, 0)), "extension-header"},
		{"hop-by-hop options", ip6(phoneA6, gateway6, 0, behind([]byte{6, 0, 1, 4, 0, 0, 0, 0}, syn), nil), "extension-header"},
		{"routing header", ip6(phoneA6, gateway6, 43, behind([]byte{6, 0, 0, 0, 0, 0, 0, 0}, syn), nil), "extension-header"},
		{"destination options", ip6(phoneA6, gateway6, 60, behind([]byte{6, 0, 1, 4, 0, 0, 0, 0}, syn), nil), "extension-header"},
		{"authentication header", ip6(phoneA6, gateway6, 51, make([]byte, 24), nil), "extension-header"},
		{"ESP", ip6(phoneA6, gateway6, 50, make([]byte, 24), nil), "extension-header"},
		{"mobility header", ip6(phoneA6, gateway6, 135, make([]byte, 24), nil), "extension-header"},
		{"fragment", ip6(phoneA6, gateway6, 44, behind([]byte{6, 0, 0, 1, 0, 0, 0, 7}, syn), nil), "fragment"},
		{"atomic fragment", ip6(phoneA6, gateway6, 44, behind([]byte{6, 0, 0, 0, 0, 0, 0, 7}, syn), nil), "fragment"},
		{"source unknown", ip6(none, gateway6, 6, syn, nil), "source-without-route"},
		{"source link-local", ip6(linkLocal, gateway6, 6, syn, nil), "source-without-route"},
		{"source unspecified", ip6(netip.IPv6Unspecified(), gateway6, 6, syn, nil), "source-without-route"},
		{"source of the gateway", ip6(gateway6, gateway6, 6, syn, nil), "source-without-route"},
		{"source written as IPv4", ip6(mapped, gateway6, 6, syn, nil), "source-without-route"},
		{"destination written as IPv4", ip6(phoneA6, netip.AddrFrom16(gateway.As16()), 6, syn, nil), "destination"},
		{"phone to phone", ip6(phoneA6, phoneB6, 6, syn, nil), "phone-to-phone"},
		{"phone to itself", ip6(phoneA6, phoneA6b, 58, echo6(phoneA6, phoneA6b), nil), "phone-to-phone"},
		{"an address without a terminal", ip6(phoneA6, none, 6, syn, nil), "destination"},
		{"the gateway's link-local address", ip6(phoneA6, otherLinkLocal, 58, echo6(phoneA6, otherLinkLocal), nil), "destination"},
		{"all nodes", ip6(phoneA6, netip.IPv6LinkLocalAllNodes(), 58, echo6(phoneA6, netip.IPv6LinkLocalAllNodes()), nil), "destination"},
		{"the internet", ip6(phoneA6, netip.MustParseAddr("2001:db8:ffff::1"), 6, syn, nil), "destination"},
		{"TCP port closed", ip6(phoneA6, gateway6, 6, ports(22, syn[4:]...), nil), "tcp-port"},
		{"TCP to a UDP port", ip6(phoneA6, gateway6, 6, ports(5684, syn[4:]...), nil), "tcp-port"},
		{"UDP port closed", ip6(phoneA6, gateway6, 17, ports(2152, 0, 8, 0, 0), nil), "udp-port"},
		{"UDP to a TCP port", ip6(phoneA6, gateway6, 17, ports(443, 0, 8, 0, 0), nil), "udp-port"},
		{"ICMP unreachable", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 1, 4, make([]byte, 44)...), nil), "icmp-type"},
		{"ICMP packet too big", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 2, 0, make([]byte, 44)...), nil), "icmp-type"},
		{"ICMP echo reply", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 129, 0, 0, 1, 0, 1), nil), "icmp-type"},
		{"ICMP echo with a code", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 128, 1, 0, 1, 0, 1), nil), "icmp-type"},
		{"router solicitation", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 133, 0, 0, 0, 0, 0), nil), "icmp-type"},
		{"router advertisement", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 134, 0, make([]byte, 12)...), nil), "icmp-type"},
		{"neighbour solicitation", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 135, 0, make([]byte, 20)...), nil), "icmp-type"},
		{"redirect", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 137, 0, make([]byte, 36)...), nil), "icmp-type"},
		{"multicast listener report", ip6(phoneA6, gateway6, 58, icmp6(phoneA6, gateway6, 143, 0, 0, 0, 0, 0), nil), "icmp-type"},
		{"ICMP of IPv4", ip6(phoneA6, gateway6, 1, echo(), nil), "protocol"},
		{"ICMPv6 in IPv4", ip(phoneA, gateway, 58, echo6(phoneA6, gateway6), nil), "protocol"},
		{"no next header", ip6(phoneA6, gateway6, 59, nil, nil), "protocol"},
		{"IPv4 in IPv6", ip6(phoneA6, gateway6, 4, ip(phoneA, gateway, 1, echo(), nil), nil), "protocol"},
		{"IPv6 in IPv4", ip(phoneA, gateway, 41, ip6(phoneA6, gateway6, 6, syn, nil), nil), "protocol"},
		{"SCTP", ip6(phoneA6, gateway6, 132, make([]byte, 12), nil), "protocol"},
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

// Without an IPv6 address the gateway has nothing to do with IPv6.
func TestIPv4Only(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	var a catcher
	n.SetRoute(host(phoneA6), &a)
	rose := rising(n)
	n.Deliver(ip6(phoneA6, gateway6, 58, echo6(phoneA6, gateway6), nil))
	if got := rose(); !maps.Equal(got, map[string]uint64{"destination": 1}) || len(a.pkts) != 0 {
		t.Errorf("counters rose by %v, sent %x", got, a.pkts)
	}
}

// The gateway answers ping from any address of the terminal, with what was sent.
func TestPing6(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: bothGateways})
	var a catcher
	n.SetRoute(host(phoneA6), &a)
	for _, from := range []netip.Addr{phoneA6, phoneA6b} {
		a.pkts = nil
		n.Deliver(append(ip6(from, gateway6, 58, echo6(from, gateway6, []byte("hello")...), nil), 0xee)) // and an octet of padding
		if len(a.pkts) != 1 {
			t.Fatalf("%v: %d packets came back, want 1", from, len(a.pkts))
		}
		got := a.pkts[0]
		if len(got) != 53 || got[40] != 129 || string(got[48:]) != "hello" || pseudo(gateway6, from, 58, got[40:]) != 0 ||
			netip.AddrFrom16([16]byte(got[8:24])) != gateway6 || netip.AddrFrom16([16]byte(got[24:40])) != from {
			t.Errorf("answer %x", got)
		}
	}
}

// A network that comes up says nothing: there is nobody on the link to ask.
func TestSilentAtStart(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: []netip.Addr{gateway, gateway6, gateway62}})
	rose := rising(n)
	listen(t, n, 443)
	if _, err := n.ListenUDP(5684); err != nil {
		t.Fatal(err)
	}
	if got := rose(); len(got) != 0 {
		t.Errorf("counters rose by %v", got)
	}
	for name, v := range n.Counters() {
		if v != 0 {
			t.Errorf("%s is %d", name, v)
		}
	}
}

// A checksum over IPv6 isn't optional (RFC 8200 8.1).
func TestDatagramWithoutChecksum(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: bothGateways})
	var a catcher
	n.SetRoute(host(phoneA6), &a)
	n.SetRoute(host(phoneA), &a)
	s, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	n.Deliver(ip6(phoneA6, gateway6, 17, ports(5684, 0, 9, 0, 0, '6'), nil))
	n.Deliver(ip(phoneA, gateway, 17, ports(5684, 0, 9, 0, 0, '4'), nil))
	b := make([]byte, 10)
	if m, from, err := s.ReadFrom(b); err != nil || string(b[:m]) != "4" {
		t.Errorf("%q from %v, %v", b[:m], from, err)
	}
	if got := n.Counters()["stack-udp-checksum"]; got != 1 {
		t.Errorf("stack-udp-checksum = %d, want 1", got)
	}
}

// A terminal is its /64: what it may have open is counted over all its
// addresses, and all of them end together.
func TestTerminalIsItsPrefix(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: bothGateways, ConnsPerTerminal: 2})
	a, b := newPhone(t, n, phoneA6), newPhone(t, n, phoneB6)
	a.give(t, phoneA6b)
	l := listen(t, n, 443)
	ca, err := a.dialFrom(phoneA6, gateway6, 443)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	sa := accept(t, l)
	cb, err := a.dialFrom(phoneA6b, gateway6, 443)
	if err != nil {
		t.Fatal(err)
	}
	defer cb.Close()
	sb := accept(t, l)
	other := b.dial(t, gateway6, 443)
	so := accept(t, l)

	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		_, _ = l.Accept() // resets the third and waits for one that is let in
	}()
	if third, err := a.dialFrom(phoneA6b, gateway6, 443); err == nil {
		if err := third.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := third.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("third connection: %v, want a reset", err)
		}
	}
	if got := n.Counters()["connection-limit"]; got != 1 {
		t.Errorf("connection-limit = %d, want 1", got)
	}
	n.DelRoute(host(phoneA6b))
	for _, s := range []net.Conn{sa, sb} {
		if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%v after the session's end: %v, want a reset", s.RemoteAddr(), err)
		}
	}
	if got := sb.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != phoneA6b {
		t.Errorf("remote address %v after the reset, want %v", got, phoneA6b)
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := so.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(so, make([]byte, 1)); err != nil {
		t.Errorf("the other terminal: %v", err)
	}
	l.Close()
	<-accepted
}

// Datagrams go both ways in both families, and the answer comes from the address
// that was asked.
func TestUDP6(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: []netip.Addr{gateway, gateway6, gateway2, gateway62}})
	p := newPhone(t, n, phoneA6)
	p.give(t, phoneA)
	n.SetRoute(host(phoneA), p)
	s, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// Before a terminal has spoken, it hears the first address of its family.
	if _, err := s.WriteTo([]byte("unasked"), udpAddr(phoneA6, 9)); err != nil {
		t.Fatal(err)
	}
	for _, gw := range []netip.Addr{gateway6, gateway2, gateway62, gateway, gateway6} {
		c := p.dialUDP(t, gw, 5684) // connected: takes answers from gw only
		if _, err := c.Write([]byte("ask " + gw.String())); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		m, from, err := s.ReadFrom(b)
		if err != nil || string(b[:m]) != "ask "+gw.String() {
			t.Fatalf("ReadFrom = %q, %v", b[:m], err)
		}
		want := phoneA
		if gw.Is6() {
			want = phoneA6
		}
		if got := from.(*net.UDPAddr).AddrPort().Addr().Unmap(); got != want {
			t.Errorf("from %v, want %v", got, want)
		}
		if _, err := s.WriteTo([]byte("answer"), from); err != nil {
			t.Fatal(err)
		}
		if m, err = c.Read(b); err != nil || string(b[:m]) != "answer" {
			t.Errorf("from %v: %q, %v", gw, b[:m], err)
		}
	}
	if _, err := s.WriteTo([]byte("x"), &net.UDPAddr{}); err == nil {
		t.Error("sent to no address")
	}
	n.Close()
	six := newNetwork(t, inner.Config{Addresses: []netip.Addr{gateway6}})
	s6, err := six.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s6.WriteTo([]byte("x"), udpAddr(phoneA, 1)); err == nil {
		t.Error("an IPv4 address was taken")
	}
}

// Only terminals' prefixes have routes.
func TestRoutesAreOfTerminals(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: bothGateways})
	var a catcher
	for _, prefix := range []string{"2001:db8:90:2::/56", "2001:db8:90:2::a1/128", "10.90.0.0/24", "::ffff:10.90.0.2/64"} {
		n.SetRoute(netip.MustParsePrefix(prefix), &a)
		n.DelRoute(netip.MustParsePrefix(prefix))
	}
	n.SetRoute(netip.Prefix{}, &a)
	rose := rising(n)
	n.Deliver(ip6(phoneA6, gateway6, 58, echo6(phoneA6, gateway6), nil))
	n.Deliver(ip(phoneA, gateway, 1, echo(), nil))
	if got := rose(); !maps.Equal(got, map[string]uint64{"source-without-route": 2}) {
		t.Errorf("counters rose by %v", got)
	}
	// A route that wasn't understood takes none away.
	n.SetRoute(host(phoneA6), &a)
	n.DelRoute(netip.MustParsePrefix("2001:db8:90:2::/56"))
	n.Deliver(ip6(phoneA6, gateway6, 58, echo6(phoneA6, gateway6), nil))
	if len(a.pkts) != 1 {
		t.Error("the route is gone")
	}
}
