package phone

import (
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// The packets that the phone makes itself are such as a stack takes, checksums and all.
func TestProbeAndEchoAreWellFormed(t *testing.T) {
	s, err := ipstack.New(netip.PrefixFrom(gateway, 32), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetAddress6(netip.PrefixFrom(gateway6, 128)); err != nil {
		t.Fatal(err)
	}
	echoed := make(chan []byte, 1)
	s.SetLink(func(b []byte) { echoed <- append([]byte(nil), b...) })
	conn, err := s.ListenUDP(wire.ProbePort)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to netip.Addr }{{given, gateway}, {given6, gateway6}} {
		// Checksums take their last carry from different nonces.
		for nonce := range uint64(300) {
			s.Deliver(probePacket(c.from, c.to, nonce))
			buf := make([]byte, 100)
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := wire.ParseProbe(buf[:n])
			if at := netip.MustParseAddrPort(from.String()); !ok || got != nonce || at != netip.AddrPortFrom(c.from, wire.ProbePort) {
				t.Fatalf("%x from %v", buf[:n], at)
			}
		}
		s.Deliver(echoPacket(c.from, c.to))
		b := <-echoed
		if to, ok := netip.AddrFromSlice(b[len(b)-headerICMP-len(c.from.AsSlice()) : len(b)-headerICMP]); !ok || to != c.from {
			t.Errorf("the echo went to %v", to)
		}
	}
}

// What is no answer to a probe is somebody else's.
func TestProbeAnswersAreTold(t *testing.T) {
	known := func(a netip.Addr) bool { return a == gateway || a == gateway6 }
	answer := func(from, to netip.Addr, a wire.ProbeAnswer) []byte {
		l4 := append([]byte{wire.ProbePort >> 8, wire.ProbePort & 0xff, wire.ProbePort >> 8, wire.ProbePort & 0xff, 0, headerUDP + wire.ProbeSize, 0, 0}, a.Append(nil)...)
		return ipPacket(from, to, protocolUDP, l4)
	}
	want := wire.ProbeAnswer{Nonce: 7, Path: wire.ProbeFallback, Active: true, Admitted: true}
	for _, good := range [][]byte{answer(gateway, given, want), answer(gateway6, given6, want)} {
		if got, ok := probeAnswer(good, known); !ok || got.Nonce != 7 || !got.Active || !got.Admitted {
			t.Errorf("%+v, %v", got, ok)
		}
		for n := range good {
			if _, ok := probeAnswer(good[:n], known); ok {
				t.Errorf("the first %d bytes are an answer", n)
			}
		}
		l4 := len(good) - wire.ProbeSize - headerUDP
		for name, at := range map[string]int{"ports": l4 + 1, "to another port": l4 + 3, "magic": l4 + headerUDP} {
			bad := append([]byte(nil), good...)
			bad[at]++
			if _, ok := probeAnswer(bad, known); ok {
				t.Errorf("%s: taken for an answer", name)
			}
		}
	}
	if _, ok := probeAnswer(answer(netip.MustParseAddr("10.90.0.9"), given, want), known); ok {
		t.Error("another terminal answered for the gateway")
	}
}
