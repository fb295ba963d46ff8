package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// fields are the conditions of a rule that lint can leave out, by key.
var fields = []struct {
	key   string
	clear func(*policy.Match)
	some  func(*policy.Match) bool
}{
	{"imsis", func(m *policy.Match) { m.IMSIs = nil }, func(m *policy.Match) bool { return len(m.IMSIs) > 0 }},
	{"imsiPrefixes", func(m *policy.Match) { m.IMSIPrefixes = nil }, func(m *policy.Match) bool { return len(m.IMSIPrefixes) > 0 }},
	{"groups", func(m *policy.Match) { m.Groups = nil }, func(m *policy.Match) bool { return len(m.Groups) > 0 }},
	{"tacs", func(m *policy.Match) { m.TACs = nil }, func(m *policy.Match) bool { return len(m.TACs) > 0 }},
	{"apns", func(m *policy.Match) { m.APNs = nil }, func(m *policy.Match) bool { return len(m.APNs) > 0 }},
	{"paths", func(m *policy.Match) { m.Paths = nil }, func(m *policy.Match) bool { return len(m.Paths) > 0 }},
	{"plmns", func(m *policy.Match) { m.PLMNs = nil }, func(m *policy.Match) bool { return len(m.PLMNs) > 0 }},
	{"rats", func(m *policy.Match) { m.RATs = nil }, func(m *policy.Match) bool { return len(m.RATs) > 0 }},
	{"locations", func(m *policy.Match) { m.Locations = nil }, func(m *policy.Match) bool { return len(m.Locations) > 0 }},
	{"hours", func(m *policy.Match) { m.Hours = nil }, func(m *policy.Match) bool { return m.Hours != nil }},
	{"sealTypes", func(m *policy.Match) { m.SealTypes = nil }, func(m *policy.Match) bool { return len(m.SealTypes) > 0 }},
	{"barrels", func(m *policy.Match) { m.Barrels = nil }, func(m *policy.Match) bool { return len(m.Barrels) > 0 }},
	{"roles", func(m *policy.Match) { m.Roles = nil }, func(m *policy.Match) bool { return len(m.Roles) > 0 }},
	{"macs", func(m *policy.Match) { m.MACs = nil }, func(m *policy.Match) bool { return len(m.MACs) > 0 }},
}

// unreachable reports a rule that no request matches, with the conditions that
// can't hold together: those without any one of which it would match.
func (l *linter) unreachable(s *space, c compiled, base []region.Box) {
	match := func(m *policy.Match, in []region.Box) bool {
		box := s.box(l.rules, m)
		return slices.ContainsFunc(in, func(b region.Box) bool { _, ok := s.And(b, box); return ok })
	}
	var at fault
	at.elsewhere = match(&c.rule.Match, []region.Box{s.All()})
	for _, f := range fields {
		if !f.some(&c.rule.Match) {
			continue
		}
		at.all = append(at.all, f.key)
		m := c.rule.Match
		if f.clear(&m); match(&m, base) {
			at.keys = append(at.keys, f.key)
		}
	}
	l.find(FindingUnreachable, c.rule, nil, "change one of them, or remove the rule", "rule %s never matches: %s", c.rule.ID, at.words())
}

// fault is why a rule matches nothing.
type fault struct {
	keys      []string // any one of which, left out, would make it match
	all       []string // that it has
	elsewhere bool     // it would match, but for the rest of the document
}

func (f fault) words() string {
	keys := f.keys
	if len(keys) == 0 {
		keys = f.all
	}
	list := strings.Join(keys, ", ")
	switch {
	case !f.elsewhere && len(keys) == 1:
		return list + " holds for nothing"
	case !f.elsewhere:
		return list + " never hold together"
	}
	why := "nothing that the rest of the document lets through has its " + list
	if slices.Contains(keys, "paths") {
		why += ": over the fallback no network tells handset, serving network or radio access"
	}
	return why
}

// unused reports what is there to be named by rules, and isn't.
func (l *linter) unused() {
	named := map[string]bool{}
	for i := range l.rules.Table {
		for _, name := range l.rules.Table[i].Match.Locations {
			named[name] = true
		}
	}
	for _, name := range keysOf(l.rules.Locations, nil) {
		if !named[name] {
			l.found = append(l.found, Finding{
				Kind: FindingUnused, Where: l.rules.Sources["spec/locations/"+name], Text: fmt.Sprintf("no rule names location %s", name), Mend: "remove it, or name it in a rule", Note: true,
			})
		}
	}
}

// nobody reports names of rules that nothing on the allow-list has.
func (l *linter) nobody(p *Population) {
	groups, imsis, tacs, barrels := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	anyHandset := false
	list := make([]string, 0, len(p.Terminals))
	for i := range p.Terminals {
		t := &p.Terminals[i]
		imsis[t.IMSI] = true
		list = append(list, t.IMSI)
		for _, g := range t.Groups {
			groups[g] = true
		}
		for _, imei := range t.IMEIs {
			if len(imei) >= 8 {
				tacs[imei[:8]] = true
			}
		}
		anyHandset = anyHandset || len(t.IMEIs) == 0
	}
	for i := range p.Barrels {
		barrels[p.Barrels[i].ID] = true
	}
	slices.Sort(list)
	for i := range l.rules.Table {
		r := &l.rules.Table[i]
		l.absent(r, "groups", "no terminal is of group", r.Match.Groups, groups)
		l.absent(r, "imsis", "the allow-list has no terminal", r.Match.IMSIs, imsis)
		l.absent(r, "barrels", "the allow-list has no barrel", r.Match.Barrels, barrels)
		if !anyHandset {
			l.absent(r, "tacs", "no terminal is bound to a handset of model", r.Match.TACs, tacs)
		}
		for _, prefix := range r.Match.IMSIPrefixes {
			if n, _ := slices.BinarySearch(list, prefix); n == len(list) || !strings.HasPrefix(list[n], prefix) {
				l.absent(r, "imsiPrefixes", "the allow-list has no terminal with prefix", []string{prefix}, nil)
			}
		}
	}
}

func (l *linter) absent(r *policy.Rule, key, words string, named []string, there map[string]bool) {
	for _, name := range named {
		if !there[name] {
			l.found = append(l.found, Finding{
				Kind: FindingNobody, Rule: r.ID, Where: l.rules.Sources["spec/rules/"+r.ID+"/match/"+key], Text: fmt.Sprintf("rule %s: %s %s", r.ID, words, name), Mend: "mind the spelling, or remove it",
			})
		}
	}
}
