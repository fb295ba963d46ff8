package gtpc

import (
	"net/netip"
	"sync"
	"time"
)

// budget bounds how often each of many may do what is seldom done in earnest. It
// is safe for concurrent use.
type budget[K comparable] struct {
	pace pace

	mu sync.Mutex
	of *buckets[K] // guarded by mu
}

// newBudget allows so many at once, and one more in each interval.
func newBudget[K comparable](atOnce int, every time.Duration) *budget[K] {
	return &budget[K]{pace: pace{every: every, tolerance: time.Duration(atOnce-1) * every}, of: newBuckets[K]()}
}

// left tells whether there is something left.
func (b *budget[K]) left(now time.Time, k K) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of.of(now, k).allows(now, b.pace)
}

// spend takes one, if there is one.
func (b *budget[K]) spend(now time.Time, k K) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := b.of.of(now, k)
	if !own.allows(now, b.pace) {
		return false
	}
	own.spend(now, b.pace)
	return true
}

// budgets are those of the procedures.
type budgets struct {
	// wrong are the passwords of one subscriber that may be wrong. Each is an
	// attach, of which a terminal doesn't make many; a peer could.
	wrong *budget[string]
	// astray are one peer's handovers of sessions that aren't there. Who may name
	// any number of them finds one that is another's.
	astray *budget[netip.Addr]
	// changes are those of one session by its control TEID here, each of which is
	// an entry of the log and of the audit chain.
	changes *budget[uint32]
}

func newBudgets() budgets {
	return budgets{
		wrong:   newBudget[string](10, 10*time.Second),
		astray:  newBudget[netip.Addr](100, time.Second),
		changes: newBudget[uint32](60, time.Second),
	}
}
