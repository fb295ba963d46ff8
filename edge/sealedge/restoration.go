package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/config"
)

// restoration carries out what the failures of carriers' nodes mean for their
// sessions here (TS 23.007): a peer that restarted has lost them; a peer that is
// silent may have.
type restoration struct {
	cluster proposer
	holds   func() bool
	// keep is how long the sessions of a silent peer are kept: 0 is not at all,
	// less than that for ever.
	keep time.Duration
	// address, if there are several gateway addresses, is the one whose peers these
	// are: a peer that is silent towards one may talk to another.
	address string
	// ask has a peer asked for its restart counter. It doesn't block.
	ask func(gtpc.EchoPeer)
	log *slog.Logger

	work sync.WaitGroup

	// restarted and silenced count the peers whose sessions were released, by why;
	// released counts the sessions.
	restarted, silenced, released atomic.Uint64

	mu        sync.Mutex
	claimed   map[netip.Addr]claim       // guarded by mu: by peers of sessions
	releasing map[netip.Addr]bool        // guarded by mu: peers whose paths are being released
	silent    map[netip.Addr]*time.Timer // guarded by mu: until their sessions are released
	stopped   bool                       // guarded by mu: nothing is tried again any more
}

// keepFor is how long a configuration keeps the sessions of a silent peer, as
// restoration has it.
func keepFor(g config.GTP) time.Duration {
	switch {
	case g.FailedPath == config.ReleaseSessions:
		return 0
	case g.FailedPathKeep == 0:
		return -1
	}
	return g.FailedPathKeep
}

// claim is a restart that a request told of.
type claim struct {
	counter uint8
	noticed time.Time // the cluster's clock
}

func newRestoration(c proposer, holds func() bool, keep time.Duration, ask func(gtpc.EchoPeer), log *slog.Logger) *restoration {
	return &restoration{
		cluster: c, holds: holds, keep: keep, ask: ask, log: log, claimed: map[netip.Addr]claim{},
		releasing: map[netip.Addr]bool{}, silent: map[netip.Addr]*time.Timer{},
	}
}

// peers lists whom to ask whether they live: the carriers' nodes that sessions
// have their path to.
func (r *restoration) peers() (list []gtpc.EchoPeer) {
	r.cluster.View(func(m *state.Machine) {
		for p := range m.Peers() {
			addr, ok := netip.AddrFromSlice(p.Address)
			if !ok || !r.hasSessions(m, addr) {
				continue
			}
			list = append(list, echoPeer(m, addr))
		}
	})
	return list
}

// hasSessions tells whether a peer has sessions at this address.
func (r *restoration) hasSessions(m *state.Machine, peer netip.Addr) bool {
	if r.address == "" {
		return true
	}
	for s := range m.SessionsByPeer(peer) {
		if s.GatewayAddress == r.address {
			return true
		}
	}
	return false
}

// echoPeer is a peer and the version in which it is spoken to: that of its oldest
// session.
func echoPeer(m *state.Machine, addr netip.Addr) gtpc.EchoPeer {
	for s := range m.SessionsByPeer(addr) {
		if s.GetGtp().GetVersion() == 1 {
			return gtpc.EchoPeer{Addr: addr, Version: 1}
		}
		break
	}
	return gtpc.EchoPeer{Addr: addr, Version: 2}
}

// isNews tells whether a counter is to be acted upon.
func isNews(m *state.Machine, peer netip.Addr, counter uint8) bool {
	p := m.Peer(peer)
	return p != nil && (!p.RestartKnown || session.HasRestarted(m, peer, counter))
}

// counterClaimed takes a restart counter out of a request. Who can send datagrams
// in a peer's name could have all of its sessions released, so that the peer is
// asked; counterHeard gets what it says.
func (r *restoration) counterClaimed(peer netip.Addr, counter uint8) {
	var news bool
	var noticed time.Time
	var whom gtpc.EchoPeer
	r.cluster.View(func(m *state.Machine) {
		noticed, news, whom = m.Clock(), isNews(m, peer, counter), echoPeer(m, peer)
	})
	if !news {
		return
	}
	r.mu.Lock()
	// What the peer makes from its first word on it hasn't lost.
	if c, ok := r.claimed[peer]; !ok || c.counter != counter || noticed.Sub(c.noticed) > claimTime {
		r.claimed[peer] = claim{counter, noticed}
	}
	for other, c := range r.claimed {
		if noticed.Sub(c.noticed) > claimTime {
			delete(r.claimed, other)
		}
	}
	r.mu.Unlock()
	r.ask(whom)
}

// claimTime is how long the answer of a peer is waited for that may have
// restarted.
const claimTime = 2 * time.Minute

// counterHeard takes a restart counter that a peer answered with. Most say nothing
// new.
func (r *restoration) counterHeard(peer netip.Addr, counter uint8) {
	var news bool
	var noticed time.Time
	r.cluster.View(func(m *state.Machine) {
		noticed, news = m.Clock(), isNews(m, peer, counter)
	})
	r.mu.Lock()
	if c, ok := r.claimed[peer]; ok && c.counter == counter && noticed.Sub(c.noticed) <= claimTime {
		noticed = c.noticed
	}
	r.mu.Unlock()
	if news { // and again with the peer's next echo, should it come to nothing
		r.release(peer, peerRestarted, nil, session.AfterRestart(session.Restart{Peer: peer, Counter: counter}, noticed))
	}
}

// pathFailed takes a control-plane peer that doesn't answer any more.
func (r *restoration) pathFailed(peer netip.Addr) {
	since := time.Now()
	if r.keep < 0 {
		r.log.Warn("carrier's node is silent; its sessions are kept", "peer", peer)
		return
	}
	r.log.Warn("carrier's node is silent", "peer", peer, "sessions_kept_for", r.keep)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent[peer] == nil {
		r.silent[peer] = time.AfterFunc(r.keep, func() { r.giveUp(peer, since) })
	}
}

// pathRestored takes a peer that answers again.
func (r *restoration) pathRestored(peer netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.silent[peer]; t != nil {
		t.Stop()
		delete(r.silent, peer)
		r.log.Info("carrier's node answers again", "peer", peer)
	}
}

func (r *restoration) giveUp(peer netip.Addr, since time.Time) {
	r.mu.Lock()
	delete(r.silent, peer)
	r.mu.Unlock()
	// A path fails once, so nobody would notice again.
	again := func() { r.silent[peer] = time.AfterFunc(releaseAgain, func() { r.giveUp(peer, since) }) }
	r.release(peer, peerSilent, again, command.New("restoration", "", "gateway", &command.ReleasePaths{
		Peer: peer.AsSlice(), OpenedBefore: since.UnixNano(), Reason: peerSilent, GatewayAddress: r.address,
	}))
}

// Why the sessions of a peer are released.
const (
	peerRestarted = "the peer has restarted"
	peerSilent    = "the peer is silent"
)

func (r *restoration) counter(why string) *atomic.Uint64 {
	if why == peerRestarted {
		return &r.restarted
	}
	return &r.silenced
}

// Counters returns how many peers lost their sessions here, by why, and how many
// sessions those were.
func (r *restoration) Counters() map[string]uint64 {
	return map[string]uint64{
		"peers-restarted": r.restarted.Load(), "peers-silent": r.silenced.Load(), "sessions-released": r.released.Load(),
	}
}

// releaseAgain is the pause before what could not be released is tried again.
const releaseAgain = 10 * time.Second

// release proposes a command until nothing is left to do, once at a time for
// each peer. What it doesn't come to do again sees to, with r.mu held; nil: it
// is noticed again.
func (r *restoration) release(peer netip.Addr, why string, again func(), c *command.Command) {
	if again == nil {
		again = func() {}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.holds() {
		return
	}
	if r.releasing[peer] {
		if !r.stopped {
			again()
		}
		return
	}
	r.releasing[peer] = true
	r.work.Go(func() {
		failed := false
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.releasing, peer)
			if failed && !r.stopped {
				again()
			}
		}()
		for total, more := 0, true; more; {
			ctx, cancel := context.WithTimeout(context.Background(), proposeTime)
			result, err := r.cluster.Propose(ctx, c)
			cancel()
			var released command.Released
			if err == nil {
				err = result.Into(&released)
			}
			if err != nil {
				r.log.Warn("sessions of a carrier's node not released", "peer", peer, "why", why, "released", total, "err", err)
				failed = true
				return
			}
			total += len(released.Sessions)
			r.released.Add(uint64(len(released.Sessions)))
			if more = released.More; !more && total > 0 {
				r.counter(why).Add(1)
				r.log.Warn("sessions of a carrier's node released", "peer", peer, "why", why, "sessions", total)
			}
		}
	})
}

// wait returns when nothing is being released; nothing begins any more.
func (r *restoration) wait() {
	r.mu.Lock()
	r.stopped = true
	for peer, t := range r.silent {
		t.Stop()
		delete(r.silent, peer)
	}
	r.mu.Unlock()
	r.work.Wait()
}
