package phoneapi

import (
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// recorder puts decisions into the audit chain without keeping the terminal
// waiting, and without letting one terminal fill the log.
type recorder struct {
	log   *slog.Logger
	queue chan *command.Command
	// Each kind by itself: what a terminal is refused must not keep what it is
	// allowed, or raises alarms by, out of the chain.
	refusals, approvals, alarms *limiter

	dropped atomic.Uint64 // not recorded, for the rate or a full queue
}

func newRecorder(log *slog.Logger) *recorder {
	return &recorder{
		log: log, queue: make(chan *command.Command, 256),
		refusals: newLimiter(2*time.Second, 20), approvals: newLimiter(time.Second, 20), alarms: newLimiter(time.Second, 20),
	}
}

// decided takes one decision in. It gets a request id, so that it is recorded
// once even if the answer to proposing it is lost; a terminal's own request ids
// have no colon.
func (r *recorder) decided(limit *limiter, from netip.Prefix, c *command.Command) {
	c.RequestId = "decision:" + rand.Text()
	if limit.take(from, time.Now()) > 0 {
		r.dropped.Add(1)
		return
	}
	select {
	case r.queue <- c:
	default:
		r.dropped.Add(1)
	}
}

// run proposes what was taken in, until ctx ends. A decision that finds no
// quorum is tried again for as long as the queue can hold what comes behind it.
func (r *recorder) run(ctx context.Context, cluster Cluster) error {
	for {
		var c *command.Command
		select {
		case <-ctx.Done():
			return nil
		case c = <-r.queue:
		}
		for !r.propose(ctx, cluster, c) && len(r.queue) < cap(r.queue) {
			if !pause(ctx, time.Second) {
				return nil
			}
		}
		if n := r.dropped.Swap(0); n > 0 {
			r.log.Warn("decisions not recorded in the audit chain: too many came at once", "count", n)
		}
	}
}

func (r *recorder) propose(ctx context.Context, cluster Cluster, c *command.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := cluster.Propose(ctx, c); err != nil {
		r.log.Warn("decision not recorded yet", "err", err)
		return false
	}
	return true
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// counters counts answers by code.
type counters struct {
	mu sync.Mutex
	by map[string]uint64 // guarded by mu
}

func newCounters() *counters { return &counters{by: make(map[string]uint64)} }

func (c *counters) add(code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[code]++
}

func (c *counters) all() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.by)
}
