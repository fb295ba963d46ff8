package state

import (
	"iter"

	"github.com/sealedge/sealedge/cluster/command"
)

// A space is one family's inner addresses: who gives them out, who has them,
// which are free.
type space struct {
	byAddress table[uint64, *command.AddressLease] // every lease

	// What follows is derived from the leases and the policy.
	leases   table[pair, *command.AddressLease]     // by IMSI and APN, without former ones
	released table[numbered, *command.AddressLease] // the waiting ones: APN, order of release
	pools    pools                                  // of the current policy
	free     table[numbered, uint64]                // of the pools: APN, first number: last number
}

func newSpace() space {
	return space{
		byAddress: newOrdered[uint64, *command.AddressLease](),
		leases:    newTable[pair, *command.AddressLease](comparePairs),
		released:  newTable[numbered, *command.AddressLease](compareNumbered),
		free:      newTable[numbered, uint64](compareNumbered),
	}
}

func (s *space) clone() space {
	return space{
		byAddress: s.byAddress.clone(), leases: s.leases.clone(), released: s.released.clone(),
		pools: s.pools, free: s.free.clone(),
	}
}

// leasesOf goes through a subscriber's leases by APN, without former ones.
func (s *space) leasesOf(imsi string) iter.Seq[*command.AddressLease] {
	return func(yield func(*command.AddressLease) bool) {
		for k, l := range s.leases.from(pair{imsi, ""}) {
			if k.first != imsi || !yield(l) {
				return
			}
		}
	}
}

// rebuildFree works out which numbers of the pools no lease holds.
func (s *space) rebuildFree() {
	s.free = newTable[numbered, uint64](compareNumbered)
	for _, p := range s.pools {
		next := p.first
		for n := range s.byAddress.from(p.first) {
			if n > p.last {
				break
			}
			if n > next {
				s.free.set(numbered{p.apn, next}, n-1)
			}
			next = n + 1
		}
		if next <= p.last {
			s.free.set(numbered{p.apn, next}, p.last)
		}
	}
}

// firstFree returns the lowest number of an APN that no lease holds.
func (s *space) firstFree(apn string) (uint64, bool) {
	for k := range s.free.from(numbered{apn, 0}) {
		return k.n, k.name == apn
	}
	return 0, false
}

// take makes a number not free, if it belongs to a pool at all.
func (s *space) take(n uint64) {
	apn := s.pools.owner(n)
	for k, last := range s.free.back(numbered{apn, n}) {
		if k.name != apn || n > last {
			return
		}
		first := k.n
		s.free.delete(k)
		if first < n {
			s.free.set(k, n-1)
		}
		if n < last {
			s.free.set(numbered{apn, n + 1}, last)
		}
		return
	}
}

// give makes a number free again, if it belongs to a pool.
func (s *space) give(n uint64) {
	apn := s.pools.owner(n)
	if apn == "" {
		return
	}
	first, last := n, n
	for k, l := range s.free.back(numbered{apn, n}) {
		if k.name == apn && l+1 == n {
			first = k.n
		}
		break
	}
	if next := (numbered{apn, n + 1}); s.free.has(next) {
		last = s.free.get(next)
		s.free.delete(next)
	}
	s.free.set(numbered{apn, first}, last)
}
