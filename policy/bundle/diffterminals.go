package bundle

import (
	"slices"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// terminals looks at what each class may do.
func (x *differ) terminals() {
	kinds := map[string]region.Set{} // barrels by seal type; nil: any
	sp := x.sides[0].spaces[policy.ActionUse]
	for _, s := range x.sides {
		for name := range s.rules.SealTypes {
			kinds[name] = nil
		}
	}
	for _, b := range x.population.Barrels {
		if _, known := kinds[b.SealType]; known && b.State == policy.StateActive {
			if kinds[b.SealType] == nil {
				kinds[b.SealType] = region.Of(sp.Dims[dimBarrel].Size)
			}
			kinds[b.SealType].Add(sp.barrels.of(b.ID))
		}
	}
	for _, c := range x.classes {
		err := x.class(c, kinds)
		if err != nil {
			e := x.effect(EffectUndecided, true, "what %s may do would take too long to compare")
			for _, m := range c.members {
				e.add(Affected{Kind: "terminal", ID: m.IMSI, Why: err.Error()})
			}
		}
	}
}

// class looks at what one class may do.
func (x *differ) class(c *class, kinds map[string]region.Set) error {
	attached, err := x.attach(c)
	if err != nil {
		return err
	}
	sp := x.sides[0].spaces[policy.ActionAttach]
	for i := range attached {
		if c.sessions[i], err = sp.sessions(attached[i]); err != nil {
			return err
		}
	}
	for _, b := range c.sessions[0] {
		c.common = append(c.common, sp.within(c.sessions[1], b)...)
	}
	for _, kind := range keysOf(kinds, nil) {
		if err := x.seal(c, kind, kinds[kind]); err != nil {
			return err
		}
	}
	return nil
}

// attach compares where a class may attach, and returns it for either side.
func (x *differ) attach(c *class) (out [2][]part, err error) {
	sp := x.sides[0].spaces[policy.ActionAttach]
	for _, apn := range c.apns {
		var parts [2][]part
		for i := range x.sides {
			if parts[i], err = x.sides[i].attaches(c, apn); err != nil {
				return out, err
			}
			out[i] = append(out[i], parts[i]...)
		}
		ch, err := compare(sp, parts)
		if err != nil {
			return out, err
		}
		why := func(at region.Box, rules *policy.Rules) func(*policy.Subscriber) (string, string) {
			return func(m *policy.Subscriber) (string, string) {
				return refusal(rules.Admit(x.admitRequest(at, m, apn)))
			}
		}
		x.tell(c, EffectAttach, ch, why, map[change]string{
			changeLost: "%s can no longer attach to " + apn, changeGained: "%s can attach to " + apn,
			changeNarrowed: "%s can attach to " + apn + " in fewer circumstances", changeWidened: "%s can attach to " + apn + " in more circumstances",
			changeStricter: "%s must show more to attach to " + apn, changeLooser: "%s need[s|] not show as much to attach to " + apn,
		}, "")
	}
	return out, nil
}

// seal compares what a class may use seals of a type for, in the sessions that it
// may have under both documents: what it loses with its sessions is told as such.
func (x *differ) seal(c *class, kind string, barrels region.Set) error {
	sp := x.sides[0].spaces[policy.ActionUse]
	holds := slices.ContainsFunc(c.members, func(m *policy.Subscriber) bool { return x.holders[kind][m.IMSI] })
	var parts [2][]part
	for i := range x.sides {
		s := &x.sides[i]
		all, err := s.uses(kind, c.sessions[i], barrels)
		if err != nil {
			return err
		}
		for _, p := range all {
			s.note(kind, p, holds)
		}
		if parts[i], err = s.uses(kind, c.common, barrels); err != nil {
			return err
		}
	}
	ch, err := compare(sp, parts)
	if err != nil {
		return err
	}
	why := func(at region.Box, rules *policy.Rules) func(*policy.Subscriber) (string, string) {
		return func(m *policy.Subscriber) (string, string) {
			return refusal(rules.ScreenUse(x.useRequest(at, m, kind)))
		}
	}
	x.tell(c, EffectSeal, ch, why, map[change]string{
		changeLost: "%s lose[s|] " + kind + " seals", changeGained: "%s gain[s|] " + kind + " seals",
		changeNarrowed: "%s can use " + kind + " seals in fewer circumstances", changeWidened: "%s can use " + kind + " seals in more circumstances",
		changeStricter: "%s: more is asked for " + kind + " seals", changeLooser: "%s: less is asked for " + kind + " seals",
	}, kind)
	return nil
}

// change is what became of something that was possible in some circumstances.
type change uint8

const (
	changeLost change = iota
	changeGained
	changeNarrowed
	changeWidened
	changeStricter
	changeLooser
)

// changed is one, with circumstances in which it shows.
type changed struct {
	change change
	at     region.Box
}

// compare finds what became of circumstances.
func compare(sp *space, parts [2][]part) ([]changed, error) {
	budget := region.Budget(diffBudget)
	old, now := boxes(parts[0]), boxes(parts[1])
	switch {
	case len(old) == 0 && len(now) == 0:
		return nil, nil
	case len(now) == 0:
		return []changed{{changeLost, old[0]}}, nil
	case len(old) == 0:
		return []changed{{changeGained, now[0]}}, nil
	}
	var out []changed
	lost, err := sp.Without(old, now, &budget)
	if err != nil {
		return nil, err
	}
	gained, err := sp.Without(now, old, &budget)
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		out = append(out, changed{changeNarrowed, lost[0]})
	}
	if len(gained) > 0 {
		out = append(out, changed{changeWidened, gained[0]})
	}
	return append(out, demands(sp, parts)...), nil
}

// demands compares what rules ask for in circumstances that both documents allow.
func demands(sp *space, parts [2][]part) []changed {
	var stricter, looser []changed
	for _, o := range parts[0] {
		for _, n := range parts[1] {
			if o.require() == n.require() {
				continue
			}
			both, ok := sp.And(o.box, n.box)
			if !ok {
				continue
			}
			if asksNoLess(sp.docs[0], sp.docs[1], o.require(), n.require()) {
				stricter = append(stricter[:0], changed{changeStricter, both})
			} else {
				looser = append(looser[:0], changed{changeLooser, both})
			}
		}
	}
	return append(stricter, looser...)
}

// tell notes changes for all members of a class, with what refuses it now, or
// refused it before. kind is of the seals that are meant, if any.
func (x *differ) tell(c *class, effect string, changes []changed, why func(region.Box, *policy.Rules) func(*policy.Subscriber) (string, string), text map[change]string, kind string) {
	for _, ch := range changes {
		loses := ch.change == changeLost || ch.change == changeNarrowed || ch.change == changeStricter
		refuses := x.sides[0].rules
		if loses {
			refuses = x.sides[1].rules
		}
		reason := why(ch.at, refuses)
		e := x.effect(effect, loses, text[ch.change])
		for _, m := range c.members {
			a := Affected{Kind: "terminal", ID: m.IMSI}
			if len(e.Who) < MostNamed && ch.change < changeStricter {
				a.Why, a.Where = reason(m)
			}
			if x.holders[kind][m.IMSI] {
				e.having++
			}
			e.add(a)
		}
	}
}
