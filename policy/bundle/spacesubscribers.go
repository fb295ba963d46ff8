package bundle

import (
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// subscriberAtoms are the parts of the IMSIs that rules tell apart: each IMSI
// that is named, what no narrower prefix has of each prefix, and the others.
type subscriberAtoms struct {
	imsis    map[string]int
	prefixes map[string]int
	of       []string // the IMSI or prefix by number; the first is ""
	sorted   []string
	gone     []bool // of a prefix: narrower ones leave nothing of it
}

func newSubscriberAtoms(rules []policy.Rule) subscriberAtoms {
	a := subscriberAtoms{imsis: map[string]int{}, prefixes: map[string]int{}, of: []string{""}}
	add := func(to map[string]int, s string) {
		if _, ok := to[s]; !ok {
			to[s] = len(a.of)
			a.of = append(a.of, s)
		}
	}
	for i := range rules {
		for _, s := range rules[i].Match.IMSIs {
			add(a.imsis, s)
		}
		for _, p := range rules[i].Match.IMSIPrefixes {
			add(a.prefixes, p)
		}
	}
	a.sorted = slices.Sorted(slices.Values(a.of))
	a.gone = make([]bool, len(a.of))
	for p, n := range a.prefixes {
		a.gone[n] = a.covered(p)
	}
	return a
}

func (a *subscriberAtoms) size() int { return len(a.of) }

// atom is the part that an IMSI is in.
func (a *subscriberAtoms) atom(imsi string) int {
	if n, ok := a.imsis[imsi]; ok {
		return n
	}
	for l := len(imsi); l > 0; l-- {
		if n, ok := a.prefixes[imsi[:l]]; ok {
			return n
		}
	}
	return 0
}

// set is the parts that both conditions of a rule take; nil when it has none.
func (a *subscriberAtoms) set(m *policy.Match) region.Set {
	if len(m.IMSIs)+len(m.IMSIPrefixes) == 0 {
		return nil
	}
	set := region.Of(len(a.of))
	inPrefix := func(s string) bool {
		return len(m.IMSIPrefixes) == 0 || slices.ContainsFunc(m.IMSIPrefixes, func(p string) bool { return strings.HasPrefix(s, p) })
	}
	if len(m.IMSIs) > 0 {
		for _, s := range m.IMSIs {
			if inPrefix(s) {
				set.Add(a.imsis[s])
			}
		}
		return set
	}
	for i := 1; i < len(a.of); i++ {
		if !a.gone[i] && inPrefix(a.of[i]) {
			set.Add(i)
		}
	}
	return set
}

// covered tells whether every IMSI with a prefix is in a narrower part. IMSIs
// have 6 to 15 digits.
func (a *subscriberAtoms) covered(prefix string) bool {
	if _, ok := a.imsis[prefix]; len(prefix) >= 6 && !ok {
		return false
	}
	if len(prefix) == 15 {
		return true
	}
	for c := byte('0'); c <= '9'; c++ {
		longer := prefix + string(c)
		if _, ok := a.prefixes[longer]; ok {
			continue
		}
		if !a.named(longer) || !a.covered(longer) {
			return false
		}
	}
	return true
}

// named tells whether anything that is named begins with a prefix.
func (a *subscriberAtoms) named(prefix string) bool {
	i, _ := slices.BinarySearch(a.sorted, prefix)
	return i < len(a.sorted) && strings.HasPrefix(a.sorted[i], prefix)
}
