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
	a, b := meanings(old, was), meanings(new, is)
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b, was, is = a[1:], b[1:], was[1:], is[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	var out []region.Box
	for _, i := range distinct(a, b) {
		if i < len(a) {
			out = append(out, was[i].box)
		} else {
			out = append(out, is[i-len(a)].box)
		}
	}
	return out
}

// mostCells bounds the table by which the longest common part is found.
const mostCells = 4 << 20

// distinct are the places in a, and len(a) and more those in b, of what the longest
// part that both have in common doesn't have.
func distinct(a, b []string) (out []int) {
	n, m := len(a), len(b)
	if n*m > mostCells {
		for i := range n + m {
			out = append(out, i)
		}
		return out
	}
	length := make([]uint16, (n+1)*(m+1)) // of what a[i:] and b[j:] have in common
	at := func(i, j int) int { return i*(m+1) + j }
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[at(i, j)] = length[at(i+1, j+1)] + 1
			} else {
				length[at(i, j)] = max(length[at(i+1, j)], length[at(i, j+1)])
			}
		}
	}
	i, j := 0, 0
	for i < n || j < m {
		switch {
		case i < n && j < m && a[i] == b[j]:
			i, j = i+1, j+1
		case j == m || i < n && length[at(i+1, j)] >= length[at(i, j+1)]:
			out = append(out, i)
			i++
		default:
			out = append(out, n+j)
			j++
		}
	}
	return out
}

// meanings are texts that are equal for rules that do the same to the same requests.
func meanings(doc *policy.Rules, table []compiled) []string {
	out := make([]string, len(table))
	for i, c := range table {
		out[i] = ruleWords(c.rule)
		if len(c.rule.Match.Locations) > 0 {
			out[i] += "\n" + doc.Fallback.PlaceAge.String()
		}
		for _, name := range c.rule.Match.Locations {
			out[i] += "\n" + placeWords(doc.Locations[name], true)
		}
	}
	return out
}

// sameMatch tells whether two rules say the same, and mean the same by it.
func sameMatch(old, new *policy.Rules, a, b *policy.Rule) bool {
	if len(a.Match.IMSIs) != len(b.Match.IMSIs) || len(a.Match.Groups) != len(b.Match.Groups) || !reflect.DeepEqual(a.Match, b.Match) {
		return false
	}
	if len(a.Match.Locations) > 0 && old.Fallback.PlaceAge != new.Fallback.PlaceAge {
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
