package admin

import (
	"sync/atomic"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// rulesInForce compiles the policy in force once for each revision.
type rulesInForce struct {
	last atomic.Pointer[compiledPolicy]
}

type compiledPolicy struct {
	revision uint64
	rules    *policy.Rules // nil: it doesn't compile, and admits nobody
}

func (f *rulesInForce) of(p *command.Policy) *policy.Rules {
	if p == nil {
		return nil
	}
	if c := f.last.Load(); c != nil && c.revision == p.Revision {
		return c.rules
	}
	rules, err := bundle.Compile(p)
	if err != nil {
		rules = nil // another version of this program wrote it: see edge/sealedge, which says so
	}
	f.last.Store(&compiledPolicy{p.Revision, rules})
	return rules
}

// controlOf is how changes are made under rules. Of a policy that doesn't compile
// nothing is known but what holds unless a policy says otherwise.
func controlOf(rules *policy.Rules) policy.ChangeControl {
	if rules == nil {
		return bundle.DefaultControl()
	}
	return rules.Control
}

// current is the policy in force, with its rules.
func (s *Server) current() (*command.Policy, *policy.Rules) {
	var p *command.Policy
	s.cfg.Cluster.View(func(m *state.Machine) { p = m.Policy() })
	return p, s.inForce.of(p)
}

func textsOf(touches []policy.Touch) []string {
	out := make([]string, 0, len(touches))
	for _, t := range touches {
		out = append(out, string(t))
	}
	return out
}
