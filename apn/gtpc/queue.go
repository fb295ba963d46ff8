package gtpc

import (
	"time"

	"go.opentelemetry.io/otel/trace"
)

// job is a request that waits for a worker.
type job struct {
	key     key
	arrival arrival
	span    trace.Span // of the request; nil: it isn't traced
}

// queue holds jobs in the order of their arrival, bounded in number and in
// octets. The loop owns it.
type queue struct {
	most  int
	bytes int // of the datagrams in it
	jobs  []job
	since time.Time // when it was last empty, while it isn't
}

// queueBytes bounds what the datagrams in a queue hold. Those of ordinary size
// come nowhere near.
const queueBytes = 8 << 20

// push adds a job. False: there is no room.
func (q *queue) push(now time.Time, j job) bool {
	if len(q.jobs) >= q.most || q.bytes+len(j.arrival.raw) > queueBytes {
		return false
	}
	if len(q.jobs) == 0 {
		q.since = now
	}
	q.jobs = append(q.jobs, j)
	q.bytes += len(j.arrival.raw)
	return true
}

// pop takes the oldest job out. There must be one.
func (q *queue) pop() job {
	j := q.jobs[0]
	q.jobs[0] = job{}
	q.jobs = q.jobs[1:]
	q.bytes -= len(j.arrival.raw)
	if len(q.jobs) == 0 {
		q.jobs = nil // let the backing array go
	}
	return j
}

// deadline is when the oldest job has waited too long to be served: after
// patience, or, when the queue hasn't been empty for that long, after a fifth of
// it. A burst is worked off, while a queue that doesn't drain is kept short, so
// that what is still served is served while its peer waits (the idea is that of
// controlled delay, RFC 8289). False: nobody waits.
func (q *queue) deadline(patience time.Duration) (time.Time, bool) {
	if len(q.jobs) == 0 {
		return time.Time{}, false
	}
	at := q.jobs[0].arrival.at
	long, short := at.Add(patience), at.Add(patience/5)
	if standing := q.since.Add(patience); short.Before(standing) {
		short = standing
	}
	if short.Before(long) {
		return short, true
	}
	return long, true
}
