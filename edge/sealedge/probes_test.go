package main

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
)

// probePacket is a probe as a terminal's stack makes it, without the checksum that
// IPv4 doesn't ask for.
func probePacket(src, dst netip.Addr, nonce uint64) []byte {
	l4 := binary.BigEndian.AppendUint16([]byte{0x9c, 0x41}, wire.ProbePort)
	l4 = append(append(l4, 0, 8+wire.ProbeSize, 0, 0), wire.MarshalProbe(nonce)...)
	if src.Is6() {
		pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, 0, 0, byte(len(l4)), 0, 0, 0, 17})
		binary.BigEndian.PutUint16(l4[6:], ^sum(append(pseudo, l4...)))
		return slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(l4)), 17, 64}, src.AsSlice(), dst.AsSlice(), l4)
	}
	b := slices.Concat([]byte{0x45, 0, 0, byte(20 + len(l4)), 0, 0, 0, 0, 64, 17, 0, 0}, src.AsSlice(), dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(b))
	return append(b, l4...)
}

// What a probe says of a path follows the session: whether it is admitted there, and
// which path carries. A peer without a session is answered too.
func TestProbesTellHowTheSessionStands(t *testing.T) {
	p := newPlanes(t, true)
	now := time.UnixMilli(1795406400123).UTC()
	answers := newProbes(func(a netip.Addr) bool { return a == gatewayInner || a == gatewayInner6 }, p.standing)
	answers.now = func() time.Time { return now }
	asks := func(what string, by uint8, src, dst netip.Addr, admitted, active bool) {
		t.Helper()
		var b []byte
		if pkt := probePacket(src, dst, 77); by == wire.ProbeCarrier {
			b = answers.carrier(nil, pkt, 0)
		} else {
			b = answers.fallback(nil, pkt, key)
		}
		if len(b) < wire.ProbeSize {
			t.Fatalf("%s: no answer", what)
		}
		got, err := wire.ParseProbeAnswer(b[len(b)-wire.ProbeSize:])
		want := wire.ProbeAnswer{Nonce: 77, Path: by, Admitted: admitted, Active: active, Time: now}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
	}
	four, six := netip.MustParseAddr("10.90.0.2"), netip.Addr{}
	asks("nothing is attached", wire.ProbeFallback, four, gatewayInner, false, false)
	s := p.attachAs(t, imsi, "seal.corp", 5, 7, 3)
	p.reconcile()
	four, _ = netip.AddrFromSlice(s.Address)
	prefix, _ := netip.AddrFromSlice(s.Prefix6)
	six = prefix.Next()
	asks("on the carrier's path", wire.ProbeCarrier, four, gatewayInner, true, true)
	asks("on the carrier's path, IPv6", wire.ProbeCarrier, six, gatewayInner6, true, true)
	asks("while it isn't admitted there", wire.ProbeFallback, four, gatewayInner, false, false)
	p.do(t, &command.AttachWireGuard{Imsi: imsi, Apn: "seal.corp", PublicKey: key[:], PolicyRevision: 1, SubscriberVersion: 1}, nil)
	p.reconcile()
	asks("on the fallback", wire.ProbeFallback, four, gatewayInner, true, true)
	asks("on the carrier's, standing by", wire.ProbeCarrier, four, gatewayInner, true, false)
	asks("which carries IPv6 all the same", wire.ProbeCarrier, six, gatewayInner6, true, true)
	p.do(t, &command.SelectPath{Session: s.Id, Path: command.PathKind_GTP}, nil)
	p.reconcile()
	asks("on the fallback, standing by", wire.ProbeFallback, four, gatewayInner, true, false)
	p.do(t, &command.ClosePath{Session: s.Id}, nil)
	p.reconcile()
	asks("after its end", wire.ProbeFallback, four, gatewayInner, false, false)

	for what, pkt := range map[string][]byte{
		"not to the gateway": probePacket(four, netip.MustParseAddr("10.90.0.9"), 1),
		"not a probe":        echo(four.As4(), gatewayInner.As4()),
		"too short":          {0x45},
	} {
		if answers.carrier(nil, pkt, 0) != nil || answers.fallback(nil, pkt, key) != nil {
			t.Errorf("%s: it is kept from the inner network", what)
		}
	}
}

// Over the fallback path a terminal has 20 answers at once and 10 a second; what is over
// that gets none, and reaches the inner network neither. Others have theirs.
func TestProbesAreLimited(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newProbes(func(netip.Addr) bool { return true }, func(netip.Addr) (standing, bool) { return standing{}, false })
	p.now = func() time.Time { return now }
	pkt := probePacket(netip.MustParseAddr("10.90.0.2"), gatewayInner, 1)
	room := make([]byte, 0, 128)
	asked := func(n int, key byte) (answered int) {
		t.Helper()
		for range n {
			b := p.fallback(room, pkt, [32]byte{key})
			if b == nil {
				t.Fatal("a probe is let through")
			}
			if len(b) > 0 {
				answered++
			}
		}
		return answered
	}
	if n := asked(30, 1); n != 20 {
		t.Errorf("%d answers at once", n)
	}
	if n := asked(1, 2); n != 1 {
		t.Error("another terminal has no answer")
	}
	now = now.Add(time.Second)
	if n := asked(30, 1); n != 10 {
		t.Errorf("%d answers after a second", n)
	}
	now = now.Add(2 * time.Minute)
	asked(1, 3)
	if len(p.asked) != 1 {
		t.Errorf("%d terminals are remembered", len(p.asked))
	}
}
