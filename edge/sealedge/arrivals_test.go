package main

import (
	"crypto/rand"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// traveller is a terminal with a carrier's path and a fallback, what the holder of the
// gateway address notices of it, and what comes of that.
type traveller struct {
	*timed
	*paths
	t *testing.T
}

var cafe, hotel = netip.MustParseAddrPort("192.0.2.7:40000"), netip.MustParseAddrPort("198.51.100.9:40001")

func newTraveller(t *testing.T, level2 bool) *traveller {
	t.Helper()
	n := newTimed()
	tr := &traveller{timed: n, t: t}
	n.do(t, &command.PutPolicy{Document: []byte("policy"), Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 16}}}, nil)
	n.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: imsi, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: key[:],
	}}, nil)
	if level2 {
		n.raise(t)
	}
	apn, err := ident.ParseAPN("seal.corp")
	if err != nil {
		t.Fatal(err)
	}
	rules := &policy.Rules{Revision: 1, APNs: map[ident.APN]policy.APN{apn: {Name: apn}}, Fallback: policy.Fallback{Allowed: true, Grace: 2 * time.Minute}}
	tr.paths = newPaths(n, func() *policy.Rules { return rules }, "gw1", slog.New(slog.DiscardHandler))
	n.proposed()
	return tr
}

// session is the terminal's, nil when it has none.
func (tr *traveller) session() (s *command.Session) {
	tr.View(func(m *state.Machine) { s = m.SessionByKey(imsi, "seal.corp") })
	return s
}

// attach brings it in through the carrier.
func (tr *traveller) attach() *command.Session {
	tr.t.Helper()
	fteid := &command.FTEID{Teid: 7, Address: []byte{127, 0, 20, 1}}
	tr.do(tr.t, &command.OpenSession{
		Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16), GatewayAddress: "gw1",
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, PeerC: fteid, PeerU: fteid},
	}, nil)
	tr.proposed()
	return tr.session()
}

// sends has it send data by a path, from an address when that is the fallback, and
// tells what was proposed.
func (tr *traveller) sends(by command.PathKind, from ...netip.AddrPort) []command.Type {
	tr.t.Helper()
	if by == command.PathKind_GTP {
		tr.backOnCarrier(tr.session().GetId())
	} else {
		tr.cameByFallback(key, from[0])
	}
	tr.wait()
	return tr.proposed()
}

// lease gives it a lease of the fallback path.
func (tr *traveller) lease(lifetime time.Duration, psk byte) *command.FallbackLease {
	tr.t.Helper()
	wrapped, err := newWrapper(tr.t).Wrap(peerOwner(imsi), slices.Repeat([]byte{psk}, 32), rand.Reader)
	if err != nil {
		tr.t.Fatal(err)
	}
	l := new(command.FallbackLease)
	tr.do(tr.t, &command.LeaseFallback{
		Imsi: imsi, PublicKey: key[:], PresharedKey: wrapped, Shown: uint32(policy.CredentialPassword),
		LifetimeSeconds: uint32(lifetime / time.Second), PolicyRevision: 1, SubscriberVersion: 1,
	}, l)
	tr.proposed()
	return l
}

func is(t *testing.T, what string, got []command.Type, want ...command.Type) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: proposed %v, want %v", what, got, want)
	}
}

const (
	byCarrier, byWireGuard = command.PathKind_GTP, command.PathKind_WIREGUARD

	attaches, selects, roams, refuses = command.Type_ATTACH_WIREGUARD, command.Type_SELECT_PATH, command.Type_ROAM_WIREGUARD, command.Type_RECORD_DECISION
)

// The newest path on which data is sent carries; the other one stays. A terminal that
// goes to and fro is held after some moves, and moves again when it has rested.
func TestTheNewestPathCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		tr.attach()
		is(t, "first on the fallback", tr.sends(byWireGuard, cafe), attaches)
		s := tr.session()
		if s.Active != byWireGuard || s.Gtp == nil || s.PathSince != time.Now().UnixNano() || endpointOf(s.Wireguard) != cafe {
			t.Errorf("after it came by the fallback: %v", s)
		}
		is(t, "in flight on the carrier's path", tr.sends(byCarrier))
		is(t, "still on the fallback", tr.sends(byWireGuard, cafe))
		time.Sleep(3 * time.Second)
		is(t, "back on the carrier's", tr.sends(byCarrier), selects)
		if s := tr.session(); s.Active != byCarrier || s.Wireguard == nil {
			t.Errorf("after it came back: %v", s)
		}
		time.Sleep(2 * time.Second)
		is(t, "again on the fallback", tr.sends(byWireGuard, cafe), selects)
		time.Sleep(2 * time.Second)
		is(t, "again on the carrier's", tr.sends(byCarrier), selects)
		var moves int
		for by := byWireGuard; moves < 20; moves++ {
			time.Sleep(2 * time.Second)
			if len(tr.sends(by, cafe)) == 0 {
				break
			}
			by = byCarrier + byWireGuard - by
		}
		if moves > 2 || tr.Counters()["damped"] != 1 {
			t.Errorf("%d more moves, %v", moves, tr.Counters())
		}
		time.Sleep(5 * time.Second)
		by := byCarrier + byWireGuard - tr.session().Active
		is(t, "rested", tr.sends(by, cafe), selects)
	})
}

// A terminal that attached over the fallback alone, and has no other path, isn't held.
func TestFirstAttachIsNoMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		for range 10 {
			is(t, "it attaches", tr.sends(byWireGuard, cafe), attaches)
			tr.do(t, &command.ClosePath{Session: tr.session().Id}, nil)
			tr.proposed()
		}
		if n := tr.Counters()["moves"]; n != 0 {
			t.Errorf("%d moves", n)
		}
	})
}

// What a terminal proved when it asked for the path counts until the lease is over, to
// the second; from then on its key alone does, where that is enough.
func TestLeaseIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		rules := *tr.rules()
		rules.Admission.Credentials = map[policy.PathKind]policy.Credentials{policy.PathWireGuard: policy.CredentialWireGuard | policy.CredentialPassword}
		tr.rules = func() *policy.Rules { return &rules }
		is(t, "without a lease", tr.sends(byWireGuard, cafe), refuses)
		is(t, "and again", tr.sends(byWireGuard, cafe))
		l := tr.lease(time.Hour, 1)
		is(t, "with a lease", tr.sends(byWireGuard, cafe), attaches)
		if w := tr.session().GetWireguard(); w.GetLease() != l.Number {
			t.Errorf("the path came by lease %d, want %d", w.GetLease(), l.Number)
		}
		tr.lease(time.Hour, 2)
		is(t, "with the lease renewed", tr.sends(byWireGuard, cafe))
		time.Sleep(time.Hour)
		is(t, "when it is over", tr.sends(byWireGuard, cafe), refuses)
		rules.Admission.Credentials = nil
		is(t, "when its key is enough", tr.sends(byWireGuard, cafe), attaches)
		if w := tr.session().GetWireguard(); w.GetLease() != 0 {
			t.Errorf("the path came by lease %d, which is over", w.GetLease())
		}
	})
}

// Where a terminal is heard from is on record after 10 s at the latest, and not more
// often, however often that changes.
func TestRoaming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		at := func(want netip.AddrPort) {
			t.Helper()
			if got := endpointOf(tr.session().Wireguard); got != want {
				t.Errorf("on record is %v, want %v", got, want)
			}
		}
		tr.sends(byWireGuard, cafe)
		at(cafe)
		is(t, "a second later", tr.sends(byWireGuard, hotel))
		at(cafe)
		time.Sleep(roamEvery)
		tr.settle()
		tr.wait()
		is(t, "settled", tr.proposed(), roams)
		at(hotel)
		time.Sleep(roamEvery)
		mapped := netip.AddrPortFrom(netip.AddrFrom16(cafe.Addr().As16()), cafe.Port())
		is(t, "much later", tr.sends(byWireGuard, mapped), roams)
		at(cafe)
		// To and fro: what is on record is right in the end.
		is(t, "away", tr.sends(byWireGuard, hotel))
		is(t, "and back", tr.sends(byWireGuard, cafe))
		time.Sleep(roamEvery)
		tr.settle()
		tr.wait()
		is(t, "settled where it was", tr.proposed())
		time.Sleep(roamEvery)
		tr.settle()
		tr.wait()
		if len(tr.places) != 0 {
			t.Errorf("%d places are remembered", len(tr.places))
		}
	})
}

// Nodes of before know of no endpoints and leases: nothing of the kind is proposed
// until all do.
func TestNothingNewBeforeAllNodesKnow(t *testing.T) {
	tr := newTraveller(t, false)
	tr.attach()
	is(t, "it attaches", tr.sends(byWireGuard, cafe), attaches)
	is(t, "it roams", tr.sends(byWireGuard, hotel))
	if w := tr.session().GetWireguard(); len(w.GetEndpoint()) != 0 {
		t.Errorf("path %v", w)
	}
	tr.View(func(m *state.Machine) {
		if m.Level() != 1 {
			t.Errorf("the state is of level %d", m.Level())
		}
	})
}

// Data over the fallback doesn't move a session whose IPv4 goes that way anyway.
func TestIPv4OnFallbackOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		tr.do(t, &command.PutPolicy{BaseRevision: 1, Document: []byte("policy"), Pools: []*command.Pool{
			{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 16},
			{Apn: "seal.corp", PrefixAddress: netip.MustParseAddr("fd00:90::").AsSlice(), PrefixBits: 48},
		}}, nil)
		rules := *tr.rules()
		rules.Revision = 2
		tr.rules = func() *policy.Rules { return &rules }
		tr.proposed()
		is(t, "it attaches", tr.sends(byWireGuard, cafe), attaches)
		fteid := &command.FTEID{Teid: 7, Address: []byte{127, 0, 20, 1}}
		tr.do(t, &command.OpenSession{
			Imsi: imsi, Apn: "seal.corp", PolicyRevision: 2, SubscriberVersion: 1, Entropy: make([]byte, 16), GatewayAddress: "gw1",
			Gtp: &command.GTPPath{Version: 2, Ebi: 5, PeerC: fteid, PeerU: fteid, PdnType: 2},
		}, nil)
		tr.proposed()
		for range 3 {
			is(t, "IPv4 over the fallback", tr.sends(byWireGuard, cafe))
			time.Sleep(5 * time.Second)
		}
	})
}
