package cluster

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestAccountsKeepTheNewest: an answer that was on its way while a node said something
// else by itself doesn't undo that.
func TestAccountsKeepTheNewest(t *testing.T) {
	t.Parallel()
	var a accounts
	id := raft.ServerID("n1-1")
	asked := time.Now()
	a.note(greeting{ID: id, Drained: true, Up: 90_000}, asked.Add(time.Second))
	a.note(greeting{ID: id, Up: 90_000}, asked)
	got := a.of(id)
	if !got.drained || got.started.IsZero() || time.Since(got.started) < 90*time.Second {
		t.Errorf("%+v", got)
	}
	a.note(greeting{ID: id}, asked.Add(2*time.Second)) // a build that says neither
	if got = a.of(id); got.drained || !got.started.IsZero() {
		t.Errorf("%+v", got)
	}
}

// TestAccountsKeepWhatWasSaidLast: a question that was made before a node said that it
// is drained, and comes after that, doesn't undo it. One of its next process does.
func TestAccountsKeepWhatWasSaidLast(t *testing.T) {
	t.Parallel()
	var a accounts
	id := raft.ServerID("n1-1")
	now := time.Now()
	for i, c := range []struct {
		said    greeting
		drained bool
	}{
		{greeting{Process: 7, Up: 1000}, false},
		{greeting{Process: 7, Up: 5000, Told: 1, Drained: true}, true},
		{greeting{Process: 7, Up: 4999}, true}, // late
		{greeting{Process: 7, Up: 5001, Told: 1, Drained: true}, true},
		{greeting{Process: 7, Up: 6000, Told: 2}, false},
		{greeting{Process: 7, Up: 5002, Told: 1, Drained: true}, false}, // late
		{greeting{Process: 7, Up: 7000, Told: 3, Drained: true}, true},
		{greeting{Process: 8, Up: 1}, false},
	} {
		c.said.ID = id
		a.note(c.said, now.Add(time.Duration(i)*time.Millisecond))
		if a.of(id).drained != c.drained {
			t.Errorf("after sentence %d drained is %v", i+1, !c.drained)
		}
	}
}

// TestAskerSpeaksForItself: a node says of itself only how it is.
func TestAskerSpeaksForItself(t *testing.T) {
	t.Parallel()
	n := new(Node)
	other := newNodeID("n2")
	body, err := json.Marshal(greeting{ID: other, Drained: true})
	if err != nil {
		t.Fatal(err)
	}
	n.noteAsker("n3", body)
	n.noteAsker("n2", body[:len(body)-1])
	n.noteAsker("n2", nil) // a build that says nothing
	if n.isDrained(other) {
		t.Error("n3 has said that n2 is drained, or half a sentence did")
	}
	n.noteAsker("n2", body)
	if !n.isDrained(other) {
		t.Error("n2 has said that it is drained")
	}
}

// TestDrainedNode: it is given neither addresses nor the leadership, and gives the
// latter away, for as long as another can have it.
func TestDrainedNode(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.awaitJoined()
	drain := func(n *Node, drained bool) {
		t.Helper()
		// The machine may be busy: a node that didn't hear it in time is told again.
		insist(t, func() error { return n.SetDrained(context.Background(), drained) })
	}
	leader := c.leader()
	var others []*Node
	for _, name := range c.names {
		if n := c.nodes[name]; n != leader {
			others = append(others, n)
		}
	}
	drain(others[0], true)
	for _, n := range []*Node{leader, others[1]} {
		if !n.isDrained(others[0].id) {
			t.Fatalf("%s doesn't know that %s is drained", n.cfg.NodeName, others[0].cfg.NodeName)
		}
	}
	for _, p := range leader.Status().Peers {
		if p.Drained != (p.Name == others[0].cfg.NodeName) {
			t.Errorf("%s: drained is %v", p.Name, p.Drained)
		}
	}
	c.await("the leader gives it nothing", func() bool {
		living, drained, all := leader.Living()
		return !leader.IsLeader() || all && len(living) == 2 && slices.Equal(drained, []string{others[0].cfg.NodeName})
	})
	if _, yields := leader.Yields(); yields {
		t.Error("the leader isn't drained, and is to hand over")
	}
	c.await("the third node can lead", func() bool {
		why, soon := leader.NoSuccessor()
		return !leader.IsLeader() || why == "" && soon
	})
	drain(others[1], true)
	drain(leader, true)
	c.await("whoever leads can't hand over", func() bool {
		for _, n := range c.nodes {
			if why, soon := n.NoSuccessor(); n.Holds() && why != "" && !soon {
				if _, yields := n.Yields(); yields {
					return false
				}
				living, drained, _ := n.Living()
				return len(living) == 3 && drained == nil
			}
		}
		return false
	})
	drain(leader, false)
	c.await("the one that isn't drained leads", func() bool {
		for _, n := range c.nodes {
			if _, yields := n.Yields(); yields {
				_ = n.StepDown(t.Context())
			}
		}
		return leader.Holds()
	})
}
