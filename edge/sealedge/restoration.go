package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
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
	log  *slog.Logger

	work sync.WaitGroup

	mu        sync.Mutex
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

func newRestoration(c proposer, holds func() bool, keep time.Duration, log *slog.Logger) *restoration {
	return &restoration{
		cluster: c, holds: holds, keep: keep, log: log,
		releasing: map[netip.Addr]bool{}, silent: map[netip.Addr]*time.Timer{},
	}
}

// peers lists whom to ask whether they live: the carriers' nodes that sessions
// have their path to.
func (r *restoration) peers() (list []gtpc.EchoPeer) {
	r.cluster.View(func(m *state.Machine) {
		for p := range m.Peers() {
			addr, ok := netip.AddrFromSlice(p.Address)
			if !ok {
				continue
			}
			peer := gtpc.EchoPeer{Addr: addr, Version: 2}
			for s := range m.SessionsByPeer(addr) {
				if s.GetGtp().GetVersion() == 1 {
					peer.Version = 1
				}
				break
			}
			list = append(list, peer)
		}
	})
	return list
}

// counterHeard takes a restart counter that a peer sent. Most say nothing new.
func (r *restoration) counterHeard(peer netip.Addr, counter uint8) {
	var news bool
	var noticed time.Time
	r.cluster.View(func(m *state.Machine) {
		noticed = m.Clock()
		p := m.Peer(peer)
		news = p != nil && (!p.RestartKnown || session.HasRestarted(m, peer, counter))
	})
	if news { // and again with the peer's next echo, should it come to nothing
		r.release(peer, "the peer has restarted", nil, session.AfterRestart(session.Restart{Peer: peer, Counter: counter}, noticed))
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
	r.release(peer, "the peer is silent", again, command.New("restoration", "", "gateway", &command.ReleasePaths{
		Peer: peer.AsSlice(), OpenedBefore: since.UnixNano(), Reason: "the peer is silent",
	}))
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
			if more = released.More; !more && total > 0 {
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
