package gtpc

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// pace is a rate with room for one second's worth at once.
type pace struct {
	every     time.Duration // between two, in the long run
	tolerance time.Duration // how far ahead of that one may be
}

func perSecond(n int) pace {
	every := time.Second / time.Duration(n)
	return pace{every: every, tolerance: time.Second - every}
}

// bucket is a token bucket by the generic cell rate algorithm: all that it is is
// the moment at which it is full again.
type bucket struct{ full int64 } // ns since 1970

func (b *bucket) allows(now time.Time, p pace) bool {
	return b.full-now.UnixNano() <= int64(p.tolerance)
}

func (b *bucket) spend(now time.Time, p pace) {
	b.full = max(b.full, now.UnixNano()) + int64(p.every)
}

func (b *bucket) isFull(now time.Time) bool { return b.full <= now.UnixNano() }

// Dimensions of the buckets: 4096 peer addresses in 160 KiB or so.
const (
	bucketSets = 512
	bucketWays = 8
)

// buckets holds a bucket for each of many addresses, in fixed space. An address
// has a few places where its bucket can be; a bucket that is full again says
// nothing and makes room for another, though not at once where its address was
// seen often: so one that somebody makes up doesn't oust a peer. An address that
// finds no place shares one bucket with all others that don't: who makes up
// addresses shares with himself.
type buckets struct {
	seed   maphash.Seed
	places []place
	shared bucket
}

type place struct {
	addr netip.Addr
	uses uint32
	bucket
}

// A place is kept for keptTime after its bucket is full when it has been used
// keptUses times.
const (
	keptTime = time.Minute
	keptUses = 16
)

func (p *place) isFree(now time.Time) bool {
	if p.uses >= keptUses {
		now = now.Add(-keptTime)
	}
	return p.isFull(now)
}

func newBuckets() *buckets {
	return &buckets{seed: maphash.MakeSeed(), places: make([]place, bucketSets*bucketWays)}
}

// of returns an address's bucket, good until the next call.
func (b *buckets) of(now time.Time, a netip.Addr) *bucket {
	octets := a.As16()
	set := int(maphash.Bytes(b.seed, octets[:])%bucketSets) * bucketWays
	var free *place
	for i := range bucketWays {
		switch p := &b.places[set+i]; {
		case p.addr == a:
			p.uses = max(p.uses, p.uses+1) // and stays where it can't grow
			return &p.bucket
		case free == nil && p.isFree(now):
			free = p
		}
	}
	if free == nil {
		return &b.shared
	}
	*free = place{addr: a, uses: 1}
	return &free.bucket
}
