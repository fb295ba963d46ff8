package wifi

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

var gateway6 = netip.MustParseAddrPort("[fd00:90::1]:5684")

// A station shares the /64 of the terminal, and moves with it to another.
func TestSharedPrefix(t *testing.T) {
	var outside atomic.Pointer[netip.Addr]
	outside.Store(new(netip.Addr))
	ap, gateway := hotspot(t, Config{Outside6: func() netip.Addr { return *outside.Load() }})
	if err := gateway.SetAddress6(netip.PrefixFrom(gateway6.Addr(), 128)); err != nil {
		t.Fatal(err)
	}
	server, err := gateway.ListenUDP(gateway6.Port())
	if err != nil {
		t.Fatal(err)
	}
	join := func(last string) (*Link, *ipstack.Stack) {
		t.Helper()
		l, err := ap.Join(t.Context(), station(t, last))
		if err != nil {
			t.Fatal(err)
		}
		return l, device(t, l)
	}
	one, s := join("01")
	two, s2 := join("02")
	if one.Address6().IsValid() {
		t.Errorf("address %v without IPv6", one.Address6())
	}
	for _, prefix := range []string{"fd00:90:0:7::", "fd00:90:0:8::"} {
		own := netip.MustParseAddr(prefix + "700")
		outside.Store(&own)
		if want := netip.MustParseAddr(prefix + "5eff:fe10:1"); one.Address6() != want {
			t.Fatalf("address %v, want %v", one.Address6(), want)
		}
		if one.Address6() == two.Address6() {
			t.Error("two stations have one address")
		}
		for l, stack := range map[*Link]*ipstack.Stack{one: s, two: s2} {
			if err := stack.SetAddress6(netip.PrefixFrom(l.Address6(), 128)); err != nil {
				t.Fatal(err)
			}
			conn, err := stack.DialUDP(gateway6)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("heartbeat")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			_, from, err := server.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			if got := netip.MustParseAddrPort(from.String()).Addr(); got != l.Address6() {
				t.Errorf("the gateway sees %v, want %v", got, l.Address6())
			}
			if _, err := server.WriteTo([]byte("lease"), from); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "lease" {
				t.Errorf("%q, %v", buf[:n], err)
			}
		}
	}
}

// What isn't a station's own doesn't pass, and what is the terminal's is left to
// it.
func TestSharedPrefixIsGuarded(t *testing.T) {
	own := netip.MustParseAddr("fd00:90:0:7::700")
	up := 0
	ap, err := New(Config{Prefix: network, Uplink: func([]byte) { up++ }, Outside6: func() netip.Addr { return own }})
	if err != nil {
		t.Fatal(err)
	}
	defer ap.Close()
	l, err := ap.Join(t.Context(), station(t, "01"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ap.Join(t.Context(), station(t, "02"))
	if err != nil {
		t.Fatal(err)
	}
	down := 0
	l.Handle(func([]byte) { down++ })
	packet := func(from, to netip.Addr) []byte {
		b := append([]byte{0x60, 0, 0, 0, 0, 0, 59, 64}, from.AsSlice()...)
		return append(b, to.AsSlice()...)
	}
	for name, b := range map[string][]byte{
		"the terminal's address":  packet(own, gateway6.Addr()),
		"another station's":       packet(other.Address6(), gateway6.Addr()),
		"to another station":      packet(l.Address6(), other.Address6()),
		"to all nodes":            packet(l.Address6(), netip.IPv6LinkLocalAllNodes()),
		"to a link-local address": packet(l.Address6(), netip.MustParseAddr("fe80::1")),
		"cut":                     packet(l.Address6(), gateway6.Addr())[:39],
	} {
		if l.Send(b); up != 0 {
			t.Fatalf("%s passed", name)
		}
	}
	if l.Send(packet(l.Address6(), gateway6.Addr())); up != 1 {
		t.Error("its own doesn't pass")
	}
	if ap.Inbound(packet(gateway6.Addr(), own)) || ap.Inbound([]byte{0x60}) {
		t.Error("what is the terminal's was taken")
	}
	if !ap.Inbound(packet(gateway6.Addr(), l.Address6())) || down != 1 {
		t.Error("what is the station's wasn't")
	}
}
