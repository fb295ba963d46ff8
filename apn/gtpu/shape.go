package gtpu

import (
	"container/heap"
	"context"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"
)

// A packet over its session's maximum bit rate waits for its turn instead of
// being dropped: a connection learns its rate from the delay and keeps it, where
// the loss of a window, which a sender behind no radio can have on its way at
// once, makes it wait for its timers and stand almost still.
const (
	queueTime   = 500 * time.Millisecond // a queue holds this much at its rate,
	queueMost   = 1 << 20                // in octets, the receive window of the inner network's connections,
	queueLeast  = burstPackets * fullSize
	shapedMost  = 64 << 20             // and all queues together this much;
	overhead    = 64                   // each packet counts for its keeping, too
	releaseStep = 2 * time.Millisecond // packets due within are released together
)

// room is how many octets may wait under a limit.
func (l limit) room() int {
	atRate := l.kbps * int64(queueTime/time.Millisecond) / 8
	return int(min(max(atRate, queueLeast), queueMost))
}

// queue is what waits of one direction of a session, first come first served.
type queue struct {
	session uint64
	up      bool

	// waiting is set while anything waits or is being released: what comes
	// meanwhile goes behind it.
	waiting atomic.Bool

	mu      sync.Mutex
	packets [][]byte // guarded by mu
	octets  int      // of them, with overhead; guarded by mu

	at    int64 // when the first packet is due; owner: shaper, under its mu
	place int   // in the shaper's heap
}

// shaper releases what waits when its time has come.
type shaper struct {
	mu      sync.Mutex
	queues  dueQueues // guarded by mu
	running bool      // guarded by mu
	octets  atomic.Int64
	wake    chan struct{}
}

// verdict is what the maximum bit rate says of a packet.
type verdict uint8

const (
	passes verdict = iota
	waits          // a copy of it will be carried later
	exceeds
)

// shape tells what becomes of a packet of f, and keeps a copy if it waits.
func (p *Plane) shape(f *flow, up bool, pkt []byte, now int64) verdict {
	b, l, of := &f.use.down, f.down, &f.use.queues[0]
	if up {
		b, l, of = &f.use.up, f.up, &f.use.queues[1]
	}
	q := of.Load()
	if (q == nil || !q.waiting.Load()) && b.take(now, l, len(pkt)) {
		return passes
	}
	if q == nil {
		of.CompareAndSwap(nil, &queue{session: f.session(), up: up})
		q = of.Load()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.waiting.Load() && b.take(now, l, len(pkt)) {
		return passes
	}
	size := len(pkt) + overhead
	if q.octets+size > l.room() || p.shaper.octets.Load()+int64(size) > shapedMost {
		return exceeds
	}
	if !q.waiting.Load() {
		if !p.shaper.add(q, b.when(l, len(pkt))) {
			return exceeds
		}
		q.waiting.Store(true)
	}
	q.packets = append(q.packets, append([]byte(nil), pkt...))
	q.octets += size
	p.shaper.octets.Add(int64(size))
	return waits
}

// add has a queue released from at on; false while nobody releases.
func (s *shaper) add(q *queue, at int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return false
	}
	q.at = at
	heap.Push(&s.queues, q)
	if q.place == 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// next takes off the queue that is due at now, or tells how long until one is;
// none is due before the shaper is woken if that is negative.
func (s *shaper) next(now int64) (*queue, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queues) == 0 {
		return nil, -1
	}
	if at := s.queues[0].at; at > now {
		return nil, max(time.Duration(at-now), releaseStep)
	}
	return heap.Pop(&s.queues).(*queue), 0
}

// release carries what waits, when it is due, until ctx is done; what waits then
// is dropped.
func (p *Plane) release(ctx context.Context, s *socket) {
	p.shaper.mu.Lock()
	p.shaper.running = true
	p.shaper.mu.Unlock()
	defer p.abandon()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q, pause := p.shaper.next(p.clock())
		if q != nil {
			p.drain(s, q)
			continue
		}
		var due <-chan time.Time
		if pause >= 0 {
			timer.Reset(pause)
			due = timer.C
		}
		select {
		case <-due:
		case <-p.shaper.wake:
		case <-ctx.Done():
			return
		}
	}
}

// drain carries of a queue what its rate allows by now.
func (p *Plane) drain(s *socket, q *queue) {
	for {
		now := p.clock()
		f := p.find(bySession, q.session)
		q.mu.Lock()
		if len(q.packets) == 0 {
			q.packets = nil
			q.waiting.Store(false)
			q.mu.Unlock()
			return
		}
		pkt := q.packets[0]
		if f != nil {
			b, l := &f.use.down, f.down
			if q.up {
				b, l = &f.use.up, f.up
			}
			if !b.take(now, l, len(pkt)) {
				again := p.shaper.add(q, b.when(l, len(pkt)))
				q.mu.Unlock()
				if !again {
					p.empty(q)
				}
				return
			}
		}
		q.packets[0] = nil
		q.packets = q.packets[1:]
		q.octets -= len(pkt) + overhead
		q.mu.Unlock()
		p.shaper.octets.Add(-int64(len(pkt) + overhead))
		p.deliver(s, f, q.up, pkt, now)
	}
}

// deliver sends one packet that has waited on its way. The session may have changed
// or ended meanwhile.
func (p *Plane) deliver(s *socket, f *flow, up bool, pkt []byte, now int64) {
	defer func() {
		if r := recover(); r != nil {
			p.count.add(dropPanic, 1)
			p.log.Error("gtpu: a packet that waited broke its handling; please report it with these bytes",
				"panic", r, "bytes", hex.EncodeToString(pkt[:min(len(pkt), 256)]))
		}
	}()
	switch {
	case f == nil && up:
		p.count.add(dropTEID, 1)
	case f == nil:
		p.count.add(dropNoTunnel, 1)
	case up:
		f.use.touch(now)
		p.count.add(uplinkPackets, 1)
		p.count.add(uplinkBytes, len(pkt))
		p.cfg.Uplink(pkt)
	case f.suspended:
		p.count.add(dropSuspended, 1)
	case !p.cfg.Holds():
		p.count.add(dropFenced, 1)
	case p.write(s, f, pkt) == nil:
		f.use.touch(now)
		p.count.add(downlinkPackets, 1)
		p.count.add(downlinkBytes, len(pkt))
	}
}

// abandon drops all that waits.
func (p *Plane) abandon() {
	s := &p.shaper
	s.mu.Lock()
	s.running = false
	queues := s.queues
	s.queues = nil
	s.mu.Unlock()
	for _, q := range queues {
		p.empty(q)
	}
}

// empty drops what waits in a queue that isn't due any more.
func (p *Plane) empty(q *queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := dropAMBRDown
	if q.up {
		n = dropAMBRUp
	}
	p.count.add(n, len(q.packets))
	p.shaper.octets.Add(-int64(q.octets))
	q.packets, q.octets = nil, 0
	q.waiting.Store(false)
}

// dueQueues is a heap of queues, the first due at its top.
type dueQueues []*queue

func (h dueQueues) Len() int           { return len(h) }
func (h dueQueues) Less(i, j int) bool { return h[i].at < h[j].at }

func (h dueQueues) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueQueues) Push(x any) {
	q := x.(*queue)
	q.place = len(*h)
	*h = append(*h, q)
}

func (h *dueQueues) Pop() any {
	last := len(*h) - 1
	q := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return q
}
