package gtpc

import (
	"net/netip"
	"time"
)

// paths is what is known of the paths to the peers that hold sessions
// (TS 29.274 7.1). A path is up until it fails. The loop owns it.
type paths struct{ byPeer map[netip.Addr]*path }

type path struct {
	failed bool
	heard  time.Time // when anything last came from the peer; zero: not yet
}

func newPaths() paths { return paths{map[netip.Addr]*path{}} }

// follow sets which peers there are to know of. Those that have no sessions any
// more are forgotten, failed or not.
func (p paths) follow(peers []EchoPeer) {
	wanted := make(map[netip.Addr]bool, len(peers))
	for _, peer := range peers {
		wanted[peer.Addr] = true
		if p.byPeer[peer.Addr] == nil {
			p.byPeer[peer.Addr] = new(path)
		}
	}
	for peer := range p.byPeer {
		if !wanted[peer] {
			delete(p.byPeer, peer)
		}
	}
}

// hear notes that something came from a peer: its path is up. It tells whether
// that is news.
func (p paths) hear(now time.Time, peer netip.Addr) (restored bool) {
	known := p.byPeer[peer]
	if known == nil {
		return false
	}
	restored = known.failed
	known.failed, known.heard = false, now
	return restored
}

// unanswered notes that a peer has not answered Echo Requests since a time. It
// tells whether the path has failed by that: it has not when the peer sent
// anything else in the meantime, and when it had failed before it isn't news.
func (p paths) unanswered(peer netip.Addr, since time.Time) (failed bool) {
	known := p.byPeer[peer]
	if known == nil || known.failed || !known.heard.Before(since) {
		return false
	}
	known.failed = true
	return true
}

// restarts is the restart counter last heard from each peer, to tell news from
// repetition. Whether news is a restart (TS 23.007 18) the replicated state
// knows, which outlives this process. The loop owns it.
type restarts struct {
	most   int
	byPeer map[netip.Addr]told
}

// told is a counter and when it was reported.
type told struct {
	counter uint8
	at      time.Time
}

// maxRestarts bounds what is remembered of peers that only send Echo Requests.
const maxRestarts = 4096

// staleAfter is when a counter is reported once more though it is the same: what
// followed from it may have failed for want of a quorum.
const staleAfter = time.Minute

func newRestarts(most int) restarts { return restarts{most, map[netip.Addr]told{}} }

// note tells whether a counter is to be reported: the first of its peer, another
// than the one before, or one reported long ago. different leaves out the last.
// When there are too many peers one of them is forgotten, whose counter will then
// be its first once more.
func (r restarts) note(now time.Time, peer netip.Addr, counter uint8) (report, different bool) {
	before, known := r.byPeer[peer]
	different = !known || before.counter != counter
	if !different && now.Sub(before.at) < staleAfter {
		return false, false
	}
	if !known && len(r.byPeer) >= r.most {
		for other := range r.byPeer {
			delete(r.byPeer, other)
			break
		}
	}
	r.byPeer[peer] = told{counter, now}
	return true, different
}
