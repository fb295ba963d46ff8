package barrel

import (
	"sync"
	"time"
)

// leases are the live leases of barrels: until when each may stay without
// another heartbeat, by the monotonic clock. They are soft state of this node;
// after a failover they come back with the next heartbeats.
type leases struct {
	length time.Duration
	mu     sync.Mutex
	until  map[string]time.Time // by barrel; guarded by mu
}

func newLeases(length time.Duration) *leases {
	return &leases{length: length, until: make(map[string]time.Time)}
}

// renew counts from now, when the heartbeat was read: later than when it was
// sent, so that the barrel's own lease never outlasts this one by more than the
// way of a packet.
func (l *leases) renew(id string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until[id] = now.Add(l.length)
}

func (l *leases) drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.until, id)
}

func (l *leases) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.until)
}

func (l *leases) alive(id string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.until[id]
	return ok && now.Before(until)
}
