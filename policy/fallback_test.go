package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

func TestFallbackKnows(t *testing.T) {
	hour := Fallback{PlaceAge: time.Hour}
	for _, c := range []struct {
		name      string
		f         Fallback
		told, now time.Time
		want      bool
	}{
		{"told now", hour, time.Time{}, noon, true},
		{"told now, at an unknown time", hour, time.Time{}, time.Time{}, true},
		{"told now, though no past place counts", Fallback{}, time.Time{}, noon, true},
		{"just before it is too late", hour, noon.Add(1 - time.Hour), noon, true},
		{"too late", hour, noon.Add(-time.Hour), noon, false},
		{"no past place counts", Fallback{}, noon, noon, false},
		{"long ago at an unknown time", hour, noon, time.Time{}, false},
		{"by a clock that is ahead", hour, noon.Add(time.Minute), noon, true},
	} {
		if got := c.f.Knows(c.told, c.now); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// Whether the WireGuard key alone will do is for the policy's credentials to say, of
// the path or of a rule: each set that may be asked for, with each that may be shown.
func TestCredentialsOfFallback(t *testing.T) {
	all := PathWireGuard.Attaching()
	if all != CredentialSIM|CredentialWireGuard|CredentialCertificate|CredentialPassword|CredentialPreSharedKey {
		t.Fatalf("on the fallback path a terminal can show %s", all)
	}
	refused := 0
	for asked := range all + 1 {
		for shown := range all + 1 {
			if asked&^all != 0 || shown&^all != 0 || !shown.Has(CredentialWireGuard) {
				continue
			}
			r, q := rules(), admission()
			q.Path, q.IMEI, q.PLMN, q.RAT, q.MSISDN, q.Shown = PathWireGuard, ident.IMEI{}, ident.PLMN{}, 0, ident.MSISDN{}, shown
			r.Admission.Credentials = map[PathKind]Credentials{PathWireGuard: asked, PathGTP: CredentialPassword}
			failed, code := "", Code("")
			if asked&^shown != 0 {
				failed, code = "credentials-shown", CodeCredentialsMissing
				refused++
			}
			what := fmt.Sprintf("asked for %s, shown %s", asked, shown)
			t.Run(what, func(t *testing.T) { check(t, r.Admit(q), failed, code) })

			r = table(rules(), Rule{ID: "r", Action: ActionAttach, Permit: true, Require: Require{Credentials: asked}})
			r.Index()
			if code != "" {
				failed, code = "rule-met", CodeRuleRequires
			}
			t.Run("by a rule "+what, func(t *testing.T) { check(t, r.Admit(q), failed, code) })
		}
	}
	if refused < 100 {
		t.Errorf("only %d combinations are refused", refused)
	}
}

// Where a terminal attaches to the fallback is where its carrier saw it last, for as
// long as the document says; a place that isn't known is in no location.
func TestPlaceOfFallback(t *testing.T) {
	at := []Rule{{ID: "office", Action: ActionAttach, Permit: true, Match: Match{Locations: []string{"office"}}}}
	notAt := []Rule{{ID: "office", Action: ActionAttach, Match: Match{Locations: []string{"office"}}}, {ID: "all", Action: ActionAttach, Permit: true}}
	for _, c := range []struct {
		name      string
		place     ident.TAI
		told      time.Time
		known, in bool
	}{
		{"told now", someTAIs[0], time.Time{}, true, true},
		{"told before", someTAIs[0], noon.Add(-59 * time.Minute), true, true},
		{"told long ago", someTAIs[0], noon.Add(-time.Hour), false, false},
		{"elsewhere", someTAIs[1], time.Time{}, true, false},
		{"elsewhere, before", someTAIs[1], noon.Add(-time.Minute), true, false},
		{"nowhere", ident.TAI{}, time.Time{}, false, false},
	} {
		for _, indexed := range []bool{false, true} {
			q := admission()
			q.Path, q.Now, q.Place.TAI, q.Told = PathWireGuard, noon, c.place, c.told
			for i, rules := range [][]Rule{at, notAt} {
				r := placed(map[string]Location{"office": {TAIs: []string{someTAIs[0].String()}}})
				if r.Table = rules; indexed {
					r.Index()
				}
				if got, want := r.Admit(q).Allowed, c.in == (i == 0); got != want {
					t.Errorf("%s, indexed %t: allowed %t by %s", c.name, indexed, got, rules[0].ID)
				}
			}
		}
	}
}

// placed are rules with locations, and a placeAge of an hour.
func placed(locations map[string]Location) *Rules {
	r := rules()
	r.Locations, r.Fallback.PlaceAge = locations, time.Hour
	return r
}

// The words say when a place was told, and when it doesn't count any more.
func TestWordsOfPlace(t *testing.T) {
	r := table(placed(map[string]Location{"office": {TAIs: []string{"46001-ffff"}}, "hall": {TAIs: []string{someTAIs[0].String()}}}), Rule{ID: "office", Action: ActionAttach, Permit: true, Match: Match{Locations: []string{"office"}}})
	for _, c := range []struct {
		told time.Time
		want string
	}{
		{time.Time{}, "doesn't match; locations: the terminal is at hall (tracking area 46001-0001, cell not known)"},
		{noon.Add(-time.Minute), "doesn't match; locations: the terminal was at hall (tracking area 46001-0001, cell not known), as its carrier told last at " + noon.Add(-time.Minute).Format(time.RFC3339)},
		{noon.Add(-time.Hour), "doesn't match; locations: where the terminal is isn't known: its carrier told it last at " + noon.Add(-time.Hour).Format(time.RFC3339) + ", and it counts for 1h0m0s (placeAge)"},
	} {
		q := admission()
		q.Path, q.Now, q.Place.TAI, q.Told = PathWireGuard, noon, someTAIs[0], c.told
		reasons := r.Admit(q).Reasons()
		if got := reasons[len(reasons)-1].Text; got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
