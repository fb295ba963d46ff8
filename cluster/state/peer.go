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

// releasePaths ends paths that a peer has lost, the oldest sessions' first.
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
	if r := m.peers.get(peer); p.RestartKnown && r != nil && !r.RestartKnown {
		// The first counter that is heard of a peer shows no restart.
		m.peers.set(peer, &command.GTPPeer{Address: r.Address, RestartCounter: p.RestartCounter, RestartKnown: true})
		return done(answer, "")
	}
	limit := int(cmp.Or(p.Limit, releaseLimit))
	for s := range m.sessionsBy(peer) {
		if !Lost(s.Gtp, p) {
			continue
		}
		if answer.More = len(answer.Sessions) == limit; answer.More {
			break
		}
		answer.Sessions = append(answer.Sessions, s)
	}
	for _, s := range answer.Sessions {
		m.removePath(s, command.PathKind_GTP)
	}
	if !answer.More {
		m.restarted(peer, p)
	}
	return done(answer, "")
}

// Lost tells whether a path, which leads to the command's peer, is among those
// that the command releases.
func Lost(path *command.GTPPath, p *command.ReleasePaths) bool {
	switch {
	case p.RestartKnown && madeSince(path, p):
		return false
	case p.OpenedBefore != 0 && path.Opened >= p.OpenedBefore:
		return false
	}
	return len(p.Csids) == 0 || slices.ContainsFunc(path.Csids, func(id []byte) bool {
		return slices.ContainsFunc(p.Csids, func(x []byte) bool { return bytes.Equal(id, x) })
	})
}

// madeSince tells whether a path was made, or confirmed, since the restart.
func madeSince(path *command.GTPPath, p *command.ReleasePaths) bool {
	return path.PeerRestartKnown && path.PeerRestartCounter == p.RestartCounter
}

// restarted takes a peer's new restart counter over, once no path of the time
// before is left.
func (m *Machine) restarted(peer peerKey, p *command.ReleasePaths) {
	r := m.peers.get(peer)
	if r == nil || !p.RestartKnown || r.RestartKnown && r.RestartCounter == p.RestartCounter {
		return
	}
	for s := range m.sessionsBy(peer) {
		if !madeSince(s.Gtp, p) { // kept by another condition of the command
			return
		}
	}
	m.peers.set(peer, &command.GTPPeer{Address: r.Address, RestartCounter: p.RestartCounter, RestartKnown: true})
}
