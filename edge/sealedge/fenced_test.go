package main

import (
	"context"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// late is a log that another node gets at before what was proposed is carried out.
type late struct {
	*timed
	first func()
}

func (l *late) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	l.first()
	return l.timed.Propose(ctx, c)
}

// What came to a gateway address does nothing when another node has taken it over
// before it is carried out.
func TestFencedByEpoch(t *testing.T) {
	tr := newTraveller(t, true)
	tr.do(t, &command.AcquireAddress{Name: "gw1", Node: "n1"}, nil)
	s := tr.attach()
	l := &late{tr.timed, func() {}}
	f := fenced{l, "gw1", func() bool { return true }}
	closes := func() *command.Command {
		return command.New("test", "", "test", &command.ClosePath{Session: s.Id, Path: command.PathKind_GTP})
	}
	l.first = func() {
		tr.do(t, &command.AcquireAddress{Name: "gw1", Node: "n2", Epoch: 1}, nil)
	}
	r, err := f.Propose(t.Context(), closes())
	if err != nil || r.Code != command.Code_CONFLICT || tr.session() == nil {
		t.Errorf("%v, %v", r, err)
	}
	l.first = func() {}
	again := closes().At("gw1", 1) // as of the attempt before
	if r, err = f.Propose(t.Context(), again); err != nil || r.Code != command.Code_OK || tr.session() != nil {
		t.Errorf("%v, %v", r, err)
	}
}

// While there are nodes that don't heed the epoch, none is named.
func TestNotFencedBeforeAllNodesKnow(t *testing.T) {
	tr := newTraveller(t, false)
	tr.do(t, &command.AcquireAddress{Name: "gw1", Node: "n1"}, nil)
	s := tr.attach()
	f := fenced{tr.timed, "gw1", func() bool { return true }}
	r, err := f.Propose(t.Context(), command.New("test", "", "test", &command.ClosePath{Session: s.Id, Path: command.PathKind_GTP}))
	if err != nil || r.Code != command.Code_OK {
		t.Errorf("%v, %v", r, err)
	}
	tr.View(func(m *state.Machine) {
		if m.Level() != 1 {
			t.Errorf("the state is of level %d", m.Level())
		}
	})
}
