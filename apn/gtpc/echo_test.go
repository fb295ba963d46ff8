package gtpc

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// heard collects what the server reports of peers.
type heard struct {
	mu     sync.Mutex
	peers  []EchoPeer // guarded by mu: whom to ask
	events []string   // guarded by mu
}

func (h *heard) ask(peers ...EchoPeer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peers = peers
}

func (h *heard) note(event string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
}

func (h *heard) config(peers ...EchoPeer) Config {
	h.ask(peers...)
	return Config{
		T3: time.Second, N3: 2, EchoInterval: time.Second,
		EchoPeers: func() []EchoPeer {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.peers
		},
		OnPathFailed:     func(a netip.Addr) { h.note("failed " + a.String()) },
		OnPathRestored:   func(a netip.Addr) { h.note("restored " + a.String()) },
		OnPeerRestart:    func(a netip.Addr, c uint8) { h.note(fmt.Sprintf("counter %d of %s", c, a)) },
		OnRestartClaimed: func(a netip.Addr, c uint8) { h.note(fmt.Sprintf("counter %d claimed of %s", c, a)) },
	}
}

func (h *heard) expect(t *testing.T, want ...string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !reflect.DeepEqual(h.events, want) {
		t.Errorf("reported %q, want %q", h.events, want)
	}
	h.events = nil
}

// echoResponse answers an Echo Request of ours over GTPv2.
func echoResponse(request []byte, counter byte) []byte {
	return []byte{0x40, 2, 0, 9, request[4], request[5], request[6], 0, 3, 0, 1, 0, counter}
}

// Peers with sessions are asked once a minute at most; silence, return and
// restart counters are reported, each once.
func TestPathManagement(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/path-failure", "a-peer-that-doesn-t-answer-and-comes-back")
	gtptest.Shows(t,
		"29.274/echo-request-sent/recovery",
		"29.274/echo-response-received/recovery",
		"29.274/echo-request/recovery",
	)
	var h heard
	cfg := h.config(EchoPeer{sgw.Addr(), 2}, EchoPeer{sgw.Addr(), 1}, EchoPeer{foreign.Addr(), 2})
	inBubble(t, cfg, never(t), func(t *testing.T, r *rig) {
		after(time.Minute - 1)
		if len(r.conn.sent()) != 0 {
			t.Error("asked more often than once a minute")
		}
		echo := func(counter byte) {
			t.Helper()
			after(1)
			sent := r.conn.sent()
			if len(sent) != 1 || sent[0].peer != sgw || sent[0].b[0]>>5 != 2 || sent[0].b[1] != gtp.TypeEchoRequest || sent[0].b[len(sent[0].b)-1] != 3 {
				t.Fatalf("%v", sent)
			}
			r.from(sgw, echoResponse(sent[0].b, counter))
			after(time.Minute - 1)
			if n := len(r.conn.sent()); n != 0 {
				t.Errorf("asked %d times more within the minute", n)
			}
		}
		echo(7)
		r.from(sgw, gtptest.New().Echo()) // tells the same
		r.conn.sent()
		h.expect(t, "counter 7 of 127.0.20.1", "counter 7 claimed of 127.0.20.1")
		echo(7) // a minute later: in case nothing could be done then
		h.expect(t, "counter 7 of 127.0.20.1")
		echo(8)
		h.expect(t, "counter 8 of 127.0.20.1")

		// Silence: asked N3 times, and reported once, however long it lasts.
		after(time.Minute)
		if sent := r.conn.sent(); len(sent) != 2 {
			t.Errorf("silent peer: asked %d times", len(sent))
		}
		after(5 * time.Minute)
		r.conn.sent()
		h.expect(t, "failed 127.0.20.1")
		// Any message shows that the path is there again.
		s := gtptest.New()
		s.Restarts = 8
		r.from(sgw, s.Echo())
		r.from(sgw, s.Echo())
		after(1)
		h.expect(t, "restored 127.0.20.1", "counter 8 claimed of 127.0.20.1")
		if r.count(countPathFailed) != 1 || r.count(countPathRestored) != 1 {
			t.Errorf("%v", r.Counters())
		}
		// A peer whose sessions have gone isn't asked and isn't remembered.
		h.ask()
		after(time.Minute)
		r.conn.sent()
		after(3 * time.Minute)
		if n := len(r.conn.sent()); n != 0 || len(r.loop.paths.byPeer) != 0 {
			t.Errorf("%d requests to nobody, %d paths", n, len(r.loop.paths.byPeer))
		}
	})
}

// A peer with sessions over GTPv1 is asked with GTPv1.
func TestPathManagementV1(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/path-failure", "a-peer-that-doesn-t-answer")
	gtptest.Shows(t, "29.060/echo-request-sent", "29.060/echo-response-received/recovery")
	var h heard
	inBubble(t, h.config(EchoPeer{sgw.Addr(), 1}), never(t), func(t *testing.T, r *rig) {
		after(time.Minute)
		sent := r.conn.sent()
		if len(sent) != 1 || !bytes.Equal(sent[0].b, v1(1, 0, seqV1(sent[0].b))) {
			t.Fatalf("%v", sent)
		}
		// An answer of the other version is none.
		r.from(sgw, []byte{0x40, 2, 0, 9, 0, sent[0].b[8], sent[0].b[9], 0, 3, 0, 1, 0, 9})
		r.from(sgw, v1(2, 0, seqV1(sent[0].b), 14, 200))
		after(time.Minute - 1)
		h.expect(t, "counter 200 of 127.0.20.1")
		if n := len(r.conn.sent()); n != 0 || r.count(countOrphan) != 1 {
			t.Errorf("%d more requests, %v", n, r.Counters())
		}
		// And one that is silent is asked N3 times, and reported.
		after(10 * time.Second)
		if again := r.conn.sent(); len(again) != 2 || !bytes.Equal(again[0].b, again[1].b) {
			t.Errorf("a silent peer: asked %v", again)
		}
		h.expect(t, "failed 127.0.20.1")
	})
}

// A peer that sends anything while it doesn't answer an Echo Request lives.
func TestBusyPeerLives(t *testing.T) {
	var h heard
	inBubble(t, h.config(EchoPeer{sgw.Addr(), 2}), never(t), func(t *testing.T, r *rig) {
		after(time.Minute)
		after(1500 * time.Millisecond)
		r.from(sgw, gtptest.New().Request(gtp.TypeDeleteBearerResponse, 1)) // even what is no use
		r.from(sgw, gtptest.New().Echo())
		after(time.Minute - 2*time.Second)
		h.expect(t, "counter 7 claimed of 127.0.20.1")
	})
}

// A request that tells of a restart may be anybody's. The peer itself is asked,
// at its own address and with a number that nobody knows, and its answer is what
// counts. That is worth one Echo Request a minute.
func TestARestartIsAskedFor(t *testing.T) {
	var h heard
	var r *rig
	cfg := h.config()
	cfg.OnRestartClaimed = func(a netip.Addr, c uint8) {
		h.note(fmt.Sprintf("counter %d claimed of %s", c, a))
		r.AskCounter(EchoPeer{a, 2})
	}
	synctest.Test(t, func(t *testing.T) {
		r = newRig(t, cfg, never(t))
		spoofed := gtptest.New()
		seen := map[[3]byte]bool{}
		for i := range 50 {
			spoofed.Restarts = byte(50 + i)
			r.from(netip.AddrPortFrom(sgw.Addr(), 4000), spoofed.Echo())
			synctest.Wait()
			h.expect(t, fmt.Sprintf("counter %d claimed of 127.0.20.1", 50+i))
			sent := r.conn.sent()
			if len(sent) != 2 || sent[0].b[1] != gtp.TypeEchoResponse && sent[1].b[1] != gtp.TypeEchoResponse {
				t.Fatalf("%v", sent)
			}
			ask := sent[1]
			if ask.b[1] != gtp.TypeEchoRequest {
				ask = sent[0]
			}
			if ask.peer != sgw || ask.b[1] != gtp.TypeEchoRequest {
				t.Fatalf("the peer isn't asked: %v", sent)
			}
			seq := [3]byte(ask.b[4:7])
			if next := seq; seen[seq] || func() bool { next[2]--; return seen[next] }() {
				t.Fatalf("number % x can be guessed", seq)
			}
			seen[seq] = true
			// A second claim within the minute isn't asked about.
			spoofed.Restarts++
			r.from(sgw, spoofed.Echo())
			synctest.Wait()
			if again := r.conn.sent(); len(again) != 1 {
				t.Fatalf("asked again: %v", again)
			}
			h.expect(t, fmt.Sprintf("counter %d claimed of 127.0.20.1", 51+i))
			// An answer with a made-up number is none; the peer's own tells the truth.
			forged := bytes.Clone(ask.b)
			forged[6] ^= 0xff
			r.from(sgw, echoResponse(forged, 51))
			synctest.Wait()
			h.expect(t)
			r.from(sgw, echoResponse(ask.b, 7))
			synctest.Wait()
			h.expect(t, "counter 7 of 127.0.20.1")
			after(time.Minute)
			r.conn.sent()
		}
		r.AskCounter(EchoPeer{foreign.Addr(), 2}) // is no peer
		synctest.Wait()
		if sent := r.conn.sent(); len(sent) != 0 {
			t.Errorf("%v", sent)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.AskCounter(EchoPeer{sgw.Addr(), 2}) // nobody serves
	})
}

// Many peers are asked one after the other, each once in an interval.
func TestEchoesArePaced(t *testing.T) {
	var e echoes
	if _, ok := e.next(); ok {
		t.Error("due before the first round")
	}
	now := time.Unix(1000, 0)
	for _, n := range []int{0, 1, 3, 60_000} {
		e.begin(now, time.Minute, make([]EchoPeer, n))
		first, last := 0, now
		for at := now; at.Before(e.round); {
			k := 0
			for {
				if _, ok := e.due(at); !ok {
					break
				}
				k++
				last = at
			}
			first = max(first, k)
			next, ok := e.next()
			if !ok || !next.After(at) {
				t.Fatalf("next is %v at %v", next, at)
			}
			at = next
		}
		if len(e.left) != 0 || first > 1 || e.round != now.Add(time.Minute) {
			t.Errorf("%d peers: %d left, %d at once, the last at %v", n, len(e.left), first, last.Sub(now))
		}
	}
}

func TestRestartsAreBounded(t *testing.T) {
	r := newRestarts(2)
	now := time.Unix(1000, 0)
	at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	for i := range 100 {
		if report, different := r.note(now, at(i), 5); !report || !different || len(r.byPeer) > 2 {
			t.Fatalf("peer %d: not reported, or %d remembered", i, len(r.byPeer))
		}
	}
	for i, c := range []struct {
		wait              time.Duration
		counter           uint8
		report, different bool
	}{
		{0, 5, false, false},
		{0, 4, true, true}, // older or newer is not for here to say
		{0, 5, true, true},
		{staleAfter - 1, 5, false, false},
		{1, 5, true, false},
		{0, 5, false, false},
	} {
		now = now.Add(c.wait)
		if report, different := r.note(now, at(99), c.counter); report != c.report || different != c.different {
			t.Errorf("step %d: report %v, different %v", i, report, different)
		}
	}
}
