package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
)

// rounds knows which questions a majority has answered since they were asked.
//
// A leader may look at its own commit index for a reader as soon as a majority
// acknowledged, in its term, messages that it sent after the reader asked: any
// later leader needs the vote of one of them, which it can't have had yet, so that
// nothing was committed elsewhere before the question. What counts is when the
// message was sent. The acknowledgement of one that was on its way already tells
// how things stood before, which is how Raft's own VerifyLeader can say yes to a
// leader that is none any more (TestStaleRead).
//
// Questions are numbered instead of timed, so that nothing hangs on a clock, and
// every message says for all questions asked before it. Readers that ask while a
// round is under way share the next one.
type rounds struct {
	self    raft.ServerID
	voters  func() []raft.Server
	asked   atomic.Uint64 // the last question
	wanted  signal        // a question waits for messages to be sent
	changed event         // confirmed rose

	mu        sync.Mutex
	term      uint64
	answered  map[raft.ServerID]uint64 // the last question asked before a message of term that the member acknowledged
	confirmed uint64                   // the last question that a majority answered in term
}

func newRounds(self raft.ServerID, voters func() []raft.Server) *rounds {
	return &rounds{self: self, voters: voters, wanted: make(signal, 1)}
}

// ask numbers a question, and has it put.
func (r *rounds) ask() uint64 {
	q := r.asked.Add(1)
	r.wanted.wake()
	return q
}

// sending is what an acknowledgement of a message sent from now on will answer.
func (r *rounds) sending() uint64 { return r.asked.Load() }

// acknowledged notes that a member accepted this node as leader of term, answering
// a message before which question was the last.
func (r *rounds) acknowledged(id raft.ServerID, term, question uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if term < r.term {
		return
	}
	if term > r.term || r.answered == nil {
		r.term, r.answered, r.confirmed = term, map[raft.ServerID]uint64{}, 0
	}
	if question <= r.answered[id] {
		return // nobody has asked since
	}
	r.answered[id] = question
	if q := r.majority(); q > r.confirmed {
		r.confirmed = q
		r.changed.fire()
	}
}

// majority is the last question that enough voters have answered to be a majority
// with this node. The caller holds mu.
func (r *rounds) majority() uint64 {
	voters := 0
	var last []uint64
	for _, s := range r.voters() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID != r.self {
			last = append(last, r.answered[s.ID])
		}
	}
	others := voters / 2 // with this node itself, a majority
	if others == 0 || len(last) < others {
		return 0
	}
	slices.Sort(last)
	return last[len(last)-others]
}

// confirmedIn returns the term in which a majority answered a question, 0 for none
// yet.
func (r *rounds) confirmedIn(question uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answered == nil || r.confirmed < question {
		return 0
	}
	return r.term
}

// put has Raft send the messages that questions wait for, one round after the
// other. Without it they would wait for the next heartbeat, up to a fifth of the
// heartbeat timeout.
func (n *Node) put() {
	// VerifyLeader makes Raft send a heartbeat to every member at once, after
	// those that are on their way. What it answers is of no use here.
	n.rounds.put(n.ctx.Done(), n.cfg.HeartbeatTimeout/10, func() { n.raft.VerifyLeader() }, n.disk.stands)
}

// put calls send for each round, and waits until the round is over, but no longer
// than late.
//
// Raft's loop doesn't heed the calls while it writes the log; it has room for 64, and
// when they wait it can't take the members' votes on those before: the heartbeats
// stop, and with them the leadership. So nothing is sent while the disk stands for
// longer than a round may take.
func (r *rounds) put(done <-chan struct{}, late time.Duration, send func(), stands func(time.Duration) bool) {
	for {
		select {
		case <-r.wanted:
		case <-done:
			return
		}
		question, changed := r.sending(), r.changed.next()
		if !stands(late) {
			send()
		}
		for late := time.After(late); r.confirmedIn(question) == 0; changed = r.changed.next() {
			select {
			case <-changed:
				continue
			case <-late: // whoever waits for more is as well off with Raft's own heartbeats
			case <-done:
				return
			}
			break
		}
	}
}

// ReadIndex returns when this node has applied every command that was carried out
// before the call, anywhere: a View after it is linearizable. It is Barrier without
// an entry in the log: nothing is written, a majority only says that it knows of
// no other leader. What must hold when it is carried out, not when it is asked (a
// use, a lock, an address lease), is no matter for a read. The error is
// command.ErrNoQuorum.
func (n *Node) ReadIndex(ctx context.Context) error {
	return n.await(ctx, question{repeatable: true, read: true})
}

// errYoung: what earlier leaders committed is not known to be committed.
var errYoung = errors.New("this leader has committed nothing yet")

// leadRead answers how far a linearizable reader must have applied, if this node
// leads.
func (n *Node) leadRead(ctx context.Context) answer {
	asked := n.rounds.ask()
	if n.lease.sole.Load() && n.IsLeader() {
		return n.committed(ctx, n.raft.CurrentTerm())
	}
	for {
		role, changed := n.roleChange.next(), n.rounds.changed.next()
		if term := n.rounds.confirmedIn(asked); term != 0 {
			return n.committed(ctx, term)
		}
		if !n.IsLeader() {
			return answer{verdict: notDone, err: errNoLeader}
		}
		select {
		case <-changed:
		case <-role:
		case <-ctx.Done():
			return answer{verdict: notDone, err: context.Cause(ctx)}
		case <-n.ctx.Done():
			return answer{verdict: notDone, err: errClosed}
		}
	}
}

// committed answers with the last command committed, now that this node is known
// to have led in a term after the question. A leader knows what its predecessors
// committed when an entry of its own term is: until then, the log has to tell.
func (n *Node) committed(ctx context.Context, term uint64) answer {
	index, err := n.commits.upTo(n.raft.CommitIndex(), term, n.logs, &n.position.index)
	if err != nil {
		return n.lead(ctx, question{repeatable: true})
	}
	if err := n.position.changed.await(ctx, func() bool { return n.position.index.Load() >= index }); err != nil {
		return answer{verdict: notDone, err: err}
	}
	return answer{verdict: done, index: index, result: new(command.Result)}
}

// commits finds the last command in the log's committed part. Between commands lie
// entries of Raft's own, which no machine applies and no reader can wait for.
type commits struct {
	mu   sync.Mutex
	seen uint64 // index up to which the log was looked at
	last uint64 // of the last command up to there, or of a later one that was applied
}

// upTo returns the index of the last command up to commit, or of a later one that
// was applied here. The entry at commit must be of term or later.
func (c *commits) upTo(commit, term uint64, logs raft.LogStore, applied *atomic.Uint64) (uint64, error) {
	var l raft.Log
	if err := logs.GetLog(commit, &l); err != nil || l.Term < term {
		return 0, errYoung // or it is in a snapshot alone, or the store failed and ends the node
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := commit
	for l.Type != raft.LogCommand {
		last--
		// What is not in the log any more is in a snapshot, and so was applied.
		if last <= c.seen || last <= applied.Load() || logs.GetLog(last, &l) != nil {
			last = max(c.last, applied.Load())
			break
		}
	}
	if commit > c.seen {
		c.seen, c.last = commit, last
	}
	return last, nil
}
