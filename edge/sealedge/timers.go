package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
)

// timers ends the sessions that their APN's idle and absolute timers have run
// out for. The holder of the gateway address does it: only it sees packets.
type timers struct {
	cluster    proposer
	rules      func() *policy.Rules
	holds      func() bool
	lastActive func(session uint64) (time.Time, bool)
	mine       func(*command.Session) bool // is tied to the address; nil: all are
	log        *slog.Logger

	// since is when this node began to hold the address, zero while it doesn't:
	// of packets before that it knows nothing. Owned by run.
	since time.Time
}

// sweepEvery is how precise the timers are.
const sweepEvery = 15 * time.Second

// run sweeps until ctx ends.
func (t *timers) run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.sweep(ctx, time.Now())
		}
	}
}

// sweep ends what is over at now.
func (t *timers) sweep(ctx context.Context, now time.Time) {
	if !t.holds() {
		t.since = time.Time{}
		return
	}
	if t.since.IsZero() {
		t.since = now
	}
	for s, reason := range t.overstayed(now) {
		c := command.New("timers", "", "timer", &command.ClosePath{Session: s.Id, LocalTeidC: s.GetGtp().GetLocalTeidC(), Reason: reason})
		proposal, cancel := context.WithTimeout(ctx, proposeTime)
		r, err := t.cluster.Propose(proposal, c)
		cancel()
		if err != nil {
			t.log.Warn("session not ended; the next sweep tries again", "session", s.Id, "why", reason, "err", err)
			return
		}
		t.log.Info("session ended", "session", s.Id, "why", reason, "result", r.Code)
	}
}

// overstayed lists what is over.
func (t *timers) overstayed(now time.Time) map[*command.Session]string {
	rules := t.rules()
	limited := map[string]policy.APN{}
	if rules != nil {
		for name, apn := range rules.APNs {
			if apn.IdleTimeout > 0 || apn.SessionTimeout > 0 {
				limited[name.String()] = apn
			}
		}
	}
	if len(limited) == 0 {
		return nil
	}
	over := map[*command.Session]string{}
	t.cluster.View(func(m *state.Machine) {
		for s := range m.Sessions() {
			apn, ok := limited[s.Apn]
			if !ok || t.mine != nil && !t.mine(s) {
				continue
			}
			active := t.since
			if at, ok := t.lastActive(s.Id); ok && at.After(active) {
				active = at
			}
			if reason, yes := session.Overstayed(s, apn, active, now); yes {
				over[s] = reason
			}
		}
	})
	return over
}
