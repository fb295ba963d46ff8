package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

var (
	someIMSIs   = []string{"460010000000001", "460010000000002", "460011000000001", "310410000000001"}
	somePrefix  = []string{"46001", "460010", "46001000", "31041", "460011000000"}
	someGroups  = []string{"finance", "staff", "legal"}
	someTACs    = []string{"35693803", "35693804"}
	someAPNs    = []ident.APN{must(ident.ParseAPN("seal.corp")), must(ident.ParseAPN("other.corp"))}
	somePaths   = []PathKind{PathGTP, PathWireGuard}
	somePLMNs   = []ident.PLMN{must(ident.ParsePLMN("46001")), must(ident.ParsePLMN("310410"))}
	someRATs    = []RAT{6, 10, 1}
	someTAIs    = []ident.TAI{must(ident.ParseTAI("46001-0001")), must(ident.ParseTAI("46001-0002")), must(ident.ParseTAI("46001-00ff"))}
	someECGIs   = []ident.ECGI{must(ident.ParseECGI("46001-0000001")), must(ident.ParseECGI("46001-0000002"))}
	someSeals   = []string{"company", "business"}
	someBarrels = []string{"SB-0001", "SB-0002"}
	someRoles   = []string{RoleBarrel, "router"}
	someMACs    = []ident.MAC{must(ident.ParseMAC("02:00:5e:10:00:01")), must(ident.ParseMAC("02:00:5e:10:00:99"))}
	someZones   = []*time.Location{nil, time.UTC, time.FixedZone("east", 8*3600), time.FixedZone("west", -9*3600-1800)}
)

// some draws a subset, most often none.
func some[T any](r *rand.Rand, of []T) []T {
	if r.IntN(4) > 0 {
		return nil
	}
	var out []T
	for _, v := range of {
		if r.IntN(2) == 0 {
			out = append(out, v)
		}
	}
	return out
}

func one[T any](r *rand.Rand, of []T) (v T) {
	if n := r.IntN(len(of) + 1); n < len(of) {
		v = of[n]
	}
	return v
}

func randomHours(r *rand.Rand) *Hours {
	if r.IntN(3) > 0 {
		return nil
	}
	h := &Hours{From: r.IntN(24 * 60), To: r.IntN(24*60) + 1}
	if r.IntN(3) == 0 {
		h.From, h.To = 0, 24*60
	}
	for i := range h.Days {
		h.Days[i] = r.IntN(3) > 0
	}
	if r.IntN(3) == 0 {
		h.NotBefore = noon.Add(time.Duration(r.IntN(48)-24) * time.Hour)
	}
	if r.IntN(3) == 0 {
		h.NotAfter = noon.Add(time.Duration(r.IntN(48)-24) * time.Hour)
	}
	return h
}

func randomTable(r *rand.Rand, n int) []Rule {
	var table []Rule
	for i := range n {
		table = append(table, Rule{ID: fmt.Sprintf("rule-%d", i), Action: Action(1 + r.IntN(3)), Permit: r.IntN(2) == 0, Match: Match{
			IMSIs: some(r, someIMSIs), IMSIPrefixes: some(r, somePrefix), Groups: some(r, someGroups), TACs: some(r, someTACs), APNs: some(r, someAPNs),
			Paths: some(r, somePaths), PLMNs: some(r, somePLMNs), RATs: some(r, someRATs), Locations: some(r, []string{"office", "home", "nowhere"}),
			Hours: randomHours(r), SealTypes: some(r, someSeals), Barrels: some(r, someBarrels), Roles: some(r, someRoles), MACs: some(r, someMACs),
		}})
	}
	return table
}

func randomFacts(r *rand.Rand) facts {
	f := facts{
		action: Action(1 + r.IntN(3)), imsi: one(r, someIMSIs), groups: some(r, someGroups), apn: one(r, someAPNs), path: one(r, somePaths),
		sealType: one(r, someSeals), barrel: one(r, someBarrels), role: one(r, someRoles), mac: one(r, someMACs),
		access: Access{PLMN: one(r, somePLMNs), RAT: one(r, someRATs), Place: Place{TAI: one(r, someTAIs), ECGI: one(r, someECGIs)}},
	}
	if tac := one(r, someTACs); tac != "" {
		f.access.IMEI = must(ident.ParseIMEI(tac + "564380"))
	}
	if r.IntN(10) > 0 {
		f.now = noon.Add(time.Duration(r.IntN(14*24*60)-7*24*60) * time.Minute)
	}
	return f
}

// reference is the meaning of a table, said as plainly as can be.
func reference(r *Rules, f *facts) int {
	among := func(values []string, v string) bool { return len(values) == 0 || v != "" && slices.Contains(values, v) }
	text := func(values any) []string { return strings.Fields(strings.Trim(fmt.Sprint(values), "[]")) }
	for i, rule := range r.Table {
		m := rule.Match
		groups, prefix, place, hours := len(m.Groups) == 0, len(m.IMSIPrefixes) == 0, len(m.Locations) == 0, m.Hours == nil
		for _, g := range f.groups {
			groups = groups || slices.Contains(m.Groups, g)
		}
		for _, p := range m.IMSIPrefixes {
			prefix = prefix || strings.HasPrefix(f.imsi, p)
		}
		for _, name := range m.Locations {
			l := r.Locations[name]
			place = place || slices.Contains(append(l.TAIs, l.ECGIs...), f.access.Place.TAI.String()) && !f.access.Place.TAI.IsZero() ||
				slices.Contains(append(l.TAIs, l.ECGIs...), f.access.Place.ECGI.String()) && !f.access.Place.ECGI.IsZero()
		}
		if h := m.Hours; h != nil && !f.now.IsZero() {
			// Go back to when a span could have begun, minute by minute.
			local := f.now.In(r.zone()).Truncate(time.Minute)
			length := (h.To - h.From + 24*60) % (24 * 60)
			if length == 0 && h.To != h.From {
				length = 24 * 60
			}
			for back := range length {
				begin := local.Add(-time.Duration(back) * time.Minute)
				hours = hours || h.Days[begin.Weekday()] && begin.Hour()*60+begin.Minute() == h.From
			}
			hours = hours && !f.now.Before(h.NotBefore) && (h.NotAfter.IsZero() || f.now.Before(h.NotAfter))
		}
		rat := ""
		if f.access.RAT != 0 {
			rat = f.access.RAT.String()
		}
		path := ""
		if f.path != 0 {
			path = f.path.String()
		}
		if rule.Action == f.action && among(m.IMSIs, f.imsi) && prefix && groups && among(m.TACs, f.access.IMEI.TAC()) && among(text(m.APNs), strings.Trim(fmt.Sprint(f.apn), "{}")) &&
			among(text(m.Paths), path) && among(text(m.PLMNs), f.access.PLMN.String()) && among(text(m.RATs), rat) && place && hours &&
			among(m.SealTypes, f.sealType) && among(m.Barrels, f.barrel) && among(m.Roles, f.role) && among(text(m.MACs), f.mac.String()) {
			return i
		}
	}
	return -1
}

// The index, the walk, the trace and the plain meaning agree on every request.
func TestRulingsAgree(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 22))
	matched := 0
	for range 120 {
		r := &Rules{
			Table: randomTable(rnd, 1+rnd.IntN(150)), Zone: someZones[rnd.IntN(len(someZones))],
			Locations: map[string]Location{
				"office": {TAIs: []string{"46001-0001"}, ECGIs: []string{"46001-0000002"}},
				"home":   {TAIs: []string{"46001-0001", "46001-0002"}},
			},
		}
		walked := *r
		r.Index()
		if !r.index.current(r) || walked.index.current(&walked) {
			t.Fatal("the index is not where it should be")
		}
		for range 40 {
			f := randomFacts(rnd)
			want := reference(r, &f)
			byIndex, byWalk := r.rule(&f), walked.rule(&f)
			if byIndex != byWalk || byIndex.place != want {
				t.Fatalf("index %+v, walk %+v, want rule %d of\n%+v\nfor %+v", byIndex, byWalk, want, r.Table, f)
			}
			if want >= 0 {
				matched++
			}
			traced := -1
			d := Decision{rules: r, facts: f, ruling: byIndex}
			trace := d.trace()
			if len(trace) != len(r.Table) {
				t.Fatalf("%d rules traced of %d", len(trace), len(r.Table))
			}
			for i, reason := range trace {
				switch {
				case reason.Rule != r.Table[i].ID || !reason.Document || reason.Text == "":
					t.Fatalf("rule %d is traced as %+v", i, reason)
				case !reason.Skipped && traced >= 0:
					t.Fatalf("two rules decide: %v", trace)
				case !reason.Skipped:
					traced = i
					if reason.OK != r.Table[i].Permit {
						t.Fatalf("%+v of %+v", reason, r.Table[i])
					}
				}
			}
			if traced != want {
				t.Fatalf("traced to rule %d, want %d", traced, want)
			}
		}
	}
	if matched < 500 {
		t.Errorf("only %d of 4,800 requests matched: the test is too easy", matched)
	}
}

// A table that is changed after it was indexed is walked.
func TestIndexOfAnotherTable(t *testing.T) {
	r := &Rules{Table: []Rule{{ID: "a", Action: ActionUse, Permit: true}}}
	r.Index()
	f := facts{action: ActionUse}
	for _, table := range [][]Rule{append(slices.Clone(r.Table), r.Table...), {{ID: "b", Action: ActionUse}}, nil} {
		other := *r
		other.Table = table
		if got, want := other.rule(&f), other.walk(&f); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestHours(t *testing.T) {
	shanghai := must(time.LoadLocation("Asia/Shanghai"))
	sunday := time.Date(2026, 11, 22, 0, 0, 0, 0, shanghai)
	at := func(day, hour, minute int) time.Time {
		return sunday.Add(time.Duration(day*24+hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	workdays := [7]bool{time.Monday: true, time.Tuesday: true, time.Wednesday: true, time.Thursday: true, time.Friday: true}
	byDay := &Hours{Days: workdays, From: 8 * 60, To: 20 * 60}
	byNight := &Hours{Days: workdays, From: 22 * 60, To: 6 * 60}
	for _, c := range []struct {
		name  string
		hours *Hours
		now   time.Time
		want  bool
	}{
		{"Monday morning", byDay, at(1, 8, 0), true},
		{"a minute too early", byDay, at(1, 7, 59), false},
		{"the last minute", byDay, at(1, 19, 59), true},
		{"too late", byDay, at(1, 20, 0), false},
		{"Sunday", byDay, at(0, 12, 0), false},
		{"told in another zone", byDay, at(1, 8, 0).UTC(), true},
		{"Monday night", byNight, at(1, 23, 0), true},
		{"the morning after", byNight, at(2, 5, 59), true},
		{"when it is over", byNight, at(2, 6, 0), false},
		{"the night from Friday", byNight, at(6, 1, 0), true},
		{"the night from Sunday", byNight, at(1, 1, 0), false},
		{"unknown time", byDay, time.Time{}, false},
		{"before its time", &Hours{Days: workdays, To: 24 * 60, NotBefore: at(1, 10, 0)}, at(1, 9, 59), false},
		{"from its time on", &Hours{Days: workdays, To: 24 * 60, NotBefore: at(1, 10, 0)}, at(1, 10, 0), true},
		{"until its time", &Hours{Days: workdays, To: 24 * 60, NotAfter: at(1, 10, 0)}, at(1, 9, 59), true},
		{"after its time", &Hours{Days: workdays, To: 24 * 60, NotAfter: at(1, 10, 0)}, at(1, 10, 0), false},
		{"no hours at all", &Hours{Days: workdays}, at(1, 0, 0), false},
	} {
		if got := c.hours.At(c.now, shanghai); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if got := byNight.String(); got != "mon,tue,wed,thu,fri 22:00-06:00" {
		t.Error(got)
	}
}
