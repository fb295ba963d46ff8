package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealedge/sealedge/cluster/command"
)

// ErrTooLarge: the command is longer than MaxCommandSize; it was not carried out.
var ErrTooLarge = fmt.Errorf("command is longer than %d bytes", MaxCommandSize)

var (
	errNoLeader = errors.New("no leader is known")
	errNoLease  = errors.New("this node leads, but hasn't heard from a majority lately")
	errClosed   = errors.New("this node is stopping")
	errTimeout  = errors.New("no answer in the time allowed")
)

// Propose has a command carried out and returns what it did, or an error:
//
//   - command.ErrNoQuorum: it was not carried out and never will be.
//   - command.ErrUnknownOutcome: it may have been, or may be yet.
//   - command.ErrUnknownCommand, command.ErrLevel, command.ErrNoRoom, ErrTooLarge: the leader can't
//     take this command; it was not carried out.
//
// It takes as long as ctx allows, and at most Config.ApplyTimeout; in that time it
// waits for a leader to be elected. A command that has a request id is sent again
// when an attempt at another node ended without an answer, because the machine
// carries it out once; one without is not. The leader sets the command's time. When Propose
// returns a result, View on this node shows it, unless this node is too far
// behind to catch up in the time allowed.
func (n *Node) Propose(ctx context.Context, c *command.Command) (r *command.Result, err error) {
	if took := n.cfg.Timings.Propose; took != nil {
		defer func(begun time.Time) { took(time.Since(begun), err) }(time.Now())
	}
	ctx, span := n.span(ctx, spanPropose)
	if span.IsRecording() {
		defer func() { proposed(span, c, r, err) }()
	}
	raw := command.Marshal(c)
	if len(raw) > MaxCommandSize {
		return nil, ErrTooLarge
	}
	a, err := n.ask(ctx, question{raw: raw, repeatable: c.GetRequestId() != ""})
	return a.result, err
}

// While returns a context with which Propose makes an attempt only at a moment at
// which held is true, and otherwise waits for one. Who holds an address has what
// came to that address carried out like this: a node that stood still, and has
// requests in hand that its successor was sent again meanwhile, leaves them alone.
func While(ctx context.Context, held func() bool) context.Context {
	return context.WithValue(ctx, whileKey{}, held)
}

type whileKey struct{}

// errNotHeld: see While.
var errNotHeld = errors.New("this node doesn't hold the address that this came to")

// Barrier returns when this node has applied every command that was carried out
// before the call, anywhere: a View after it is linearizable. The error is
// command.ErrNoQuorum.
func (n *Node) Barrier(ctx context.Context) error {
	return n.await(ctx, question{repeatable: true})
}

// await asks how far to apply, and applies.
func (n *Node) await(ctx context.Context, q question) error {
	a, err := n.ask(ctx, q)
	if errors.Is(err, command.ErrUnknownOutcome) {
		err = fmt.Errorf("%w: linearizable read: %w", command.ErrNoQuorum, errTimeout) // it changes nothing
	}
	if err == nil && n.position.index.Load() < a.index {
		err = fmt.Errorf("%w: this node is behind the leader", command.ErrNoQuorum)
	}
	return err
}

// question is what the leader is asked: to carry out a command or, without one,
// how far a linearizable reader must have applied.
type question struct {
	raw        []byte // the command's envelope; nil for a barrier
	read       bool   // a barrier that needs no entry in the log
	repeatable bool   // asking twice does no harm
}

// verdict is what one attempt came to.
type verdict byte

const (
	done     verdict = iota
	notDone          // certainly not carried out; another attempt may succeed
	unknown          // may be carried out, even later
	rejected         // certainly not carried out; another attempt would end alike
)

type answer struct {
	verdict verdict
	index   uint64 // of the log, up to which the asking node must apply
	result  *command.Result
	err     error     // unless done
	applied *interval // when it was, on the leader; nil: nobody traces
}

// ask makes attempts until one ends for good or the time is up.
func (n *Node) ask(ctx context.Context, q question) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, n.cfg.ApplyTimeout, errTimeout)
	defer cancel()
	open := false // an earlier attempt may be carried out yet
	fail := func(why ...error) (answer, error) {
		if open {
			return answer{}, fmt.Errorf("%w (%w)", command.ErrUnknownOutcome, errors.Join(why...))
		}
		return answer{}, fmt.Errorf("%w (%w)", command.ErrNoQuorum, errors.Join(why...))
	}
	held, fenced := ctx.Value(whileKey{}).(func() bool)
	for {
		role, led := n.roleChange.next(), n.IsLeader()
		a := answer{verdict: notDone, err: errNotHeld}
		if !fenced || held() {
			a = n.attempt(ctx, q)
		}
		switch a.verdict {
		case done:
			return a, nil
		case rejected:
			if open {
				return fail(a.err)
			}
			return answer{}, a.err
		case unknown:
			// A leader that lost its majority may have stood still for long. Who asked it
			// may have asked another node since, and have had undone what was done; its
			// request id may be forgotten. Repeated now, it would be done once more. A
			// barrier does nothing.
			if open = true; !q.repeatable || led && q.raw != nil {
				return fail(a.err)
			}
		}
		select {
		case <-role:
		case <-time.After(n.cfg.HeartbeatTimeout / 4): // the other node's view changes unseen
		case <-ctx.Done():
			return fail(context.Cause(ctx), a.err)
		case <-n.ctx.Done():
			return fail(errClosed)
		}
	}
}

// attempt asks whoever leads now.
func (n *Node) attempt(ctx context.Context, q question) answer {
	if n.IsLeader() {
		return n.lead(ctx, q)
	}
	name, _ := n.Leader()
	peer, ok := n.cfg.peer(name)
	if !ok || name == n.cfg.NodeName {
		return answer{verdict: notDone, err: errNoLeader}
	}
	a := n.forward(ctx, peer, q)
	if a.verdict == done {
		// What was carried out stays so if this node doesn't catch up in time.
		_, span := n.span(ctx, spanCatchUp)
		defer span.End()
		_ = n.position.changed.await(ctx, func() bool { return n.position.index.Load() >= a.index })
	}
	return a
}

// proposal is a question on its way through this node's log.
type proposal struct {
	command *command.Command // nil for a barrier
	answer  chan answer      // takes one without blocking
}

// lead asks this node's own Raft, which must be the leader's.
func (n *Node) lead(ctx context.Context, q question) (a answer) {
	if q.read {
		return n.leadRead(ctx)
	}
	if q.raw != nil {
		var span trace.Span
		if ctx, span = n.span(ctx, spanLead); span.IsRecording() {
			defer func() {
				n.tellApplied(ctx, a.applied)
				ended(span, a.verdict.code())
			}()
		}
	}
	// An entry appended by a leader that lost its majority stays in its log, and
	// may be committed whenever that node comes back. Refusing early is the only
	// way to a certain no.
	if !n.lease.held(n.raft.CurrentTerm()) {
		return answer{verdict: notDone, err: errNoLease}
	}
	p := &proposal{answer: make(chan answer, 1)}
	if q.raw != nil {
		// What can't be decoded would stop every node: it must not get into the log.
		c, payload, err := command.Decode(q.raw)
		if err != nil {
			return answer{verdict: rejected, err: err}
		}
		known := n.knownToAll(c, payload)
		if known != nil {
			// Who has just come to lead may have to apply yet what raised the level.
			if a := n.committed(ctx, n.raft.CurrentTerm()); a.verdict != done {
				return answer{verdict: notDone, err: errors.Join(known, a.err)}
			}
			known = n.knownToAll(c, payload)
		}
		if err := errors.Join(known, n.admits(c, payload)); err != nil {
			return answer{verdict: rejected, err: err}
		}
		if err := n.mayAppend(payload); err != nil {
			return answer{verdict: notDone, err: err}
		}
		p.command = c
	}
	select {
	case n.proposals <- p:
	case <-ctx.Done():
		return answer{verdict: notDone, err: context.Cause(ctx)}
	case <-n.ctx.Done():
		return answer{verdict: notDone, err: errClosed}
	}
	var err error
	select {
	case a := <-p.answer:
		return a
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-n.down:
		err = errClosed
	}
	select {
	case a := <-p.answer:
		return a
	default:
		return answer{verdict: unknown, err: err}
	}
}

// inFlight is a proposal that Raft took.
type inFlight struct {
	proposal *proposal
	future   raft.Future
}

// propose stamps and appends proposals, one after the other, so that time in the
// log never goes back within a term. (Between terms the machine sees to it.)
func (n *Node) propose() {
	defer close(n.pending)
	last := int64(0)
	for {
		select {
		case p := <-n.proposals:
			f := inFlight{proposal: p}
			if p.command == nil {
				f.future = n.raft.Barrier(n.cfg.ApplyTimeout)
			} else {
				if last == 0 && !n.awaitClock() {
					p.answer <- answer{verdict: notDone, err: errClosed}
					return
				}
				now, _ := n.cfg.judge(n.cfg.now().UnixNano())
				last = max(last, n.position.clock.Load(), now)
				p.command.LeaderTime = last
				f.future = n.raft.Apply(command.Marshal(p.command), n.cfg.ApplyTimeout)
			}
			select {
			case n.pending <- f:
			case <-n.down:
				return
			}
		case <-n.ctx.Done():
			return
		}
	}
}

// settle answers proposals in the order in which Raft took them, which is that in
// which Raft answers. Raft never answers what it had queued when it was shut
// down; Close therefore waits for settled before, and this goroutine is waited
// for by nobody else.
func (n *Node) settle() {
	defer close(n.settled)
	for f := range n.pending {
		f.proposal.answer <- n.outcome(f.future)
	}
}

// outcome reads Raft's answer. What isn't known to come from before the entry was
// appended counts as unknown.
func (n *Node) outcome(f raft.Future) answer {
	switch err := f.Error(); {
	case err == nil:
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		if n.handovers.endless() {
			n.fatal(errEndless)
		}
		return answer{verdict: notDone, err: err}
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout):
		return answer{verdict: notDone, err: err}
	default:
		return answer{verdict: unknown, err: err}
	}
	af, ok := f.(raft.ApplyFuture)
	if !ok || af.Response() == nil { // a barrier
		return answer{verdict: done, index: n.position.index.Load()}
	}
	switch r := af.Response().(type) {
	case applied:
		return answer{verdict: done, index: r.index, result: r.result, applied: r.during}
	case error: // committed, but this node must stop
		return answer{verdict: unknown, err: r}
	default:
		return answer{verdict: unknown, err: fmt.Errorf("unexpected response %T", r)}
	}
}
