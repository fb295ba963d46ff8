package phoneapi

import (
	"net/netip"
	"sync"
	"time"
)

// limiter holds each terminal to a rate, by the generic cell rate algorithm:
// all that is kept of a terminal is one time. Terminals are told apart by what
// they hold of the inner network (sealuse.Holder).
type limiter struct {
	every time.Duration // one request in, in the long run
	burst time.Duration // how far ahead of that a terminal may be

	mu   sync.Mutex
	next map[netip.Prefix]time.Time // when the bucket is full again; guarded by mu
}

func newLimiter(every time.Duration, burst int) *limiter {
	return &limiter{every: every, burst: every * time.Duration(burst), next: make(map[netip.Prefix]time.Time)}
}

// maxLimited is how many terminals are remembered before those that are at rest
// are forgotten.
const maxLimited = 1 << 14

// take lets a request through, or says how long to wait.
func (l *limiter) take(who netip.Prefix, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, wait := cell(l.next[who], now, l.every, l.burst)
	if wait > 0 {
		return wait
	}
	if _, known := l.next[who]; !known && len(l.next) >= maxLimited {
		for k, t := range l.next {
			if !t.After(now) {
				delete(l.next, k)
			}
		}
	}
	l.next[who] = next
	return 0
}

// cell is the algorithm: the time stored goes in, the time to store comes out,
// or how long to wait.
func cell(stored, now time.Time, every, burst time.Duration) (next time.Time, wait time.Duration) {
	if stored.Before(now) {
		stored = now
	}
	next = stored.Add(every)
	if ahead := next.Sub(now) - burst; ahead > 0 {
		return stored, ahead
	}
	return next, 0
}
