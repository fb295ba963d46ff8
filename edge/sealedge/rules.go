package main

import (
	"log/slog"
	"sync/atomic"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// viewer gives readers their turn at the replicated state; *cluster.Node does.
type viewer interface{ View(fn func(*state.Machine)) }

// rules compiles the policy in force once for each revision. It is safe for
// concurrent use; two that meet a new revision at once compile it twice.
type rules struct {
	records viewer
	log     *slog.Logger
	last    atomic.Pointer[compiled]
}

type compiled struct {
	revision uint64
	rules    *policy.Rules // nil: it did not compile, and admits nobody
}

// inForce returns the rules of the current revision; nil when there is no
// policy. It must not be called inside View.
func (r *rules) inForce() *policy.Rules {
	var p *command.Policy
	r.records.View(func(m *state.Machine) { p = m.Policy() })
	if p == nil {
		return nil
	}
	if c := r.last.Load(); c != nil && c.revision == p.Revision {
		return c.rules
	}
	c := &compiled{revision: p.Revision}
	var err error
	if c.rules, err = bundle.Compile(p); err != nil {
		r.log.Error("no policy: everything is refused", "revision", p.Revision, "err", err)
	}
	r.last.Store(c)
	return c.rules
}
