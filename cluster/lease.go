package cluster

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// lease knows until when this node may take itself for the only leader.
//
// A follower that acknowledged an AppendEntries of term T, sent at s, starts no
// election, and grants no vote, before s plus the heartbeat timeout. Of a
// majority that acknowledged, every later leader needs one; so none exists before
// the quorum's oldest such s plus the heartbeat timeout, and a lease shorter than
// that is safe however late the acknowledgement came or how long this process
// slept. A planned transfer of leadership is the exception, because it makes
// followers vote at once; Node.StepDown gives the lease up first. A follower that
// restarts forgets; Open therefore waits one lease before it takes part.
//
// Time is the monotonic clock, which a suspended virtual machine may stop.
type lease struct {
	length time.Duration
	base   time.Time // reference of the monotonic times below
	self   raft.ServerID
	voters func() []raft.Server
	begun  func() // called when the lease begins, also after a break

	until atomic.Int64  // nanoseconds after base
	term  atomic.Uint64 // that until belongs to; stored after until is reset
	sole  atomic.Bool   // this node is the only voter

	mu   sync.Mutex
	acks map[raft.ServerID]time.Duration // when the newest acknowledged message of term was sent
}

func newLease(length time.Duration, self string, begun func()) *lease {
	return &lease{length: length, base: time.Now(), self: raft.ServerID(self), begun: begun}
}

// attach starts counting, once Raft can tell the voters.
func (l *lease) attach(voters func() []raft.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.voters = voters
	l.count()
}

// recount looks at the voters again, after members changed. That sole is late
// does no harm: another node than the only voter needs that one's vote, and a
// leader that votes for another leads no more.
func (l *lease) recount() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count()
}

func (l *lease) count() {
	voters, self := 0, false
	for _, s := range l.voters() {
		if s.Suffrage == raft.Voter {
			voters++
			self = self || s.ID == l.self
		}
	}
	l.sole.Store(self && voters == 1)
}

// acknowledged notes that a voter accepted this node as leader of term, answering
// a message sent at sent.
func (l *lease) acknowledged(id raft.ServerID, term uint64, sent time.Time) {
	if l.extend(id, term, sent.Sub(l.base)) {
		l.begun()
	}
}

func (l *lease) extend(id raft.ServerID, term uint64, sent time.Duration) (began bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.voters == nil || term < l.term.Load() {
		return false
	}
	if term > l.term.Load() {
		l.until.Store(math.MinInt64)
		l.term.Store(term)
		l.acks = map[raft.ServerID]time.Duration{}
	}
	if old, ok := l.acks[id]; ok && old >= sent {
		return false
	}
	l.acks[id] = sent

	voters := 0
	var times []time.Duration
	for _, s := range l.voters() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if at, ok := l.acks[s.ID]; ok && s.ID != l.self {
			times = append(times, at)
		}
	}
	others := voters / 2 // with this node itself, a majority
	if others == 0 || len(times) < others {
		return false
	}
	slices.Sort(times)
	until := times[len(times)-others] + l.length
	began = l.until.Load() < int64(time.Since(l.base)) && time.Since(l.base) < until
	l.until.Store(max(l.until.Load(), int64(until)))
	return began
}

// held tells whether the lease of a term is unexpired.
func (l *lease) held(term uint64) bool {
	if l.sole.Load() {
		return true
	}
	// until is read between two looks at the term: it never rises for an older one.
	return l.term.Load() == term && int64(time.Since(l.base)) < l.until.Load() && l.term.Load() == term
}

// heard tells whether a member acknowledged within the lease.
func (l *lease) heard(id raft.ServerID) bool { return l.heardWithin(id, l.length) }

// heardWithin tells whether a member acknowledged a message sent within d.
func (l *lease) heardWithin(id raft.ServerID, d time.Duration) bool {
	return l.heardSince(id, time.Now().Add(-d))
}

// heardSince tells whether a member acknowledged a message sent after t.
func (l *lease) heardSince(id raft.ServerID, t time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.acks[id]
	return ok && at > t.Sub(l.base)
}

// transport is Raft's network transport, with a lease, and what readers wait for,
// kept from the acknowledgements that pass through it.
type transport struct {
	*raft.NetworkTransport
	lease    *lease
	progress *progress
	rounds   *rounds

	heartbeats *heartbeats
	handovers  *handovers
}

// Close implements raft.WithClose. Raft would close the transport before Node knows
// that Raft has stopped; Node closes it.
func (transport) Close() error { return nil }

// AppendEntries implements raft.Transport. With one request in flight a follower,
// this is the way of both heartbeats and entries.
func (t transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent, question := time.Now(), t.rounds.sending()
	// Raft reuses resp between calls, and the decoder leaves a field alone that
	// the bytes lack: what is judged must be from this answer.
	*resp = raft.AppendEntriesResponse{}
	if err := t.NetworkTransport.AppendEntries(id, target, req, resp); err != nil {
		return err
	}
	// Only success renews the follower's promise: a refusal for a gap in its log
	// doesn't reset its election timer.
	if resp.Success && resp.Term == req.Term {
		t.lease.acknowledged(id, req.Term, sent)
		t.progress.acknowledged(id, req)
		t.rounds.acknowledged(id, req.Term, question)
	}
	return nil
}
