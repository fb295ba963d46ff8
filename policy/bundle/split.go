package bundle

import (
	"slices"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// compiled is a rule as what it matches.
type compiled struct {
	rule *policy.Rule
	box  region.Box
}

// compile makes the boxes of a document's rules for an action.
func (s *space) compile(doc *policy.Rules, action policy.Action) []compiled {
	var out []compiled
	for i := range doc.Table {
		if r := &doc.Table[i]; r.Action == action {
			out = append(out, compiled{r, s.box(doc, &r.Match)})
		}
	}
	return out
}

// part is a set of requests and the rule that decides on them; nil: none does.
type part struct {
	box  region.Box
	rule *policy.Rule
}

// split divides requests by the rule that decides on them.
func (s *space) split(cells []region.Box, table []compiled, budget *region.Budget) ([]part, error) {
	var out []part
	rest := cells
	for _, c := range table {
		if len(rest) == 0 {
			break
		}
		var next []region.Box
		for _, r := range rest {
			hit, ok := s.And(r, c.box)
			if !ok {
				next = append(next, r)
				continue
			}
			out = append(out, part{hit, c.rule})
			left, err := s.Minus(r, c.box, budget)
			if err != nil {
				return nil, err
			}
			next = append(next, left...)
		}
		rest = next
	}
	for _, r := range rest {
		out = append(out, part{r, nil})
	}
	return out, nil
}

// permitted are the requests that the rules for an action let through, with what
// the rule asks for besides. Without rules that is all of them.
func (s *space) permitted(cells []region.Box, table []compiled, budget *region.Budget) ([]part, error) {
	parts, err := s.split(cells, table, budget)
	if err != nil || len(table) == 0 {
		return parts, err
	}
	return slices.DeleteFunc(parts, func(p part) bool { return p.rule == nil || !p.rule.Permit }), nil
}

// require is what a part asks for besides.
func (p part) require() policy.Require {
	if p.rule == nil {
		return policy.Require{}
	}
	return p.rule.Require
}

// base are the requests that a document without its rules has an ear for: what
// the network tells of a terminal on either path, as far as rules look at it.
// Over the fallback no network tells handset or radio access; where a terminal is
// may be known from before.
func (s *space) base(doc *policy.Rules) []region.Box {
	var served []string
	for name := range doc.APNs {
		served = append(served, name.String())
	}
	apns := region.Of(len(s.apns.list))
	for _, name := range served {
		apns.Add(s.apns.of(name))
	}
	carrier, fallback := s.All(), s.All()
	for _, b := range []region.Box{carrier, fallback} {
		s.Match(b, dimAPN, apns)
		s.Match(b, dimDate, s.times.known())
	}
	s.Match(carrier, dimPath, region.Of(paths, pathCarrier))
	s.Match(carrier, dimPLMN, s.plmns.set(texts(doc.Admission.PLMNs)))
	s.Match(carrier, dimRAT, s.rats.set(texts(doc.Admission.RATs)))
	if doc.Admission.Handset == policy.HandsetPool {
		s.Match(carrier, dimTAC, s.models(doc.Admission.TACs))
	}
	s.Match(fallback, dimPath, region.Of(paths, pathFallback))
	if longest, shortest := s.placeAges(); longest != shortest {
		fallback[dimPath] = region.Condition{}
		s.Match(fallback, dimPath, pathSet(policy.PathWireGuard))
	}
	for _, d := range []int{dimPLMN, dimRAT, dimTAC} {
		s.Match(fallback, d, region.Of(s.Dims[d].Size, 0))
	}
	if s.action == policy.ActionUse {
		known, overFallback := region.Of(len(s.sealTypes.list)), region.Of(len(s.sealTypes.list))
		for name, kind := range doc.SealTypes {
			known.Add(s.sealTypes.of(name))
			if !slices.Contains(doc.Fallback.ForbidLevels, kind.Level) {
				overFallback.Add(s.sealTypes.of(name))
			}
		}
		s.Match(carrier, dimSealType, known)
		s.Match(fallback, dimSealType, overFallback)
	}
	out := []region.Box{carrier}
	if doc.Fallback.Allowed {
		out = append(out, fallback)
	}
	if s.action == policy.ActionHotspot {
		out = s.devices(doc, out)
	}
	return slices.DeleteFunc(out, func(b region.Box) bool { return s.Empty(b) })
}

// devices divides requests about devices on hotspots: barrels, and the others that
// the document lists, which hold no seal.
func (s *space) devices(doc *policy.Rules, from []region.Box) []region.Box {
	var out []region.Box
	for _, b := range from {
		barrel := append(region.Box(nil), b...)
		s.Match(barrel, dimRole, region.Of(len(s.roles.list), s.roles.of(policy.RoleBarrel)))
		out = append(out, barrel)
		for _, d := range doc.Hotspot {
			other := append(region.Box(nil), b...)
			s.Match(other, dimMAC, region.Of(len(s.macs.list), s.macs.of(d.MAC.String())))
			s.Match(other, dimRole, region.Of(len(s.roles.list), s.roles.of(d.Role)))
			s.Match(other, dimSealType, region.Of(len(s.sealTypes.list), 0))
			s.Match(other, dimBarrel, region.Of(len(s.barrels.list), 0))
			out = append(out, other)
		}
	}
	return out
}
