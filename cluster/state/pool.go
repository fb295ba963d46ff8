package state

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// A span is a run of addresses that an APN gives out dynamically.
type span struct {
	first, last uint64
	apn         string
	quarantine  int64 // nanoseconds from a release to another subscriber's use
}

// pools are the spans of all APNs in one family, sorted and without overlap.
// They are made anew with every policy and never changed.
type pools []span

// compilePools turns the pools of a policy into the spans of each family. Left
// out are the addresses excluded and, of an IPv4 prefix wider than /31, the
// first and the last, which hosts take for the network and for broadcast.
func compilePools(list []*command.Pool) (out [len(families)]pools, err error) {
	var whole [len(families)][]span
	holes := [...]map[uint64]bool{{}, {}}
	quarantine := map[string]uint32{}
	for _, p := range list {
		f, s, err := spanOf(p)
		if err != nil {
			return out, err
		}
		// One for all, so that what was released longest ago is free first.
		if q, ok := quarantine[p.Apn]; ok && q != p.QuarantineSeconds {
			return out, fmt.Errorf("the pools of %s have different quarantines; give all of them one", p.Apn)
		}
		quarantine[p.Apn] = p.QuarantineSeconds
		whole[f] = append(whole[f], s)
		for _, x := range p.Excluded {
			if xf, ok := familyOf(x); !ok || xf != f {
				return out, fmt.Errorf("pool of %s: an excluded address is not %v", p.Apn, f)
			}
			holes[f][f.number(x)] = true
		}
		if f == ipv4 && p.PrefixBits < 31 {
			holes[f][s.first], holes[f][s.last] = true, true
		}
	}
	for _, f := range families {
		slices.SortFunc(whole[f], func(a, b span) int { return cmp.Compare(a.first, b.first) })
		for i := range whole[f][:max(len(whole[f])-1, 0)] {
			if a, b := whole[f][i], whole[f][i+1]; b.first <= a.last {
				return out, fmt.Errorf("the pools of %s and %s overlap at %s", a.apn, b.apn, f.text(b.first))
			}
		}
		out[f] = cut(whole[f], holes[f])
	}
	return out, nil
}

// spanOf is all of a pool's prefix.
func spanOf(p *command.Pool) (family, span, error) {
	if p.GetApn() == "" {
		return 0, span{}, fmt.Errorf("a pool without an APN")
	}
	base, _ := netip.AddrFromSlice(p.PrefixAddress)
	f, ok := familyOf(p.PrefixAddress)
	switch {
	case f == ipv6 && (!routable(p.PrefixAddress) || p.PrefixBits < 32 || p.PrefixBits > 64):
		return f, span{}, fmt.Errorf("pool of %s: not a unicast IPv6 prefix of 32 to 64 bits", p.Apn)
	case f == ipv4 && (!ok || p.PrefixBits < 1 || p.PrefixBits > 32):
		return f, span{}, fmt.Errorf("pool of %s: not an IPv4 prefix", p.Apn)
	}
	prefix := netip.PrefixFrom(base, int(p.PrefixBits))
	if prefix.Masked() != prefix {
		return f, span{}, fmt.Errorf("pool of %s: %v has bits beyond its length; write %v", p.Apn, prefix, prefix.Masked())
	}
	first := f.number(p.PrefixAddress)
	last := first | (1<<(f.bits()-p.PrefixBits) - 1)
	return f, span{first, last, p.Apn, int64(p.QuarantineSeconds) * int64(time.Second)}, nil
}

// cut takes the holes out of the spans.
func cut(whole []span, holes map[uint64]bool) pools {
	sorted := make([]uint64, 0, len(holes))
	for h := range holes {
		sorted = append(sorted, h)
	}
	slices.Sort(sorted)
	var out pools
	for _, s := range whole {
		part := s
		i, _ := slices.BinarySearch(sorted, s.first)
		for _, h := range sorted[i:] {
			if h > s.last {
				break
			}
			if h > part.first {
				part.last = h - 1
				out = append(out, part)
			}
			part.first, part.last = h+1, s.last
		}
		if part.first <= s.last {
			out = append(out, part)
		}
	}
	return out
}

// at returns the span that has a number.
func (p pools) at(n uint64) (span, bool) {
	i, exact := slices.BinarySearchFunc(p, n, func(s span, n uint64) int { return cmp.Compare(s.first, n) })
	if !exact {
		i--
	}
	if i < 0 || n > p[i].last {
		return span{}, false
	}
	return p[i], true
}

// owner returns the APN that gives a number out; "" if none does.
func (p pools) owner(n uint64) string {
	s, _ := p.at(n)
	return s.apn
}

// serves tells whether an APN has any dynamic addresses.
func (p pools) serves(apn string) bool {
	return slices.ContainsFunc(p, func(s span) bool { return s.apn == apn })
}

// excludes tells whether a policy keeps an address from everybody.
func (f family) excludes(list []*command.Pool, n uint64) bool {
	same := len(f.bytes(0))
	return slices.ContainsFunc(list, func(p *command.Pool) bool {
		return slices.ContainsFunc(p.Excluded, func(x []byte) bool { return len(x) == same && f.number(x) == n })
	})
}
