package bundle

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy"
)

// town is a small population: two of finance, one of whom has a finance seal, one
// of staff, one who has left, and two orders.
func town() Population {
	terminal := func(n int, state policy.State, groups ...string) policy.Subscriber {
		return policy.Subscriber{
			Found: true, IMSI: fmt.Sprintf("46001000000000%d", n), State: state, APNs: []string{"seal.corp"}, Groups: groups,
			IMEIs: []string{fmt.Sprintf("3569380300000%d", n)}, HasWireGuard: n == 1,
		}
	}
	return Population{
		Now:       sunday,
		Terminals: []policy.Subscriber{terminal(1, policy.StateActive, "finance"), terminal(2, policy.StateActive, "finance"), terminal(3, policy.StateActive, "staff"), terminal(4, policy.StateRevoked, "finance")},
		Barrels: []policy.Barrel{
			{Found: true, ID: "SB-0001", State: policy.StateActive, SealType: "finance", CheckedOutTo: "460010000000001"},
			{Found: true, ID: "SB-0002", State: policy.StateActive, SealType: "contract", CheckedOutTo: "460010000000003"},
		},
		Orders: []Order{
			{Number: "WO-1", SealType: "finance", Permitted: 10, NotBefore: sunday, NotAfter: sunday.Add(24 * time.Hour), Level: 1, Methods: []string{"fingerprint", "face"}},
			{Number: "WO-2", SealType: "contract", Permitted: 40, NotBefore: sunday, NotAfter: sunday.Add(100 * time.Hour)},
		},
	}
}

func TestDiff(t *testing.T) {
	plain := "\n    - {id: all, action: use, effect: permit}\n    - {id: attach, action: attach, effect: permit}\n    - {id: hot, action: hotspot, effect: permit}"
	for _, c := range []struct {
		name     string
		old, new string // rules
		from, to string // elsewhere in the new document
		want     []string
	}{
		{name: "nothing"},
		{
			name: "seals of a group", new: `
    - {id: not-finance, action: use, effect: forbid, match: {groups: [finance], sealTypes: [finance]}}` + plain,
			want: []string{
				"2 terminals lose finance seals, 1 of them with one checked out: 460010000000001 (rule not-finance forbids it, new.yaml:#) 460010000000002 (rule not-finance forbids it, new.yaml:#)",
				"1 order can no longer be stamped: WO-1 (nobody who may have the seal may use finance seals, new.yaml:#)",
			},
		},
		{
			name: "a count", from: "contract: {level: 1, maxCount: 50", to: "contract: {level: 1, maxCount: 39",
			want: []string{"1 order can no longer be stamped: WO-2 (it permits 40 stampings; at most 39 are allowed, new.yaml:#)"},
		},
		{
			name: "a window", from: "contract: {level: 1, maxCount: 50, maxWindow: 168h", to: "contract: {level: 1, maxCount: 50, maxWindow: 72h",
			want: []string{"1 order can no longer be stamped: WO-2 (its window is 100h0m0s long; at most 72h0m0s is allowed, new.yaml:#)"},
		},
		{
			name: "hours outside of which an order is open", new: strings.Replace(plain, "permit}", "permit, match: {hours: {days: [fri, sat]}}}", 1),
			want: []string{
				"3 terminals can use business seals in fewer circumstances", "3 terminals can use company seals in fewer circumstances",
				"3 terminals can use contract seals in fewer circumstances, 1 of them with one checked out", "3 terminals can use finance seals in fewer circumstances, 1 of them with one checked out",
				"3 terminals can use legal-representative seals in fewer circumstances",
				"2 orders can no longer be stamped: WO-1 (the rules permit no use while the order is open, new.yaml:#) WO-2 (the rules permit no use while the order is open, new.yaml:#)",
			},
		},
		{
			name: "no fallback", from: "    allowed: true", to: "    allowed: false",
			want: []string{"1 terminal can attach to seal.corp in fewer circumstances: 460010000000001 (policy allows no fallback path, new.yaml:#)"},
		},
		{
			name: "places of the fallback count less long", from: "placeAge: 12h", to: "placeAge: 6h",
			new:  strings.Replace(plain, "attach, effect: permit", "attach, effect: permit, match: {locations: [office]}", 1),
			old:  strings.Replace(plain, "attach, effect: permit", "attach, effect: permit, match: {locations: [office]}", 1),
			want: []string{"1 terminal can attach to seal.corp in fewer circumstances: 460010000000001 (no rule of the policy matches"},
		},
		{
			name: "a lost phone", new: `
    - {id: lost, action: attach, effect: forbid, match: {imsis: ["460010000000003"]}}` + plain,
			want: []string{
				"1 terminal can no longer attach to seal.corp: 460010000000003 (rule lost forbids it, new.yaml:#)",
				"1 order can no longer be stamped: WO-2",
			},
		},
		{
			name: "a pool of handsets", from: "    requireIMEI: true", to: "    handset: pool\n    tacs: [\"35693899\"]\n    requireIMEI: true",
			want: []string{"2 terminals can no longer attach", "460010000000002 (handset 35693803000002 is of model 35693803, which is not in the pool"},
		},
		{
			name: "more is asked for", new: strings.Replace(plain, "all, action: use, effect: permit", "all, action: use, effect: permit, require: {credentials: [certificate]}", 1),
			want: []string{"3 terminals: more is asked for finance seals"},
		},
		{
			name: "a barrel on hotspots", new: strings.Replace(plain, "    - {id: hot", `    - {id: out, action: hotspot, effect: forbid, match: {barrels: [SB-0002]}}
    - {id: hot`, 1),
			want: []string{"1 barrel can no longer be on the hotspot of the terminal that has it: SB-0002 (rule out forbids it, new.yaml:#)"},
		},
		{
			name: "a seal type", from: "    finance: {level: 1", to: "    financial: {level: 1",
			want: []string{`3 terminals lose finance seals, 1 of them with one checked out: 460010000000001 (policy has no seal type "finance", which barrel SB-0001 holds, new.yaml:#)`, "1 order can no longer be stamped: WO-1 (there is no seal type finance"},
		},
		{
			name: "a requirement that an order misses", new: strings.Replace(plain, "all, action: use, effect: permit", "all, action: use, effect: permit, require: {maxCount: 9}", 1),
			want: []string{"2 orders can no longer be stamped: WO-1 (it permits 10 stampings; at most 9 are allowed, new.yaml:#)"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := func(file, rules string, change bool) *policy.Rules {
				if rules == "" {
					rules = plain
				}
				text := strings.Replace(string(Default(Params{}))+"\n  rules:", "  changeControl:", "  locations: {office: {tais: [\"46001-0001\"]}}\n  changeControl:", 1) + rules
				if change && c.from != "" {
					if !strings.Contains(text, c.from) {
						t.Fatalf("no %q", c.from)
					}
					text = strings.Replace(text, c.from, c.to, 1)
				}
				r, _, err := Parse(file, []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			old, now := doc("old.yaml", c.old, false), doc("new.yaml", c.new, true)
			d := Diff(old, now, town())
			var got []string
			for _, e := range d.Effects {
				s := e.Text
				for i, a := range e.Who {
					s += map[bool]string{true: ": ", false: " "}[i == 0] + a.ID
					if a.Why != "" {
						s += fmt.Sprintf(" (%s, %s)", a.Why, a.Where)
					}
				}
				got = append(got, regexp.MustCompile(`yaml:\d+`).ReplaceAllString(s, "yaml:#"))
				if !e.Loses && c.name != "a seal type" {
					t.Errorf("a gain: %s", s)
				}
			}
			for _, w := range c.want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, w) }) {
					t.Errorf("nothing says %q:\n%s", w, strings.Join(got, "\n"))
				}
			}
			if len(c.want) == 0 && len(got)+len(d.Settings) > 0 {
				t.Errorf("there is a difference: %q %v", got, d.Settings)
			}
			// Taken back it gives what it took.
			if back := Diff(now, old, town()); len(back.Effects) != len(d.Effects) || len(back.Effects) > 0 && back.Effects[len(back.Effects)-1].Loses {
				t.Errorf("taken back: %q, not what is there: %q", back.Words(), d.Words())
			}
		})
	}
}

// city has n terminals in 40 groups, half as many barrels, and orders.
func city(n int) Population {
	p := Population{Now: sunday}
	kinds := []string{"company", "finance", "contract", "business"}
	for i := range n {
		imsi := fmt.Sprintf("46001%010d", i)
		p.Terminals = append(p.Terminals, policy.Subscriber{
			Found: true, IMSI: imsi, State: policy.StateActive, APNs: []string{"seal.corp"}, Groups: []string{fmt.Sprintf("g%d", i%40), fmt.Sprintf("office-%d", i%7)},
			IMEIs: []string{fmt.Sprintf("%08d%06d", 35693800+i%5, i%1_000_000)}, HasWireGuard: i%3 == 0,
		})
		if i%2 == 0 {
			p.Barrels = append(p.Barrels, policy.Barrel{Found: true, ID: fmt.Sprintf("SB-%06d", i), State: policy.StateActive, SealType: kinds[i/2%4], CheckedOutTo: imsi})
		}
		if i%10 == 0 {
			p.Orders = append(p.Orders, Order{Number: fmt.Sprintf("WO-%d", i), SealType: kinds[i/10%4], Permitted: uint32(1 + i%20), NotBefore: sunday, NotAfter: sunday.Add(time.Duration(1+i%72) * time.Hour)})
		}
	}
	return p
}

// BenchmarkDiff compares two documents of 1,000 rules over 100,000 terminals,
// 50,000 barrels and 10,000 orders.
func BenchmarkDiff(b *testing.B) {
	r, _, err := Parse("p", Default(Params{}))
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		rule := policy.Rule{ID: fmt.Sprintf("r%d", i), Action: policy.ActionUse, Permit: i%5 > 0, Match: policy.Match{
			Groups: []string{fmt.Sprintf("g%d", i%40)}, SealTypes: []string{[]string{"company", "finance", "contract", "business"}[i%4]},
		}}
		if i%3 == 0 {
			rule.Match.Hours = &policy.Hours{Days: [7]bool{true, i%2 == 0, true, true}, From: 60 * (i % 10), To: 60 * (12 + i%10)}
		}
		r.Table = append(r.Table, rule)
	}
	n := *r
	n.Table = slices.Clone(r.Table)
	n.Table[1].Permit, n.Table[14].Permit = false, false
	p := city(100_000)
	b.ReportAllocs()
	for b.Loop() {
		if d := Diff(r, &n, p); len(d.Effects) == 0 {
			b.Fatal("no effect")
		}
	}
}
