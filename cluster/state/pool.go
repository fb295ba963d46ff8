package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// A span is a run of addresses that an APN gives out dynamically.
type span struct {
	first, last uint32
	apn         string
}

// pools are the spans of all APNs, sorted and without overlap. They are made
// anew with every policy and never changed.
type pools []span

// compilePools turns the pools of a policy into spans. The addresses excluded,
// and the first and last of a prefix wider than /31, which hosts take for the
// network and for broadcast, are left out.
func compilePools(list []*command.Pool) (pools, error) {
	var whole []span
	holes := map[uint32]bool{}
	for _, p := range list {
		if p.GetApn() == "" {
			return nil, fmt.Errorf("a pool without an APN")
		}
		base, ok := netip.AddrFromSlice(p.PrefixAddress)
		if !ok || !base.Is4() || p.PrefixBits < 1 || p.PrefixBits > 32 {
			return nil, fmt.Errorf("pool of %s: not an IPv4 prefix", p.Apn)
		}
		prefix := netip.PrefixFrom(base, int(p.PrefixBits))
		if prefix.Masked() != prefix {
			return nil, fmt.Errorf("pool of %s: %v has bits beyond its length; write %v", p.Apn, prefix, prefix.Masked())
		}
		first := number(base)
		last := first | uint32(1<<(32-p.PrefixBits)-1)
		whole = append(whole, span{first, last, p.Apn})
		for _, x := range p.Excluded {
			if len(x) != 4 {
				return nil, fmt.Errorf("pool of %s: an excluded address is not IPv4", p.Apn)
			}
			holes[binary.BigEndian.Uint32(x)] = true
		}
		if p.PrefixBits < 31 {
			holes[first], holes[last] = true, true
		}
	}
	slices.SortFunc(whole, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for i := range whole[:max(len(whole)-1, 0)] {
		if a, b := whole[i], whole[i+1]; b.first <= a.last {
			return nil, fmt.Errorf("the pools of %s and %s overlap at %v", a.apn, b.apn, address(b.first))
		}
	}
	return cut(whole, holes), nil
}

// cut takes the holes out of the spans.
func cut(whole []span, holes map[uint32]bool) pools {
	sorted := make([]uint32, 0, len(holes))
	for h := range holes {
		sorted = append(sorted, h)
	}
	slices.Sort(sorted)
	var out pools
	for _, s := range whole {
		next := uint64(s.first)
		i, _ := slices.BinarySearch(sorted, s.first)
		for _, h := range sorted[i:] {
			if h > s.last {
				break
			}
			if uint64(h) > next {
				out = append(out, span{uint32(next), h - 1, s.apn})
			}
			next = uint64(h) + 1
		}
		if next <= uint64(s.last) {
			out = append(out, span{uint32(next), s.last, s.apn})
		}
	}
	return out
}

// owner returns the APN that gives an address out; "" if none does.
func (p pools) owner(a uint32) string {
	i, exact := slices.BinarySearchFunc(p, a, func(s span, a uint32) int { return cmp.Compare(s.first, a) })
	if !exact {
		i--
	}
	if i < 0 || a > p[i].last {
		return ""
	}
	return p[i].apn
}

// serves tells whether an APN has any dynamic addresses.
func (p pools) serves(apn string) bool {
	return slices.ContainsFunc(p, func(s span) bool { return s.apn == apn })
}

// excludes tells whether a policy keeps an address from everybody.
func excludes(list []*command.Pool, a []byte) bool {
	return slices.ContainsFunc(list, func(p *command.Pool) bool {
		return slices.ContainsFunc(p.Excluded, func(x []byte) bool { return bytes.Equal(x, a) })
	})
}

// rebuildFree works out which addresses of the pools no lease holds.
func (m *Machine) rebuildFree() {
	m.free = newTable[numbered, uint32](compareNumbered)
	for _, s := range m.pools {
		next := uint64(s.first)
		for a := range m.byAddress.from(s.first) {
			if a > s.last {
				break
			}
			if uint64(a) > next {
				m.free.set(numbered{s.apn, next}, a-1)
			}
			next = uint64(a) + 1
		}
		if next <= uint64(s.last) {
			m.free.set(numbered{s.apn, next}, s.last)
		}
	}
}

// firstFree returns the lowest address of an APN that no lease holds.
func (m *Machine) firstFree(apn string) (uint32, bool) {
	for k := range m.free.from(numbered{apn, 0}) {
		return uint32(k.n), k.name == apn
	}
	return 0, false
}

// take makes an address not free, if it belongs to a pool at all.
func (m *Machine) take(a uint32) {
	apn := m.pools.owner(a)
	for k, last := range m.free.back(numbered{apn, uint64(a)}) {
		if k.name != apn || a > last {
			return
		}
		first := uint32(k.n)
		m.free.delete(k)
		if first < a {
			m.free.set(k, a-1)
		}
		if a < last {
			m.free.set(numbered{apn, uint64(a) + 1}, last)
		}
		return
	}
}

// give makes an address free again, if it belongs to a pool.
func (m *Machine) give(a uint32) {
	apn := m.pools.owner(a)
	if apn == "" {
		return
	}
	first, last := a, a
	for k, l := range m.free.back(numbered{apn, uint64(a)}) {
		if k.name == apn && uint64(l)+1 == uint64(a) {
			first = uint32(k.n)
		}
		break
	}
	if next := (numbered{apn, uint64(a) + 1}); m.free.has(next) {
		last = m.free.get(next)
		m.free.delete(next)
	}
	m.free.set(numbered{apn, uint64(first)}, last)
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}
