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

// handovers keeps Raft from standing still in one. Before it tells the other node to
// stand for election, Raft has replication to it take everything up, by a channel with
// room for one request. One that was given up stays there for as long as replication
// stands. A second one waits for room, deaf to everything: if the leadership is lost
// then, replication ends and nobody ever makes room, and when this node leads again,
// Raft takes itself for handing over, and refuses whatever it is asked for
// (hashicorp/raft issue 696; schedule 77 of the simulation).
//
// So in one term a node is asked again only if Raft got past that in the last attempt.
type handovers struct {
	mu      sync.Mutex
	term    uint64                     // of the attempts
	stuck   map[raft.ServerID]struct{} // who was asked in term, and wasn't told to stand for election
	running int                        // attempts
	ended   time.Time                  // the last one that Raft took
}

// begin is called before a node is asked in a term, and is false if it must not be.
// Otherwise end has to be called.
func (h *handovers) begin(term uint64, id raft.ServerID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.term != term || h.stuck == nil {
		h.term, h.stuck = term, map[raft.ServerID]struct{}{}
	}
	if _, stuck := h.stuck[id]; stuck {
		return false
	}
	h.stuck[id] = struct{}{}
	h.running++
	return true
}

// told is called when the node is told to stand for election.
func (h *handovers) told(id raft.ServerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.stuck, id)
}

// end is called when Raft says how it went.
func (h *handovers) end(id raft.ServerID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if errors.Is(err, raft.ErrLeadershipTransferInProgress) { // it didn't begin
		delete(h.stuck, id)
		return
	}
	h.ended = time.Now()
}

// endless tells, of a Raft that takes itself for handing over, whether it can't be
// any more: whatever an attempt waits for when Raft has said how it went is over.
func (h *handovers) endless() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running == 0 && !h.ended.IsZero() && time.Since(h.ended) > lateTransfer
}

var (
	errAskedBefore = errors.New("replication to it stood when it was asked before: in this term it can't be asked again")
	errEndless     = errors.New("raft takes itself for handing the leadership over for ever, and refuses everything: start this process anew")
)

const termMark = '#'

var errLateHandover = errors.New("the leadership that was handed over is one of before")

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	r := t.heartbeats.raft.Load()
	if r == nil {
		return errLateHandover
	}
	t.handovers.told(id)
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
