package bundle

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

func TestRules(t *testing.T) {
	doc, err := os.ReadFile("testdata/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, _, err := Parse("policy.yaml", doc)
	if err != nil {
		t.Fatal(err)
	}
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	apn, _ := ident.ParseAPN("seal.corp")
	plmn, _ := ident.ParsePLMN("46001")
	mac, _ := ident.ParseMAC("02:00:5e:10:00:99")
	for name, c := range map[string]struct{ got, want any }{
		"admission": {rules.Admission, policy.Admission{
			Handset: policy.HandsetFirstUse, TACs: []string{"35693803"},
			Credentials: map[policy.PathKind]policy.Credentials{
				policy.PathGTP:       policy.CredentialSIM | policy.CredentialPassword,
				policy.PathWireGuard: policy.CredentialWireGuard | policy.CredentialCertificate,
			},
		}},
		"zone": {rules.Zone.String(), "Asia/Shanghai"},
		"locations": {rules.Locations, map[string]policy.Location{
			"head-office": {TAIs: []string{"46001-1a2b"}, ECGIs: []string{"46001-1a2b3c4", "310410-0000001"}},
			"branch":      {TAIs: []string{"46001-0001"}},
		}},
		"hotspot": {rules.Hotspot, []policy.HotspotDevice{{MAC: mac, Role: "router", Label: "meeting room"}}},
		"control": {rules.Control, policy.ChangeControl{
			Approvals: map[policy.Touch]uint32{
				policy.TouchTightening: 0, policy.TouchDevices: 1, policy.TouchReach: 2, policy.TouchSeals: 1, policy.TouchLevels: 2, policy.TouchControl: 3,
			}, Lifetime: 2 * time.Hour, BreakGlass: true, ReviewWithin: 24 * time.Hour,
		}},
		"rules": {rules.Table, []policy.Rule{
			{ID: "lost-phone", Action: policy.ActionAttach, Match: policy.Match{IMSIs: []string{"460010000000009"}}, Why: "Reported lost."},
			{ID: "staff", Action: policy.ActionAttach, Permit: true, Match: policy.Match{
				IMSIPrefixes: []string{"46001"}, Groups: []string{"staff"}, TACs: []string{"35693803"}, APNs: []ident.APN{apn},
				Paths: []policy.PathKind{policy.PathGTP}, PLMNs: []ident.PLMN{plmn}, RATs: []policy.RAT{6}, Locations: []string{"head-office", "branch"},
			}, Require: policy.Require{Handset: policy.HandsetExact, Credentials: policy.CredentialSIM}},
			{ID: "company-by-day", Action: policy.ActionUse, Permit: true, Match: policy.Match{
				SealTypes: []string{"company"}, Barrels: []string{"SB-0001"}, Hours: &policy.Hours{
					Days: [7]bool{time.Monday: true, time.Friday: true}, From: 8 * 60, To: 20*60 + 30,
					NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, shanghai), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, shanghai),
				},
			}, Require: policy.Require{
				Level: 1, Methods: policy.MethodFace, MaxCount: 5, MaxWindow: 24 * time.Hour, EvidenceWithin: 2 * time.Minute,
				Credentials: policy.CredentialCertificate | policy.CredentialBarrelPSK,
			}},
			{ID: "use-at-night", Action: policy.ActionUse, Match: policy.Match{Hours: &policy.Hours{
				Days: [7]bool{true, true, true, true, true, true, true}, From: 22 * 60, To: 24 * 60,
			}}},
			{ID: "routers", Action: policy.ActionHotspot, Permit: true, Match: policy.Match{Roles: []string{"router", "barrel"}, MACs: []ident.MAC{mac}}},
		}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, c.got, c.want)
		}
	}
	for key, text := range map[string]string{
		"spec/rules/staff": "id: staff", "spec/rules/staff/match/tacs": "tacs:", "spec/rules/company-by-day/match/hours/to": "hours:",
		"spec/rules/company-by-day/require/level": "level: 1", "spec/locations/branch": "0001", "spec/changeControl/approvals/control": "control: 3",
		"spec/admission/credentials/fallback": "wireguard",
	} {
		if line := lineOf(t, rules.Sources[key], doc); !strings.Contains(line, text) {
			t.Errorf("%s is said to stand at %q: %q", key, rules.Sources[key], line)
		}
	}
}

func TestMistakesOfRules(t *testing.T) {
	raw, err := os.ReadFile("testdata/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	base := string(raw)
	for _, c := range []struct{ name, from, to, want string }{
		{"key of a rule", "why: Reported", "wy: Reported", `rules[0].wy: unknown key; did you mean "why"?`},
		{"key of a match", "groups: [staff]", "group: [staff]", `match.group: unknown key; did you mean "groups"?`},
		{"rule twice", "id: staff", "id: lost-phone", "rule lost-phone is there twice"},
		{"rule's name", "id: staff", "id: All staff", "can't name a rule"},
		{"rule without a name", "- id: staff\n      action", "- action", "id: is missing"},
		{"rule without an effect", "action: attach\n      effect: permit", "action: attach", "effect: is missing"},
		{"effect", "effect: forbid\n      match: {imsis", "effect: deny\n      match: {imsis", "want permit or forbid"},
		{"action", "action: hotspot", "action: hot", `unknown action "hot"`},
		{"list of nothing", "groups: [staff]", "groups: []", "an empty list would match nothing"},
		{"location that isn't there", "[head-office, branch]", "[head-ofice, branch]", `no location "head-ofice"; did you mean "head-office"?`},
		{"seal type that isn't there", "sealTypes: [company]", "sealTypes: [compny]", `no seal type "compny"; did you mean "company"?`},
		{"APN that isn't there", "apns: [SEAL.corp]", "apns: [sael.corp]", `no APN "sael.corp"; did you mean "seal.corp"?`},
		{"role that isn't there", "[router, barrel]", "[rooter, barrel]", `no role "rooter"; did you mean "router"?`},
		{"seal types of an attach", "tacs: [\"35693803\"]\n        apns", "sealTypes: [company]\n        apns", "match.sealTypes: unknown key"},
		{"prefix of an IMSI", "imsiPrefixes: [46001]", "imsiPrefixes: [4600]", "want the 5 to 14 leading digits"},
		{"half a TAC", "tacs: [\"35693803\"]\n        apns", "tacs: [\"3569\"]\n        apns", "want the 8 digits"},
		{"requirement of a rule that forbids", "match: {hours: {from", "require: {level: 1}\n      match: {hours: {from", "a rule that forbids requires nothing"},
		{"requirement of a hotspot", "effect: permit\n      match: {roles", "effect: permit\n      require: {level: 1}\n      match: {roles", "has nothing to show"},
		{"no requirement", "require: {handset: exact, credentials: [sim]}", "require: {}", "nothing is required"},
		{"any handset required", "handset: exact", "handset: any", "any handset is no requirement"},
		{"weaker level", "require: {level: 1", "require: {level: 2", "seal type company asks for more than this already"},
		{"weaker count", "maxCount: 5,", "maxCount: 21,", "seal type company asks for more than this already"},
		{"weaker window", "maxWindow: 24h,", "maxWindow: 73h,", "seal type company asks for more than this already"},
		{"weaker evidence", "evidenceWithin: 2m", "evidenceWithin: 6m", "seal type company asks for more than this already"},
		{"credential that can't be shown", "credentials: [sim]}", "credentials: [certificate]}", "certificate can't be shown where this rule matches"},
		{"credential of another path", "carrier: [sim, password]", "carrier: [wireguard]", "wireguard can't be shown over this path"},
		{"credential", "fallback: [wireguard, certificate]", "fallback: [cert]", `unknown credential "cert"`},
		{"time zone", "Asia/Shanghai", "Asia/Shang-hai", "unknown time zone"},
		{"zone of the machine", "Asia/Shanghai", "Local", "another zone on each machine"},
		{"hour", `to: "20:30"`, `to: "20:60"`, "want a time of day"},
		{"no time", `to: "20:30"`, `to: "08:00"`, "no time is from 08:00 to 08:00"},
		{"day", "[mon, fri]", "[mon, fry]", `unknown day "fry"`},
		{"no day", "days: [mon, fri]", "days: []", "no day would match"},
		{"hours that are always", `hours: {from: "22:00", to: "00:00"}`, "hours: {}", "these hours are always"},
		{"end before the beginning", "notAfter: 2026-12-31", "notAfter: 2025-12-31", "it is over before it begins"},
		{"date", "notAfter: 2026-12-31", "notAfter: 31.12.2026", "want a day such as"},
		{"tracking area", "46001-1A2B", "46001-1A2", "four hexadecimal digits"},
		{"cell", "310410-0000001", "310410-00000001", "seven hexadecimal digits"},
		{"location without places", "branch: {tais: [46001-0001]}", "branch: {}", "nobody is ever at a location without places"},
		{"pool of none", "handset: first-use\n    tacs: [\"35693803\"]", "handset: pool", "the pool of handsets is empty"},
		{"role of barrels", "role: router, label", "role: barrel, label", "is the role of barrels"},
		{"control weaker than what it guards", "control: 3", "control: 1", "would need fewer than reach, which needs 2"},
		{"touch", "devices: 1, reach", "device: 1, reach", `device: unknown key; did you mean "devices"?`},
		{"people", "reach: 2", "reach: 10", "want a number from 0 to 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(base, c.from) != 1 {
				t.Fatalf("%q stands in the document %d times", c.from, strings.Count(base, c.from))
			}
			_, _, err := Parse("p", []byte(strings.Replace(base, c.from, c.to, 1)))
			var ms document.Mistakes
			if !errors.As(err, &ms) || !strings.Contains(err.Error(), c.want) || len(ms) > 2 {
				t.Errorf("got %v; want a mistake with %q", err, c.want)
			}
		})
	}
}

// Of a rule that names no seal types a requirement has to add to one at least.
func TestRequirementOfAllSealTypes(t *testing.T) {
	raw, err := os.ReadFile("testdata/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for count, fails := range map[string]bool{"49": false, "50": false, "51": true} {
		doc := strings.NewReplacer("sealTypes: [company]\n", "groups: [x]\n", "maxCount: 5,", "maxCount: "+count+",").Replace(string(raw))
		if _, _, err := Parse("p", []byte(doc)); (err != nil) != fails || fails && !strings.Contains(err.Error(), "every seal type asks for more") {
			t.Errorf("%s: %v", count, err)
		}
	}
}
