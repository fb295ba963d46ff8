package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// round is a closed loop of callers that each wait for their answer before
// they ask again.
type round struct {
	outstanding int
	most        int           // calls in all
	time        time.Duration // after which no further call begins
}

// measured is what a round came to.
type measured struct {
	calls     int
	took      time.Duration // from the first call to the last answer
	latencies []time.Duration
}

// run makes calls until there were most of them, the time is over, or one
// fails. call gets its number, from 0 on, and returns how long it took.
func (r round) run(ctx context.Context, call func(ctx context.Context, i int) (time.Duration, error)) (measured, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var mu sync.Mutex
	var m measured
	var callers sync.WaitGroup
	begin := time.Now()
	for range r.outstanding {
		callers.Go(func() {
			var mine []time.Duration
			for ctx.Err() == nil && time.Since(begin) < r.time {
				i := int(next.Add(1)) - 1
				if i >= r.most {
					break
				}
				d, err := call(ctx, i)
				if err != nil {
					stop(err)
					break
				}
				mine = append(mine, d)
			}
			mu.Lock()
			defer mu.Unlock()
			m.latencies = append(m.latencies, mine...)
			m.took = max(m.took, time.Since(begin))
		})
	}
	callers.Wait()
	m.calls = len(m.latencies)
	return m, context.Cause(ctx)
}

// samples are the columns that every table of calls has.
func (m measured) samples() []sample {
	return []sample{
		{"rate", "/s", per(float64(m.calls), m.took.Seconds())},
		{"p50", "ms", milliseconds(quantile(m.latencies, 0.5))},
		{"p99", "ms", milliseconds(quantile(m.latencies, 0.99))},
	}
}

// cost are the columns of what a call took of the gateway's processors.
func (m measured) cost(holder, all time.Duration) []sample {
	return []sample{
		{"CPU", "ms/call", per(milliseconds(holder), float64(m.calls))},
		{"CPU of all nodes", "ms/call", per(milliseconds(all), float64(m.calls))},
	}
}
