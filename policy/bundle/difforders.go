package bundle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// ability is when seals of a type may be used by anybody, and what the rule asks
// for besides.
type ability struct {
	week, dates region.Set
	require     policy.Require
}

// note keeps what a class may do with seals of a type, for the orders. holds: one
// of its members has such a seal in hand.
func (s *side) note(kind string, p part, holds bool) {
	a := ability{p.box[dimWeek].Within, p.box[dimDate].Within, p.require()}
	for _, to := range []struct {
		list map[string][]ability
		when bool
		name string
	}{{s.able, holds, "able"}, {s.anybody, true, "anybody"}} {
		key := fmt.Sprint(to.name, kind, a)
		if to.when && !s.known[key] {
			s.known[key] = true
			to.list[kind] = append(to.list[kind], a)
		}
	}
}

// orders tells which orders can no longer be stamped, or can be again.
func (x *differ) orders() {
	for i := range x.population.Orders {
		o := &x.population.Orders[i]
		before, _ := x.stampable(o, &x.sides[0])
		after, why := x.stampable(o, &x.sides[1])
		where := func(s *side) string { return s.rules.Sources["spec/sealTypes/"+o.SealType] }
		switch {
		case before && !after:
			x.effect(EffectOrder, true, "%s can no longer be stamped").add(Affected{Kind: "order", ID: o.Number, Why: why, Where: where(&x.sides[1])})
		case after && !before:
			_, was := x.stampable(o, &x.sides[0])
			x.effect(EffectOrder, false, "%s can be stamped").add(Affected{Kind: "order", ID: o.Number, Why: "before: " + was, Where: where(&x.sides[0])})
		}
	}
}

// stampable tells whether an order can be stamped at all under a document, by those
// who have such a seal in hand, or by anybody when nobody has. The words say why
// not.
func (x *differ) stampable(o *Order, s *side) (bool, string) {
	kind, known := s.rules.SealTypes[o.SealType]
	if !known {
		return false, fmt.Sprintf("there is no seal type %s", o.SealType)
	}
	if why := s.within(o, kind, policy.Require{}); why != "" {
		return false, why
	}
	list := s.anybody[o.SealType]
	if len(x.holders[o.SealType]) > 0 {
		list = s.able[o.SealType]
	}
	if len(x.population.Terminals) == 0 {
		return true, "" // nothing is known of who would
	}
	times := x.window(o)
	why := fmt.Sprintf("nobody who may have the seal may use %s seals", o.SealType)
	for _, a := range list {
		when := x.sides[0].spaces[policy.ActionUse].All()
		when[dimWeek].Within, when[dimDate].Within = a.week, a.dates
		if !slices.ContainsFunc(times, func(b region.Box) bool { _, ok := x.sides[0].spaces[policy.ActionUse].And(b, when); return ok }) {
			why = "the rules permit no use while the order is open"
			continue
		}
		missed := s.within(o, kind, a.require)
		if missed == "" {
			return true, ""
		}
		why = missed
	}
	return false, why
}

// within says why an order is more than a seal type, with what a rule asks for
// besides, allows; nothing when it isn't.
func (s *side) within(o *Order, kind policy.SealType, q policy.Require) string {
	least := func(a, b uint32) uint32 {
		if b == 0 {
			return a
		}
		return min(a, b)
	}
	count, window, level := least(kind.MaxCount, q.MaxCount), kind.MaxWindow, kind.Level
	if q.MaxWindow != 0 {
		window = min(window, q.MaxWindow)
	}
	if q.Level != 0 {
		level = min(level, q.Level)
	}
	switch span := o.NotAfter.Sub(o.NotBefore); {
	case o.Permitted > count:
		return fmt.Sprintf("it permits %d stampings; at most %d are allowed", o.Permitted, count)
	case !o.NotBefore.IsZero() && span > window:
		return fmt.Sprintf("its window is %s long; at most %s is allowed", span, window)
	case o.Level == 0:
		return ""
	case o.Level > level || s.rules.Levels[o.Level].Methods == 0:
		return fmt.Sprintf("it was verified at level %d; level %d is asked for", o.Level, level)
	}
	want := s.rules.Levels[level].Methods | s.rules.Levels[o.Level].Methods | q.Methods
	if got, ok := policy.ParseMethods(o.Methods); !ok || !got.Has(want) {
		return fmt.Sprintf("it was verified by %s; %s is asked for", strings.Join(o.Methods, " and "), want)
	}
	return ""
}

// window is the time in which an order can still be stamped, as parts of the week
// by spans of dates.
func (x *differ) window(o *Order) []region.Box {
	sp := x.sides[0].spaces[policy.ActionUse]
	t := &sp.times
	from, to := o.NotBefore, o.NotAfter
	if x.population.Now.After(from) {
		from = x.population.Now
	}
	var out []region.Box
	for i, begin := range t.dates {
		end := to
		if i+1 < len(t.dates) && t.dates[i+1].Before(to) {
			end = t.dates[i+1]
		}
		if begin.Before(from) {
			begin = from
		}
		if !begin.Before(end) {
			continue
		}
		b := sp.All()
		b[dimDate].Within = region.Of(sp.Dims[dimDate].Size, i)
		if end.Sub(begin) < 8*24*time.Hour {
			b[dimWeek].Within = t.between(begin, end)
		}
		out = append(out, b)
	}
	return out
}
