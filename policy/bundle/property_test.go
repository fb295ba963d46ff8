package bundle

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/policy"
)

func gatewayOf(s string) netip.Addr { return netip.MustParseAddr(s) }

// Whatever is called a tightening allows nothing that was refused, and grants no
// more. Most random changes are none; there must be enough that are.
func TestTighteningAllowsNothingNew(t *testing.T) {
	d := newDice(1)
	tightenings, refused := 0, 0
	for round := range 1500 {
		old := d.rules()
		new := d.edit(old)
		if !slices.Equal(Touched(old, new), []policy.Touch{policy.TouchTightening}) {
			continue
		}
		tightenings++
		for range 60 {
			a, h, u := d.admit(), d.hotspot(), d.use()
			for _, c := range []struct {
				question string
				was, is  policy.Decision
			}{
				{"attach", old.Admit(a), new.Admit(a)}, {"hotspot", old.AllowHotspot(h), new.AllowHotspot(h)}, {"use", old.PermitUse(u), new.PermitUse(u)},
			} {
				if c.is.Allowed && !c.was.Allowed {
					t.Fatalf("round %d: called a tightening: %v\n%s is allowed now: %v\nwas: %v", round, Settings(old, new), c.question, c.is.Reasons(), c.was.Reasons())
				}
				if c.was.Allowed && !c.is.Allowed {
					refused++
				}
			}
			if old.PermitUse(u).Allowed && new.PermitUse(u).Allowed {
				was, is := old.Terms(u), new.Terms(u)
				if is.NotAfter.After(was.NotAfter) || is.EvidenceSeconds > was.EvidenceSeconds || is.Count > was.Count {
					t.Fatalf("round %d: called a tightening: %v\nterms %+v, were %+v", round, Settings(old, new), is, was)
				}
			}
		}
	}
	if tightenings < 150 || refused < 150 {
		t.Errorf("only %d tightenings, which refused %d requests, were looked at", tightenings, refused)
	}
}

// A change that is called widening without being one costs people's time: for the
// rules the comparison is exact, so that what is the same in other words is seen.
func TestSameInOtherWords(t *testing.T) {
	permit := func(id string, m policy.Match) policy.Rule {
		return policy.Rule{ID: id, Action: policy.ActionUse, Permit: true, Match: m}
	}
	d := newDice(2)
	for _, c := range []struct {
		name     string
		old, new []policy.Rule
		tightens bool
	}{
		{
			"one rule as two",
			[]policy.Rule{permit("a", policy.Match{Groups: []string{"finance", "staff"}})},
			[]policy.Rule{permit("a", policy.Match{Groups: []string{"finance"}}), permit("b", policy.Match{Groups: []string{"staff"}})},
			true,
		},
		{
			"a forbidding rule that comes too late is gone",
			[]policy.Rule{permit("a", policy.Match{SealTypes: []string{"company"}}), {ID: "b", Action: policy.ActionUse, Match: policy.Match{SealTypes: []string{"company"}}}},
			[]policy.Rule{permit("a", policy.Match{SealTypes: []string{"company"}})},
			true,
		},
		{
			"the others are forbidden by the last rule instead of by none",
			[]policy.Rule{permit("a", policy.Match{Groups: []string{"staff"}})},
			[]policy.Rule{permit("a", policy.Match{Groups: []string{"staff"}}), {ID: "b", Action: policy.ActionUse}},
			true,
		},
		{
			"a group more",
			[]policy.Rule{permit("a", policy.Match{Groups: []string{"staff"}})},
			[]policy.Rule{permit("a", policy.Match{Groups: []string{"staff", "finance"}})},
			false,
		},
		{"no rules any more", []policy.Rule{permit("a", policy.Match{Groups: []string{"staff"}})}, nil, false},
		{"no rules any more, of which the only one permitted all", []policy.Rule{permit("a", policy.Match{})}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := d.rules()
			old.Table = c.old
			n := *old
			n.Table = c.new
			if got := slices.Equal(Touched(old, &n), []policy.Touch{policy.TouchTightening}); got != c.tightens {
				t.Errorf("a tightening: %t, want %t: %v", got, c.tightens, Settings(old, &n))
			}
		})
	}
}
