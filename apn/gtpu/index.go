package gtpu

import (
	"math/bits"
	"sync/atomic"
)

// index finds flows by one of their keys. Readers take no lock and never wait; one
// writer at a time adds, replaces and removes in place. It is an open-addressed
// table with linear probing: a slot once used stays used (a removed flow leaves
// a tombstone), so that a probe never misses what was there throughout, and the
// table is rebuilt beside the old one when too few slots are left. A change
// therefore costs the same among 10 flows and among 100,000, amortised.
type index struct {
	by    int
	table atomic.Pointer[table]
	live  int // owner: the writer
	used  int // live and tombstones; owner: the writer
}

type table struct {
	shift uint
	slots []atomic.Pointer[flow]
}

// tombstone marks a slot whose flow is gone. It is compared by identity.
var tombstone = new(flow)

const minSlots = 16

func newIndex(by int) *index {
	x := &index{by: by}
	x.table.Store(newTable(minSlots))
	return x
}

// newTable makes a table of n slots, a power of two.
func newTable(n int) *table {
	return &table{shift: uint(64 - bits.TrailingZeros(uint(n))), slots: make([]atomic.Pointer[flow], n)}
}

// home is the slot where a key's probe begins: multiplication by 2^64 over the
// golden ratio spreads consecutive addresses.
func (t *table) home(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> t.shift }

// get returns the flow with key, or nil.
func (x *index) get(key uint64) *flow {
	t := x.table.Load()
	mask := uint64(len(t.slots) - 1)
	for i := t.home(key); ; i = (i + 1) & mask {
		f := t.slots[i].Load()
		if f == nil {
			return nil
		}
		if f.keys[x.by] == key && f != tombstone {
			return f
		}
	}
}

// put adds f, or replaces the flow with its key. Writer only.
func (x *index) put(f *flow) {
	t := x.table.Load()
	key := f.keys[x.by]
	mask := uint64(len(t.slots) - 1)
	free := -1
	for i := t.home(key); ; i = (i + 1) & mask {
		switch old := t.slots[i].Load(); {
		case old == nil:
			if free < 0 {
				free = int(i)
				x.used++
			}
			t.slots[free].Store(f)
			x.live++
			x.room()
			return
		case old == tombstone:
			if free < 0 {
				free = int(i)
			}
		case old.keys[x.by] == key:
			t.slots[i].Store(f)
			return
		}
	}
}

// remove takes f out if it is what its key leads to. Writer only.
func (x *index) remove(f *flow) {
	t := x.table.Load()
	mask := uint64(len(t.slots) - 1)
	for i := t.home(f.keys[x.by]); ; i = (i + 1) & mask {
		switch t.slots[i].Load() {
		case nil:
			return
		case f:
			t.slots[i].Store(tombstone)
			x.live--
			return
		}
	}
}

// room rebuilds the table when three quarters of it are used: twice as large
// when flows fill it, at the same size when tombstones do.
func (x *index) room() {
	t := x.table.Load()
	if x.used*4 < len(t.slots)*3 {
		return
	}
	n := len(t.slots)
	for x.live*2 > n {
		n *= 2
	}
	grown := newTable(n)
	mask := uint64(n - 1)
	for i := range t.slots {
		f := t.slots[i].Load()
		if f == nil || f == tombstone {
			continue
		}
		j := grown.home(f.keys[x.by])
		for grown.slots[j].Load() != nil {
			j = (j + 1) & mask
		}
		grown.slots[j].Store(f)
	}
	x.table.Store(grown)
	x.used = x.live
}
