package wifi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
)

var (
	barrelAt  = netip.MustParseAddrPort("192.168.43.2:20000")
	gatewayAt = netip.MustParseAddrPort("10.90.0.1:5684")
	tunnel    = netip.MustParseAddr("10.90.0.7")
	start     = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
)

// udp builds an IPv4 UDP packet with right checksums.
func udp(src, dst netip.AddrPort, payload string) []byte {
	b := make([]byte, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[20:], src.Port())
	binary.BigEndian.PutUint16(b[22:], dst.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	copy(b[28:], payload)
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:20]))
	binary.BigEndian.PutUint16(b[26:], ^udpSum(b))
	return b
}

// sum is the ones' complement sum of RFC 1071.
func sum(parts ...[]byte) uint16 {
	s := uint32(0)
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			word := uint32(b[i]) << 8
			if i+1 < len(b) {
				word |= uint32(b[i+1])
			}
			s += word
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func udpSum(b []byte) uint16 {
	pseudo := append(bytes.Clone(b[12:20]), 0, 17, b[24], b[25])
	return sum(pseudo, b[20:])
}

// ends reads a packet's addresses and checks its checksums from scratch.
func ends(t *testing.T, b []byte) (src, dst netip.AddrPort) {
	t.Helper()
	p, err := parseUDP(b)
	if err != nil {
		t.Fatal(err)
	}
	if sum(p.ip) != 0xffff {
		t.Error("the header checksum is wrong")
	}
	if binary.BigEndian.Uint16(p.udp[6:]) != 0 && udpSum(b) != 0xffff {
		t.Error("the UDP checksum is wrong")
	}
	return p.src(), p.dst()
}

func TestThereAndBack(t *testing.T) {
	n := newNAT(2 * time.Minute)
	out := udp(barrelAt, gatewayAt, "heartbeat")
	if err := n.out(out, tunnel, start); err != nil {
		t.Fatal(err)
	}
	src, dst := ends(t, out)
	if src.Addr() != tunnel || src.Port() < firstOutside || dst != gatewayAt || out[8] != 63 {
		t.Errorf("outside: %v to %v, TTL %d", src, dst, out[8])
	}
	in := udp(gatewayAt, src, "lease")
	station, err := n.in(in, start)
	if err != nil || station != barrelAt.Addr() {
		t.Fatalf("%v, %v", station, err)
	}
	if src, dst := ends(t, in); src != gatewayAt || dst != barrelAt {
		t.Errorf("inside: %v to %v", src, dst)
	}
}

func TestMappings(t *testing.T) {
	n := newNAT(2 * time.Minute)
	port := func(src, dst netip.AddrPort, now time.Time) uint16 {
		t.Helper()
		b := udp(src, dst, "x")
		if err := n.out(b, tunnel, now); err != nil {
			t.Fatal(err)
		}
		s, _ := ends(t, b)
		return s.Port()
	}
	other := netip.AddrPortFrom(barrelAt.Addr(), 20001)
	server := netip.MustParseAddrPort("10.90.0.9:53")
	first := port(barrelAt, gatewayAt, start)
	if got := port(barrelAt, server, start); got != first {
		t.Errorf("another peer got port %d, want the same %d", got, first)
	}
	if got := port(other, gatewayAt, start); got == first {
		t.Error("two sockets share a port")
	}
	from := func(src netip.AddrPort, now time.Time) error {
		b := udp(src, netip.AddrPortFrom(tunnel, first), "x")
		before := bytes.Clone(b)
		_, err := n.in(b, now)
		if err != nil && !bytes.Equal(b, before) {
			t.Error("a packet that isn't ours was changed")
		}
		return err
	}
	if err := from(netip.MustParseAddrPort("10.90.0.66:5684"), start); !errors.Is(err, errNoMapping) {
		t.Errorf("from a stranger: %v", err)
	}
	// Packets from outside don't keep a mapping alive.
	almost := start.Add(2*time.Minute - 1)
	if err := from(gatewayAt, almost); err != nil {
		t.Error(err)
	}
	if err := from(gatewayAt, almost.Add(1)); !errors.Is(err, errNoMapping) {
		t.Errorf("after the timeout: %v", err)
	}
	if got := port(barrelAt, gatewayAt, start.Add(2*time.Minute)); got == first {
		t.Error("an expired mapping came back")
	}
	n.forget(barrelAt.Addr())
	if len(n.inside) != 0 || len(n.outside) != 0 {
		t.Error("a station that left still has mappings")
	}
}

func TestTableIsBounded(t *testing.T) {
	n := newNAT(time.Minute)
	flood := func(now time.Time) (err error) {
		for i := range maxMappings + 1 {
			src := netip.AddrPortFrom(barrelAt.Addr(), uint16(i+1))
			if err = n.out(udp(src, gatewayAt, ""), tunnel, now); err != nil {
				return err
			}
		}
		return nil
	}
	if err := flood(start); !errors.Is(err, errFull) || len(n.outside) != maxMappings {
		t.Errorf("%v with %d mappings", err, len(n.outside))
	}
	if err := n.out(udp(barrelAt, gatewayAt, ""), tunnel, start.Add(time.Minute)); err != nil {
		t.Errorf("after the timeout: %v", err)
	}
	// The ports wrap within their range.
	n.nextPort = 65535
	for range 2 {
		b := udp(netip.AddrPortFrom(barrelAt.Addr(), n.nextPort), gatewayAt, "")
		if err := n.out(b, tunnel, start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if s, _ := ends(t, b); s.Port() < firstOutside {
			t.Errorf("port %d", s.Port())
		}
	}
}

func TestWhatIsNotTranslated(t *testing.T) {
	change := func(fn func(b []byte)) []byte {
		b := udp(barrelAt, gatewayAt, "12345678")
		fn(b)
		return b
	}
	for name, b := range map[string][]byte{
		"empty":                {},
		"IPv6":                 change(func(b []byte) { b[0] = 0x65 }),
		"header too short":     change(func(b []byte) { b[0] = 0x44 }),
		"header beyond":        change(func(b []byte) { b[0] = 0x4f; b[3] = 30 }),
		"longer than it is":    change(func(b []byte) { b[3] = 200 }),
		"TCP":                  change(func(b []byte) { b[9] = 6 }),
		"first fragment":       change(func(b []byte) { b[6] = 0x20 }),
		"later fragment":       change(func(b []byte) { b[7] = 1 }),
		"no room for UDP":      change(func(b []byte) { b[3] = 27 }),
		"time to live is over": change(func(b []byte) { b[8] = 1 }),
	} {
		if err := newNAT(time.Minute).out(b, tunnel, start); err == nil {
			t.Errorf("%s was translated", name)
		}
	}
	b := change(func(b []byte) { b[26], b[27] = 0, 0 })
	if err := newNAT(time.Minute).out(b, tunnel, start); err != nil || b[26] != 0 || b[27] != 0 {
		t.Errorf("a packet without checksum got one: %x, %v", b[26:28], err)
	}
}

func FuzzNAT(f *testing.F) {
	f.Add(udp(barrelAt, gatewayAt, "x"), uint16(firstOutside))
	f.Add([]byte{0x45}, uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		n := newNAT(time.Minute)
		n.nextPort = max(port, firstOutside)
		back := bytes.Clone(b)
		if err := n.out(b, tunnel, start); err != nil {
			return
		}
		src, _ := parseUDP(b)
		was, _ := parseUDP(back)
		// The answer finds its way back to who asked.
		reply := udp(was.dst(), src.src(), "")
		if _, err := n.in(reply, start); err != nil {
			t.Fatalf("no way back: %v", err)
		}
		if p, _ := parseUDP(reply); p.dst() != was.src() {
			t.Errorf("back to %v, want %v", p.dst(), was.src())
		}
	})
}
