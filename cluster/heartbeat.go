package cluster

import (
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Raft's network transport answers heartbeats on the connection's own goroutine, so
// that a follower whose disk is slow isn't taken for dead. But that runs Raft's
// appendEntries beside its main goroutine, which it must not: while the one makes
// the node a follower of a term and waits for the disk to have it, the other may
// win the election of the next term. The node then leads with a term that has gone
// back; nobody follows it, and nobody else is elected (schedule 1401 of the
// simulation).
//
// So only what changes nothing goes that way: a heartbeat of the leader that this
// node follows, in its term. Any other waits for the main goroutine.
type heartbeats struct {
	rpcs   chan raft.RPC
	closed <-chan struct{}
	raft   atomic.Pointer[raft.Raft] // set when there is one
	logs   raft.LogStore             // as Raft has it
}

// carry brings what the network transport hands to the main goroutine there.
func (h *heartbeats) carry(in <-chan raft.RPC) {
	for {
		select {
		case rpc := <-in:
			switch req := rpc.Command.(type) {
			case *raft.TimeoutNowRequest:
				if !h.handedOver(req) {
					rpc.Respond(new(raft.TimeoutNowResponse), errLateHandover)
					continue
				}
			case *raft.AppendEntriesRequest:
				h.skipSnapshot(req)
				commitWhatIsShown(req)
			}
			h.wait(rpc)
		case <-h.closed:
			return
		}
	}
}

// commitWhatIsShown has a message commit entries up to the last one that it shows this
// node to have in common with the leader (Raft's paper, figure 2: "index of last new
// entry"). Raft's library takes this node's last entry instead. A leader that was just
// elected decides how far to send, and says later, in the same message, how far is
// committed: meanwhile it may have committed more with others. If it sends nothing, what
// an earlier leader left at the end of this node's log would be taken for that.
func commitWhatIsShown(req *raft.AppendEntriesRequest) {
	last := req.PrevLogEntry
	if n := len(req.Entries); n > 0 {
		last = req.Entries[n-1].Index
	}
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, last)
}

// skipSnapshot has a message begin behind this node's snapshot, if it begins before what
// the log still has. All in a snapshot is committed, so that every leader's log has the
// same up to there; a message that ends before shows that this node has what it says.
//
// Raft's library refuses such a message, and doesn't say how far this node is. A leader
// that thinks so, as the snapshot came from one of before, then goes back entry by entry
// to the first, and never forward again: the node stays behind until the leader's log
// is compacted.
func (h *heartbeats) skipSnapshot(req *raft.AppendEntriesRequest) {
	if req.PrevLogEntry == 0 && len(req.Entries) == 0 {
		return // a heartbeat
	}
	r := h.raft.Load()
	first, err := h.logs.FirstIndex()
	if r == nil || err != nil || first != 0 && first <= max(req.PrevLogEntry, 1) {
		return
	}
	stats := r.Stats()
	index, err := strconv.ParseUint(stats["last_snapshot_index"], 10, 64)
	if err != nil || index <= req.PrevLogEntry {
		return
	}
	term, err := strconv.ParseUint(stats["last_snapshot_term"], 10, 64)
	if err != nil {
		return
	}
	req.PrevLogEntry, req.PrevLogTerm = index, term
	req.Entries = slices.DeleteFunc(req.Entries, func(l *raft.Log) bool { return l.Index <= index })
}

func (h *heartbeats) wait(rpc raft.RPC) {
	select {
	case h.rpcs <- rpc:
	case <-h.closed:
	}
}

// idle tells whether a heartbeat is of the leader that this node follows.
func (h *heartbeats) idle(rpc raft.RPC) bool {
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	r := h.raft.Load()
	if !ok || r == nil || r.State() != raft.Follower || r.CurrentTerm() != req.Term {
		return false
	}
	_, leader := r.LeaderWithID()
	return leader != "" && string(leader) == string(req.ID)
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.heartbeats.rpcs }

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(quick func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if t.heartbeats.idle(rpc) {
			quick(rpc)
			return
		}
		t.heartbeats.wait(rpc)
	})
}
