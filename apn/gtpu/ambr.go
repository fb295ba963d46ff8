package gtpu

import "sync/atomic"

// limit is one direction of an aggregate maximum bit rate (APN-AMBR). It counts
// the octets of inner packets, headers included.
type limit struct {
	kbps  int64 // 1,000 bits a second; 0 is no limit
	burst int64 // how far ahead of the rate a session may be, in units
}

// Buckets count time in sixteenths of a nanosecond: a packet of 64 octets at
// 100 Gbit/s takes 82 of them, and the clock lasts for 18 years.
const units = 16

// A session may always send for burstTime at its rate, and burstPackets of full
// size, whatever that takes at a low rate.
const (
	burstTime    = 100_000_000 * units // 100 ms
	burstPackets = 10
	fullSize     = 1500 // octets
)

func newLimit(kbps uint32) limit {
	l := limit{kbps: int64(kbps)}
	if kbps != 0 {
		l.burst = max(burstTime, l.cost(burstPackets*fullSize))
	}
	return l
}

// cost is the time that n octets take at the rate, rounded up, so that rounding
// never adds to the rate.
func (l limit) cost(n int) int64 {
	const bitsTime = 8 * 1_000_000 * units // of one octet at 1 kbit/s
	return (int64(n)*bitsTime + l.kbps - 1) / l.kbps
}

// bucket is a token bucket in one number: the generic cell rate algorithm with
// the theoretical arrival time of the next packet. Zero is a full bucket. In any
// time t no more passes than the burst and the rate times t.
type bucket struct{ arrival atomic.Int64 }

// take tells whether n octets may pass now, on the plane's clock, and takes
// their time if so.
func (b *bucket) take(now int64, l limit, n int) bool {
	return l.kbps == 0 || b.spend(now, l.cost(n), l.burst)
}

func (b *bucket) spend(now, cost, burst int64) bool {
	now *= units
	for {
		was := b.arrival.Load()
		next := max(was, now) + cost
		if next-now > burst {
			return false
		}
		if b.arrival.CompareAndSwap(was, next) {
			return true
		}
	}
}

// when is the earliest time on the plane's clock at which n octets may pass, if
// nothing else does before.
func (b *bucket) when(l limit, n int) int64 {
	if l.kbps == 0 {
		return 0
	}
	return (b.arrival.Load() + l.cost(n) - l.burst + units - 1) / units
}

// change takes a bucket to another rate: the octets that it is behind by stay
// what they are, or it is empty when its new size is less than that.
func (b *bucket) change(now int64, from, to limit) {
	if from.kbps == 0 || to.kbps == 0 || from == to {
		return
	}
	now *= units
	for {
		was := b.arrival.Load()
		behind := was - now
		if behind <= 0 {
			return
		}
		scaled := min(float64(behind)*float64(from.kbps)/float64(to.kbps), float64(to.burst))
		if b.arrival.CompareAndSwap(was, now+int64(scaled)) {
			return
		}
	}
}
