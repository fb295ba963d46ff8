package bundle

import (
	"reflect"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// widenBudget bounds what a comparison of rules may cost: some tenths of a second.
const widenBudget = 100_000

// tightens tells whether the rules of the new document for an action let nothing
// through that those of the old one refuse, and ask for no less. What is too
// much to compute counts as not.
func tightens(old, new *policy.Rules, a policy.Action) bool {
	if len(rulesOf(old, a)) == 0 || sameRules(old, new, a) {
		return true // without rules all is let through
	}
	s, err := newSpace(a, old, new)
	if err != nil || a == policy.ActionHotspot && !reflect.DeepEqual(old.Hotspot, new.Hotspot) {
		return false // the role of a device isn't the same in both
	}
	was, is := s.compile(old, a), s.compile(new, a)
	budget := region.Budget(widenBudget)
	for _, cell := range s.changed(old, new, was, is) {
		now, err := s.permitted([]region.Box{cell}, is, &budget)
		if err != nil {
			return false
		}
		for _, n := range now {
			before, err := s.permitted([]region.Box{n.box}, was, &budget)
			if err != nil {
				return false
			}
			left := []region.Box{n.box}
			for _, b := range before {
				if !asksNoLess(old, new, b.require(), n.require()) {
					return false
				}
				if left, err = s.Without(left, []region.Box{b.box}, &budget); err != nil {
					return false
				}
			}
			if len(left) > 0 {
				return false
			}
		}
	}
	return true
}

// changed are the requests on which the two tables may differ: those of rules
// that aren't in both in the same order. Without rules on one side it is all.
func (s *space) changed(old, new *policy.Rules, was, is []compiled) []region.Box {
	if len(is) == 0 || len(was) == 0 {
		return []region.Box{s.All()}
	}
	for len(was) > 0 && len(is) > 0 && s.same(old, new, was[0], is[0]) {
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && s.same(old, new, was[len(was)-1], is[len(is)-1]) {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	var out []region.Box
	for _, c := range s.distinct(old, new, was, is) {
		out = append(out, c.box)
	}
	return out
}

// mostCells bounds the table by which the longest common part is found.
const mostCells = 4 << 20

// distinct are the rules of either table that the longest common part of both
// doesn't have.
func (s *space) distinct(old, new *policy.Rules, was, is []compiled) []compiled {
	n, m := len(was), len(is)
	if n*m > mostCells {
		return append(append([]compiled(nil), was...), is...)
	}
	length := make([]uint16, (n+1)*(m+1)) // of what was[i:] and is[j:] have in common
	at := func(i, j int) int { return i*(m+1) + j }
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if s.same(old, new, was[i], is[j]) {
				length[at(i, j)] = length[at(i+1, j+1)] + 1
			} else {
				length[at(i, j)] = max(length[at(i+1, j)], length[at(i, j+1)])
			}
		}
	}
	var out []compiled
	i, j := 0, 0
	for i < n && j < m {
		switch {
		case s.same(old, new, was[i], is[j]):
			i, j = i+1, j+1
		case length[at(i+1, j)] >= length[at(i, j+1)]:
			out = append(out, was[i])
			i++
		default:
			out = append(out, is[j])
			j++
		}
	}
	return append(append(out, was[i:]...), is[j:]...)
}

// same tells whether two rules do the same to the same requests.
func (s *space) same(old, new *policy.Rules, a, b compiled) bool {
	return a.rule.Permit == b.rule.Permit && a.rule.Require == b.rule.Require && sameMatch(old, new, a.rule, b.rule)
}

// sameMatch tells whether two rules say the same, and mean the same by it.
func sameMatch(old, new *policy.Rules, a, b *policy.Rule) bool {
	if len(a.Match.IMSIs) != len(b.Match.IMSIs) || len(a.Match.Groups) != len(b.Match.Groups) || !reflect.DeepEqual(a.Match, b.Match) {
		return false
	}
	for _, l := range a.Match.Locations {
		if !reflect.DeepEqual(old.Locations[l], new.Locations[l]) {
			return false
		}
	}
	return true
}

// asksNoLess tells whether whoever meets a requirement of the new document meets
// that of the old one.
func asksNoLess(old, new *policy.Rules, was, is policy.Require) bool {
	least := func(was, is uint64) bool { return was == 0 || is != 0 && is <= was }
	handset := was.Handset == 0 || is.Handset != 0 && bindingWithin(was.Handset, is.Handset)
	level := least(uint64(was.Level), uint64(is.Level)) && (was.Level == 0 || new.Levels[is.Level].Methods.Has(old.Levels[was.Level].Methods))
	return handset && level && is.Credentials.Has(was.Credentials) && is.Methods.Has(was.Methods) &&
		least(uint64(was.MaxCount), uint64(is.MaxCount)) && least(uint64(was.MaxWindow), uint64(is.MaxWindow)) &&
		least(uint64(was.EvidenceWithin), uint64(is.EvidenceWithin))
}

// sameRules tells whether the rules of an action are the same and mean the same.
func sameRules(old, new *policy.Rules, a policy.Action) bool {
	was, is := rulesOf(old, a), rulesOf(new, a)
	if len(was) != len(is) {
		return false
	}
	hours := false
	for i := range was {
		if was[i].Permit != is[i].Permit || was[i].Require != is[i].Require || !sameMatch(old, new, &was[i], &is[i]) {
			return false
		}
		hours = hours || was[i].Match.Hours != nil
		if len(was[i].Match.Roles) > 0 && !reflect.DeepEqual(old.Hotspot, new.Hotspot) {
			return false
		}
	}
	return !hours || zoneName(old.Zone) == zoneName(new.Zone)
}

func zoneName(z *time.Location) string {
	if z == nil {
		return "UTC"
	}
	return z.String()
}
