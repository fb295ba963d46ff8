package main

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// answered pings the gateway from all that a session has, and tells which way
// the answers were given to.
func (p *planes) answered(t *testing.T, s *command.Session) []string {
	t.Helper()
	var ways []string
	for prefix := range held(s) {
		counts := func() map[string]uint64 {
			c := map[string]uint64{"carrier": p.plane.Counters()["not-serving"], "nowhere": p.network.Counters()["source-without-route"]}
			if p.fallback != nil {
				c["fallback"] = p.fallback.Counters()["not-listening"]
			}
			return c
		}
		before := counts()
		from, family := prefix.Addr(), "IPv4 by "
		if from.Is6() {
			family, from = "IPv6 by ", address6(prefix)
			p.network.Deliver(echo6(from, gatewayInner6))
		} else {
			p.network.Deliver(echo(from.As4(), gatewayInner.As4()))
		}
		after := counts()
		for _, way := range slices.Sorted(maps.Keys(after)) {
			if after[way] != before[way] {
				ways = append(ways, family+way)
			}
		}
	}
	return ways
}

// address6 is one of the addresses that a terminal makes of its /64.
func address6(prefix netip.Prefix) netip.Addr {
	a := prefix.Addr().As16()
	a[8], a[15] = 0xa1, 0xa1
	return netip.AddrFrom16(a)
}

// echo6 makes an ICMPv6 Echo Request.
func echo6(src, dst netip.Addr) []byte {
	b := make([]byte, 48)
	b[0], b[5], b[6], b[7], b[40] = 0x60, 8, 58, 64, 128
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[42:], ^sum(append(slices.Clone(b[8:]), 0, 8, 0, 58))) // with the pseudo-header
	return b
}

// A session has a way for each family that it has addresses of, and none for
// what it had.
func TestWaysOfBothFamilies(t *testing.T) {
	p := newPlanes(t, false)
	expect := func(s *command.Session, want ...string) {
		t.Helper()
		if got := p.answered(t, s); !slices.Equal(got, want) {
			t.Errorf("answers were given to %v, want %v", got, want)
		}
	}
	both := p.attachAs(t, imsi, "seal.corp", 5, 7, 3)
	if len(slices.Collect(held(both))) != 2 {
		t.Fatalf("the session has %v", slices.Collect(held(both)))
	}
	expect(both, "IPv4 by nowhere", "IPv6 by nowhere")
	p.prepare(t.Context(), both)
	expect(both, "IPv4 by carrier", "IPv6 by carrier")
	p.reconcile()

	six := p.attachAs(t, imsi, "seal.corp", 5, 8, 2)
	p.reconcile()
	expect(both, "IPv4 by nowhere", "IPv6 by carrier") // the /64 is the same one
	expect(six, "IPv6 by carrier")

	four := p.attachAs(t, imsi, "seal.corp", 5, 9, 1)
	p.prepare(t.Context(), four)
	expect(both, "IPv4 by carrier", "IPv6 by nowhere")

	p.do(t, &command.ClosePath{Session: four.Id, Reason: "operator"}, nil)
	p.reconcile()
	expect(both, "IPv4 by nowhere", "IPv6 by nowhere")
}

// The fallback path carries IPv4; what is left of IPv6 stays with the carrier
// for as long as that has the session.
func TestIPv6StaysWithTheCarrier(t *testing.T) {
	p := newPlanes(t, true)
	s := p.attachAs(t, imsi, "seal.corp", 5, 7, 3)
	p.do(t, &command.AttachWireGuard{
		Imsi: imsi, Apn: "seal.corp", PublicKey: key[:], PolicyRevision: 1, SubscriberVersion: 1,
	}, nil)
	p.reconcile()
	if got, want := p.answered(t, s), []string{"IPv4 by fallback", "IPv6 by carrier"}; !slices.Equal(got, want) {
		t.Errorf("answers were given to %v, want %v", got, want)
	}
	four, _ := netip.AddrFromSlice(s.Address)
	if !p.admitted(echo(four.As4(), gatewayInner.As4())) {
		t.Error("an IPv4 packet is not admitted on the fallback path")
	}
	// An IPv6 packet is none of that path, whatever stands where IPv4 has its source.
	disguised := echo6(gatewayInner6, gatewayInner6)
	copy(disguised[12:], s.Address)
	if p.admitted(disguised) {
		t.Error("an IPv6 packet is admitted on the fallback path")
	}
	p.do(t, &command.ClosePath{Session: s.Id, Path: command.PathKind_GTP, Reason: "the carrier's end"}, nil)
	p.reconcile()
	if got := p.answered(t, s); !slices.Equal(got, []string{"IPv4 by fallback", "IPv6 by nowhere"}) {
		t.Errorf("without the carrier answers were given to %v", got)
	}
}

// A carrier's path of IPv6 alone leaves IPv4 to the fallback path, whichever is
// the active one.
func TestIPv4StaysWithTheFallback(t *testing.T) {
	p := newPlanes(t, true)
	p.do(t, &command.AttachWireGuard{
		Imsi: imsi, Apn: "seal.corp", PublicKey: key[:], PolicyRevision: 1, SubscriberVersion: 1,
	}, nil)
	s := p.attachAs(t, imsi, "seal.corp", 5, 7, 2)
	p.reconcile()
	if got, want := p.answered(t, s), []string{"IPv4 by fallback", "IPv6 by carrier"}; !slices.Equal(got, want) {
		t.Errorf("answers were given to %v, want %v", got, want)
	}
	var peers []wantedPeer
	p.View(func(m *state.Machine) { peers, _ = wantedPeers(m, time.Now()) })
	if len(peers) != 1 || !peers[0].Active {
		t.Errorf("peers %+v: each packet would be news", peers)
	}
	both := p.attachAs(t, imsi, "seal.corp", 5, 8, 3)
	p.reconcile()
	if got, want := p.answered(t, both), []string{"IPv4 by carrier", "IPv6 by carrier"}; !slices.Equal(got, want) {
		t.Errorf("with both families answers were given to %v, want %v", got, want)
	}
}

// A WireGuard peer has an IPv4 address, also where its subscriber has a static
// /64 besides.
func TestFallbackPeersHaveIPv4(t *testing.T) {
	p := newPlanes(t, true)
	p.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: imsi, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: key[:],
		StaticPrefix6: netip.MustParseAddr("fd00:90:0:77::").AsSlice(),
	}}, nil)
	if !p.reconcile() {
		t.Error("peers not set")
	}
	var peers []wantedPeer
	p.View(func(m *state.Machine) { peers, _ = wantedPeers(m, time.Now()) })
	if len(peers) != 1 || !peers[0].Address.Is4() {
		t.Errorf("peers %v, want one with IPv4", peers)
	}
}

// A /64 that passed from one terminal to another stays with the other, whichever
// of the two changes is seen first.
func TestPrefixPassesOn(t *testing.T) {
	const other = "460011234567891"
	p := newPlanes(t, false)
	prefix := netip.MustParseAddr("fd00:90:0:77::").AsSlice()
	holder := func(imsi string, static []byte) {
		p.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
			Imsi: imsi, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, StaticPrefix6: static,
		}}, nil)
	}
	holder(imsi, prefix)
	first := p.attachAs(t, imsi, "seal.corp", 5, 7, 2)
	p.reconcile()
	p.do(t, &command.ClosePath{Session: first.Id, Reason: "operator"}, nil)
	holder(imsi, nil)
	holder(other, prefix)
	second := p.attachAs(t, other, "seal.corp", 5, 8, 2)
	p.prepare(t.Context(), second) // before the end of the first is seen
	p.reconcile()
	if got := p.answered(t, second); !slices.Equal(got, []string{"IPv6 by carrier"}) || !slices.Equal(first.Prefix6, second.Prefix6) {
		t.Errorf("answers were given to %v", got)
	}
}
