package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestLateHandover: what a former leader, or this one in a term of before, said when it
// handed its leadership over makes nobody a leader beside one whose lease lasts.
func TestLateHandover(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, patientNodes)
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.awaitJoined()
	leader := c.leader()
	term := leader.raft.CurrentTerm()
	var followers []*Node
	for _, name := range c.names {
		if n := c.nodes[name]; n != leader {
			followers = append(followers, n)
		}
	}
	target, other := followers[0], followers[1]
	for _, x := range []struct {
		name     string
		from, by *Node
		addr     string
	}{
		{"of another follower", other, other, "a#9"},
		{"of another follower of an older version", other, other, "a"},
		{"of the leader, in a term of before", leader, leader, "a#0"},
	} {
		req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(x.by.id), Addr: []byte(x.addr)}}
		if err := x.from.trans.TimeoutNow(target.id, raft.ServerAddress(target.id), req, new(raft.TimeoutNowResponse)); err == nil {
			t.Errorf("%s: it counts", x.name)
		}
	}
	mustPropose(t, leader, put("001010000000002", ""))
	if now := leader.raft.CurrentTerm(); now != term || !leader.IsLeader() {
		t.Errorf("term %d, and was %d", now, term)
	}
	// What was said in time counts.
	insist(t, func() error { return leader.StepDown(t.Context()) })
}

// TestFailedHandoversOverlap: the end of what one may still bring about isn't the end of
// another's.
func TestFailedHandoversOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l lateHandover
		expect := func(what string, term uint64, want bool) {
			t.Helper()
			synctest.Wait()
			if l.in(term) != want {
				t.Errorf("%s: in term %d: %v", what, term, !want)
			}
		}
		expect("before any", 0, false)
		l.begin(3)
		expect("one failed", 3, true)
		expect("one failed", 4, false)
		time.Sleep(lateTransfer - time.Second)
		l.begin(3)
		time.Sleep(2 * time.Second)
		expect("another lasts", 3, true)
		l.begin(5)
		expect("of a later term", 5, true)
		time.Sleep(lateTransfer - time.Second)
		expect("nearly over", 5, true)
		time.Sleep(2 * time.Second)
		expect("over", 5, false)
	})
}

// TestStepDownEndsNoQuarantine: what keeps a node from holding isn't undone by a StepDown.
func TestStepDownEndsNoQuarantine(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	c.leader()
	n := c.follower()
	n.yielding.Add(1)
	defer n.yielding.Add(-1)
	_ = n.StepDown(t.Context())
	if n.yielding.Load() == 0 {
		t.Error("it may hold again")
	}
}
