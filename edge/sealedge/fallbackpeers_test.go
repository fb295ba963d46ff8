package main

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/wireguard"
)

// peers is what the endpoints are to know, with keys opened, and when that changes by
// itself.
func (tr *traveller) peers(tu *tunnels) ([]wireguard.Peer, time.Time, error) {
	var wanted []wantedPeer
	var until time.Time
	tr.View(func(m *state.Machine) { wanted, until = wantedPeers(m, time.Now()) })
	peers, err := tu.unlock(wanted)
	return peers, until, err
}

// A peer has the pre-shared key of its lease, from when it has one to the moment it is
// over, and the address that it was heard from.
func TestPeersFollowTheirLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		opened := 0
		tu := &tunnels{unwrap: func(owner string, wrapped []byte) ([]byte, error) {
			opened++
			return newWrapper(t).Unwrap(owner, wrapped)
		}}
		has := func(what string, psk byte, until time.Duration) {
			t.Helper()
			peers, at, err := tr.peers(tu)
			want := [32]byte{}
			if psk != 0 {
				want = [32]byte(slices.Repeat([]byte{psk}, 32))
			}
			if err != nil || len(peers) != 1 || peers[0].PresharedKey != want {
				t.Fatalf("%s: peers %v, %v", what, peers, err)
			}
			if until == 0 && !at.IsZero() || until != 0 && !at.Equal(time.Now().Add(until)) {
				t.Errorf("%s: good until %v", what, at)
			}
		}
		has("without a lease", 0, 0)
		tr.lease(time.Hour, 1)
		has("with a lease", 1, time.Hour)
		tr.lease(2*time.Hour, 2)
		has("with another", 2, 2*time.Hour)
		has("asked again", 2, 2*time.Hour)
		if opened != 2 {
			t.Errorf("keys were opened %d times, want once each", opened)
		}
		time.Sleep(2*time.Hour - time.Nanosecond)
		has("before its end", 2, time.Nanosecond)
		time.Sleep(time.Nanosecond)
		has("at its end", 0, 0)
		if len(tu.psks) != 0 {
			t.Error("a key is remembered that is of no use")
		}
		tr.sends(byWireGuard, cafe)
		if peers, _, _ := tr.peers(tu); peers[0].Endpoint != cafe {
			t.Errorf("it was heard from %v", peers[0].Endpoint)
		}
	})
}

// A peer whose pre-shared key doesn't open can't come without it.
func TestPeerWhoseKeyDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		tr.lease(time.Hour, 1)
		tu := &tunnels{unwrap: func(string, []byte) ([]byte, error) { return []byte("short"), nil }}
		if peers, _, err := tr.peers(tu); err == nil || len(peers) != 0 {
			t.Errorf("peers %v, %v", peers, err)
		}
	})
}

// The end of a lease takes effect by itself, without a change of the state.
func TestPeersChangeWhenALeaseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		tr.lease(time.Hour, 1)
		endpoint, err := wireguard.New(wireguard.Config{Uplink: func([][]byte) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer endpoint.Close()
		tu := &tunnels{
			node: tr.fakeNode, fallback: endpoint, unwrap: newWrapper(t).Unwrap,
			have: map[uint64]*command.Session{}, both: map[uint64]struct{}{},
		}
		if !tu.reconcile() || !tu.peersDue().Equal(time.Now().Add(time.Hour)) || len(tu.psks) != 1 {
			t.Fatalf("due %v, %d keys", tu.peersDue(), len(tu.psks))
		}
		time.Sleep(time.Hour)
		if !tu.reconcile() || !tu.peersDue().IsZero() || len(tu.psks) != 0 {
			t.Errorf("due %v, %d keys", tu.peersDue(), len(tu.psks))
		}
	})
}

// The leader ends leases that are over, and the path that came by them.
func TestLeasesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		leads := false
		l := &fallbackLeases{cluster: tr.timed, leads: func() bool { return leads }, log: tr.log}
		tr.lease(time.Hour, 1)
		is(t, "it attaches", tr.sends(byWireGuard, cafe), attaches)
		ends := func(what string, want ...command.Type) {
			t.Helper()
			l.sweep(t.Context(), time.Now())
			is(t, what, tr.proposed(), want...)
		}
		time.Sleep(time.Hour)
		ends("who doesn't lead")
		leads = true
		ends("the leader", command.Type_END_FALLBACK)
		ends("the leader again")
		if s := tr.session(); s != nil {
			t.Errorf("left is %v", s)
		}
		// A path that its key alone admitted has no lease to end with.
		is(t, "it attaches by its key", tr.sends(byWireGuard, cafe), attaches)
		tr.lease(time.Hour, 2)
		time.Sleep(time.Hour - time.Nanosecond)
		ends("before its end")
	})
}

// Who is heard from elsewhere changes no peer: the endpoint has noticed itself. Who
// takes over is told all the same.
func TestRoamingSetsNoPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		tr.sends(byWireGuard, cafe)
		before := tr.session()
		time.Sleep(roamEvery)
		is(t, "it roams", tr.sends(byWireGuard, hotel), roams)
		after := tr.session()
		tu := &tunnels{have: map[uint64]*command.Session{before.Id: before}}
		if tu.touchesFallback([]*command.Session{after}, nil) {
			t.Error("roaming sets all peers")
		}
		tr.attach()
		tr.do(t, &command.SelectPath{Session: before.Id, Path: byCarrier}, nil)
		if !tu.touchesFallback([]*command.Session{tr.session()}, nil) {
			t.Error("a move to the carrier's path sets no peers")
		}
		if got := endpointOf(after.Wireguard); got != hotel || endpointOf(nil) != (netip.AddrPort{}) {
			t.Errorf("heard from %v", got)
		}
	})
}

// Where setting the peers takes long there is a pause between; what changed meanwhile is
// set when it is over, and who takes over an address doesn't wait for that.
func TestPeersRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraveller(t, true)
		endpoint, err := wireguard.New(wireguard.Config{Uplink: func([][]byte) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer endpoint.Close()
		tu := &tunnels{
			node: tr.fakeNode, fallback: endpoint, unwrap: newWrapper(t).Unwrap,
			have: map[uint64]*command.Session{}, both: map[uint64]struct{}{},
		}
		tu.reconcile()
		pause := func() { tu.rested = time.Now().Add(peersWait) }
		set := func(what string, want int) {
			t.Helper()
			if len(tu.psks) != want {
				t.Errorf("%s: %d keys are set, want %d", what, len(tu.psks), want)
			}
		}
		pause()
		tr.lease(time.Hour, 1)
		tu.reconcile()
		set("in the pause", 0)
		if !tu.peersDue().Equal(tu.rested) {
			t.Errorf("due %v", tu.peersDue())
		}
		time.Sleep(peersWait)
		tu.reconcile()
		set("after it", 1)
		pause()
		tr.do(t, &command.EndFallback{Imsi: imsi}, nil)
		tu.reconcile()
		set("in the next pause", 1)
		tu.takeOver()
		set("when the address is taken over", 0)
	})
}
