package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sealedge/sealedge/apn/gtpu"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/inner"
	"github.com/sealedge/sealedge/edge/wireguard"
)

// tunnels keeps the planes equal to the replicated sessions, on every node: the
// one that takes over has them ready.
type tunnels struct {
	node interface {
		viewer
		Changed() <-chan struct{}
	}
	plane    *gtpu.Plane
	fallback *wireguard.Endpoint // nil: there is no fallback path
	others   []way               // of the further gateway addresses
	network  *inner.Network
	// keys has the endpoints answer to the keys that are good at a time; nil: there
	// is no fallback path.
	keys   func(now time.Time) error
	unwrap func(owner string, wrapped []byte) ([]byte, error)
	// ended hears of a session whose GTP path is gone and has no successor. It
	// must not block.
	ended func(was *command.Session)
	// left hears of a session that is gone and had no GTP path; it may be nil, and
	// must not block either.
	left func(was *command.Session)
	log  *slog.Logger

	// stands has how sessions stand, by what they have of the inner network: an IPv4
	// address, the first address of a /64.
	stands sync.Map // netip.Addr: standing

	mu     sync.Mutex
	at     state.Cursor                // guarded by mu: how far the state was followed
	have   map[uint64]*command.Session // guarded by mu: what the planes are set to
	again  bool                        // guarded by mu: fallback peers are to be set though nothing changed
	due    time.Time                   // guarded by mu: when that is to be, because a lease is over or the last attempt failed; zero: never
	rested time.Time                   // guarded by mu: not before, because it takes long
	psks   presharedKeys               // guarded by mu
	both   map[uint64]struct{}         // guarded by mu: the sessions of have with both paths
}

// standing is how a session stands on its paths.
type standing struct {
	onFallback bool // it is admitted to send over the fallback path
	byFallback bool // that carries what is sent to it
}

// standing is that of who has an address of the inner network, or its /64.
func (t *tunnels) standing(a netip.Addr) (s standing, ok bool) {
	v, ok := t.stands.Load(a)
	if ok {
		s = v.(standing)
	}
	return s, ok
}

// onBoth lists the sessions that are attached through both paths.
func (t *tunnels) onBoth() (both []*command.Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.both {
		both = append(both, t.have[id])
	}
	return both
}

// way is what leads to one gateway address.
type way struct {
	address  string // its name
	plane    *gtpu.Plane
	fallback *wireguard.Endpoint // nil: there is no fallback path
}

// by is the way of an address; one that is configured no more is the first's.
func (t *tunnels) by(address string) way {
	for _, w := range t.others {
		if w.address == address {
			return w
		}
	}
	return way{plane: t.plane, fallback: t.fallback}
}

// fallbackAddress is the gateway address that a session's fallback path is tied to.
func fallbackAddress(s *command.Session) string {
	return cmp.Or(s.GetWireguard().GetGatewayAddress(), s.GetGatewayAddress())
}

// carry sets the planes of both addresses from what was to what is.
func (t *tunnels) carry(was, is *command.Session) {
	from, to := t.by(was.GetGatewayAddress()).plane, t.by(is.GetGatewayAddress()).plane
	switch {
	case was == nil || from == to:
		to.Carry(gtpu.Diff(one(was), one(is)))
	case is == nil:
		from.Carry(gtpu.Diff(one(was), nil))
	default:
		from.Carry(gtpu.Diff(one(was), nil))
		to.Carry(gtpu.Diff(nil, one(is)))
	}
}

const (
	// peersAgain is the pause before fallback peers that could not be set are tried
	// again.
	peersAgain = 10 * time.Second
	// Setting a great many peers takes its time; then there are pauses between, of
	// peersPause times as long and peersWait at most.
	peersLong  = 10 * time.Millisecond
	peersPause = 5
	peersWait  = 500 * time.Millisecond
)

// run follows the state until ctx ends.
func (t *tunnels) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := t.node.Changed()
		t.reconcile()
		timer.Stop()
		var due <-chan time.Time
		if at := t.peersDue(); !at.IsZero() {
			timer.Reset(time.Until(at))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-due:
		}
	}
}

// peersDue is when fallback peers are to be set though nothing changes; the zero time:
// never.
func (t *tunnels) peersDue() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.due
}

// takeOver makes all ready for the first packet at a gateway address. The endpoints
// learn where their peers were heard last, which isn't told to them as it changes.
func (t *tunnels) takeOver() {
	t.mu.Lock()
	t.again, t.due, t.rested = true, time.Time{}, time.Time{}
	t.mu.Unlock()
	t.reconcile()
}

// reconcile carries out what differs from the state as it is now. It is false
// when a fallback peer could not be set, which is worth another attempt.
func (t *tunnels) reconcile() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	setPeers := false
	var changed, gone []*command.Session
	var peers []wantedPeer
	var until time.Time
	var c state.Changes
	now := time.Now()
	t.node.View(func(m *state.Machine) {
		c, t.at = m.Since(t.at)
		look := slices.Values(c.Sessions)
		if c.All {
			look = t.everySession(m)
		}
		for id := range look {
			switch s := m.Session(id); {
			case s == nil && t.have[id] != nil:
				gone = append(gone, t.have[id])
			case s != nil && t.have[id] != s:
				changed = append(changed, s)
			}
		}
		if t.fallback == nil {
			return
		}
		t.again = t.again || c.Devices || t.touchesFallback(changed, gone)
		overdue := !t.due.IsZero() && !now.Before(t.due)
		if setPeers = overdue || t.again && !now.Before(t.rested); setPeers {
			peers, until = wantedPeers(m, now)
		}
	})
	for _, s := range gone {
		t.remove(s)
	}
	for _, s := range changed {
		t.put(s)
	}
	switch {
	case setPeers:
		return t.setPeers(peers, until, now)
	case t.again && t.fallback != nil:
		t.due = t.rested
	}
	return true
}

// setPeers has the endpoints know these peers, and the keys that they may shake hands
// with. until is when a lease of theirs is over. t.mu is held.
func (t *tunnels) setPeers(wanted []wantedPeer, until, began time.Time) bool {
	var err error
	if t.keys != nil {
		err = t.keys(began)
	}
	peers, failed := t.unlock(wanted)
	err = errors.Join(err, failed, t.fallback.SetPeers(peers))
	for _, w := range t.others {
		if w.fallback != nil {
			err = errors.Join(err, w.fallback.SetPeers(peers))
		}
	}
	t.again, t.due = false, until
	took := time.Since(began)
	if t.rested = began; took > peersLong {
		t.rested = began.Add(took + min(took*peersPause, peersWait))
	}
	if err == nil {
		return true
	}
	if soon := began.Add(peersAgain); until.IsZero() || soon.Before(until) {
		t.due = soon
	}
	t.log.Error("fallback peers not set; the others are", "err", err, "again", peersAgain)
	return false
}

// touchesFallback tells whether a change concerns a session's fallback path: who
// only comes and goes through the carrier changes no peer, nor does who is heard from
// elsewhere. t.mu is held.
func (t *tunnels) touchesFallback(changed, gone []*command.Session) bool {
	on := func(s *command.Session) bool {
		was := t.have[s.GetId()]
		return (s.GetWireguard() != nil) != (was.GetWireguard() != nil) || byFallback(s) != byFallback(was) || !bytes.Equal(s.GetAddress(), was.GetAddress())
	}
	return slices.ContainsFunc(changed, on) || slices.ContainsFunc(gone, on)
}

// everySession is the ids of all sessions that are there, or were.
func (t *tunnels) everySession(m *state.Machine) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for s := range m.Sessions() {
			if !yield(s.Id) {
				return
			}
		}
		for id := range t.have {
			if m.Session(id) == nil && !yield(id) {
				return
			}
		}
	}
}

// prepare sets up one session before its answer leaves, so that the terminal's
// first packet finds the tunnel. It does so as the session stands now: since it
// was committed it may have been revoked, and reconcile be past that already.
func (t *tunnels) prepare(_ context.Context, committed *command.Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s *command.Session
	t.node.View(func(m *state.Machine) { s = m.Session(committed.Id) })
	if s != nil && t.have[s.Id] != s {
		t.put(s)
	}
}

// put sets the planes to a session's record. t.mu is held.
func (t *tunnels) put(s *command.Session) {
	was := t.have[s.Id]
	t.have[s.Id] = s
	t.carry(was, s)
	if was != nil {
		for prefix := range held(was) {
			if !slices.Contains(slices.Collect(held(s)), prefix) {
				t.forget(prefix)
			}
		}
	}
	for prefix := range held(s) {
		switch {
		case byFallback(s) && t.by(fallbackAddress(s)).fallback != nil && prefix.Addr().Is4():
			t.network.SetRoute(prefix, t.by(fallbackAddress(s)).fallback)
		// Also when this node's configuration has lost the fallback, and for IPv6,
		// which the fallback doesn't carry.
		case s.Gtp != nil:
			t.network.SetRoute(prefix, t.by(s.GatewayAddress).plane)
		default:
			t.network.DelRoute(prefix)
		}
		is4 := prefix.Addr().Is4()
		t.stands.Store(prefix.Addr(), standing{onFallback: is4 && s.Wireguard != nil, byFallback: is4 && byFallback(s)})
	}
	if s.Gtp != nil && s.Wireguard != nil {
		t.both[s.Id] = struct{}{}
	} else {
		delete(t.both, s.Id)
	}
	// A path that another one of the same bearer replaced was replaced by the
	// carrier's own request, and is deleted without signalling (TS 29.274 7.2.1):
	// the peer may use its TEID for the new one. That a further connection to an
	// access point is instead of the first, the carrier can't know.
	if was.GetGtp() != nil && (s.Gtp == nil || anotherBearer(was.Gtp, s.Gtp)) {
		t.ended(was)
	}
}

// anotherBearer tells whether a path took the place of one that its peer still
// has: on another bearer, and without a restart of the peer in between.
func anotherBearer(was, is *command.GTPPath) bool {
	restarted := bytes.Equal(was.PeerC.GetAddress(), is.PeerC.GetAddress()) &&
		was.PeerRestartKnown && is.PeerRestartKnown && was.PeerRestartCounter != is.PeerRestartCounter
	return was.LocalTeidC != is.LocalTeidC && was.Ebi != is.Ebi && !restarted
}

// carriesIPv4 tells whether a path through the carrier was given an IPv4 address:
// PDN type 2 (TS 29.274 8.34) is IPv6 alone, and unset is IPv4.
func carriesIPv4(path *command.GTPPath) bool {
	return path != nil && path.PdnType != 2
}

// remove takes a session that is gone out of the planes. t.mu is held.
func (t *tunnels) remove(s *command.Session) {
	if t.have[s.Id] == nil {
		return // an id may be in the changes twice
	}
	delete(t.have, s.Id)
	delete(t.both, s.Id)
	t.carry(s, nil)
	for prefix := range held(s) {
		t.forget(prefix)
	}
	switch {
	case s.Gtp != nil:
		t.ended(s)
	case t.left != nil:
		t.left(s)
	}
}

// held is what a session has of the inner network: an IPv4 /32, an IPv6 /64, or
// both.
func held(s *command.Session) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if a, ok := netip.AddrFromSlice(s.GetAddress()); ok && !yield(netip.PrefixFrom(a, 32)) {
			return
		}
		if a, ok := netip.AddrFromSlice(s.GetPrefix6()); ok {
			yield(netip.PrefixFrom(a, 64))
		}
	}
}

// forget takes a prefix out of the inner network that a session has no more,
// unless another one has it by now: the order in which changes are seen doesn't
// matter then. t.mu is held.
func (t *tunnels) forget(prefix netip.Prefix) {
	var s *command.Session
	t.node.View(func(m *state.Machine) { s = m.SessionByAddress(prefix.Addr()) })
	if s != nil && t.have[s.Id] != nil {
		return
	}
	t.network.DelRoute(prefix)
	t.stands.Delete(prefix.Addr())
}

// admitted tells whether an inner packet that came over the fallback path is of
// a session that policy has admitted there: the key alone, which WireGuard has
// verified, only opens the door to ask. That path carries IPv4 only.
func (t *tunnels) admitted(pkt []byte) bool {
	const header = 20 // bytes of the least IPv4 header, the source at 12
	if len(pkt) < header || pkt[0]>>4 != 4 {
		return false
	}
	s, _ := t.standing(netip.AddrFrom4([4]byte(pkt[12:16])))
	return s.onFallback
}

// one is the tunnel list of a single session; nil has none.
func one(s *command.Session) []gtpu.Tunnel {
	if s == nil {
		return nil
	}
	return gtpu.Want(slices.Values([]*command.Session{s}))
}
