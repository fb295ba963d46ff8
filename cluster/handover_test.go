package cluster

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestLateHandover: what a former leader, or this one in a term of before, said when it
// handed its leadership over makes nobody a leader beside one whose lease lasts.
func TestLateHandover(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	leader := c.leader()
	mustPropose(t, leader, put("001010000000001", ""))
	c.awaitJoined()
	leader = c.leader()
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
	if err := leader.StepDown(t.Context()); err != nil {
		t.Errorf("the leader hands over: %v", err)
	}
}
