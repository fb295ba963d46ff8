package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/view"
)

// admissions ends what the policy doesn't admit any more, because it is a new
// revision, or because time, place, the terminal's record or its lease of the
// fallback path have changed what it says: paths of sessions that would be refused if
// the terminal attached now. The holder of the gateway address does it, and the
// carrier is told as of any session that ends here.
// Uses that were granted go on unless their terminal has no session left.
type admissions struct {
	cluster proposer
	rules   func() *policy.Rules
	holds   func() bool
	mine    func(*command.Session) bool // is tied to the address; nil: all are
	changed func() <-chan struct{}      // of the state
	log     *slog.Logger

	seen uint64    // the revision that was swept as the holder. Owned by run.
	next time.Time // when rules are asked again though it is the same. Owned by run.
}

const (
	// endPause spreads the endings: a policy that ends all sessions must not bury
	// the carriers' peers, nor what else is proposed.
	endPause = 20 * time.Millisecond
	// sweepAgain is the pause before a sweep that wasn't finished goes on.
	sweepAgain = 5 * time.Second
	// askAgain is how soon a path ends whose hours are over, whose terminal went
	// elsewhere, or which came by what isn't good any more.
	askAgain = time.Minute
)

// run sweeps after every new revision, and from time to time, until ctx ends.
func (a *admissions) run(ctx context.Context) error {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	var again <-chan time.Time
	for {
		changed := a.changed()
		if !a.sweep(ctx) && again == nil {
			again = time.After(sweepAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-changed:
			if again != nil { // the pause holds also while much is going on
				select {
				case <-ctx.Done():
					return nil
				case <-again:
				}
				again = nil
			}
		case <-again:
			again = nil
		}
	}
}

// sweep is false when something is left to do.
func (a *admissions) sweep(ctx context.Context) bool {
	if !a.holds() {
		a.seen = 0 // whoever held it meanwhile may not have finished
		return true
	}
	var revision uint64
	var now time.Time
	a.cluster.View(func(m *state.Machine) { revision, now = m.PolicyRevision(), sealuse.Later(time.Now(), m.Clock()) })
	rules := a.rules()
	if revision == a.seen && (!mayTurn(rules) || now.Before(a.next)) {
		return true
	}
	if rules == nil || rules.Revision != revision {
		// Without a policy, or with one that doesn't compile here, nothing new is
		// admitted; that is no decision about what is.
		return rules == nil
	}
	for _, p := range a.refused(rules, now) {
		if !a.holds() || ctx.Err() != nil {
			return false
		}
		if !a.end(ctx, p) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(endPause):
		}
	}
	a.seen, a.next = revision, now.Add(askAgain)
	return true
}

// mayTurn tells whether the rules may say no of what they said yes to: as time goes
// by, a terminal goes elsewhere or leaves a group, or what it showed when it asked
// for the fallback path isn't good any more.
func mayTurn(rules *policy.Rules) bool {
	if rules.Rules(policy.ActionAttach) {
		return true
	}
	return rules != nil && rules.Admission.Credentials[policy.PathWireGuard]&^policy.CredentialWireGuard != 0
}

// refusedPath is a path of a session that the policy doesn't admit any more.
type refusedPath struct {
	session *command.Session
	path    command.PathKind
	why     policy.Decision
}

func (a *admissions) refused(rules *policy.Rules, now time.Time) (out []refusedPath) {
	a.cluster.View(func(m *state.Machine) {
		for s := range m.Sessions() {
			if a.mine != nil && !a.mine(s) {
				continue
			}
			for _, path := range []command.PathKind{command.PathKind_GTP, command.PathKind_WIREGUARD} {
				if path == command.PathKind_GTP && s.Gtp == nil || path == command.PathKind_WIREGUARD && s.Wireguard == nil {
					continue
				}
				d := rules.Admit(view.Attached(s, m.Subscriber(s.Imsi), policy.PathKind(path), m.FallbackLease(s.Imsi), now))
				if !d.Allowed {
					out = append(out, refusedPath{s, path, d})
				}
			}
		}
	})
	return out
}

// end is false when it couldn't be proposed. A session that has another path by now
// was decided upon by the new policy.
func (a *admissions) end(ctx context.Context, p refusedPath) bool {
	reason := "the policy doesn't admit it any more: " + string(p.why.Code)
	c := command.New("policy", "", "policy", &command.ClosePath{
		Session: p.session.Id, Path: p.path, LocalTeidC: p.session.GetGtp().GetLocalTeidC(), Reason: reason,
	})
	proposal, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	r, err := a.cluster.Propose(proposal, c)
	if err != nil {
		a.log.Warn("session not ended that the policy doesn't admit any more; it is tried again", "session", p.session.Id, "err", err)
		return false
	}
	a.log.Info("session ended", "session", p.session.Id, "path", p.path, "why", p.why.Code, "result", r.Code)
	return true
}
