package main

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/pathchoice"
	"github.com/sealedge/sealedge/policy"
)

// standbys lets go of the path of a session that another has taken the place of, when
// nothing has been heard by it for the policy's grace time: of the carrier's path the
// carrier is told as of any that ends here, and what came by the fallback has to be
// admitted anew. A terminal that goes on probing the path keeps it. The holder of the
// gateway address that the path is tied to does it.
type standbys struct {
	paths *paths
	rules func() *policy.Rules
	holds func() bool
	// both lists the sessions that are attached through both paths.
	both func() []*command.Session
	// carrierHeard and fallbackHeard tell when something last came by a path; false:
	// nothing since this node serves it. The former is false also where this node
	// doesn't serve it.
	carrierHeard  func(session uint64) (time.Time, bool)
	fallbackHeard func(terminal netip.Addr) (time.Time, bool)
	mine          func(*command.Session) bool // its carrier's path is tied to the address
	log           *slog.Logger

	// since is when this node began to hold the address, zero while it doesn't.
	// Owned by run.
	since time.Time
}

// letGoEvery is how precise the grace time is.
const letGoEvery = 5 * time.Second

// run sweeps until ctx ends.
func (b *standbys) run(ctx context.Context) error {
	tick := time.NewTicker(letGoEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			b.sweep(ctx, time.Now())
		}
	}
}

// sweep lets go of what has been silent for too long at now.
func (b *standbys) sweep(ctx context.Context, now time.Time) {
	if !b.holds() {
		b.since = time.Time{}
		return
	}
	if b.since.IsZero() {
		b.since = now
	}
	b.paths.settle()
	rules := b.rules()
	if rules == nil || rules.Fallback.Grace <= 0 {
		return
	}
	for _, s := range b.both() {
		path, heard, ok := b.standby(s)
		since := b.since
		if left := time.Unix(0, s.PathSince); left.After(since) {
			since = left
		}
		if !ok || !pathchoice.LetGo(now, heard, since, rules.Fallback.Grace) {
			continue
		}
		if ctx.Err() != nil || !b.holds() || !b.letGo(ctx, s, path) {
			return // the next sweep goes on
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(endPause):
		}
	}
}

// standby is the path of a session that isn't the active one, if it is tied to this
// address, and when it was last heard.
func (b *standbys) standby(s *command.Session) (path command.PathKind, heard time.Time, ok bool) {
	switch {
	case !carriesIPv4(s.Gtp):
		// It carries IPv6, and the other IPv4: both are in use.
	case s.Active == command.PathKind_WIREGUARD && s.Gtp.Suspended:
		// Its carrier has said that it can't be heard for now.
	case s.Active == command.PathKind_WIREGUARD && b.mine(s):
		heard, ok = b.carrierHeard(s.Id)
		return command.PathKind_GTP, heard, ok
	case s.Active == command.PathKind_GTP && fallbackAddress(s) == b.paths.gateway && b.fallbackHeard != nil:
		addr, has := netip.AddrFromSlice(s.Address)
		heard, _ = b.fallbackHeard(addr)
		return command.PathKind_WIREGUARD, heard, has
	}
	return 0, time.Time{}, false
}

// letGo is false when it couldn't be proposed.
func (b *standbys) letGo(ctx context.Context, s *command.Session, path command.PathKind) bool {
	c := command.New("paths", "", "paths", &command.ClosePath{
		Session: s.Id, Path: path, LocalTeidC: s.Gtp.LocalTeidC, Reason: "silent, and the terminal is on its other path",
	})
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	r, err := b.paths.cluster.Propose(ctx, c)
	if err != nil {
		b.log.Warn("a path that the terminal has left isn't let go of yet", "session", s.Id, "path", path, "err", err)
		return false
	}
	if r.Code == command.Code_OK {
		b.paths.count.released.Add(1)
	}
	b.log.Info("a path that the terminal has left is let go of", "session", s.Id, "path", path, "result", r.Code)
	return true
}
