package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// The kinds of effects.
const (
	EffectAttach    = "attach"    // on which terminals may attach to an APN
	EffectSeal      = "seal"      // on which terminals may use seals of a type
	EffectOrder     = "order"     // on which orders can be stamped
	EffectHotspot   = "hotspot"   // on which barrels may be on hotspots
	EffectSession   = "session"   // on which sessions are admitted
	EffectUndecided = "undecided" // it would take too long to tell
)

// diffBudget bounds what the comparison for one class of terminals may cost.
const diffBudget = 20_000

// Diff says what putting new in the place of old means, over a population. The
// settings and the touches don't depend on it.
//
// It is exact: what rules ask of networks, handsets, places and times is compared
// as such, not by examples. Terminals that no rule tells apart are looked at
// once.
func Diff(old, new *policy.Rules, p Population) Difference {
	d := Difference{Settings: append([]Setting{}, Settings(old, new)...), Effects: []Effect{}}
	d.Touches = touches(d.Settings, new)
	d.sessions(old, new, p.Sessions)
	if old == nil {
		old = &policy.Rules{}
	}
	if new == nil {
		new = &policy.Rules{}
	}
	if x, err := newDiffer(old, new, &p); err != nil {
		d.keep(Effect{Kind: EffectUndecided, Loses: true, Text: "what terminals, barrels and orders lose can't be told: " + err.Error()})
	} else if x.any(d.Settings) {
		x.terminals()
		x.barrels()
		x.orders()
		x.effects(&d)
	}
	slices.SortStableFunc(d.Effects, func(a, b Effect) int {
		switch {
		case a.Loses == b.Loses:
			return 0
		case a.Loses:
			return -1
		}
		return 1
	})
	return d
}

// differ compares two documents over a population.
type differ struct {
	population *Population
	sides      [2]side // old, new
	classes    []*class
	holders    map[string]map[string]bool // terminals by the seal type that they have checked out
	found      map[string]*Effect
	order      []string // keys of found
}

// side is one document, made ready.
type side struct {
	rules   *policy.Rules
	spaces  [policy.ActionUse + 1]*space // numbered alike
	tables  [policy.ActionUse + 1][]compiled
	bases   [policy.ActionUse + 1][]region.Box
	able    map[string][]ability // by seal type: how it may be used by those who have it
	anybody map[string][]ability // by whoever
	known   map[string]bool      // of abilities
}

func newDiffer(old, new *policy.Rules, p *Population) (*differ, error) {
	x := &differ{population: p, holders: map[string]map[string]bool{}, found: map[string]*Effect{}}
	for i, rules := range []*policy.Rules{old, new} {
		s := &x.sides[i]
		*s = side{rules: rules, able: map[string][]ability{}, anybody: map[string][]ability{}, known: map[string]bool{}}
		for a := policy.ActionAttach; a <= policy.ActionUse; a++ {
			sp, err := newSpace(a, old, new)
			if err != nil {
				return nil, err
			}
			s.spaces[a], s.tables[a], s.bases[a] = sp, sp.compile(rules, a), sp.base(rules)
		}
	}
	for _, b := range p.Barrels {
		if b.State == policy.StateActive && b.CheckedOutTo != "" {
			if x.holders[b.SealType] == nil {
				x.holders[b.SealType] = map[string]bool{}
			}
			x.holders[b.SealType][b.CheckedOutTo] = true
		}
	}
	x.classify()
	return x, nil
}

// any tells whether a setting differs that terminals, barrels or orders mind.
func (x *differ) any(settings []Setting) bool {
	return slices.ContainsFunc(settings, func(s Setting) bool {
		return !strings.HasPrefix(s.Key, "spec/carriers") && !strings.HasPrefix(s.Key, "spec/changeControl") && !strings.HasPrefix(s.Key, "spec/servers")
	})
}

// effect is the effect of a kind that has a text with %s for whom it is on, and
// [s|] where a verb of one has an s.
func (x *differ) effect(kind string, loses bool, format string) *Effect {
	key := kind + format
	e := x.found[key]
	if e == nil {
		e = &Effect{Kind: kind, Loses: loses, Text: format, Who: []Affected{}}
		x.found[key] = e
		x.order = append(x.order, key)
	}
	return e
}

// effects puts what was found into words.
func (x *differ) effects(d *Difference) {
	for _, key := range x.order {
		e := *x.found[key]
		noun := map[string]string{EffectAttach: "terminal", EffectSeal: "terminal", EffectOrder: "order", EffectHotspot: "barrel", EffectUndecided: "terminal"}[e.Kind]
		e.Text = fmt.Sprintf(e.Text, numbered(e.Count, noun))
		if e.Count == 1 {
			e.Text = strings.Replace(e.Text, "[s|]", "s", 1)
		}
		e.Text = strings.Replace(e.Text, "[s|]", "", 1)
		if e.having > 0 {
			e.Text += fmt.Sprintf(", %d of them with one checked out", e.having)
		}
		d.keep(e)
	}
}

// numbered is "1 terminal", "2 terminals".
func numbered(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// keep adds an effect that is on anything.
func (d *Difference) keep(e Effect) {
	if e.Who == nil {
		e.Who = []Affected{}
	}
	d.Effects = append(d.Effects, e)
}
