package bundle

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/document"
)

const testedRules = `
  locations: {office: {tais: ["46001-0001"]}}
  timeZone: Asia/Shanghai
  hotspot: {devices: [{mac: "02:00:5e:10:00:99", role: router}]}
  rules:
    - {id: lost, action: attach, effect: forbid, match: {imsis: ["460010000000009"]}, why: Reported lost.}
    - {id: attach, action: attach, effect: permit}
    - {id: finance, action: use, effect: permit, match: {sealTypes: [finance], groups: [finance], locations: [office], hours: {from: "08:00", to: "20:00"}}, require: {maxCount: 5}}
    - {id: finance-else, action: use, effect: forbid, match: {sealTypes: [finance]}}
    - {id: use, action: use, effect: permit}
    - {id: routers, action: hotspot, effect: permit, match: {roles: [router]}}
tests:
`

// TestsOfDocuments: each of them passes; with its expectation turned round it
// fails, at its line.
func TestTestsOfDocuments(t *testing.T) {
	for _, test := range []string{
		`{name: t, action: attach, expect: {decision: permit, rule: attach}}`,
		`{name: t, action: attach, terminal: {imsi: "460010000000009"}, expect: {decision: refuse, code: rule-forbids, rule: lost}}`,
		`{name: t, action: attach, terminal: {imeis: ["35693803000001"]}, request: {imei: "35693803000002"}, expect: {decision: refuse, code: handset-not-bound}}`,
		`{name: t, action: attach, request: {imei: none}, expect: {decision: refuse, code: handset-missing}}`,
		`{name: t, action: attach, terminal: {apns: [other.corp]}, expect: {decision: refuse, code: apn-unknown}}`,
		`{name: t, action: attach, terminal: {state: revoked}, expect: {decision: refuse, code: subscriber-revoked}}`,
		`{name: t, action: attach, terminal: {wireguard: false}, request: {path: fallback}, expect: {decision: refuse, code: fallback-not-allowed}}`,
		`{name: t, action: attach, request: {path: fallback}, expect: {decision: permit}}`,
		`{name: t, action: use, terminal: {groups: [finance]}, request: {sealType: finance, tai: 46001-0001}, expect: {decision: permit, rule: finance}}`,
		`{name: t, action: use, terminal: {groups: [finance]}, request: {sealType: finance, tai: 46001-0001, at: "2026-11-23T20:00:00+08:00"}, expect: {decision: refuse, rule: finance-else}}`,
		`{name: t, action: use, terminal: {groups: [finance]}, request: {sealType: finance, tai: 46001-0001, count: 6}, expect: {decision: refuse, code: level-not-met, rule: finance}}`,
		`{name: t, action: use, terminal: {groups: [staff]}, request: {sealType: finance, tai: 46001-0001}, expect: {decision: refuse, code: rule-forbids, rule: finance-else}}`,
		`{name: t, action: use, terminal: {groups: [finance]}, request: {path: fallback, sealType: finance, tai: 46001-0001}, expect: {decision: permit, rule: finance}}`,
		`{name: t, action: use, terminal: {groups: [finance]}, request: {path: fallback, sealType: finance, tai: 46001-0001, placeAge: 11h59m}, expect: {decision: permit, rule: finance}}`,
		`{name: t, action: use, terminal: {groups: [finance]}, request: {path: fallback, sealType: finance, tai: 46001-0001, placeAge: 12h}, expect: {decision: refuse, rule: finance-else}}`,
		`{name: t, action: use, terminal: {groups: [finance]}, request: {path: fallback, sealType: finance}, expect: {decision: refuse, rule: finance-else}}`,
		`{name: t, action: use, request: {sealType: company, level: 2}, expect: {decision: refuse, code: level-not-met}}`,
		`{name: t, action: use, request: {sealType: company, methods: [fingerprint]}, expect: {decision: refuse, code: level-not-met}}`,
		`{name: t, action: use, request: {sealType: company, window: 73h}, expect: {decision: refuse, code: level-not-met}}`,
		`{name: t, action: use, request: {sealType: company, server: elsewhere.example}, expect: {decision: refuse, code: server-not-allowed}}`,
		`{name: t, action: hotspot, request: {mac: "02:00:5e:10:00:99"}, expect: {decision: permit, rule: routers}}`,
		`{name: t, action: hotspot, request: {sealType: company}, expect: {decision: refuse, code: no-rule}}`,
		`{name: t, action: hotspot, request: {mac: "02:00:5e:10:00:98"}, expect: {decision: refuse, code: mac-not-allowed}}`,
	} {
		doc := string(Default(Params{})) + testedRules + "  - " + test + "\n"
		if _, _, err := Parse("p.yaml", []byte(doc)); err != nil {
			t.Errorf("%s: %v", test, err)
		}
		turned := strings.NewReplacer("decision: permit", "decision: refuse", "decision: refuse", "decision: permit", ", code: ", ", x: ").Replace(test)
		turned, _, _ = strings.Cut(turned, ", x: ")
		if !strings.HasSuffix(turned, "}}") {
			turned += "}}"
		}
		doc = string(Default(Params{})) + testedRules + "  - " + turned + "\n"
		_, _, err := Parse("p.yaml", []byte(doc))
		var ms document.Mistakes
		if !errors.As(err, &ms) || len(ms) != 1 || !strings.Contains(ms[0].Text, `test "t" fails: it wants`) || ms[0].Line != strings.Count(doc, "\n") {
			t.Errorf("%s: %v", turned, err)
		}
	}
}

// A policy that is in force stays so under a version that decides otherwise.
func TestFailingTestOfPolicyInForce(t *testing.T) {
	doc := []byte(string(Default(Params{})) + testedRules + "  - {name: t, action: attach, expect: {decision: refuse}}\n")
	if _, _, err := Parse("p", doc); err == nil || !strings.Contains(err.Error(), "permitted by rule attach (p:") {
		t.Errorf("parsed: %v", err)
	}
	if r, err := Compile(&command.Policy{Revision: 3, Document: doc}); err != nil || r.Revision != 3 {
		t.Errorf("compiled: %v", err)
	}
	out, err := RunTests("p", doc)
	if err != nil || len(out) != 1 || out[0].Passed || Decider(out[0].Decision) != "attach" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestMistakesOfTests(t *testing.T) {
	for _, c := range []struct{ test, want string }{
		{`{action: attach, expect: {decision: permit}}`, "name: is missing"},
		{`{name: t, expect: {decision: permit}}`, "action: is missing"},
		{`{name: t, action: attach}`, "expect: is missing"},
		{`{name: t, action: attach, expect: {}}`, "decision: is missing"},
		{`{name: t, action: attach, expect: {decision: allow}}`, `want permit or refuse, have "allow"`},
		{`{name: t, action: attach, expect: {decision: refuse, rule: lst}}`, `no rule "lst"; did you mean "lost"?`},
		{`{name: t, action: attach, expect: {decision: permit, code: no-rule}}`, "what is permitted has no code"},
		{`{name: t, action: attach, request: {plnm: "46001"}, expect: {decision: permit}}`, `unknown key; did you mean "plmn"?`},
		{`{name: t, action: attach, request: {groups: [a]}, expect: {decision: permit}}`, "request.groups: unknown key"},
		{`{name: t, action: attach, terminal: {imsi: "46"}, expect: {decision: permit}}`, `terminal.imsi: invalid identifier`},
		{`{name: t, action: attach, request: {at: noon}, expect: {decision: permit}}`, "want an instant"},
		{`{name: t, action: attach, request: {placeAge: -3h}, expect: {decision: permit}}`, "want a time span that isn't below 0"},
		{`{name: t, action: attach, request: {shown: [smile]}, expect: {decision: permit}}`, `unknown credential "smile"`},
		{`{name: t, action: use, expect: {decision: permit}}`, "sealType: say which seal is used, one of business, company"},
		{`{name: t, action: hotspot, expect: {decision: permit}}`, "mac: say which device"},
	} {
		_, _, err := Parse("p.yaml", []byte(string(Default(Params{}))+testedRules+"  - "+c.test+"\n"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.test, err, c.want)
		}
	}
}
