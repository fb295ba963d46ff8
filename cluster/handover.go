package cluster

import (
	"bytes"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A leader that hands its leadership over tells another node to stand for election
// at once (TimeoutNow), and that node's request for votes is granted by nodes that
// know a leader, too. Raft doesn't ask whose word that is, nor of when: one that was
// on its way for long would have a node elected while a later leader's lease lasts
// (schedule 792 of the simulation). So it counts only if it is of the leader that
// the node follows, in its term, which the sender puts behind its address: nobody
// else reads that of a TimeoutNow.

// lateTransfer is how long after a failed StepDown the order to stand for election
// may still reach the follower, and its requests for votes the others.
const lateTransfer = 2*raftIO + time.Second

// lateHandover is a StepDown that failed and may succeed yet.
type lateHandover struct {
	term atomic.Uint64 // in which it was tried; 0: there is none

	mu    sync.Mutex
	tried uint64 // guarded by mu: how many failed
}

// in tells whether there is one in a term.
func (l *lateHandover) in(term uint64) bool { return term != 0 && l.term.Load() == term }

// begin is called when one failed in a term. It lasts for lateTransfer, and for as long
// after a later one.
func (l *lateHandover) begin(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried++
	last := l.tried
	l.term.Store(term)
	time.AfterFunc(lateTransfer, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.tried == last {
			l.term.Store(0)
		}
	})
}

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
