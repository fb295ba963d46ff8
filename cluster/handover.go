package cluster

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/hashicorp/raft"
)

// A leader that hands its leadership over tells another node to stand for election
// at once (TimeoutNow), and that node's request for votes is granted by nodes that
// know a leader, too. Raft doesn't ask whose word that is, nor of when: one that was
// on its way for long would have a node elected while a later leader's lease lasts
// (schedule 792 of the simulation). So it counts only if it is of the leader that
// the node follows, in its term, which the sender puts behind its address: nobody
// else reads that of a TimeoutNow.

const termMark = '#'

var errLateHandover = errors.New("the leadership that was handed over is one of before")

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	r := t.heartbeats.raft.Load()
	if r == nil {
		return errLateHandover
	}
	term := r.CurrentTerm()
	if r.State() != raft.Leader || r.CurrentTerm() != term {
		return errLateHandover
	}
	told := *args
	told.Addr = strconv.AppendUint(append(bytes.Clone(args.Addr), termMark), term, 10)
	return t.NetworkTransport.TimeoutNow(id, target, &told, resp)
}

// handedOver tells whether a TimeoutNow is of the leader that this node follows. A
// version from before tells no term.
func (h *heartbeats) handedOver(req *raft.TimeoutNowRequest) bool {
	r := h.raft.Load()
	if r == nil || r.State() != raft.Follower {
		return false
	}
	if _, leader := r.LeaderWithID(); leader == "" || string(leader) != string(req.ID) {
		return false
	}
	at := bytes.LastIndexByte(req.Addr, termMark)
	return at < 0 || string(req.Addr[at+1:]) == strconv.FormatUint(r.CurrentTerm(), 10)
}
