package gtpc

import (
	"hash/maphash"
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

// Dimensions of the buckets: 4096 keys, such as peer addresses, in 160 KiB or so.
const (
	bucketSets = 512
	bucketWays = 8
)

// buckets holds a bucket for each of many keys, in fixed space. A key has a few
// places where its bucket can be; a bucket that is full again says nothing and
// makes room for another, though not at once where its key was seen often: so an
// address that somebody makes up doesn't oust a peer. A key that finds no place
// shares one bucket with all others that don't: who makes up addresses shares
// with himself.
type buckets[K comparable] struct {
	seed   maphash.Seed
	places []place[K]
	shared bucket
}

type place[K comparable] struct {
	key  K
	uses uint32
	bucket
}

// A place is kept for keptTime after its bucket is full when it has been used
// keptUses times.
const (
	keptTime = time.Minute
	keptUses = 16
)

func (p *place[K]) isFree(now time.Time) bool {
	if p.uses >= keptUses {
		now = now.Add(-keptTime)
	}
	return p.isFull(now)
}

func newBuckets[K comparable]() *buckets[K] {
	return &buckets[K]{seed: maphash.MakeSeed(), places: make([]place[K], bucketSets*bucketWays)}
}

// of returns a key's bucket, good until the next call.
func (b *buckets[K]) of(now time.Time, k K) *bucket {
	set := int(maphash.Comparable(b.seed, k)%bucketSets) * bucketWays
	var free *place[K]
	for i := range bucketWays {
		switch p := &b.places[set+i]; {
		case p.key == k && p.uses > 0:
			p.uses = max(p.uses, p.uses+1) // and stays where it can't grow
			return &p.bucket
		case free == nil && p.isFree(now):
			free = p
		}
	}
	if free == nil {
		return &b.shared
	}
	*free = place[K]{key: k, uses: 1}
	return &free.bucket
}
