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
	// ended hears of a session whose GTP path is gone and has no successor. It
	// must not block.
	ended func(was *command.Session)
	// left hears of a session that is gone and had no GTP path; it may be nil, and
	// must not block either.
	left func(was *command.Session)
	log  *slog.Logger

	// onFallback has the inner IPv4 addresses of the sessions with a fallback
	// path, which are admitted to send over it.
	onFallback sync.Map // netip.Addr: struct{}

	mu    sync.Mutex
	at    state.Cursor                // guarded by mu: how far the state was followed
	have  map[uint64]*command.Session // guarded by mu: what the planes are set to
	again bool                        // guarded by mu: fallback peers are to be set though nothing changed
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

// peersAgain is the pause before fallback peers that could not be set are tried
// again.
const peersAgain = 10 * time.Second

// run follows the state until ctx ends.
func (t *tunnels) run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		changed := t.node.Changed()
		if !t.reconcile() && again == nil {
			again = time.After(peersAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
			again = nil
			t.mu.Lock()
			t.again = true
			t.mu.Unlock()
		}
	}
}

// reconcile carries out what differs from the state as it is now. It is false
// when a fallback peer could not be set, which is worth another attempt.
func (t *tunnels) reconcile() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	setPeers := false
	var changed, gone []*command.Session
	var peers []wireguard.Peer
	var c state.Changes
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
		setPeers = t.fallback != nil && (t.again || c.Devices || t.touchesFallback(changed, gone))
		if setPeers {
			peers = wantedPeers(m)
		}
	})
	for _, s := range gone {
		t.remove(s)
	}
	for _, s := range changed {
		t.put(s)
	}
	if !setPeers {
		return true
	}
	t.again = false
	err := t.fallback.SetPeers(peers)
	for _, w := range t.others {
		if w.fallback != nil {
			err = errors.Join(err, w.fallback.SetPeers(peers))
		}
	}
	if err != nil {
		t.log.Error("fallback peers not set; the others are", "err", err, "again", peersAgain)
		return false
	}
	return true
}

// touchesFallback tells whether a change concerns a session's fallback path: who
// only comes and goes through the carrier changes no peer. t.mu is held.
func (t *tunnels) touchesFallback(changed, gone []*command.Session) bool {
	on := func(s *command.Session) bool {
		return s.GetWireguard() != nil || t.have[s.GetId()].GetWireguard() != nil
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

// fallbackAPN is the access point that a subscriber reaches over the fallback
// path: a WireGuard key stands for one inner address, so it is the first of the
// subscriber's list.
func fallbackAPN(s *command.Subscriber) string {
	if len(s.GetApns()) == 0 {
		return ""
	}
	return s.Apns[0]
}

// wantedPeers lists who may come over the fallback path: active subscribers
// with a key and an address reserved for it.
func wantedPeers(m *state.Machine) []wireguard.Peer {
	var peers []wireguard.Peer
	for sub, lease := range m.WireGuardPeers() {
		addr, ok := netip.AddrFromSlice(lease.GetAddress())
		// Of IPv6 there is nothing on this path.
		if !ok || !addr.Is4() || lease.Apn != fallbackAPN(sub) || len(sub.WireguardPublicKey) != 32 || sub.State != command.DeviceState_ACTIVE {
			continue
		}
		s := m.SessionByAddress(addr)
		peers = append(peers, wireguard.Peer{
			PublicKey: [32]byte(sub.WireguardPublicKey), Address: addr,
			Active: s.GetActive() == command.PathKind_WIREGUARD || s.GetWireguard() != nil && !carriesIPv4(s.Gtp),
		})
	}
	return peers
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
		// What the carrier's path doesn't carry is the other's, whichever is active.
		byFallback := s.Active == command.PathKind_WIREGUARD || s.Wireguard != nil && !carriesIPv4(s.Gtp)
		switch {
		case byFallback && t.by(fallbackAddress(s)).fallback != nil && prefix.Addr().Is4():
			t.network.SetRoute(prefix, t.by(fallbackAddress(s)).fallback)
		// Also when this node's configuration has lost the fallback, and for IPv6,
		// which the fallback doesn't carry.
		case s.Gtp != nil:
			t.network.SetRoute(prefix, t.by(s.GatewayAddress).plane)
		default:
			t.network.DelRoute(prefix)
		}
		if s.Wireguard != nil && prefix.Addr().Is4() {
			t.onFallback.Store(prefix.Addr(), struct{}{})
		} else {
			t.onFallback.Delete(prefix.Addr())
		}
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
	t.onFallback.Delete(prefix.Addr())
}

// admitted tells whether an inner packet that came over the fallback path is of
// a session that policy has admitted there: the key alone, which WireGuard has
// verified, only opens the door to ask. That path carries IPv4 only.
func (t *tunnels) admitted(pkt []byte) bool {
	const header = 20 // bytes of the least IPv4 header, the source at 12
	if len(pkt) < header || pkt[0]>>4 != 4 {
		return false
	}
	_, ok := t.onFallback.Load(netip.AddrFrom4([4]byte(pkt[12:16])))
	return ok
}

// one is the tunnel list of a single session; nil has none.
func one(s *command.Session) []gtpu.Tunnel {
	if s == nil {
		return nil
	}
	return gtpu.Want(slices.Values([]*command.Session{s}))
}
