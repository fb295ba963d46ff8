package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// TestWhile: what a node was sent at an address waits for the node to hold it, and
// isn't carried out if that doesn't come about in time.
func TestWhile(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	for _, n := range []*Node{c.leader(), c.follower()} {
		var asked atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		during := While(ctx, func() bool {
			if asked.Add(1) == 3 {
				cancel() // it isn't going to
			}
			return false
		})
		if _, err := n.Propose(during, put("001010000000009", "")); !errors.Is(err, command.ErrNoQuorum) {
			t.Errorf("a node that doesn't hold the address: %v", err)
		}
		asked.Store(3)
		during = While(t.Context(), func() bool { return asked.Add(1) > 6 })
		if r, err := n.Propose(during, put("001010000000008", "")); err != nil || r.Code != command.Code_OK {
			t.Errorf("a node that holds it again: %v, %v", r, err)
		}
		n.View(func(m *state.Machine) {
			if m.Subscriber("001010000000009") != nil || m.Subscriber("001010000000008") == nil {
				t.Error("carried out is what should not be, or isn't what should")
			}
		})
	}
}

// What a leader had begun when it lost its majority, it leaves alone when it is back:
// meanwhile its peers may have asked the next leader, and have gone on from there. Who
// only wants to read is served then.
func TestALeaderThatLostItsMajorityRepeatsNothing(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) {
		patientNodes(cfg) // time enough to append something when nobody answers any more
		cfg.ApplyTimeout = patience
	})
	old := c.leader()
	last := old.raft.LastIndex()
	c.net.isolate(old.cfg.NodeName, c.names...)
	ended, read := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := old.Propose(context.Background(), put("001010000000001", "r1"))
		ended <- err
	}()
	go func() { read <- old.Barrier(context.Background()) }()
	c.await("the proposal and the barrier are in its log", func() bool { return old.raft.LastIndex() > last+1 })
	var next *Node
	c.await("another leader", func() bool {
		for _, n := range c.nodes {
			if n != old && n.Holds() {
				next = n
			}
		}
		return next != nil
	})
	mustPropose(t, next, put("001010000000002", ""))
	c.net.heal()
	if err := <-ended; !errors.Is(err, command.ErrUnknownOutcome) {
		t.Errorf("it ended with %v", err)
	}
	if err := <-read; err != nil || times(old, "001010000000002") != 1 {
		t.Errorf("the barrier ended with %v, the node knows %d commands of the next leader", err, times(old, "001010000000002"))
	}
	c.sameState()
	if n := times(next, "001010000000001"); n != 0 {
		t.Errorf("carried out %d times", n)
	}
}

func TestIsolatedLeaderIsFenced(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	old := c.leader()
	c.net.isolate(old.cfg.NodeName, c.names...)
	next := func() *Node {
		for _, n := range c.nodes {
			if n != old && n.IsLeader() {
				return n
			}
		}
		return nil
	}
	// Whoever of the others leads, the old one doesn't hold at that moment.
	c.await("another leader", func() bool {
		leads := next() != nil
		if leads && old.Holds() {
			t.Fatal("two nodes hold at once")
		}
		return leads
	})
	c.await("the new leader holds", func() bool { n := next(); return n != nil && n.Holds() })
	if old.Holds() {
		t.Error("the isolated leader still holds")
	}
}
