package state

import (
	"bytes"
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// A peerKey is a peer's control plane address, an IPv4 one as IPv6 maps it, so
// that a peer has one key. Zero is no peer.
type peerKey [16]byte

func comparePeers(a, b peerKey) int { return bytes.Compare(a[:], b[:]) }

// peerAt is the key of an address of 4 or 16 bytes; false for anything else.
func peerAt(address []byte) (peerKey, bool) {
	a, ok := netip.AddrFromSlice(address)
	k := peerKey(a.As16())
	return k, ok && k != peerKey{}
}

// peerOf is the peer that a session's GTP path leads to; zero if there is none.
func peerOf(s *command.Session) peerKey { return peerOfPath(s.GetGtp()) }

func peerOfPath(p *command.GTPPath) peerKey {
	k, _ := peerAt(p.GetPeerC().GetAddress())
	return k
}

// address is the key as records hold it, in 4 or 16 bytes.
func (k peerKey) address() []byte { return netip.AddrFrom16(k).Unmap().AsSlice() }

func (k peerKey) String() string { return netip.AddrFrom16(k).Unmap().String() }

// A peerSession orders sessions by peer, then by age.
type peerSession struct {
	peer    peerKey
	session uint64
}

func comparePeerSessions(a, b peerSession) int {
	return cmp.Or(comparePeers(a.peer, b.peer), cmp.Compare(a.session, b.session))
}

// sessionsBy goes through the sessions whose path leads to a peer, the oldest
// first.
func (m *Machine) sessionsBy(peer peerKey) iter.Seq[*command.Session] {
	return func(yield func(*command.Session) bool) {
		for k, s := range m.sessionsOfPeer.from(peerSession{peer: peer}) {
			if k.peer != peer || !yield(s) {
				return
			}
		}
	}
}

// meetPeer keeps the record of the peer that a path leads to, with the first
// restart counter that a path tells. A path with another counter leaves it: the
// difference is how a restart is noticed (TS 23.007 18).
func (m *Machine) meetPeer(path *command.GTPPath) {
	k := peerOfPath(path)
	if k == (peerKey{}) {
		return
	}
	if r := m.peers.get(k); r == nil || path.PeerRestartKnown && !r.RestartKnown {
		r = &command.GTPPeer{Address: k.address()}
		if path.PeerRestartKnown {
			r.RestartCounter, r.RestartKnown = path.PeerRestartCounter, true
		}
		m.peers.set(k, r)
	}
}

// leavePeer notes that a session's path leads to a peer no more. The peer's
// record goes with its last path.
func (m *Machine) leavePeer(peer peerKey, session uint64) {
	if peer == (peerKey{}) {
		return
	}
	m.sessionsOfPeer.delete(peerSession{peer, session})
	for range m.sessionsBy(peer) {
		return
	}
	m.peers.delete(peer)
}

const (
	releaseLimit    = 1_000  // paths that one command ends unless it says how many
	maxReleaseLimit = 10_000 // and at most
	maxCounter      = 255    // a Recovery IE has one octet (TS 29.274 8.5)
)

// releasePaths ends paths that a peer has lost.
func (m *Machine) releasePaths(p *command.ReleasePaths) outcome {
	peer, ok := peerAt(p.Peer)
	switch {
	case !ok:
		return invalid("a peer has an address of 4 or 16 bytes")
	case p.RestartKnown && p.RestartCounter > maxCounter:
		return invalid("a restart counter is at most %d", maxCounter)
	case p.Limit > maxReleaseLimit:
		return invalid("%d paths at once; %d can be released", p.Limit, maxReleaseLimit)
	}
	answer := new(command.Released)
	answer.Sessions, answer.More = m.Lost(p)
	for _, s := range answer.Sessions {
		m.removePath(s, command.PathKind_GTP)
	}
	if p.RestartKnown {
		m.hearCounter(peer, p)
	}
	return done(answer, "")
}

// Lost returns the sessions, the oldest first, whose path a ReleasePaths would
// end now, and whether its limit leaves others.
func (m *Machine) Lost(p *command.ReleasePaths) (sessions []*command.Session, more bool) {
	peer, _ := peerAt(p.Peer)
	if p.RestartKnown && !m.restarted(peer, p.RestartCounter) {
		return nil, false
	}
	// A peer may name a thousand sets, and have as many sessions as there are.
	sets := make(map[string]bool, len(p.Csids))
	for _, id := range p.Csids {
		sets[string(id)] = true
	}
	limit := int(cmp.Or(p.Limit, releaseLimit))
	for s := range m.sessionsBy(peer) {
		if p.GatewayAddress != "" && p.GatewayAddress != s.GatewayAddress || !lost(s.Gtp, p, sets) {
			continue
		}
		if len(sessions) == limit {
			return sessions, true
		}
		sessions = append(sessions, s)
	}
	return sessions, false
}

// lost tells whether a path is among those that a command chooses; sets are its
// connection sets.
func lost(path *command.GTPPath, p *command.ReleasePaths, sets map[string]bool) bool {
	switch {
	case p.RestartKnown && madeSince(path, p):
		return false
	case p.OpenedBefore != 0 && path.Opened >= p.OpenedBefore:
		return false
	}
	return len(sets) == 0 || slices.ContainsFunc(path.Csids, func(id []byte) bool { return sets[string(id)] })
}

// madeSince tells whether a path was made, or confirmed, since the restart.
func madeSince(path *command.GTPPath, p *command.ReleasePaths) bool {
	return path.PeerRestartKnown && path.PeerRestartCounter == p.RestartCounter
}

// restarted tells whether a counter is newer than the one on record, modulo 256
// (TS 23.007 18). An older one is a late message, and an equal one that of a
// restart that was carried out: a path without a counter may be younger.
func (m *Machine) restarted(peer peerKey, counter uint32) bool {
	r := m.peers.get(peer)
	return r.GetRestartKnown() && int8(uint8(counter)-uint8(r.RestartCounter)) > 0
}

// hearCounter takes a peer's counter over: the first that is heard of it, or a
// newer one once no path of the time before is left. Paths too young for the
// command are of the time since: not every request tells the counter.
func (m *Machine) hearCounter(peer peerKey, p *command.ReleasePaths) {
	r := m.peers.get(peer)
	switch {
	case r == nil:
		return // it went with the last path
	case r.RestartKnown && !m.restarted(peer, p.RestartCounter):
		return
	case r.RestartKnown:
		for s := range m.sessionsBy(peer) {
			young := p.OpenedBefore != 0 && s.Gtp.Opened >= p.OpenedBefore
			if !young && !madeSince(s.Gtp, p) { // beyond the limit, or not chosen
				return
			}
		}
	}
	m.peers.set(peer, &command.GTPPeer{Address: r.Address, RestartCounter: p.RestartCounter, RestartKnown: true})
}
