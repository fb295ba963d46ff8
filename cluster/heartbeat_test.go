package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/hashicorp/raft"
)

// speakAs returns how to send a node what another one, which doesn't run any more, says as
// its leader. It has to be taken.
func speakAs(t *testing.T, leader, to *Node) func(*raft.AppendEntriesRequest) {
	t.Helper()
	raw, err := net.Dial("tcp", to.cfg.Advertise)
	if err != nil {
		t.Fatal(err)
	}
	cfg := leader.port.identity.client(to.id, protoRaft)
	cfg.VerifyConnection = nil // whom it reaches is of no interest here
	trans := raft.NewNetworkTransport(&oneStream{tls.Client(raw, cfg), make(chan struct{})}, 1, patience, io.Discard)
	t.Cleanup(func() { trans.Close() })
	return func(req *raft.AppendEntriesRequest) {
		t.Helper()
		req.RPCHeader = raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader.id), Addr: []byte(leader.id)}
		resp := new(raft.AppendEntriesResponse)
		if err := trans.AppendEntries(to.id, raft.ServerAddress(to.id), req, resp); err != nil || !resp.Success {
			t.Fatalf("the message is not taken: %+v, %v", resp, err)
		}
	}
}

// TestMessageCommitsWhatItShows: the next leader sends nothing yet, and says that more is
// committed than it shows. What a leader of before has at the end of its log, and
// nobody else, isn't that.
func TestMessageCommitsWhatItShows(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, patientNodes)
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.awaitJoined()
	old := c.leader()
	last, term := old.raft.LastIndex(), old.raft.CurrentTerm()
	var next *Node
	for _, name := range c.names {
		if n := c.nodes[name]; n != old {
			next = n
			c.stop(name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := old.Propose(ctx, put("001010000000001", "in vain"))
		ended <- err
	}()
	c.await("the proposal is in its log", func() bool { return old.raft.LastIndex() > last })
	var common raft.Log
	if err := old.logs.GetLog(last, &common); err != nil {
		t.Fatal(err)
	}

	say := speakAs(t, next, old)
	req := &raft.AppendEntriesRequest{
		Term: term + 1000, PrevLogEntry: last, PrevLogTerm: common.Term, LeaderCommitIndex: last + 100,
	}
	say(req)
	if at := old.raft.CommitIndex(); at > last {
		t.Errorf("entry %d is committed, the message showed %d", at, last)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("what nobody else has was carried out")
	}
	if n := times(old, "001010000000001"); n != 1 {
		t.Errorf("carried out %d times", n)
	}
}

// TestMessageBeforeTheSnapshot: a leader that thinks that this node is behind its own
// snapshot learns that it isn't.
func TestMessageBeforeTheSnapshot(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, patientNodes, func(cfg *Config) { cfg.SnapshotThreshold = 4 })
	for i := range 30 {
		mustPropose(t, c.leader(), put("001010000000001", fmt.Sprint(i)))
	}
	c.awaitJoined()
	n := c.leader()
	if err := n.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	first, err := n.logs.FirstIndex()
	if err != nil || first < 8 {
		t.Fatalf("the log begins with %d: %v", first, err)
	}
	var next *Node
	for _, name := range c.names {
		if m := c.nodes[name]; m != n {
			next = m
			c.stop(name)
		}
	}
	term, last := n.raft.CurrentTerm()+1000, n.raft.LastIndex()
	say := speakAs(t, next, n)
	entries := func(from, to uint64) (all []*raft.Log) {
		for i := from; i <= to; i++ {
			l := &raft.Log{Index: i, Term: term, Type: raft.LogNoop}
			if i >= first && i <= last {
				if err := n.logs.GetLog(i, l); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, l)
		}
		return all
	}
	for _, x := range []struct{ prev, to, want uint64 }{
		{first - 3, first - 2, last}, {0, first - 2, last}, {first - 3, last, last}, {first - 3, last + 1, last + 1}, {0, last + 2, last + 2},
	} {
		say(&raft.AppendEntriesRequest{Term: term, PrevLogEntry: x.prev, PrevLogTerm: 1, Entries: entries(x.prev+1, x.to), LeaderCommitIndex: x.to})
		if at := n.raft.LastIndex(); at != x.want {
			t.Errorf("after entries %d to %d the log ends with %d, want %d", x.prev+1, x.to, at, x.want)
		}
	}
}
