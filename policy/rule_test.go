package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// announced is a swap that the subscriber's record announces until an hour from noon.
func announced(q *AdmitRequest) {
	q.Subscriber.AnnouncedIMEI, q.Subscriber.AnnouncedUntil = "35693803564399", noon.Add(time.Hour)
	q.IMEI = must(ident.ParseIMEI("35693803564399"))
}

func TestHandsetBindings(t *testing.T) {
	pool := func(r *Rules) { r.Admission.TACs = []string{"35693803"} }
	other := must(ident.ParseIMEI("35693804564380"))
	for _, c := range []struct {
		name    string
		binding HandsetBinding
		change  func(*Rules, *AdmitRequest)
		failed  string
		bound   bool // the handset becomes the only one
	}{
		{"listed", HandsetListed, nil, "", false},
		{"listed, another", HandsetListed, func(_ *Rules, q *AdmitRequest) { q.IMEI = other }, "handset-bound", false},
		{"listed, none listed", HandsetListed, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs = nil }, "", false},
		{"listed, announced", HandsetListed, func(_ *Rules, q *AdmitRequest) { announced(q) }, "", true},
		{"listed, announced, too late", HandsetListed, func(_ *Rules, q *AdmitRequest) { announced(q); q.Now = noon.Add(time.Hour) }, "handset-bound", false},
		{"listed, announced, time unknown", HandsetListed, func(_ *Rules, q *AdmitRequest) { announced(q); q.Now = time.Time{} }, "handset-bound", false},
		{"listed, announced is another", HandsetListed, func(_ *Rules, q *AdmitRequest) { announced(q); q.IMEI = other }, "handset-bound", false},
		{"listed, announced, but still in the old one", HandsetListed, func(_ *Rules, q *AdmitRequest) {
			imei := q.IMEI
			announced(q)
			q.IMEI = imei
		}, "", false},

		{"exact", HandsetExact, nil, "", false},
		{"exact, none listed", HandsetExact, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs = nil }, "handset-bound", false},
		{"exact, none listed, none told", HandsetExact, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs, q.IMEI = nil, ident.IMEI{} }, "handset-told", false},
		{"exact, announced", HandsetExact, func(_ *Rules, q *AdmitRequest) { announced(q); q.Subscriber.IMEIs = nil }, "", true},

		{"pool", HandsetPool, func(r *Rules, q *AdmitRequest) { pool(r); q.Subscriber.IMEIs = nil }, "", false},
		{"pool, and listed", HandsetPool, func(r *Rules, _ *AdmitRequest) { pool(r) }, "", false},
		{"pool, another listed", HandsetPool, func(r *Rules, q *AdmitRequest) { pool(r); q.Subscriber.IMEIs = []string{"35693803000001"} }, "handset-bound", false},
		{"pool, another model", HandsetPool, func(r *Rules, q *AdmitRequest) { pool(r); q.Subscriber.IMEIs, q.IMEI = nil, other }, "handset-in-pool", false},
		{"pool, none told", HandsetPool, func(r *Rules, q *AdmitRequest) { pool(r); q.Subscriber.IMEIs, q.IMEI = nil, ident.IMEI{} }, "handset-told", false},
		{"pool of none", HandsetPool, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs = nil }, "handset-in-pool", false},
		{"pool, announced of another model", HandsetPool, func(r *Rules, q *AdmitRequest) {
			r.Admission.TACs = []string{"11111111"}
			announced(q)
		}, "", true},

		{"first use", HandsetFirstUse, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs = nil }, "", true},
		{"first use, not told", HandsetFirstUse, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs, q.IMEI = nil, ident.IMEI{} }, "handset-told", false},
		{"first use, used before", HandsetFirstUse, nil, "", false},
		{"first use, another before", HandsetFirstUse, func(_ *Rules, q *AdmitRequest) { q.IMEI = other }, "handset-bound", false},
		{"first use, announced", HandsetFirstUse, func(_ *Rules, q *AdmitRequest) { announced(q) }, "", true},
		{"first use, refused for something else", HandsetFirstUse, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs, q.RAT = nil, 2 }, "rat-allowed", false},
		{"first use, over the fallback", HandsetFirstUse, func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs, q.Path = nil, PathWireGuard }, "", false},

		{"any", HandsetAny, func(_ *Rules, q *AdmitRequest) { q.IMEI = other }, "", false},
		{"any, none told", HandsetAny, func(_ *Rules, q *AdmitRequest) { q.IMEI = ident.IMEI{} }, "", false},
		{"any, announced", HandsetAny, func(_ *Rules, q *AdmitRequest) { announced(q) }, "", false},
		{"never heard of", 9, nil, "handset-bound", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Asked for by the document, and by a rule under a document that takes any.
			for _, byRule := range []bool{false, true} {
				if byRule && c.binding == HandsetAny {
					continue // no requirement
				}
				r, q := rules(), admission()
				q.Now = noon
				r.Admission.Handset = c.binding
				if byRule {
					r.Admission.Handset = HandsetAny
					r.Table = []Rule{{ID: "x", Action: ActionAttach, Permit: true, Require: Require{Handset: c.binding}}}
				}
				if c.change != nil {
					c.change(r, &q)
				}
				d := r.Admit(q)
				var ids []string
				for _, reason := range d.Reasons() {
					if !reason.OK && !reason.Skipped {
						ids = append(ids, reason.Rule)
					}
				}
				if got := strings.Join(ids, " "); got != c.failed || d.Allowed != (c.failed == "") || d.BindHandset != c.bound {
					t.Errorf("by rule %v: failed %q, bind %v; want %q, %v", byRule, got, d.BindHandset, c.failed, c.bound)
				}
			}
		})
	}
}

// table puts rules into a policy, indexed.
func table(r *Rules, rules ...Rule) *Rules {
	r.Table = rules
	r.Index()
	return r
}

func TestRulesDecide(t *testing.T) {
	all := Rule{ID: "all", Action: ActionAttach, Permit: true}
	lost := Rule{ID: "lost", Action: ActionAttach, Match: Match{IMSIs: []string{"460010000000001"}}, Why: "reported lost"}
	foreign := Rule{ID: "foreign", Action: ActionAttach, Match: Match{PLMNs: []ident.PLMN{must(ident.ParsePLMN("310410"))}}}
	pap := Rule{ID: "pap", Action: ActionAttach, Permit: true, Require: Require{Credentials: CredentialSIM | CredentialPassword}}
	for _, c := range []struct {
		name   string
		rules  []Rule
		change func(*Rules, *AdmitRequest)
		failed string
		code   Code
	}{
		{"none for it", []Rule{{ID: "use", Action: ActionUse}}, nil, "", ""},
		{"one that permits", []Rule{all}, nil, "", ""},
		{"one that forbids, first", []Rule{lost, all}, nil, "rules-permit", CodeRuleForbids},
		{"one that forbids, too late", []Rule{all, lost}, nil, "", ""},
		{"one that forbids others", []Rule{foreign, all}, nil, "", ""},
		{"none matches", []Rule{foreign}, nil, "rules-permit", CodeNoRule},
		{"a rule doesn't widen", []Rule{all}, func(_ *Rules, q *AdmitRequest) { q.RAT = 2 }, "rat-allowed", CodeRATNotAllowed},
		{"a rule doesn't revive", []Rule{all}, func(_ *Rules, q *AdmitRequest) { q.Subscriber.State = StateRevoked }, "sim-active", CodeSubscriberRevoked},
		{"requirement met", []Rule{pap}, func(_ *Rules, q *AdmitRequest) { q.Shown = CredentialSIM | CredentialPassword }, "", ""},
		{"requirement missed", []Rule{pap}, func(_ *Rules, q *AdmitRequest) { q.Shown = CredentialSIM }, "rule-met", CodeRuleRequires},
		{"the path's credentials", nil, func(r *Rules, q *AdmitRequest) {
			r.Admission.Credentials = map[PathKind]Credentials{PathGTP: CredentialSIM | CredentialPassword | CredentialCertificate}
			q.Shown = CredentialSIM
		}, "credentials-shown", CodeCredentialsMissing},
		{"the path's credentials shown, as far as they can be now", nil, func(r *Rules, q *AdmitRequest) {
			r.Admission.Credentials = map[PathKind]Credentials{PathGTP: CredentialSIM | CredentialCertificate}
			q.Shown = CredentialSIM
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, q := table(rules(), c.rules...), admission()
			if c.change != nil {
				c.change(r, &q)
			}
			check(t, r.Admit(q), c.failed, c.code)
		})
	}
}

func TestRulesOfUses(t *testing.T) {
	night := Rule{ID: "night", Action: ActionUse, Match: Match{Hours: &Hours{Days: [7]bool{true, true, true, true, true, true, true}, From: 20 * 60, To: 8 * 60}}}
	office := Match{Locations: []string{"office"}}
	strict := Rule{ID: "strict", Action: ActionUse, Permit: true, Match: Match{Groups: []string{"finance"}}, Require: Require{
		Methods: MethodFace, Level: 1, MaxCount: 2, MaxWindow: time.Hour, EvidenceWithin: time.Minute, Credentials: CredentialBarrelPSK,
	}}
	all := Rule{ID: "all", Action: ActionUse, Permit: true}
	business := func(q *UseRequest) {
		q.Barrel.SealType, q.Answer.SealType, q.Answer.Level, q.Answer.Methods = "business", "business", 2, []string{"fingerprint"}
	}
	fits := func(_ *Rules, q *UseRequest) {
		q.Terminal.Groups, q.Shown = []string{"finance"}, CredentialBarrelPSK|CredentialSIM
		q.Answer.Count, q.Answer.NotBefore, q.Answer.NotAfter = 2, noon, noon.Add(time.Hour)
	}
	for _, c := range []struct {
		name   string
		rules  []Rule
		change func(*Rules, *UseRequest)
		failed string
		code   Code
	}{
		{"by day", []Rule{night, all}, nil, "", ""},
		{"at night", []Rule{night, all}, func(_ *Rules, q *UseRequest) {
			q.Now = noon.Add(9 * time.Hour)
			q.Time, q.Answer.NotAfter = q.Now, q.Now.Add(time.Hour)
		}, "rules-permit", CodeRuleForbids},
		{"by day here, at night there", []Rule{night, all}, func(r *Rules, _ *UseRequest) { r.Zone = time.FixedZone("", 9*3600) }, "rules-permit", CodeRuleForbids},
		{"in the office", []Rule{{ID: "office", Action: ActionUse, Permit: true, Match: office}}, func(_ *Rules, q *UseRequest) {
			q.Access.Place.TAI = someTAIs[0]
		}, "", ""},
		{"elsewhere", []Rule{{ID: "office", Action: ActionUse, Permit: true, Match: office}}, func(_ *Rules, q *UseRequest) {
			q.Access.Place.TAI = someTAIs[1]
		}, "rules-permit", CodeNoRule},
		{"nobody knows where", []Rule{{ID: "office", Action: ActionUse, Permit: true, Match: office}}, nil, "rules-permit", CodeNoRule},
		{"where it is, on the fallback beside the carrier", []Rule{{ID: "office", Action: ActionUse, Permit: true, Match: office}}, func(_ *Rules, q *UseRequest) {
			business(q)
			q.Access.Place.TAI, q.Path = someTAIs[0], PathWireGuard
		}, "", ""},
		{"where it was before it took the fallback", []Rule{{ID: "office", Action: ActionUse, Permit: true, Match: office}}, func(r *Rules, q *UseRequest) {
			business(q)
			r.Fallback.PlaceAge = time.Hour
			q.Access.Place.TAI, q.Path, q.Access.Told = someTAIs[0], PathWireGuard, noon.Add(1-time.Hour)
		}, "", ""},
		{"where it was too long ago", []Rule{{ID: "office", Action: ActionUse, Permit: true, Match: office}}, func(r *Rules, q *UseRequest) {
			business(q)
			r.Fallback.PlaceAge = time.Hour
			q.Access.Place.TAI, q.Path, q.Access.Told = someTAIs[0], PathWireGuard, noon.Add(-time.Hour)
		}, "rules-permit", CodeNoRule},
		{"where it was, which doesn't count", []Rule{{ID: "office", Action: ActionUse, Permit: true, Match: office}}, func(_ *Rules, q *UseRequest) {
			business(q)
			q.Access.Place.TAI, q.Path, q.Access.Told = someTAIs[0], PathWireGuard, noon
		}, "rules-permit", CodeNoRule},
		{"the network that it was on isn't known on the fallback", []Rule{{ID: "home", Action: ActionUse, Permit: true, Match: Match{PLMNs: []ident.PLMN{someTAIs[0].PLMN()}}}}, func(_ *Rules, q *UseRequest) {
			business(q)
			q.Access.PLMN, q.Path = someTAIs[0].PLMN(), PathWireGuard
		}, "rules-permit", CodeNoRule},

		{"all that is required", []Rule{strict}, fits, "", ""},
		{"a credential less", []Rule{strict}, func(r *Rules, q *UseRequest) { fits(r, q); q.Shown = CredentialSIM }, "rule-met", CodeRuleRequires},
		{"a use more", []Rule{strict}, func(r *Rules, q *UseRequest) { fits(r, q); q.Answer.Count = 3 }, "count-within", CodeLevelNotMet},
		{"a longer window", []Rule{strict}, func(r *Rules, q *UseRequest) { fits(r, q); q.Answer.NotAfter = noon.Add(time.Hour + 1) }, "window-within", CodeLevelNotMet},
		{"level and method of the seal alone", []Rule{strict}, func(r *Rules, q *UseRequest) { fits(r, q); business(q) }, "level-met methods-met", CodeLevelNotMet},
		{"what others need not", []Rule{strict, all}, func(_ *Rules, q *UseRequest) { business(q) }, "", ""},
		{"a requirement doesn't weaken", []Rule{{ID: "weak", Action: ActionUse, Permit: true, Require: Require{Level: 2, MaxCount: 99, MaxWindow: 99 * time.Hour}}}, func(_ *Rules, q *UseRequest) {
			q.Answer.Level, q.Answer.Methods, q.Answer.Count, q.Answer.NotAfter = 2, []string{"fingerprint"}, 11, noon.Add(80*time.Hour)
		}, "level-met methods-met count-within window-within", CodeLevelNotMet},
		{"the path's credentials", nil, func(r *Rules, q *UseRequest) {
			r.Admission.Credentials = map[PathKind]Credentials{PathGTP: CredentialSIM | CredentialCertificate}
			q.Shown = CredentialSIM
		}, "credentials-shown", CodeCredentialsMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, q := table(rules(), c.rules...), use()
			r.Locations = map[string]Location{"office": {TAIs: []string{"46001-0001"}}}
			if c.change != nil {
				c.change(r, &q)
			}
			r.Index()
			check(t, r.PermitUse(q), c.failed, c.code)
		})
	}
	r, q := table(rules(), strict), use()
	fits(r, &q)
	if got := r.Terms(q); got.EvidenceSeconds != 60 || got.Count != 2 {
		t.Errorf("%+v", got)
	}
}

func TestRulesOfHotspots(t *testing.T) {
	router := must(ident.ParseMAC("02:00:5e:10:00:99"))
	devices := []HotspotDevice{{MAC: router, Role: "router"}}
	noRouters := Rule{ID: "no-routers", Action: ActionHotspot, Match: Match{Roles: []string{"router"}, Groups: []string{"field"}}}
	all := Rule{ID: "all", Action: ActionHotspot, Permit: true}
	for _, c := range []struct {
		name   string
		rules  []Rule
		change func(*HotspotRequest)
		failed string
		code   Code
	}{
		{"a barrel", []Rule{noRouters, all}, nil, "", ""},
		{"a router", []Rule{noRouters, all}, func(q *HotspotRequest) { q.MAC, q.Barrel = router, Barrel{} }, "", ""},
		{"a router of the wrong group", []Rule{noRouters, all}, func(q *HotspotRequest) {
			q.MAC, q.Barrel, q.Terminal.Groups = router, Barrel{}, []string{"field"}
		}, "rules-permit", CodeRuleForbids},
		{"a device that isn't listed", nil, func(q *HotspotRequest) { q.MAC, q.Barrel = must(ident.ParseMAC("02:00:5e:10:00:98")), Barrel{} }, "barrel-listed", CodeMACNotAllowed},
		{"a router with a revoked terminal", nil, func(q *HotspotRequest) {
			q.MAC, q.Barrel, q.Terminal.State = router, Barrel{}, StateRevoked
		}, "terminal-active", CodeTerminalUnknown},
		{"a revoked barrel with a router's MAC", nil, func(q *HotspotRequest) { q.MAC, q.Barrel.State = router, StateRevoked }, "barrel-active", CodeMACNotAllowed},
	} {
		for _, indexed := range []bool{false, true} {
			r := rules()
			r.Table, r.Hotspot = c.rules, devices
			if indexed {
				r.Index()
			}
			q := HotspotRequest{MAC: must(ident.ParseMAC("02:00:5e:10:00:01")), Barrel: barrel(), Terminal: subscriber()}
			if c.change != nil {
				c.change(&q)
			}
			t.Run(c.name, func(t *testing.T) { check(t, r.AllowHotspot(q), c.failed, c.code) })
		}
	}
}

// A trace says of every rule what became of it, and where it stands.
func TestTrace(t *testing.T) {
	r := table(
		rules(),
		Rule{ID: "night", Action: ActionUse, Match: Match{Hours: &Hours{Days: [7]bool{0: true}, From: 0, To: 60}}},
		Rule{ID: "finance", Action: ActionUse, Permit: true, Match: Match{Groups: []string{"finance"}, SealTypes: []string{"company"}}},
		Rule{ID: "attach", Action: ActionAttach, Permit: true},
		Rule{ID: "lost", Action: ActionUse, Match: Match{IMSIs: []string{"460010000000001"}}, Why: "reported lost"},
		Rule{ID: "rest", Action: ActionUse, Permit: true},
	)
	r.Sources["spec/rules/finance"], r.Sources["spec/rules/finance/match/groups"], r.Sources["spec/rules/lost"] = "policy.yaml:41", "policy.yaml:44", "policy.yaml:50"
	q := use()
	q.Terminal.Groups = []string{"staff"}
	d := r.PermitUse(q)
	var got []string
	for _, reason := range d.Reasons() {
		if reason.Document || reason.Rule == "rules-permit" {
			got = append(got, reason.String())
		}
	}
	want := []string{
		"NO rules-permit (policy.yaml:50): rule lost forbids it: reported lost",
		"-- night: doesn't match; hours: it is Sun 2026-11-22 12:00 UTC",
		"-- finance (policy.yaml:41): doesn't match; groups (policy.yaml:44): the terminal's groups are staff",
		"-- attach: is for attach",
		"NO lost (policy.yaml:50): rule lost forbids it: reported lost",
		"-- rest: matches too, after rule lost",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d.Revision != 7 || !slices.Equal(d.Denials(), []string{"rule lost forbids it: reported lost"}) {
		t.Errorf("revision %d: %v", d.Revision, d.Denials())
	}
}
