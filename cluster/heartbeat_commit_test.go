package cluster

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/hashicorp/raft"
)

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

	raw, err := net.Dial("tcp", old.cfg.Advertise)
	if err != nil {
		t.Fatal(err)
	}
	cfg := next.port.identity.client(old.id, protoRaft)
	cfg.VerifyConnection = nil // whom it reaches is of no interest here
	trans := raft.NewNetworkTransport(&oneStream{tls.Client(raw, cfg), make(chan struct{})}, 1, patience, io.Discard)
	defer trans.Close()
	req := &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(next.id), Addr: []byte(next.id)},
		Term:      term + 1000, PrevLogEntry: last, PrevLogTerm: common.Term, LeaderCommitIndex: last + 100,
	}
	resp := new(raft.AppendEntriesResponse)
	if err := trans.AppendEntries(old.id, raft.ServerAddress(old.id), req, resp); err != nil || !resp.Success {
		t.Fatalf("the message is not taken: %+v, %v", resp, err)
	}
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
