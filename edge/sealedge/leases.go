package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
)

// fallbackLeases ends the leases of the fallback path whose time is over: the path
// that came by one goes with it, and the terminal has to ask anew. The node that leads
// does it. A lease is of no use to anybody from its end on, whether that is on record
// already or not.
type fallbackLeases struct {
	cluster proposer
	leads   func() bool
	log     *slog.Logger
}

const (
	// endLeasesEvery is how soon a path ends whose lease is over.
	endLeasesEvery = 5 * time.Second
	// endLeasesMost bounds what is ended at once: after a night without a leader,
	// or when all were issued in one morning.
	endLeasesMost = 500
)

// run ends leases until ctx ends.
func (l *fallbackLeases) run(ctx context.Context) error {
	tick := time.NewTicker(endLeasesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			l.sweep(ctx, time.Now())
		}
	}
}

// sweep ends what is over at now.
func (l *fallbackLeases) sweep(ctx context.Context, now time.Time) {
	if !l.leads() {
		return
	}
	for _, lease := range l.over(now) {
		proposal, cancel := context.WithTimeout(ctx, proposeTime)
		r, err := l.cluster.Propose(proposal, command.New("fallback-leases", "", "timer", &command.EndFallback{
			Imsi: lease.Imsi, Number: lease.Number, Reason: "it has expired",
		}))
		cancel()
		if err != nil {
			l.log.Warn("lease of the fallback path not ended; the next sweep tries again", "lease", lease.Number, "err", err)
			return
		}
		l.log.Debug("lease of the fallback path ended", "lease", lease.Number, "result", r.Code)
	}
}

func (l *fallbackLeases) over(now time.Time) (over []*command.FallbackLease) {
	l.cluster.View(func(m *state.Machine) {
		at := sealuse.Later(now, m.Clock()).UnixNano()
		for lease := range m.FallbackLeases() {
			if lease.Expires <= at {
				if over = append(over, lease); len(over) == endLeasesMost {
					return
				}
			}
		}
	})
	return over
}
