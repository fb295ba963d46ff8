package bundle

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// withRules is the first policy with rules and what they name.
func withRules(t *testing.T, rules string) *policy.Rules {
	t.Helper()
	const names = `
  locations:
    office: {tais: ["46001-0001", "46001-0002"]}
    hall: {tais: ["46001-0001"]}
    cell: {ecgis: ["46001-0000001"]}
  hotspot: {devices: [{mac: "02:00:5e:10:00:99", role: router}]}
  rules:
`
	r, _, err := Parse("p.yaml", []byte(string(Default(Params{}))+names+rules))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLint(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		want        []string // beginnings of findings, in their order; notes begin with "note "
	}{
		{"nothing to say", `
    - {id: office, action: attach, effect: permit, match: {locations: [office, cell, hall]}}`, nil},
		{
			"wholly shadowed", `
    - {id: staff, action: attach, effect: permit, match: {groups: [staff, finance], locations: [office, cell, hall]}}
    - {id: hall, action: attach, effect: permit, match: {groups: [finance], locations: [hall], rats: [NR]}}`,
			[]string{"shadowed hall by staff"},
		},
		{
			"shadowed by two together", `
    - {id: morning, action: use, effect: permit, match: {hours: {from: "00:00", to: "12:00"}}}
    - {id: afternoon, action: use, effect: permit, match: {hours: {from: "12:00", to: "24:00"}}}
    - {id: finance, action: use, effect: permit, match: {sealTypes: [finance]}}`,
			[]string{"shadowed finance by morning,afternoon"},
		},
		{
			"contradictory", `
    - {id: all, action: use, effect: permit}
    - {id: not-at-night, action: use, effect: forbid, match: {hours: {from: "22:00", to: "06:00"}}}`,
			[]string{"contradictory not-at-night by all"},
		},
		{
			"a requirement that never comes to bear", `
    - {id: all, action: use, effect: permit}
    - {id: careful, action: use, effect: permit, match: {sealTypes: [finance]}, require: {maxCount: 5}}`,
			[]string{"contradictory careful by all"},
		},
		{
			"overruled in part", `
    - {id: office, action: attach, effect: permit, match: {locations: [office]}}
    - {id: lost, action: attach, effect: forbid, match: {imsis: ["460010000000001"]}}
    - {id: all, action: attach, effect: permit}`,
			[]string{"note overruled lost by office"},
		},
		{
			"redundant", `
    - {id: finance, action: use, effect: permit, match: {sealTypes: [finance]}}
    - {id: all, action: use, effect: permit}`,
			[]string{"redundant finance by all"},
		},
		{"an exception isn't redundant", `
    - {id: finance, action: use, effect: forbid, match: {sealTypes: [finance]}}
    - {id: all, action: use, effect: permit}`, nil},
		{
			"a prefix and an IMSI without it", `
    - {id: odd, action: attach, effect: permit, match: {imsis: ["460010000000001"], imsiPrefixes: ["46002"]}}
    - {id: all, action: attach, effect: permit}`,
			[]string{"unreachable odd"},
		},
		{
			"networks of the fallback", `
    - {id: odd, action: attach, effect: permit, match: {paths: [fallback], plmns: [46001]}}
    - {id: all, action: attach, effect: permit}`,
			[]string{"unreachable odd"},
		},
		{
			"seals of a router", `
    - {id: odd, action: hotspot, effect: permit, match: {roles: [router], sealTypes: [finance]}}
    - {id: all, action: hotspot, effect: permit}`,
			[]string{"unreachable odd"},
		},
		{"a network that isn't admitted", `
    - {id: odd, action: attach, effect: permit, match: {plmns: ["310410"]}}
    - {id: all, action: attach, effect: permit}`, []string{"redundant odd by all"}},
		{
			"a day that isn't among the dates", `
    - {id: odd, action: use, effect: forbid, match: {hours: {days: [mon], notBefore: 2026-11-24, notAfter: 2026-11-26}}}
    - {id: all, action: use, effect: permit}`,
			[]string{"unreachable odd"},
		},
		{
			"ten prefixes are the shorter one", `
    - {id: ten, action: attach, effect: permit, match: {imsiPrefixes: ["460010", "460011", "460012", "460013", "460014", "460015", "460016", "460017", "460018", "460019"]}}
    - {id: odd, action: attach, effect: forbid, match: {imsiPrefixes: ["46001"]}}
    - {id: all, action: attach, effect: permit}`,
			[]string{"contradictory odd by ten"},
		},
		{
			"nothing passes", `
    - {id: none, action: hotspot, effect: forbid}`,
			[]string{"nothing-passes"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range Lint(withRules(t, c.rules), nil) {
				if f.Kind == FindingUnused {
					continue
				}
				s := f.Kind
				if f.Rule != "" {
					s += " " + f.Rule
				}
				if f.Note {
					s = "note " + s
				}
				if len(f.By) > 0 {
					s += " by " + strings.Join(f.By, ",")
				}
				got = append(got, s)
				if !strings.HasPrefix(f.String(), "p.yaml:") || f.Text == "" {
					t.Errorf("a finding without a place or words: %q", f)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q: %v", got, c.want, Lint(withRules(t, c.rules), nil))
			}
		})
	}
}

func TestLintOfPopulation(t *testing.T) {
	r := withRules(t, `
    - {id: staff, action: attach, effect: permit, match: {groups: [staff, finanse], imsiPrefixes: [46001, "46009"]}}
    - {id: seal, action: use, effect: permit, match: {barrels: [SB-0001, SB-0002], imsis: ["460010000000002"], tacs: ["35693803", "35693804"]}}`)
	p := &Population{
		Terminals: []policy.Subscriber{{Found: true, IMSI: "460010000000001", Groups: []string{"staff"}, IMEIs: []string{"35693803000001"}}},
		Barrels:   []policy.Barrel{{Found: true, ID: "SB-0001"}},
	}
	var got []string
	for _, f := range Lint(r, p) {
		if f.Kind == FindingNobody {
			got = append(got, f.Text)
		}
	}
	want := []string{
		"rule staff: no terminal is of group finanse", "rule staff: the allow-list has no terminal with prefix 46009",
		"rule seal: the allow-list has no terminal 460010000000002", "rule seal: the allow-list has no barrel SB-0002",
		"rule seal: no terminal is bound to a handset of model 35693804",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// decider is the rule that decided, and whether the rest of the document had an
// ear for the request.
func decider(d policy.Decision) (id string, heard bool) {
	heard = true
	for _, r := range d.Reasons() {
		switch {
		case r.Document && !r.Skipped:
			id = r.Rule
		case !r.Document && !r.OK && !r.Skipped && slices.Contains([]string{
			"apn-known", "plmn-allowed", "rat-allowed", "path-allowed", "handset-in-pool", "seal-type-known", "path-for-level", "barrel-listed",
		}, r.Rule):
			heard = false
		}
	}
	return id, heard
}

// No rule that is said never to decide does, and those that come to requests
// are the ones that decide on them.
func TestLintAgainstDecisions(t *testing.T) {
	d := newDice(3)
	dead, decided := 0, 0
	for round := range 500 {
		r := d.rules()
		never := map[string]string{}
		for _, f := range Lint(r, nil) {
			if f.Kind == FindingShadowed || f.Kind == FindingContradictory || f.Kind == FindingUnreachable {
				never[f.Rule] = f.String()
				dead++
			}
		}
		for range 80 {
			a, h, u := d.admit(), d.hotspot(), d.use()
			for _, x := range []struct {
				policy.Decision
				session policy.AdmitRequest // in which it is asked
			}{
				{r.Admit(a), a},
				{r.AllowHotspot(h), admitted(h.Terminal, h.APN, h.Path, h.Access)},
				{r.PermitUse(u), admitted(u.Terminal, u.APN, u.Path, u.Access)},
			} {
				_, attached := decider(r.Admit(x.session))
				if id, heard := decider(x.Decision); id != "" && heard && attached {
					decided++
					if kind := never[id]; kind != "" {
						t.Fatalf("round %d: rule %s, said to be %s, decides: %v\n%+v", round, id, kind, x.Reasons(), x.session)
					}
				}
			}
		}
	}
	if dead < 150 || decided < 5_000 {
		t.Errorf("only %d rules that never decide and %d decisions were looked at", dead, decided)
	}
}

// admitted is how a session came to be.
func admitted(s policy.Subscriber, apn ident.APN, path policy.PathKind, a policy.Access) policy.AdmitRequest {
	return policy.AdmitRequest{
		IMSI: must(ident.ParseIMSI, s.IMSI)[0], Subscriber: s, IMEI: a.IMEI, APN: apn, PLMN: a.PLMN, RAT: a.RAT, Place: a.Place, Told: a.Told, Path: path,
	}
}

// rulesThatOverlap are n rules of which each overlaps with all others.
func rulesThatOverlap(n int) *policy.Rules {
	r := newDice(4).rules()
	r.Table = nil
	for i := range n {
		r.Table = append(r.Table, policy.Rule{
			ID: fmt.Sprintf("r%d", i), Action: policy.ActionUse, Permit: i%2 == 0,
			Match: policy.Match{Groups: []string{fmt.Sprintf("g%d", i)}, Barrels: []string{fmt.Sprintf("SB-%04d", i), fmt.Sprintf("SB-%04d", i+1)}},
		})
	}
	return r
}

// What is too much to compute is said to be, and ends soon.
func TestLintUndecided(t *testing.T) {
	r := rulesThatOverlap(60)
	r.Table = append(r.Table, policy.Rule{ID: "last", Action: policy.ActionUse, Permit: true})
	if !slices.ContainsFunc(Lint(r, nil), func(f Finding) bool { return f.Kind == FindingUndecided && f.Rule == "last" && f.Note }) {
		t.Errorf("nothing is said of the last rule: %v", Lint(r, nil))
	}
}

func BenchmarkLint(b *testing.B) {
	r := rulesThatOverlap(1000)
	for b.Loop() {
		Lint(r, nil)
	}
}
