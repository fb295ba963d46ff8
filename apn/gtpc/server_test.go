package gtpc

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// What must be met with silence is, and counts under its reason.
func TestDrops(t *testing.T) {
	s := gtptest.New()
	for reason, d := range map[string]datagram{
		countPeerNotAllowed:      {foreign, s.Echo()},
		gtp.ReasonShort:          {sgw, []byte{0x48, 32, 0}},
		gtp.ReasonUnknownType:    {sgw, s.Request(255, 1)},
		gtp.ReasonUnexpectedType: {sgw, s.Request(95, 1)},
		gtp.ReasonOtherVersion:   {sgw, []byte{0x70, 3, 0, 0, 0, 0, 0, 0}},
		gtp.ReasonBadResponse:    {sgw, s.Request(gtp.TypeEchoResponse, 1)},
		countOrphan:              {sgw, []byte{0x40, 2, 0, 9, 0, 0, 1, 0, 3, 0, 1, 0, 3}},
	} {
		inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
			r.from(d.peer, d.b)
			if sent := r.conn.sent(); len(sent) != 0 || r.count(reason) != 1 {
				t.Errorf("%s: %d answers, counters %v", reason, len(sent), r.Counters())
			}
			if !strings.Contains(r.log.String(), reason) {
				t.Errorf("%s: not logged: %s", reason, r.log)
			}
		})
	}
	// A mapped IPv4 address is the IPv4 address.
	inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
		r.from(netip.MustParseAddrPort("[::ffff:127.0.20.1]:2123"), s.Echo())
		if len(r.conn.sent()) != 1 {
			t.Error("a mapped address is not recognised")
		}
	})
}

// A flood writes a handful of lines, and counts each.
func TestFloodIsLoggedSparsely(t *testing.T) {
	inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
		for range 500 {
			r.from(foreign, []byte("x"))
		}
		after(time.Second)
		if n := r.log.lines(); n != logFirst || r.count(countPeerNotAllowed) != 500 {
			t.Errorf("%d lines for %d datagrams", n, r.count(countPeerNotAllowed))
		}
	})
}

// blocking is a handler that answers each request when it is let go, with the
// number of the call.
type blocking struct {
	let   chan struct{}
	calls chan gtp.Message
}

func newBlocking() *blocking {
	return &blocking{let: make(chan struct{}), calls: make(chan gtp.Message, 100)}
}

func (b *blocking) Handle(ctx context.Context, _ netip.AddrPort, m gtp.Message) Reply {
	b.calls <- m
	select {
	case <-b.let:
		return Reply{Datagram: []byte{byte(len(b.calls)), byte(m.Head().Seq)}}
	case <-ctx.Done():
		return Reply{}
	}
}

func TestDuplicates(t *testing.T) {
	gtptest.Shows(t,
		"29.274/reliable-delivery/a-retransmission-gets-the-response-of-before",
		"29.274/reliable-delivery/a-retransmission-while-the-request-is-being-carried-out",
		"29.274/addresses-and-ports/responses-go-where-the-request-came-from",
	)
	synctest.Test(t, func(t *testing.T) {
		h := newBlocking()
		r := newRig(t, Config{AnswerTime: 30 * time.Second}, h)
		s := gtptest.New()
		request := s.Create()

		for range 3 {
			r.from(sgw, request)
		}
		if sent := r.conn.sent(); len(sent) != 0 || len(h.calls) != 1 || r.count(countInFlight) != 2 {
			t.Fatalf("in flight: %d answers, %d calls, %v", len(sent), len(h.calls), r.Counters())
		}
		h.let <- struct{}{}
		first := r.conn.sent()
		if len(first) != 1 {
			t.Fatalf("%d answers", len(first))
		}
		r.from(sgw, request)
		again := r.conn.sent()
		if len(again) != 1 || !bytes.Equal(again[0].b, first[0].b) || len(h.calls) != 1 || r.count(countRepeated) != 1 {
			t.Errorf("finished: %d answers, %d calls", len(again), len(h.calls))
		}

		// The same sequence number with other content, the same content from
		// another port or another peer: other requests.
		other := s
		other.UserTEID++
		r.from(sgw, other.Create())
		r.from(netip.AddrPortFrom(sgw.Addr(), 40000), request)
		r.from(another, request)
		if sent := r.conn.sent(); len(sent) != 0 || len(h.calls) != 4 {
			t.Errorf("others: %d answers, %d calls", len(sent), len(h.calls))
		}
		for range 3 {
			h.let <- struct{}{}
		}
		to := map[netip.AddrPort]int{}
		for _, d := range r.conn.sent() {
			to[d.peer]++
		}
		if len(to) != 3 || to[sgw] != 1 || to[another] != 1 || to[netip.AddrPortFrom(sgw.Addr(), 40000)] != 1 {
			t.Errorf("answered %v, want one answer to each", to)
		}

		// An answer is forgotten when no retransmission can come any more.
		after(30 * time.Second)
		r.from(sgw, request)
		if sent := r.conn.sent(); len(sent) != 0 || len(h.calls) != 5 {
			t.Errorf("forgotten: %d answers, %d calls", len(sent), len(h.calls))
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A handler that says nothing leaves the request to its retransmission.
func TestNoAnswerIsNotRemembered(t *testing.T) {
	calls := 0
	h := handlerFunc(func(context.Context, netip.AddrPort, gtp.Message) Reply {
		if calls++; calls == 1 {
			return Reply{}
		}
		return Reply{Datagram: []byte("answer")}
	})
	inBubble(t, Config{Workers: 1}, h, func(t *testing.T, r *rig) {
		for range 2 {
			r.from(sgw, gtptest.New().Create())
			synctest.Wait()
		}
		if sent := r.conn.sent(); len(sent) != 1 || calls != 2 || r.count(countNoAnswer) != 1 {
			t.Errorf("%d answers, %d calls", len(sent), calls)
		}
	})
}

// A panic is logged with the bytes that brought it about, and ends nothing.
func TestHandlerPanic(t *testing.T) {
	h := handlerFunc(func(_ context.Context, _ netip.AddrPort, m gtp.Message) Reply {
		if m.Head().Seq == 1 {
			panic("boom")
		}
		return Reply{Datagram: []byte("answer")}
	})
	inBubble(t, Config{Workers: 1}, h, func(t *testing.T, r *rig) {
		s := gtptest.New()
		s.Seq = 1
		r.from(sgw, s.Create())
		s.Seq = 2
		r.from(sgw, s.Create())
		if sent := r.conn.sent(); len(sent) != 1 || r.count(countHandlerPanic) != 1 {
			t.Errorf("%d answers, %v", len(sent), r.Counters())
		}
		if log := r.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "bytes=4820") {
			t.Errorf("the log lacks panic or bytes: %s", log)
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	a := newAnswers(time.Minute, 3, 1<<20)
	k := func(n int) key { return key{peer: sgw, seq: uint32(n)} }
	for n := range 5 {
		a.begin(k(n))
		a.done(now, k(n), answer{response: []byte{byte(n)}})
	}
	for n, want := range []transactionState{unheard, unheard, answeredBefore, answeredBefore, answeredBefore} {
		if _, got := a.get(now, k(n)); got != want {
			t.Errorf("answer %d: %d, want %d", n, got, want)
		}
	}
	if at, ok := a.nextExpiry(); !ok || at != now.Add(time.Minute) {
		t.Errorf("next expiry %v %v", at, ok)
	}
	a.begin(k(9))
	a.expire(now.Add(time.Minute))
	if _, got := a.get(now, k(9)); got != inFlight || len(a.byKey) != 1 || a.order != nil {
		t.Errorf("after expiry: %d, %d kept", got, len(a.byKey))
	}
}

// The address moves away and comes back: Serve ends and starts anew, on another
// socket, with nothing of before but the counters.
func TestServeAgain(t *testing.T) {
	calls := 0
	h := handlerFunc(func(context.Context, netip.AddrPort, gtp.Message) Reply {
		calls++
		return Reply{Datagram: []byte("answer")}
	})
	inBubble(t, Config{Workers: 1}, h, func(t *testing.T, r *rig) {
		request := gtptest.New().Create()
		r.from(sgw, request)
		r.conn.sent()
		if err := r.Serve(t.Context(), newFakeConn()); err == nil {
			t.Error("served twice at once")
		}
		if err := r.stop(); err != nil {
			t.Errorf("first Serve: %v", err)
		}
		r.serve(t)
		r.from(sgw, request)
		if sent := r.conn.sent(); len(sent) != 1 || calls != 2 || r.count(countSent) != 2 {
			t.Errorf("%d answers, %d calls, %v", len(sent), calls, r.Counters())
		}
	})
}

// Reads fail now and then (ICMP); only a socket that keeps failing, or that is
// closed under us, ends Serve with an error.
func TestReadErrors(t *testing.T) {
	inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
		for range 5 {
			for range maxConsecutiveErrors {
				r.conn.in <- errors.New("connection refused")
			}
			r.from(sgw, gtptest.New().Echo())
		}
		if sent := r.conn.sent(); len(sent) != 5 {
			t.Errorf("%d answers of 5", len(sent))
		}
	})
	for name, breakIt := range map[string]func(*fakeConn){
		"fails for good": func(c *fakeConn) {
			for range maxConsecutiveErrors + 1 {
				c.in <- errors.New("no buffer space")
			}
		},
		"closed": func(c *fakeConn) { c.Close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			s, conn := New(Config{RestartCounter: three}, never(t)), newFakeConn()
			breakIt(conn)
			if err := s.Serve(t.Context(), conn); err == nil {
				t.Errorf("%s: Serve returned nil", name)
			}
			select {
			case <-conn.closed:
			default:
				t.Errorf("%s: the socket was left open", name)
			}
		})
	}
	inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
		r.conn.broken = true
		r.from(sgw, gtptest.New().Echo())
		r.conn.sent()
		if r.count(countWriteError) != 1 {
			t.Errorf("%v", r.Counters())
		}
	})
}

var _ Conn = (*net.UDPConn)(nil)

// A node that may have been succeeded says nothing: its "context not found"
// would cost the peer a session that lives elsewhere.
func TestFenced(t *testing.T) {
	holds := true
	cfg := Config{Holds: func() bool { return holds }}
	h := handlerFunc(func(context.Context, netip.AddrPort, gtp.Message) Reply { return Reply{Datagram: []byte("stale")} })
	inBubble(t, cfg, h, func(t *testing.T, r *rig) {
		holds = false
		s := gtptest.New()
		r.from(sgw, s.Echo())
		r.from(sgw, s.Delete(7))
		if sent := r.conn.sent(); len(sent) != 0 || r.count(countFenced) != 2 {
			t.Fatalf("sent %v, counters %v", sent, r.Counters())
		}
		holds = true
		r.from(sgw, s.Echo())
		if sent := r.conn.sent(); len(sent) != 1 {
			t.Errorf("%d answers by the holder, want 1", len(sent))
		}
	})
}
