package bundle

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

func TestDefault(t *testing.T) {
	plmn, _ := ident.ParsePLMN("46001")
	rules, pools, err := Parse("policy.yaml", Default(Params{PLMNs: []ident.PLMN{plmn}}))
	if err != nil {
		t.Fatal(err)
	}
	apn, _ := ident.ParseAPN("seal.corp")
	minutes := func(level int, count uint32, window time.Duration) policy.SealType {
		return policy.SealType{Level: level, MaxCount: count, MaxWindow: window, GrantLifetime: 15 * time.Minute, EvidenceSeconds: 300}
	}
	want := &policy.Rules{
		APNs: map[ident.APN]policy.APN{apn: {
			Name: apn, MTU: 1400, AMBRUpKbps: 100_000, AMBRDownKbps: 100_000,
			GatewayAddress: netip.MustParseAddr("10.90.0.1"), Pools: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/16")},
		}},
		Admission: policy.Admission{PLMNs: []ident.PLMN{plmn}, RequireIMEI: true, Handset: policy.HandsetListed},
		Levels:    map[int]policy.Level{1: {Methods: policy.MethodFingerprint | policy.MethodFace}, 2: {Methods: policy.MethodFingerprint}},
		SealTypes: map[string]policy.SealType{
			"company": minutes(1, 20, 72*time.Hour), "finance": minutes(1, 20, 72*time.Hour), "contract": minutes(1, 50, 168*time.Hour),
			"business": minutes(2, 50, 168*time.Hour), "legal-representative": minutes(1, 10, 24*time.Hour),
		},
		Servers:        []policy.Server{{Host: "127.0.2.1", Port: 8443}},
		ClockTolerance: 2 * time.Minute,
		Fallback:       policy.Fallback{Allowed: true, Lifetime: 12 * time.Hour, IssuedLifetime: 2160 * time.Hour, Grace: 2 * time.Minute, PlaceAge: 12 * time.Hour},
		Zone:           time.UTC,
		Control: policy.ChangeControl{
			Approvals: map[policy.Touch]uint32{
				policy.TouchTightening: 0, policy.TouchDevices: 0, policy.TouchReach: 1, policy.TouchSeals: 1, policy.TouchLevels: 2, policy.TouchControl: 2,
			}, Lifetime: 24 * time.Hour, BreakGlass: true, ReviewWithin: 72 * time.Hour,
		},
		Sources: rules.Sources,
	}
	if !reflect.DeepEqual(rules, want) {
		t.Errorf("got  %+v\nwant %+v", rules, want)
	}
	if len(pools) != 1 || pools[0].Apn != "seal.corp" || pools[0].PrefixBits != 16 || !slices.EqualFunc(pools[0].Excluded,
		[][]byte{{10, 90, 0, 0}, {10, 90, 0, 1}, {10, 90, 255, 255}}, bytes.Equal) {
		t.Errorf("pools: %v", pools)
	}
	for key, text := range map[string]string{"spec/sealTypes/business/maxCount": "business:", "spec/levels/2/methods": "2: {", "spec/fallback/allowed": "allowed: true", "spec/apns/seal.corp": "seal.corp"} {
		line := lineOf(t, rules.Sources[key], Default(Params{}))
		if !strings.Contains(line, text) {
			t.Errorf("%s is said to stand at %q: %q", key, rules.Sources[key], line)
		}
	}
}

func lineOf(t *testing.T, where string, doc []byte) string {
	t.Helper()
	at, ok := strings.CutPrefix(where, "policy.yaml:")
	if !ok {
		t.Fatalf("source %q", where)
	}
	n := 0
	for _, c := range at {
		n = n*10 + int(c-'0')
	}
	return strings.Split(string(doc), "\n")[n-1]
}

// What the parameters say is what a first policy says.
func TestDefaultTakesParameters(t *testing.T) {
	apn, _ := ident.ParseAPN("other.example")
	rules, pools, err := Parse("p", Default(Params{
		APN: apn, Gateway: netip.MustParseAddr("172.16.0.9"), Pool: netip.MustParsePrefix("172.16.4.0/24"),
		Server: policy.Server{Host: "::1", Port: 9443},
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := rules.APN(apn)
	if !ok || got.GatewayAddress.String() != "172.16.0.9" || rules.Servers[0].String() != "[::1]:9443" || len(rules.Admission.PLMNs) != 0 {
		t.Errorf("%+v", rules)
	}
	if !slices.EqualFunc(pools[0].Excluded, [][]byte{{172, 16, 4, 0}, {172, 16, 4, 255}}, bytes.Equal) {
		t.Errorf("excluded: %v", pools[0].Excluded)
	}
}

// Every mistake of a thoroughly wrong document is named, with its place.
func TestMistakes(t *testing.T) {
	doc, err := os.ReadFile("testdata/mistakes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		t.Fatal(err)
	}
	rules, pools, err := Parse("mistakes.yaml", doc)
	var ms document.Mistakes
	if !errors.As(err, &ms) || rules != nil || pools != nil {
		t.Fatalf("got %v, %v, %v", rules, pools, err)
	}
	if got := err.Error() + "\n"; got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestShortMistakes(t *testing.T) {
	base := string(Default(Params{}))
	for _, c := range []struct{ name, from, to, want string }{
		{"no APN", base[strings.Index(base, "apns:"):strings.Index(base, "  # What an attach")], "apns: []\n", "no APN is served"},
		{"no levels", base[strings.Index(base, "levels:"):strings.Index(base, "  # The kinds")], "levels: {}\n", "there are no levels"},
		{"no seal types", base[strings.Index(base, "sealTypes:"):strings.Index(base, "  # The seal servers")], "sealTypes: {}\n", "there are no seal types"},
		{"no server", `servers: ["127.0.2.1:8443"]`, "servers: []", "no seal server is allowed"},
		{"clock tolerance of a day", "clockTolerance: 2m", "clockTolerance: 24h", "want a time span from 1s to 1h0m0s"},
		{"connections for seconds", "lifetime: 12h", "lifetime: 30s", "spec.fallback.lifetime: want a time span from 5m0s to 168h0m0s, have 30s"},
		{"connections for months", "lifetime: 12h", "lifetime: 2160h", "spec.fallback.lifetime: want a time span from 5m0s to 168h0m0s"},
		{"issued for ever", "issuedLifetime: 2160h", "issuedLifetime: 87600h", "spec.fallback.issuedLifetime: want a time span from 1h0m0s to 8784h0m0s"},
		{"no grace", "grace: 2m", "grace: 0", "spec.fallback.grace: want a time span from 10s to 1h0m0s"},
		{"places of the past", "placeAge: 12h", "placeAge: -1h", "spec.fallback.placeAge: want a time span from 0s to 168h0m0s"},
		{"no spec", base[strings.Index(base, "spec:"):], "", "spec: is missing"},
		{"other kind", "kind: Policy", "kind: Polizei", `want "Policy"`},
		{"later version", "sealedge.dev/v1", "sealedge.dev/v2", `want "sealedge.dev/v1"`},
		{"pool of one", "10.90.0.0/16", "10.90.0.0/32", "want a range between /8 and /29"},
		{"pool in the wrong place", "10.90.0.0/16", "10.90.0.5/16", "did you mean 10.90.0.0/16?"},
		{"gateway in IPv6", "gateway: 10.90.0.1", "gateway: fd00::1", "want the IPv4 address of a host"},
		{"pool of loopback", "10.90.0.0/16", "127.0.0.0/8", "can't be given to terminals"},
		{"pool of link-local addresses", "10.90.0.0/16", "169.254.0.0/16", "can't be given to terminals"},
		{"no gateway", "gateway: 10.90.0.1 ", "", "gateway: is missing, and pools has IPv4 addresses"},
		{"an IPv6 pool without a gateway", "10.90.0.0/16", `10.90.0.0/16, "fd00:90::/48"`, "gateway6: is missing, and pools has IPv6 addresses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(base, c.from) != 1 {
				t.Fatalf("%q stands in the document %d times", c.from, strings.Count(base, c.from))
			}
			_, _, err := Parse("p", []byte(strings.Replace(base, c.from, c.to, 1)))
			var ms document.Mistakes
			if !errors.As(err, &ms) || len(ms) != 1 || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want one mistake with %q", err, c.want)
			}
		})
	}
	if _, _, err := Parse("p", make([]byte, MaxSize+1)); err == nil {
		t.Error("a document without bounds was read")
	}
}

// What may be left out has its default; what refuses is the default.
func TestLeastDocument(t *testing.T) {
	rules, _, err := Parse("p", []byte(`apiVersion: sealedge.dev/v1
kind: Policy
spec:
  apns: [{name: a, gateway: 10.0.0.1, pools: [10.0.0.0/24]}]
  levels: {1: {methods: [fingerprint]}}
  sealTypes: {x: {level: 1, maxCount: 1, maxWindow: 1h}}
  servers: [s]
`))
	if err != nil {
		t.Fatal(err)
	}
	if c := rules.Control; c.BreakGlass || c.Lifetime != 24*time.Hour || c.ReviewWithin != 72*time.Hour ||
		c.Approvals[policy.TouchLevels] != 2 || c.Approvals[policy.TouchSeals] != 1 || c.Approvals[policy.TouchDevices] != 0 {
		t.Errorf("%+v", c)
	}
	if f := rules.Fallback; f.Lifetime != 12*time.Hour || f.IssuedLifetime != 90*24*time.Hour || f.Grace != 2*time.Minute || f.PlaceAge != 12*time.Hour {
		t.Errorf("%+v", f)
	}
	if rules.Fallback.Allowed || rules.ClockTolerance != 2*time.Minute || rules.Admission.RequireIMEI {
		t.Errorf("%+v", rules)
	}
	apn, _ := ident.ParseAPN("a")
	if a, _ := rules.APN(apn); a.MTU != 1400 || a.AMBRUpKbps == 0 || a.AMBRDownKbps == 0 {
		t.Errorf("%+v", a)
	}
	if s := rules.SealTypes["x"]; s.GrantLifetime != 15*time.Minute || s.EvidenceSeconds != 300 {
		t.Errorf("%+v", s)
	}
}

func TestCompile(t *testing.T) {
	rules, err := Compile(&command.Policy{Revision: 5, Document: Default(Params{})})
	if err != nil || rules.Revision != 5 || !strings.HasPrefix(rules.Sources["spec"], "policy revision 5:") {
		t.Errorf("%+v, %v", rules, err)
	}
	if _, err := Compile(&command.Policy{Revision: 6, Document: []byte("x: y")}); err == nil || !strings.Contains(err.Error(), "policy revision 6:1:1") {
		t.Errorf("%v", err)
	}
}

// Whatever is accepted holds what deciding relies on.
func FuzzParse(f *testing.F) {
	f.Add(Default(Params{}))
	bad, err := os.ReadFile("testdata/mistakes.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bad)
	whole, err := os.ReadFile("testdata/carriers.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	table, err := os.ReadFile("testdata/rules.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(table)
	f.Add([]byte("apiVersion: sealedge.dev/v1\nkind: Policy\nspec: {levels: {1: {methods: [face]}}}"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		rules, pools, err := Parse("f", doc)
		if err != nil {
			if rules != nil || pools != nil {
				t.Fatal("a mistaken document gave rules")
			}
			return
		}
		for name, s := range rules.SealTypes {
			if rules.Levels[s.Level].Methods == 0 || s.MaxCount == 0 || s.MaxWindow <= 0 || s.GrantLifetime <= 0 || s.EvidenceSeconds == 0 {
				t.Fatalf("seal type %s: %+v", name, s)
			}
		}
		for name, a := range rules.APNs {
			if name.IsZero() || a.Name != name || len(a.Pools) == 0 || a.MTU < 576 || a.Quarantine < 0 || a.IdleTimeout < 0 || a.SessionTimeout < 0 {
				t.Fatalf("APN %s: %+v", name, a)
			}
			if a.ServesIPv4() != slices.ContainsFunc(a.Pools, func(p netip.Prefix) bool { return p.Addr().Is4() }) ||
				a.ServesIPv6() != slices.ContainsFunc(a.Pools, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
				t.Fatalf("APN %s doesn't serve what it has pools for: %+v", name, a)
			}
		}
		for _, p := range pools {
			checkPool(t, rules, p)
		}
		for _, c := range rules.Carriers {
			if c.Name == "" || len(c.Peers) == 0 {
				t.Fatalf("carrier %+v", c)
			}
		}
		checkTable(t, rules)
		if len(rules.APNs) == 0 || len(rules.Servers) == 0 || rules.ClockTolerance <= 0 || len(pools) == 0 {
			t.Fatalf("%+v", rules)
		}
	})
}

// checkPool holds what the state machine asks of a pool, and that no terminal
// gets a gateway's address.
func checkPool(t *testing.T, rules *policy.Rules, p *command.Pool) {
	t.Helper()
	base, ok := netip.AddrFromSlice(p.PrefixAddress)
	prefix := netip.PrefixFrom(base, int(p.PrefixBits))
	if !ok || !prefix.IsValid() || prefix.Masked() != prefix || base.Is6() && p.PrefixBits > 64 {
		t.Fatalf("pool %v", p)
	}
	excluded := map[netip.Addr]bool{}
	for _, x := range p.Excluded {
		a, ok := netip.AddrFromSlice(x)
		if !ok || !prefix.Contains(a) || excluded[a] || a.Is6() && slash64(a) != a {
			t.Fatalf("pool %v excludes %v", p, a)
		}
		excluded[a] = true
	}
	for _, apn := range rules.APNs {
		if g := apn.GatewayAddress; prefix.Contains(g) && !excluded[g] {
			t.Fatalf("pool %v gives %v away", p, g)
		}
		if g := apn.GatewayAddress6; prefix.Contains(g) && !excluded[slash64(g)] {
			t.Fatalf("pool %v gives %v away", p, g)
		}
	}
}

// checkTable holds what the decisions ask of rules.
func checkTable(t *testing.T, rules *policy.Rules) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range rules.Table {
		if !ident.PlainName(r.ID) || seen[r.ID] || r.Action.String() == "" || r.Action == 0 || !r.Permit && r.Require != (policy.Require{}) {
			t.Fatalf("rule %+v", r)
		}
		seen[r.ID] = true
		for _, name := range r.Match.Locations {
			if l := rules.Locations[name]; len(l.TAIs)+len(l.ECGIs) == 0 {
				t.Fatalf("rule %s names location %q: %+v", r.ID, name, l)
			}
		}
		for _, name := range r.Match.SealTypes {
			if _, ok := rules.SealTypes[name]; !ok {
				t.Fatalf("rule %s names seal type %q", r.ID, name)
			}
		}
		if h := r.Match.Hours; h != nil && (h.Days == [7]bool{} || h.From == h.To || h.From < 0 || h.From >= 24*60 || h.To < 0 || h.To > 24*60) {
			t.Fatalf("rule %s: %+v", r.ID, h)
		}
	}
	for _, touch := range policy.Touches() {
		if c := rules.Control; c.Approvals[touch] > c.Approvals[policy.TouchControl] || c.Lifetime <= 0 || c.ReviewWithin <= 0 {
			t.Fatalf("%+v", c)
		}
	}
	if rules.Zone == nil {
		t.Fatal("no zone")
	}
}
