package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/view"
)

// admissions ends what a new revision of the policy doesn't admit any more: paths of
// sessions that would be refused if the terminal attached now. The holder of the
// gateway address does it, and the carrier is told as of any session that ends here.
// Uses that were granted go on unless their terminal has no session left.
type admissions struct {
	cluster proposer
	rules   func() *policy.Rules
	holds   func() bool
	mine    func(*command.Session) bool // is tied to the address; nil: all are
	changed func() <-chan struct{}      // of the state
	log     *slog.Logger

	seen uint64 // the revision that was swept as the holder. Owned by run.
}

const (
	// endPause spreads the endings: a policy that ends all sessions must not bury
	// the carriers' peers, nor what else is proposed.
	endPause = 20 * time.Millisecond
	// sweepAgain is the pause before a sweep that wasn't finished goes on.
	sweepAgain = 5 * time.Second
)

// run sweeps after every new revision until ctx ends.
func (a *admissions) run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		changed := a.changed()
		if !a.sweep(ctx) && again == nil {
			again = time.After(sweepAgain)
		}
		select {
		case <-ctx.Done():
			return nil
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
	a.cluster.View(func(m *state.Machine) { revision = m.PolicyRevision() })
	if revision == a.seen {
		return true
	}
	rules := a.rules()
	if rules == nil || rules.Revision != revision {
		// Without a policy, or with one that doesn't compile here, nothing new is
		// admitted; that is no decision about what is.
		return rules == nil
	}
	for _, p := range a.refused(rules) {
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
	a.seen = revision
	return true
}

// refusedPath is a path of a session that the policy doesn't admit any more.
type refusedPath struct {
	session *command.Session
	path    command.PathKind
	why     policy.Decision
}

func (a *admissions) refused(rules *policy.Rules) (out []refusedPath) {
	a.cluster.View(func(m *state.Machine) {
		for s := range m.Sessions() {
			if a.mine != nil && !a.mine(s) {
				continue
			}
			for _, path := range []command.PathKind{command.PathKind_GTP, command.PathKind_WIREGUARD} {
				if path == command.PathKind_GTP && s.Gtp == nil || path == command.PathKind_WIREGUARD && s.Wireguard == nil {
					continue
				}
				d := rules.Admit(view.Attached(s, m.Subscriber(s.Imsi), policy.PathKind(path), m.Clock()))
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
