package fallback

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
)

// What is recorded of refusals: of one source, and of all.
const (
	recordEvery, recordBurst       = 2 * time.Second, 20
	recordAllEvery, recordAllBurst = 200 * time.Millisecond, 100
)

// recorder puts refusals into the audit chain without keeping anyone waiting, and
// without letting the internet fill the log.
type recorder struct {
	log     *slog.Logger
	queue   chan *command.Command
	sources *limiter[netip.Prefix]
	all     *limiter[struct{}]
	dropped atomic.Uint64 // for the rate or a full queue
}

func newRecorder(log *slog.Logger) *recorder {
	return &recorder{
		log: log, queue: make(chan *command.Command, 256),
		sources: newLimiter[netip.Prefix](recordEvery, recordBurst), all: newLimiter[struct{}](recordAllEvery, recordAllBurst),
	}
}

// refused takes a refusal in, and tells whether it is going to be recorded.
func (r *recorder) refused(from netip.Addr, d *command.RecordDecision) bool {
	now := time.Now()
	if r.sources.take(sealuse.Holder(from), now) == 0 && r.all.take(struct{}{}, now) == 0 {
		select {
		// With a request id it is recorded once, even if the answer to proposing it is lost.
		case r.queue <- command.New("connection", "decision:"+rand.Text(), "gateway", d):
			return true
		default:
		}
	}
	r.dropped.Add(1)
	return false
}

const proposeTime = 5 * time.Second

// run proposes what was taken in, until ctx ends. What finds no quorum is tried again
// for as long as the queue can hold what comes behind it.
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
			r.log.Warn("refused connections not recorded in the audit chain: too many came at once", "count", n)
		}
	}
}

func (r *recorder) propose(ctx context.Context, cluster Cluster, c *command.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	if _, err := cluster.Propose(ctx, c); err != nil {
		r.log.Warn("refused connection not recorded yet", "err", err)
		return false
	}
	return true
}
