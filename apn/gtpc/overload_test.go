package gtpc

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// stuck is a handler whose Creates wait for the cluster, one let go at a time,
// while everything else is answered at once unless all is stuck.
type stuck struct {
	let chan struct{}
	all bool

	mu   sync.Mutex
	seqs []uint32 // guarded by mu: of those that were let go
}

func (s *stuck) Handle(ctx context.Context, _ netip.AddrPort, m gtp.Message) Reply {
	if h := m.Head(); s.all || isCreate(h.Version, h.Type) {
		select {
		case <-s.let:
		case <-ctx.Done():
			return Reply{}
		}
		s.mu.Lock()
		s.seqs = append(s.seqs, m.Head().Seq)
		s.mu.Unlock()
	}
	return Reply{Datagram: []byte("carried out"), Cause: gtp.CauseAccepted}
}

// inStuckBubble runs a test with a server whose Creates are stuck.
func inStuckBubble(t *testing.T, cfg Config, test func(t *testing.T, r *rig, h *stuck)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &stuck{let: make(chan struct{})} // of the bubble
		r := newRig(t, cfg, h)
		test(t, r, h)
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func numbered(seq uint32) gtptest.SGW {
	s := gtptest.New()
	s.Seq = seq
	return s
}

// While the cluster is slow, Creates are refused and everything else is done.
func TestDeletesGoBeforeCreates(t *testing.T) {
	gtptest.Shows(t, "29.274/overload/creates-are-refused-before-anything-else-suffers", "29.274/create-session-response/cause-gtp-c-entity-congestion-120")
	cfg := Config{Workers: 8, Queue: 4, QueueTime: time.Hour}
	inStuckBubble(t, cfg, func(t *testing.T, r *rig, h *stuck) {
		const busy, waiting = 7, 4 // one of the workers takes no Create
		for seq := range uint32(busy + waiting) {
			r.from(sgw, numbered(seq).Create())
			synctest.Wait() // a worker has it, if one is free
		}
		if sent := r.conn.sent(); len(sent) != 0 || len(r.loop.creates.jobs) != waiting {
			t.Fatalf("%d answers, %d waiting", len(sent), len(r.loop.creates.jobs))
		}
		late := numbered(100)
		late.ControlTEID = 0xabcd
		r.from(sgw, late.Create())
		refused := r.conn.sent()
		if len(refused) != 1 || refused[0].peer != sgw {
			t.Fatalf("%v", refused)
		}
		if a := gtptest.Read(refused[0].b); a.Cause() != uint8(gtp.CauseEntityCongestion) || a.TEID != 0xabcd || a.Seq != 100 {
			t.Errorf("refused with %+v", a)
		}
		for seq := range uint32(50) {
			r.from(sgw, numbered(1000+seq).Delete(7))
			r.from(sgw, numbered(2000+seq).Modify(7, false))
			if sent := r.conn.sent(); len(sent) != 2 || string(sent[0].b)+string(sent[1].b) != "carried outcarried out" {
				t.Fatalf("%v", sent)
			}
		}

		// The duplicate of one that waits is absorbed. That of the refused one gets
		// the same octets, and nothing has been kept but its key.
		before := len(r.loop.answers.order)
		r.from(sgw, numbered(busy).Create())
		r.from(sgw, late.Create())
		if again := r.conn.sent(); len(again) != 1 || !bytes.Equal(again[0].b, refused[0].b) || len(r.loop.answers.order) != before {
			t.Errorf("%d answers, %d kept", len(again), len(r.loop.answers.order)-before)
		}
		if r.count(countInFlight) != 1 || r.count(countRepeated) != 1 || r.count(countRefused) != 1 {
			t.Errorf("%v", r.Counters())
		}
		// Nor is it carried out when there is room again: its peer was told no.
		for range busy + waiting {
			h.let <- struct{}{}
			synctest.Wait()
		}
		r.conn.sent()
		r.from(sgw, late.Create())
		if again := r.conn.sent(); len(again) != 1 || !bytes.Equal(again[0].b, refused[0].b) || len(h.seqs) != busy+waiting {
			t.Errorf("%d answers, %d carried out", len(again), len(h.seqs))
		}
	})
}

// What waits for too long is refused while its peer still listens; a queue that
// doesn't drain is kept short.
func TestCreatesDoNotWaitLong(t *testing.T) {
	inStuckBubble(t, Config{Workers: 1, Queue: 100}, func(t *testing.T, r *rig, h *stuck) {
		for seq := range uint32(3) { // the first is being carried out
			r.from(sgw, numbered(seq).Create())
		}
		after(500*time.Millisecond - 1)
		if n := len(r.conn.sent()); n != 0 {
			t.Fatalf("%d refused early", n)
		}
		after(1)
		sent := r.conn.sent()
		if len(sent) != 2 || gtptest.Read(sent[0].b).Seq != 1 || gtptest.Read(sent[0].b).Cause() != 120 {
			t.Fatalf("%d refused", len(sent))
		}
		// More come than are served, all the time: after half a second what is
		// served has waited for a tenth of one at most.
		start := time.Now()
		for i := range uint32(100) {
			r.from(sgw, numbered(10+i).Create())
			after(10 * time.Millisecond)
			if i%4 == 3 {
				h.let <- struct{}{}
				synctest.Wait()
			}
		}
		elapsed := time.Since(start)
		last := h.seqs[len(h.seqs)-1]
		served := time.Duration(last-10) * 10 * time.Millisecond // when it came
		if wait := elapsed - served; wait > 200*time.Millisecond {
			t.Errorf("the last one served came %v ago", wait)
		}
		if refused := r.count(countRefused); refused < 50 || len(h.seqs) < 20 {
			t.Errorf("%d refused, %d served", refused, len(h.seqs))
		}
	})
}

// A state that is full takes no session more, and lets all others be changed.
func TestFullRefusesCreates(t *testing.T) {
	gtptest.Shows(t, "29.274/create-session-response/cause-no-resources-available-73")
	full := true
	cfg := Config{Full: func() bool { return full }}
	inBubble(t, cfg, answering("ok"), func(t *testing.T, r *rig) {
		r.from(sgw, numbered(1).Create())
		r.from(sgw, numbered(2).Delete(7))
		sent := r.conn.sent()
		if len(sent) != 2 || gtptest.Read(sent[0].b).Cause() != 73 || string(sent[1].b) != "ok" {
			t.Errorf("%v", sent)
		}
		full = false
		r.from(sgw, numbered(3).Create())
		if sent := r.conn.sent(); len(sent) != 1 || string(sent[0].b) != "ok" {
			t.Errorf("%v", sent)
		}
	})
}

// What is no Create is dropped only when its own queue is full, and leaves no
// trace, so that its retransmission can succeed.
func TestOverload(t *testing.T) {
	inStuckBubble(t, Config{Workers: 1, Queue: 1}, func(t *testing.T, r *rig, h *stuck) {
		h.all = true
		for seq := range uint32(3) {
			r.from(sgw, numbered(seq).Delete(7))
			synctest.Wait()
		}
		if r.count(countOverload) != 1 || r.count(countRequest) != 2 {
			t.Fatalf("%v", r.Counters())
		}
		h.let <- struct{}{}
		h.let <- struct{}{}
		synctest.Wait()
		r.from(sgw, numbered(2).Delete(7))
		synctest.Wait()
		h.let <- struct{}{}
		if sent := r.conn.sent(); len(sent) != 3 {
			t.Errorf("%d answers of 3", len(sent))
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	q := queue{most: 3}
	now := time.Unix(0, 0)
	big := job{arrival: arrival{at: now, raw: make([]byte, queueBytes/2)}}
	for range 2 {
		if !q.push(now, big) {
			t.Fatal("no room for two")
		}
	}
	if q.push(now, job{arrival: arrival{raw: []byte{1}}}) {
		t.Error("octets don't count")
	}
	q.pop()
	for range 2 {
		if !q.push(now, job{}) {
			t.Fatal("no room for three")
		}
	}
	if q.push(now, job{}) {
		t.Error("jobs don't count")
	}
	for range 3 {
		q.pop()
	}
	if _, ok := q.deadline(time.Second); q.bytes != 0 || q.jobs != nil || ok {
		t.Errorf("%d octets in an empty queue", q.bytes)
	}
}

func TestQueueDeadline(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct{ since, head, want int }{
		{0, 0, 500},    // a burst may wait for long
		{0, 300, 500},  // the queue stands: at once when that is certain
		{0, 450, 550},  // a fifth of the time
		{0, 900, 1000}, //
	} {
		q := queue{most: 1, since: at(c.since), jobs: []job{{arrival: arrival{at: at(c.head)}}}}
		if got, ok := q.deadline(500 * time.Millisecond); !ok || got != at(c.want) {
			t.Errorf("standing since %d, head of %d: %v, want %d", c.since, c.head, got.Sub(start), c.want)
		}
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	r := newRefusals(time.Minute, 10)
	now := time.Unix(0, 0)
	k := func(n int) key { return key{peer: sgw, seq: uint32(n)} }
	for n := range 1000 {
		r.put(now, k(n), gtp.CauseNoResources)
		if c, ok := r.get(now, k(n)); !ok || c != gtp.CauseNoResources {
			t.Fatalf("refusal %d is forgotten at once", n)
		}
		if len(r.young)+len(r.old) > 20 {
			t.Fatalf("%d remembered", len(r.young)+len(r.old))
		}
	}
	if _, ok := r.get(now.Add(time.Minute-1), k(999)); !ok {
		t.Error("forgotten early")
	}
	if _, ok := r.get(now.Add(2*time.Minute), k(999)); ok {
		t.Error("remembered for ever")
	}
}

func TestAnswersAreBoundedInBytes(t *testing.T) {
	now := time.Unix(0, 0)
	a := newAnswers(time.Minute, 1000, 10*(answerOverhead+100))
	for n := range uint32(100) {
		k := key{peer: sgw, seq: n}
		a.begin(k)
		a.done(now, k, answer{response: make([]byte, 100)})
		if a.bytes > a.mostBytes || len(a.byKey) != len(a.order) {
			t.Fatalf("%d octets, %d keys, %d in order", a.bytes, len(a.byKey), len(a.order))
		}
	}
	if len(a.order) != 10 {
		t.Errorf("%d kept, want 10", len(a.order))
	}
	a.expire(now.Add(time.Minute))
	if a.bytes != 0 || len(a.byKey) != 0 {
		t.Errorf("%d octets of nothing", a.bytes)
	}
}
