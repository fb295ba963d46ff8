package barrel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/plgd-dev/go-coap/v3/message"
	"golang.org/x/time/rate"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
)

const (
	// handlerTimeout ends a request's work before the peer would repeat it (RFC
	// 7252 4.8: ACK_TIMEOUT), so that every response rides on its
	// acknowledgement. What the cluster couldn't do by then is answered 5.03,
	// and the barrel asks again.
	handlerTimeout = 1500 * time.Millisecond
	// maxHandlers bounds the requests of one barrel that are worked on.
	maxHandlers = 4
	// maxLocks bounds the locks that wait to be sent to one barrel. More are in
	// the state, which Run sends from.
	maxLocks = 8
	// lockRest is how long no lock is sent to a barrel that rejected one.
	lockRest = 5 * time.Second
)

// association is one barrel over DTLS. Its own goroutine, run, owns what isn't
// marked otherwise.
type association struct {
	server *Server
	id     identity
	from   netip.AddrPort
	order  uint64 // rises with every handshake begun here
	link   *link
	conn   *dtls.Conn
	events *rate.Limiter // of events that go into the log
	// tampers limits those events that lock, so that others can't crowd them out:
	// each leaves a lock behind, for ever.
	tampers *rate.Limiter

	recent  *recent
	working int // handlers under way
	nextID  uint16
	queue   []wire.LockOrder // to be sent after current; NSTART is 1 (RFC 7252 4.7)
	current *outgoing        // nil when nothing is on its way
	lock    wire.LockOrder   // that current carries
	rest    time.Time        // no lock before

	inbox   chan []byte
	answers chan answered
	locks   chan wire.LockOrder // by push
	cutting chan struct{}       // closed by cut
	done    chan struct{}       // closed when run has ended

	mu        sync.Mutex
	reason    string // guarded by mu: why it ends; set once
	admission string // guarded by mu: problem code of the last heartbeat, "ok", or "" before the first
	alarmed   bool   // guarded by mu: of a grant counter that is too high
	revoked   bool   // guarded by mu: only locks and what it still owes the ledger
}

// answered is what a handler made of a request.
type answered struct {
	to message.Message
	reply
}

func newAssociation(s *Server, id identity, from netip.AddrPort, l *link, conn *dtls.Conn) *association {
	return &association{
		server: s, id: id, from: from, link: l, conn: conn, events: rate.NewLimiter(1, 20), tampers: rate.NewLimiter(1, 8),
		recent: newRecent(), nextID: uint16(rand.Uint32()),
		inbox: make(chan []byte), answers: make(chan answered), locks: make(chan wire.LockOrder, maxLocks),
		cutting: make(chan struct{}), done: make(chan struct{}),
	}
}

// cut ends the association; the first reason is kept. It doesn't wait.
func (a *association) cut(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reason == "" {
		a.reason = reason
		close(a.cutting)
	}
}

func (a *association) why() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reason
}

// push hands a lock over to be sent. What doesn't fit is sent again out of the
// state.
func (a *association) push(l *command.Lock) {
	select {
	case a.locks <- lockOrder(l):
	default:
		a.server.counts.add("drop-lock-queue-full")
	}
}

// run talks to the barrel until the association ends.
func (a *association) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer close(a.done)
	defer tasks.Wait()
	// The library's Close waits for its own goroutines, which may take a second.
	defer func() { _ = a.conn.Close() }()
	defer cancel()
	tasks.Go(func() { a.read(ctx) })

	limit := a.server.cfg.Limits.IdleTimeout
	idle := time.NewTimer(limit)
	defer idle.Stop()
	resend := time.NewTimer(0)
	defer resend.Stop()
	for {
		if a.current != nil {
			resend.Reset(time.Until(a.current.due))
		} else {
			resend.Stop()
		}
		select {
		case <-ctx.Done():
			a.cut("the gateway closes the port")
			return
		case <-a.cutting:
			return
		case <-idle.C:
			a.cut("nothing was heard of it")
			return
		case b, ok := <-a.inbox:
			if !ok {
				a.cut("the barrel ended it")
				return
			}
			idle.Reset(limit)
			a.receive(ctx, &tasks, b, time.Now())
		case r := <-a.answers:
			a.working--
			a.respond(r, time.Now())
		case l := <-a.locks:
			a.enqueue(l, time.Now())
		case <-resend.C:
			a.overdue(time.Now())
		}
	}
}

// read passes messages on until the connection ends.
func (a *association) read(ctx context.Context) {
	defer close(a.inbox)
	buf := make([]byte, maxDatagram)
	for {
		n, err := a.conn.Read(buf)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, dtls.ErrConnClosed) {
			return
		} else if err != nil {
			a.server.counts.add("drop-record") // a warning alert, or a record too long
			continue
		}
		select {
		case a.inbox <- bytes.Clone(buf[:n]):
		case <-ctx.Done():
			return
		}
	}
}

// write sends a message. One that the network doesn't take is lost, as on any
// way.
func (a *association) write(b []byte) {
	if _, err := a.conn.Write(b); err != nil {
		a.server.counts.add("write-error")
	}
}

// receive takes one message in (RFC 7252 4.2, 4.3).
func (a *association) receive(ctx context.Context, tasks *sync.WaitGroup, b []byte, now time.Time) {
	m, err := decode(b)
	switch what := kindOf(m.Code); {
	case errors.Is(err, errNotCoAP):
		a.server.counts.add("drop-not-coap")
	case err != nil || what == isReserved || what == isEmpty && m.Type == message.Confirmable:
		// An empty confirmable message is a ping, and its Reset the pong.
		if err != nil || what == isReserved {
			a.server.counts.add("drop-format")
		}
		if m.Type == message.Confirmable {
			a.write(empty(message.Reset, m.MessageID))
		}
	case m.Type == message.Reset:
		a.reset(m, now)
	case what == isEmpty && m.Type == message.Acknowledgement:
		if a.current != nil && a.current.id == uint16(m.MessageID) {
			a.current.acknowledged(now)
		}
	case what == isResponse:
		a.response(m, now)
	case what == isRequest && (m.Type == message.Confirmable || m.Type == message.NonConfirmable):
		a.request(ctx, tasks, m, now)
	default:
		a.server.counts.add("drop-format")
	}
}

// request carries a request out, unless it did so before.
func (a *association) request(ctx context.Context, tasks *sync.WaitGroup, m message.Message, now time.Time) {
	id := uint16(m.MessageID)
	if before := a.recent.find(id, now); before != nil {
		a.server.counts.add("duplicate")
		if before.answer != nil && m.Type == message.Confirmable {
			a.write(before.answer)
		}
		return
	}
	if a.working >= maxHandlers {
		a.server.counts.add("drop-busy") // it comes again
		return
	}
	a.recent.add(id, m.Type, now)
	a.working++
	tasks.Go(func() {
		work, cancel := context.WithTimeout(ctx, handlerTimeout)
		defer cancel()
		select {
		case a.answers <- answered{m, a.server.handle(work, a, m)}:
		case <-ctx.Done():
		}
	})
}

// respond sends a reply: on the acknowledgement of a confirmable request, else
// by itself (RFC 7252 5.2.1, 5.2.3).
func (a *association) respond(r answered, now time.Time) {
	a.server.counts.add("answer-" + r.code.String())
	kind, id := message.Acknowledgement, uint16(r.to.MessageID)
	if r.to.Type == message.NonConfirmable {
		kind, id = message.NonConfirmable, a.newID()
	}
	b, err := answer(r.to, kind, id, r.reply)
	if err != nil {
		a.server.log.Error("an answer to a barrel can't be encoded", "barrel", a.id.barrel, "err", err)
		return
	}
	if before := a.recent.find(uint16(r.to.MessageID), now); before != nil {
		before.answer = b
	}
	a.write(b)
}

func (a *association) newID() uint16 {
	a.nextID++
	return a.nextID
}

// enqueue takes a lock in that is not on its way already.
func (a *association) enqueue(l wire.LockOrder, now time.Time) {
	same := func(o wire.LockOrder) bool { return o.ID == l.ID && o.Use == l.Use }
	switch {
	case a.current != nil && same(a.lock), slices.ContainsFunc(a.queue, same):
		return
	case a.server.isCarriedOut(l.ID), l.ID != 0 && now.Before(a.rest):
		return
	case len(a.queue) >= maxLocks:
		a.server.counts.add("drop-lock-queue-full")
		return
	}
	a.queue = append(a.queue, l)
	a.next(now)
}

// next sends the next lock of the queue, if nothing is on its way.
func (a *association) next(now time.Time) {
	for a.current == nil && len(a.queue) > 0 {
		a.lock, a.queue = a.queue[0], a.queue[1:]
		o := &outgoing{id: a.newID(), token: make(message.Token, 4)}
		for i := range o.token {
			o.token[i] = byte(rand.Uint32())
		}
		var err error
		if o.raw, err = putLock(o.id, o.token, a.lock); err != nil {
			a.server.log.Error("a lock can't be encoded", "barrel", a.id.barrel, "lock", a.lock.ID, "err", err)
			continue
		}
		o.begin(now, rand.Float64())
		a.current = o
		a.write(o.raw)
	}
}

// overdue repeats the lock that is on its way, or gives this exchange up: Run
// begins another.
func (a *association) overdue(now time.Time) {
	if a.current == nil || now.Before(a.current.due) {
		return
	}
	if a.current.again() {
		a.server.counts.add("lock-repeated")
		a.write(a.current.raw)
		return
	}
	a.server.counts.add("lock-unanswered")
	a.current = nil
	a.next(now)
}

// reset: the barrel has no context for a message of ours (RFC 7252 4.2).
func (a *association) reset(m message.Message, now time.Time) {
	if a.current != nil && a.current.id == uint16(m.MessageID) {
		a.server.counts.add("lock-rejected")
		a.current, a.rest = nil, now.Add(lockRest)
		a.next(now)
	}
}

// response matches a response to the lock that is on its way (RFC 7252 5.3.2).
func (a *association) response(m message.Message, now time.Time) {
	o := a.current
	ours := o != nil && bytes.Equal(m.Token, o.token) && (m.Type != message.Acknowledgement || uint16(m.MessageID) == o.id)
	if m.Type == message.Confirmable {
		kind := message.Reset
		if ours {
			kind = message.Acknowledgement
		}
		a.write(empty(kind, m.MessageID))
	}
	if !ours {
		a.server.counts.add("drop-response")
		return
	}
	a.current = nil
	if byte(m.Code)>>5 == 2 {
		a.server.log.Info("lock carried out", "barrel", a.id.barrel, "lock", a.lock.ID, "use", a.lock.Use)
		a.server.noteCarriedOut(a.id.barrel, a.lock.ID)
	} else {
		a.server.counts.add("lock-rejected")
		a.server.log.Warn("the barrel doesn't lock", "barrel", a.id.barrel, "lock", a.lock.ID, "code", m.Code.String())
		a.rest = now.Add(lockRest)
	}
	a.next(now)
}
