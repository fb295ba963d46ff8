package fallback

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// nth is one of many sources.
func nth(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)})
}

// tries counts how many of a number of requests at once aren't limited.
func tries(t *testing.T, r *rig, n int, req func(i int) Request) (passed int) {
	t.Helper()
	for i := range n {
		switch _, p := r.srv.Connect(t.Context(), req(i)); {
		case p == nil || p.Code == wire.CodeConnectionRefused:
			passed++
		case p.Code != wire.CodeRateLimited || p.RetryAfterSeconds < 1:
			t.Fatalf("try %d: %v", i, p)
		}
	}
	return passed
}

// A source address has its rate, whomever it claims to be; of IPv6 all of a /64 is one.
func TestSourcesAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		anybody := func(from func(i int) netip.Addr) func(int) Request {
			return func(i int) Request {
				req := ask(fmt.Sprint("r", i))
				req.IMSI = fmt.Sprintf("46001%010d", rand.N(1_000_000_000))
				return Request{Wire: req, From: from(i)}
			}
		}
		one := anybody(func(int) netip.Addr { return home })
		if n := tries(t, r, 200, one); n != 60 {
			t.Errorf("%d of 200 at once", n)
		}
		_, p := r.srv.Connect(t.Context(), one(0))
		if p == nil || p.RetryAfterSeconds != 1 {
			t.Errorf("limited: %v", p)
		}
		time.Sleep(5 * time.Second)
		if n := tries(t, r, 200, one); n != 5 {
			t.Errorf("%d of 200 after 5 seconds", n)
		}
		net64 := netip.MustParseAddr("2001:db8:1:2::").As16()
		if n := tries(t, r, 200, anybody(func(i int) netip.Addr { a := net64; a[15] = byte(i); return netip.AddrFrom16(a) })); n != 60 {
			t.Errorf("%d of 200 from one /64", n)
		}
	})
}

// Guessing at one terminal has a rate from one address, and a wider one from all; who is
// that terminal for sure isn't kept out by it.
func TestClaimsAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		guess := func(from func(i int) netip.Addr) func(int) Request {
			return func(i int) Request {
				req := ask(fmt.Sprint("g", i))
				req.Account, req.Password = account, fmt.Sprint(i)
				return Request{Wire: req, From: from(i)}
			}
		}
		if n := tries(t, r, 50, guess(func(int) netip.Addr { return home })); n != claimBurst {
			t.Errorf("%d guesses from one address", n)
		}
		if n := tries(t, r, 500, guess(nth)); n != claimedBurst-claimBurst {
			t.Errorf("%d further guesses from many addresses", n)
		}
		hashed := r.hashes.Load()
		if n := tries(t, r, 50, guess(func(i int) netip.Addr { return nth(1000 + i) })); n != 0 || r.hashes.Load() != hashed {
			t.Errorf("%d guesses more, %d passwords hashed", n, r.hashes.Load()-hashed)
		}
		// A terminal that nobody has is guessed at no faster and no slower.
		other := func(i int) Request {
			q := guess(nth)(i)
			q.Wire.IMSI = "460019999999999"
			return q
		}
		if n := tries(t, r, 500, other); n != claimedBurst {
			t.Errorf("%d guesses at a terminal that isn't there", n)
		}

		elsewhere := netip.MustParseAddr("192.0.2.99")
		r.dial(elsewhere, nil).post(ask("r1")).refused(t, wire.CodeRateLimited)
		r.dial(elsewhere, selfSigned(t, "terminal")).post(ask("r2")).refused(t, wire.CodeRateLimited)
		r.dial(elsewhere, r.device).post(ask("r3")).granted(t)
		var mine, others *command.Session
		r.w.View(func(m *state.Machine) {
			mine, others = m.SessionByAddress(usetest.Address(usetest.Terminal)), m.SessionByAddress(usetest.Address(usetest.Other))
		})
		if _, p := r.srv.Connect(t.Context(), Request{Wire: ask("r4"), From: usetest.Address(usetest.Other), Session: others}); p == nil || p.Code != wire.CodeRateLimited {
			t.Errorf("inside another's tunnel: %v", p)
		}
		if _, p := r.srv.Connect(t.Context(), Request{Wire: ask("r5"), From: usetest.Address(usetest.Terminal), Session: mine}); p != nil {
			t.Errorf("inside its tunnel: %v", p)
		}
		time.Sleep(claimedEvery)
		r.dial(elsewhere, nil).post(ask("r6")).granted(t)
	})
}

// However many keys there are, none gets more than its rate, and few that keep to it are
// refused for others' sake; what is kept doesn't grow.
func TestLimiterIsOfFixedSize(t *testing.T) {
	const every, burst = time.Second, 5
	l := newLimiter[int](every, burst)
	now := time.Unix(1_000_000, 0)
	exhaust := func(key int) (n int) {
		for l.take(key, now) == 0 {
			n++
		}
		return n
	}
	for key := range 2000 {
		if n := exhaust(key); n > burst {
			t.Fatalf("key %d: %d at once", key, n)
		}
	}
	refused := 0
	for key := 2000; key < 4000; key++ {
		if l.take(key, now) > 0 {
			refused++
		}
	}
	// Each of two slots is another's with a probability of about 2000/65536, so that
	// about two are expected.
	if refused > 50 {
		t.Errorf("%d of 2000 that did nothing are refused", refused)
	}
	for key := range 300_000 {
		l.take(key, now)
	}
	if len(l.rows[0]) != slots || len(l.rows[1]) != slots {
		t.Errorf("%d and %d slots", len(l.rows[0]), len(l.rows[1]))
	}
	now = now.Add(every * 1000)
	if n := exhaust(1); n != burst {
		t.Errorf("at rest: %d at once", n)
	}
}

// Passwords that come faster than they can be hashed wait, and then are put off: whoever
// they are of.
func TestPasswordsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() { r.stop(); time.Sleep(time.Minute) }()
		r.unlimited()
		for range cap(r.srv.work) {
			r.srv.work <- struct{}{} // hashing, for long
		}
		req := ask("r1")
		stranger := req
		stranger.IMSI = "460019999999999"
		began := time.Now()
		l := r.dial(home, nil)
		mine := l.post(req).refused(t, wire.CodeRateLimited)
		other := l.post(stranger).refused(t, wire.CodeRateLimited)
		if waited := time.Since(began); waited != 2*hashPatience || string(mine.body) != string(other.body) {
			t.Errorf("after %s: %s, %s", waited, mine.body, other.body)
		}
		r.dial(home, r.device).post(bare("r2")).granted(t) // without a password there is nothing to wait for
		<-r.srv.work
		l.post(req).granted(t)
	})
}
