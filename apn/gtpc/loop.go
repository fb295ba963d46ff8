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
	s    *Server
	conn Conn

	arrivals chan arrival  // from the reader
	jobs     chan job      // to the workers
	outcomes chan outcome  // from the workers
	orders   chan *request // from those who want something asked
	gone     chan struct{} // closed when run has returned

	answers  answers               // transactions that peers began
	asked    map[askedKey]*request // transactions that we began
	timeouts []timeout             // theirs, in the order of time
	nextSeq  uint32
	echoAt   time.Time            // when peers are asked next; zero: never
	restarts map[netip.Addr]uint8 // last restart counters heard
}

func newLoop(s *Server, conn Conn) *loop {
	return &loop{
		s: s, conn: conn,
		arrivals: make(chan arrival, s.cfg.Queue),
		jobs:     make(chan job, s.cfg.Queue),
		outcomes: make(chan outcome, s.cfg.Workers),
		orders:   make(chan *request),
		gone:     make(chan struct{}),
		answers:  newAnswers(s.cfg.AnswerTime, s.cfg.AnswerCount),
		asked:    map[askedKey]*request{},
		nextSeq:  firstSequence(),
		restarts: map[netip.Addr]uint8{},
	}
}

// run is the loop: every message, every timer and every order comes through
// here, one after the other, with one reading of the clock each.
func (l *loop) run(ctx context.Context) {
	defer close(l.gone)
	if l.s.cfg.EchoInterval > 0 {
		l.echoAt = time.Now().Add(l.s.cfg.EchoInterval)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(l.untilNext(time.Now()))
		select {
		case <-ctx.Done():
			return
		case a := <-l.arrivals:
			l.arrive(time.Now(), a)
		case o := <-l.outcomes:
			l.finish(time.Now(), o)
		case r := <-l.orders:
			l.ask(time.Now(), r)
		case <-timer.C:
			l.expire(time.Now())
		}
	}
}

// untilNext is how long nothing has to be done unless something arrives.
func (l *loop) untilNext(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	if !l.echoAt.IsZero() && l.echoAt.Before(next) {
		next = l.echoAt
	}
	if len(l.timeouts) > 0 && l.timeouts[0].due.Before(next) {
		next = l.timeouts[0].due
	}
	if at, ok := l.answers.nextExpiry(); ok && at.Before(next) {
		next = at
	}
	return max(0, next.Sub(now))
}

// expire does what is due.
func (l *loop) expire(now time.Time) {
	l.answers.expire(now)
	l.resend(now)
	if !l.echoAt.IsZero() && !now.Before(l.echoAt) {
		l.echoAt = now.Add(l.s.cfg.EchoInterval)
		l.echoPeers(now)
	}
}

// arrive takes one message.
func (l *loop) arrive(now time.Time, a arrival) {
	switch m := a.m.(type) {
	case *gtp.EchoRequest:
		// Answered at once and not remembered: the answer is the present.
		l.s.counts.add(countEcho, nil)
		if m.Recovery != nil {
			l.noteRestart(a.peer.Addr(), *m.Recovery)
		}
		response := gtp.EchoResponse{Header: gtp.Header{Seq: m.Seq}, Recovery: l.s.cfg.RestartCounter()}
		l.send(a.peer, response.Marshal())
	case *gtp.OtherVersion:
		l.s.counts.add(countVersion, func() {
			l.s.log.Warn("GTP-C message of another version answered", "peer", a.peer, "version", m.Version, "type", m.Type)
		})
		l.send(a.peer, m.Marshal())
	case *gtp.EchoResponse:
		if l.answered(a.peer, m.Header, nil) {
			l.noteRestart(a.peer.Addr(), m.Recovery)
		}
	case *gtp.DeleteBearerResponse:
		l.answered(a.peer, m.Header, outcomeOf(m))
	case *gtp.VersionNotSupported:
		l.versionRefused(a.peer, m.Header)
	default:
		l.begin(now, a)
	}
}

// begin starts a transaction of a peer's, or recognises one.
func (l *loop) begin(now time.Time, a arrival) {
	h := a.m.Head()
	k := key{a.peer, h.Seq, h.Digest}
	switch response, state := l.answers.get(now, k); state {
	case inFlight:
		l.s.counts.add(countInFlight, nil)
		return
	case answeredBefore:
		l.s.counts.add(countRepeated, nil)
		l.send(a.peer, response)
		return
	}
	select {
	case l.jobs <- job{k, a}:
		l.answers.begin(k)
		l.s.counts.add(countRequest, nil)
	default:
		// Nothing is kept of it, so the peer's retransmission has its chance.
		l.s.drop(countOverload, a.peer, nil, fmt.Errorf("%d requests are waiting", len(l.jobs)))
	}
}

// finish ends a transaction of a peer's.
func (l *loop) finish(now time.Time, o outcome) {
	if o.response == nil {
		l.answers.forget(o.key)
		l.s.counts.add(countNoAnswer, nil)
		return
	}
	l.answers.done(now, o.key, o.response)
	l.send(o.key.peer, o.response)
}

func (l *loop) send(to netip.AddrPort, b []byte) {
	if b == nil {
		return
	}
	// What was decided upon a state that another node has left behind would undo
	// sessions at the peer. It will ask again.
	if !l.s.cfg.Holds() {
		l.s.counts.add(countFenced, nil)
		return
	}
	if _, err := l.conn.WriteToUDPAddrPort(b, to); err != nil {
		l.s.counts.add(countWriteError, func() { l.s.log.Warn("GTP-C write failed", "peer", to, "err", err) })
		return
	}
	l.s.counts.add(countSent, nil)
}
