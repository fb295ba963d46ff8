package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// village is a few random terminals and all barrels.
func (d dice) village() Population {
	p := Population{Now: sunday, MACs: map[string]string{}}
	for _, imsi := range someIMSIs {
		s := d.subscriber()
		s.IMSI = imsi
		p.Terminals = append(p.Terminals, s)
	}
	for i, id := range barrelIDs {
		b := d.barrel(one(d, p.Terminals))
		b.ID = id
		p.Barrels = append(p.Barrels, b)
		p.MACs[id] = someMACs[i].String()
	}
	return p
}

// said tells whether an effect of a kind names somebody.
func said(d Difference, kind string, loses bool, id, about string) bool {
	return slices.ContainsFunc(d.Effects, func(e Effect) bool {
		return e.Kind == kind && e.Loses == loses && strings.Contains(e.Text, about) && slices.ContainsFunc(e.Who, func(a Affected) bool { return a.ID == id })
	})
}

// Whatever is allowed by one of two documents and refused by the other is among
// the effects for whom it is; and what is among them shows, in an example that the
// decision itself refuses.
func TestDiffAgainstDecisions(t *testing.T) {
	d := newDice(5)
	differ, named := map[string]int{}, 0
	for round := range 800 {
		old := d.rules()
		new := d.edit(old)
		p := d.village()
		diff := Diff(old, new, p)
		check := func(kind, id, about string, was, is policy.Decision) {
			if was.Allowed == is.Allowed {
				return
			}
			differ[kind]++
			if !said(diff, kind, was.Allowed, id, about) {
				t.Fatalf("round %d: %s of %s, %s: allowed %t, was %t, and nothing says so: %q %v\nnow %v\nwas %v", round, kind, id, about, is.Allowed, was.Allowed, diff.Words(), diff.Settings, is.Reasons(), was.Reasons())
			}
		}
		for range 60 {
			s, at := one(d, p.Terminals), d.now()
			for at.IsZero() {
				at = d.now()
			}
			a := d.access(at)
			for a.IMEI.IsZero() {
				a = d.access(at)
			}
			session := admitted(s, one(d, someAPNs), d.path(), a)
			session.Now, session.Shown = at, everything
			check(EffectAttach, s.IMSI, session.APN.String(), old.Admit(session), new.Admit(session))
			if !old.Admit(session).Allowed || !new.Admit(session).Allowed {
				continue
			}
			use := d.use()
			b := one(d, p.Barrels)
			if use.Now.IsZero() {
				continue
			}
			use.Terminal, use.APN, use.Path, use.Access, use.Shown, use.Barrel = s, session.APN, session.Path, a, everything, b
			if !a.Told.IsZero() { // as old as it was
				use.Access.Told = use.Now.Add(a.Told.Sub(at))
			}
			use.Barrel.CheckedOutTo = s.IMSI
			check(EffectSeal, s.IMSI, b.SealType, old.ScreenUse(use), new.ScreenUse(use))
			if b.CheckedOutTo == s.IMSI {
				hot := policy.HotspotRequest{MAC: must(ident.ParseMAC, p.MACs[b.ID])[0], Barrel: b, Terminal: s, Now: use.Now, APN: session.APN, Path: session.Path, Access: use.Access}
				check(EffectHotspot, b.ID, "", old.AllowHotspot(hot), new.AllowHotspot(hot))
			}
		}
		for _, e := range diff.Effects {
			for _, a := range e.Who {
				if strings.Contains(e.Text, "asked for") || strings.Contains(e.Text, "show") || e.Kind == EffectUndecided {
					continue // no decision differs by itself
				}
				named++
				if a.Why == "" {
					t.Fatalf("round %d: %q for %s %s, and the decision allows the example: %v", round, e.Text, a.Kind, a.ID, diff.Settings)
				}
			}
		}
	}
	for _, kind := range []string{EffectAttach, EffectSeal, EffectHotspot} {
		if differ[kind] < 50 {
			t.Errorf("only %d decisions on %s differed", differ[kind], kind)
		}
	}
	if named < 1000 {
		t.Errorf("only %d were named", named)
	}
}
