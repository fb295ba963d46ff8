package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// class is terminals that no rule of either document tells apart.
type class struct {
	box       region.Box // who they are
	bound     bool       // they are bound to handsets
	own       region.Set // these, and one that is announced
	apns      []string
	wireguard bool
	members   []*policy.Subscriber

	sessions [2][]region.Box // that they may have, under the old document and the new
	common   []region.Box    // that they may have under both
}

// classify puts the active terminals into classes. The others are refused by
// either document.
func (x *differ) classify() {
	sp := x.sides[0].spaces[policy.ActionAttach]
	byKey := map[string]*class{}
	var key strings.Builder
	for i := range x.population.Terminals {
		t := &x.population.Terminals[i]
		if t.State != policy.StateActive {
			continue
		}
		imsi := sp.subscribers.atom(t.IMSI)
		var groups, tacs []int
		for _, g := range t.Groups {
			if n := sp.groups.of(g); n != 0 {
				groups = append(groups, n)
			}
		}
		for _, imei := range t.IMEIs {
			tacs = append(tacs, sp.handsetAtom(imei, true))
		}
		if t.AnnouncedIMEI != "" && x.population.Now.Before(t.AnnouncedUntil) {
			tacs = append(tacs, sp.handsetAtom(t.AnnouncedIMEI, true))
		}
		slices.Sort(groups)
		slices.Sort(tacs)
		tacs = slices.Compact(tacs)
		key.Reset()
		fmt.Fprint(&key, imsi, groups, tacs, len(t.IMEIs) > 0, t.HasWireGuard, t.APNs)
		c := byKey[key.String()]
		if c == nil {
			c = &class{box: sp.All(), bound: len(t.IMEIs) > 0, apns: t.APNs, wireguard: t.HasWireGuard}
			sp.Match(c.box, dimIMSI, region.Of(sp.Dims[dimIMSI].Size, imsi))
			c.box[dimGroups].Within = region.Of(sp.Dims[dimGroups].Size, groups...)
			for _, g := range groups {
				sp.Match(c.box, dimGroups, region.Of(sp.Dims[dimGroups].Size, g))
			}
			c.own = region.Of(sp.Dims[dimTAC].Size, tacs...)
			sp.Match(c.box, dimTAC, c.own.Or(sp.strange()))
			byKey[key.String()] = c
			x.classes = append(x.classes, c)
		}
		c.members = append(c.members, t)
	}
}

// strange are the handsets that no terminal is bound to.
func (s *space) strange() region.Set {
	set := region.Of(s.Dims[dimTAC].Size)
	for n := range s.tacs.list {
		set.Add(2 * n)
	}
	return set
}

// tacOf is the model of a handset.
func tacOf(imei string) string { return imei[:min(8, len(imei))] }

// handsets are those that a class may attach in when the document and a
// rule bind handsets so; nil: any.
func (c *class) handsets(s *side, ruled policy.HandsetBinding) region.Set {
	sp := s.spaces[policy.ActionAttach]
	out := region.Set(nil)
	for _, b := range []policy.HandsetBinding{bindingOf(s.rules.Admission), ruled} {
		if b == 0 || b == policy.HandsetAny {
			continue
		}
		if c.bound || b == policy.HandsetExact {
			out = out.And(c.own)
		}
		if b == policy.HandsetPool {
			pool := region.Of(sp.Dims[dimTAC].Size)
			if len(s.rules.Admission.TACs) > 0 {
				pool = sp.models(s.rules.Admission.TACs)
			}
			out = out.And(pool)
		}
	}
	return out
}

// attaches are the circumstances in which a class may attach to an APN.
func (s *side) attaches(c *class, apn string) ([]part, error) {
	sp := s.spaces[policy.ActionAttach]
	if !slices.ContainsFunc(keysOfAPNs(s.rules), func(name string) bool { return name == apn }) {
		return nil, nil
	}
	cell := append(region.Box(nil), c.box...)
	sp.Match(cell, dimAPN, region.Of(sp.Dims[dimAPN].Size, sp.apns.of(apn)))
	if !c.wireguard {
		sp.Match(cell, dimPath, pathSet(policy.PathGTP))
	}
	budget := region.Budget(diffBudget)
	parts, err := sp.permitted(sp.within(s.bases[policy.ActionAttach], cell), s.tables[policy.ActionAttach], &budget)
	if err != nil {
		return nil, err
	}
	var out []part
	for _, p := range parts {
		carrier := sp.All()
		sp.Match(carrier, dimPath, pathSet(policy.PathGTP))
		sp.Match(carrier, dimTAC, c.handsets(s, p.require().Handset))
		fallback := sp.All()
		sp.Match(fallback, dimPath, pathSet(policy.PathWireGuard))
		for _, b := range sp.within([]region.Box{carrier, fallback}, p.box) {
			out = append(out, part{b, p.rule})
		}
	}
	return out, nil
}

// sessions are the circumstances of what may be attached, at whatever time, in
// boxes that are apart.
func (s *space) sessions(attached []part) ([]region.Box, error) {
	budget := region.Budget(diffBudget)
	var out []region.Box
	for _, a := range attached {
		session := append(region.Box(nil), a.box...)
		session[dimWeek], session[dimDate] = region.Condition{}, region.Condition{}
		fresh, err := s.Without([]region.Box{session}, out, &budget)
		if err != nil {
			return nil, err
		}
		out = append(out, fresh...)
	}
	return out, nil
}

// uses are the circumstances in which a class may use seals of a type, in some
// sessions.
func (s *side) uses(kind string, sessions []region.Box, barrels region.Set) ([]part, error) {
	sp := s.spaces[policy.ActionUse]
	if _, known := s.rules.SealTypes[kind]; !known {
		return nil, nil
	}
	seal := sp.All()
	sp.Match(seal, dimSealType, region.Of(sp.Dims[dimSealType].Size, sp.sealTypes.of(kind)))
	sp.Match(seal, dimBarrel, barrels)
	return s.in(policy.ActionUse, seal, sessions)
}

// in are the circumstances in which something may be done in some sessions.
func (s *side) in(a policy.Action, what region.Box, sessions []region.Box) ([]part, error) {
	sp := s.spaces[a]
	var cells []region.Box
	for _, b := range sp.within(s.bases[a], what) {
		cells = append(cells, sp.within(sessions, b)...)
	}
	budget := region.Budget(diffBudget)
	return sp.permitted(cells, s.tables[a], &budget)
}

// within is what of some boxes is in another one.
func (s *space) within(boxes []region.Box, in region.Box) []region.Box {
	var out []region.Box
	for _, b := range boxes {
		if both, ok := s.And(b, in); ok {
			out = append(out, both)
		}
	}
	return out
}

func keysOfAPNs(r *policy.Rules) []string {
	var out []string
	for name := range r.APNs {
		out = append(out, name.String())
	}
	return out
}

func boxes(parts []part) []region.Box {
	var out []region.Box
	for _, p := range parts {
		out = append(out, p.box)
	}
	return out
}
