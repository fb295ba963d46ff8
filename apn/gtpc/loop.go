package gtpc

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// loop is the life of one Serve. Its run method owns every field that isn't a
// channel.
type loop struct {
	s     *Server
	conn  Conn
	local netip.AddrPort // of conn; invalid when it doesn't tell

	arrivals chan arrival  // from the reader
	outcomes chan outcome  // from the workers
	orders   chan *request // from those who want something asked
	doubts   chan EchoPeer // peers to be asked for their restart counters
	gone     chan struct{} // closed when run has returned

	creates  class // requests that make sessions: they wait for all others
	others   class
	answers  answers  // transactions that peers began
	refusals refusals // of those, the Creates that found no room
	asked    asked    // transactions that we began
	echoes   echoes
	paths    paths
	restarts restarts // counters in answers to us
	claims   restarts // and in requests
	doubted  restarts // when peers were asked for theirs
	rules    glimpse  // for the names of peers
}

// class is the requests of one kind and the way to the workers that take it.
type class struct {
	queue
	out chan job // without buffer: what waits, waits in the queue
}

// maxAsked bounds the requests of ours that await an answer; further ones wait
// until they may begin.
const maxAsked = 8192

// maxRefusals bounds the refusals remembered, see refusals.
const maxRefusals = 16384

func newLoop(s *Server, conn Conn) *loop {
	return &loop{
		s: s, conn: conn, local: localAddr(conn),
		arrivals: make(chan arrival, 64),
		outcomes: make(chan outcome, s.cfg.Workers),
		orders:   make(chan *request),
		doubts:   make(chan EchoPeer, 64),
		gone:     make(chan struct{}),
		creates:  class{queue{most: s.cfg.Queue}, make(chan job)},
		others:   class{queue{most: s.cfg.Queue}, make(chan job)},
		answers:  newAnswers(s.cfg.AnswerTime, s.cfg.AnswerCount, s.cfg.AnswerBytes),
		refusals: newRefusals(s.cfg.AnswerTime/2, maxRefusals),
		asked:    newAsked(s.cfg.T3, s.cfg.N3),
		paths:    newPaths(),
		restarts: newRestarts(maxRestarts),
		claims:   newRestarts(maxRestarts),
		doubted:  newRestarts(maxRestarts),
		rules:    glimpse{rules: s.cfg.Rules},
	}
}

// run is the loop: every message, every timer and every order comes through
// here, one after the other, with one reading of the clock each.
func (l *loop) run(ctx context.Context) {
	defer close(l.gone)
	if l.s.cfg.EchoInterval > 0 {
		l.echoes.round = time.Now().Add(l.s.cfg.EchoInterval)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(l.untilNext(time.Now()))
		to, next := l.offer()
		orders := l.orders
		if len(l.asked.byKey) >= maxAsked {
			orders = nil
		}
		select {
		case <-ctx.Done():
			return
		case a := <-l.arrivals:
			l.arrive(time.Now(), a)
		case to.out() <- next:
			to.pop()
		case o := <-l.outcomes:
			l.finish(time.Now(), o)
		case r := <-orders:
			l.ask(time.Now(), r)
		case peer := <-l.doubts:
			l.doubt(time.Now(), peer)
		case <-timer.C:
			l.expire(time.Now())
		}
	}
}

// untilNext is how long nothing has to be done unless something arrives.
func (l *loop) untilNext(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	for _, timer := range [...]func() (time.Time, bool){
		l.echoes.next, l.asked.nextTimeout, l.answers.nextExpiry,
		func() (time.Time, bool) { return l.creates.deadline(l.s.cfg.QueueTime) },
	} {
		if at, ok := timer(); ok && at.Before(next) {
			next = at
		}
	}
	return max(0, next.Sub(now))
}

// expire does what is due.
func (l *loop) expire(now time.Time) {
	l.answers.expire(now)
	l.refuseLate(now)
	for {
		r, again, ok := l.asked.due(now)
		switch {
		case !ok:
			l.echo(now)
			return
		case again:
			l.s.counts.add(countRetransmitted, nil)
			l.send(r.to, r.bytes, r.imsi, string(r.procedure)+", repeated")
		default:
			l.conclude(now, r, nil, fmt.Errorf("%w: %s, asked %d times", ErrNoAnswer, r.to, r.sent))
		}
	}
}

// arrive takes one message.
func (l *loop) arrive(now time.Time, a arrival) {
	if a.dropped != "" {
		l.arrived(a, imsiOf(a.m), "dropped: "+a.dropped)
		return
	}
	l.heard(now, a.peer.Addr())
	if a.header {
		l.tellHeaders(a)
	}
	switch m := a.m.(type) {
	case *gtp.EchoRequest:
		l.arrived(a, "", "")
		l.answerEcho(now, a, m)
	case *gtp.OtherVersion:
		l.arrived(a, "", "")
		l.s.counts.add(countVersion, func() {
			l.s.log.Warn("GTP-C message of another version answered", "peer", a.peer, "version", m.Version, "type", m.Type)
		})
		l.send(a.peer, m.Marshal(), "", "version not supported")
	case *gtp.EchoResponse:
		if l.answered(now, a, echoing) {
			l.noteRestart(now, a.peer.Addr(), m.Recovery)
		}
	case *gtp.DeleteBearerResponse:
		if l.answered(now, a, deleting) {
			l.noteClaim(now, a.peer.Addr(), m.Recovery)
		}
	case *gtp.DeletePDPContextResponse: // has no restart counter
		l.answered(now, a, deleting)
	case *gtp.UpdateBearerResponse:
		if l.answered(now, a, updating) {
			l.noteClaim(now, a.peer.Addr(), m.Recovery)
		}
	case *gtp.VersionNotSupported:
		l.versionRefused(now, a)
	case *gtp.SupportedExtensionHeaders:
		l.arrived(a, "", "")
		l.s.counts.add(countExtensions, nil) // nothing of ours has extension headers
	case nil:
		l.arrived(a, "", "dropped: "+gtp.ReasonExtensionHeader)
	default:
		l.begin(now, a)
	}
}

// tellHeaders says which extension headers we comprehend to a peer that sent
// another (TS 29.060 6). It comes beside the answer, if there is one.
func (l *loop) tellHeaders(a arrival) {
	l.s.counts.add(countHeadersTold, nil)
	m := gtp.SupportedExtensionHeaders{Header: gtp.Header{Version: 1}}
	l.send(a.peer, m.Marshal(), "", "supported extension headers")
}

// begin starts a transaction of a peer's, or recognises one.
func (l *loop) begin(now time.Time, a arrival) {
	h := a.m.Head()
	j := job{key: key{a.peer, h.Version, h.Seq, h.Digest}, arrival: a}
	switch before, state := l.answers.get(now, j.key); state {
	case inFlight:
		l.s.counts.add(countInFlight, nil)
		l.arrived(a, imsiOf(a.m), "duplicate of a request that is being worked on")
		return
	case answeredBefore:
		l.arrived(a, before.imsi, "duplicate of a request that was answered")
		if before.response == nil {
			l.s.counts.add(countInFlight, nil)
			return
		}
		l.s.counts.add(countRepeated, nil)
		l.send(a.peer, before.response, before.imsi, "repeated")
		return
	}
	if isCreate(h.Version, h.Type) {
		l.beginCreate(now, j)
		return
	}
	if j.span = l.s.request(a); !l.others.push(now, j) {
		answered(j.span, 0)
		// Nothing is kept of it, so the peer's retransmission has its chance.
		l.s.drop(countOverload, a.peer, nil, fmt.Errorf("%d requests are waiting", len(l.others.jobs)))
		l.arrived(a, imsiOf(a.m), "dropped: "+countOverload)
		return
	}
	l.answers.begin(j.key)
	l.s.counts.add(countRequest, nil)
}

// finish ends a transaction of a peer's, or has it wait for the update that its
// command triggered.
func (l *loop) finish(now time.Time, o outcome) {
	j, reply := o.job, o.reply
	h := j.arrival.m.Head()
	l.arrived(j.arrival, reply.IMSI, reply.Comment)
	l.s.tallies.add(h.Version, procedureName(h), causeName(reply.Cause), j.arrival.name)
	switch {
	case reply.Update != nil:
		l.update(now, j, reply)
		l.s.since(j.span, spanAnswer, o.done)
		answered(j.span, gtp.CauseAccepted) // so far
	case reply.Datagram != nil:
		l.answers.done(now, j.key, answer{reply.Datagram, reply.IMSI})
		sent := l.send(j.key.peer, reply.Datagram, reply.IMSI, reply.Cause.String())
		l.measured(j.arrival, reply.Cause)
		if sent {
			l.s.since(j.span, spanAnswer, o.done)
			answered(j.span, reply.Cause)
		} else {
			answered(j.span, 0)
		}
	default:
		l.answers.forget(j.key)
		l.s.counts.add(countNoAnswer, nil)
		answered(j.span, 0)
	}
}

// measured tells how long a request took.
func (l *loop) measured(a arrival, cause gtp.Cause) {
	if l.s.cfg.Answered != nil {
		l.s.cfg.Answered(procedureName(a.m.Head()), causeName(cause), time.Since(a.at))
	}
}

// send is false for what was not sent.
func (l *loop) send(to netip.AddrPort, b []byte, imsi, comment string) bool {
	if b == nil {
		return false
	}
	// What was decided upon a state that another node has left behind would undo
	// sessions at the peer. It will ask again.
	if !l.s.cfg.Holds() {
		l.s.counts.add(countFenced, nil)
		return false
	}
	if _, err := l.conn.WriteToUDPAddrPort(b, to); err != nil {
		l.s.counts.add(countWriteError, func() { l.s.log.Warn("GTP-C write failed", "peer", to, "err", err) })
		return false
	}
	l.s.counts.add(countSent, nil)
	l.observe(Event{Time: time.Now(), Sent: true, Peer: to, Datagram: b, IMSI: imsi, Comment: comment})
	return true
}
