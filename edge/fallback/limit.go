package fallback

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

// limits hold who asks from the internet to rates: each source address; what one source
// claims to be one terminal; and what all claim to be that terminal, so that a password
// isn't guessed from many addresses. The last is no way to keep a terminal out that is
// known by its certificate or its tunnel.
type limits struct {
	sources *limiter[netip.Prefix]
	claims  *limiter[claim]
	claimed *limiter[ident.IMSI]
}

type claim struct {
	imsi ident.IMSI
	from netip.Prefix
}

// What a claim may do, whatever the configuration gives its source.
const (
	claimEvery, claimBurst     = 10 * time.Second, 6
	claimedEvery, claimedBurst = 10 * time.Second, 30
)

func newLimits(perMinute int) *limits {
	return &limits{
		sources: newLimiter[netip.Prefix](time.Minute/time.Duration(perMinute), perMinute),
		claims:  newLimiter[claim](claimEvery, claimBurst),
		claimed: newLimiter[ident.IMSI](claimedEvery, claimedBurst),
	}
}

func (l *limits) source(from netip.Addr, now time.Time) *wire.Problem {
	return refusal(l.sources.take(sealuse.Holder(from), now))
}

func (l *limits) claim(imsi ident.IMSI, from netip.Addr, now time.Time, known bool) *wire.Problem {
	if p := refusal(l.claims.take(claim{imsi, sealuse.Holder(from)}, now)); p != nil || known {
		return p
	}
	return refusal(l.claimed.take(imsi, now))
}

func refusal(wait time.Duration) *wire.Problem {
	if wait == 0 {
		return nil
	}
	return limited(wait)
}

func limited(wait time.Duration) *wire.Problem {
	p := wire.NewProblem(wire.CodeRateLimited, "")
	p.RetryAfterSeconds = int(math.Ceil(wait.Seconds()))
	return p
}

// slots bounds what is kept of a limiter: two rows of so many times.
const slots = 1 << 16

// limiter holds each key to a rate, by the generic cell rate algorithm, in a memory of
// fixed size however many keys there are. Each key has a slot in each of two rows, where
// a secret seed puts it; what others do in one of them doesn't matter to it as long as
// it has the other to itself. So nobody can keep much from others, and nobody gets more
// than the rate.
type limiter[K comparable] struct {
	every, burst time.Duration
	seeds        [2]maphash.Seed

	mu   sync.Mutex
	rows [2][]int64 // when the bucket is full again, Unix nanoseconds; guarded by mu
}

func newLimiter[K comparable](every time.Duration, burst int) *limiter[K] {
	l := &limiter[K]{every: every, burst: every * time.Duration(burst)}
	for i := range l.rows {
		l.seeds[i], l.rows[i] = maphash.MakeSeed(), make([]int64, slots)
	}
	return l
}

// take lets one through, or says how long to wait.
func (l *limiter[K]) take(key K, now time.Time) (wait time.Duration) {
	a := &l.rows[0][maphash.Comparable(l.seeds[0], key)%slots]
	b := &l.rows[1][maphash.Comparable(l.seeds[1], key)%slots]
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now.UnixNano()
	next := max(min(*a, *b), at) + int64(l.every)
	if ahead := time.Duration(next-at) - l.burst; ahead > 0 {
		return ahead
	}
	*a, *b = max(*a, next), max(*b, next)
	return 0
}
