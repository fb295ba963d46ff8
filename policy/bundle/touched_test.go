package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/policy"
)

// edited is the first policy with one text in the place of another.
func edited(t *testing.T, old, new string) *policy.Rules {
	t.Helper()
	doc := string(Default(Params{}))
	if !strings.Contains(doc, old) {
		t.Fatalf("the first policy has no %q", old)
	}
	r, _, err := Parse("new.yaml", []byte(strings.Replace(doc, old, new, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTouched(t *testing.T) {
	base := edited(t, "kind: Policy", "kind: Policy")
	for _, c := range []struct {
		name, old, new string
		want           []policy.Touch
	}{
		{"words only", `Written by`, `Changed by`, []policy.Touch{policy.TouchTightening}},
		{"fewer stampings", "contract: {level: 1, maxCount: 50", "contract: {level: 1, maxCount: 5", []policy.Touch{policy.TouchTightening}},
		{"more stampings", "contract: {level: 1, maxCount: 50", "contract: {level: 1, maxCount: 51", []policy.Touch{policy.TouchSeals}},
		{"a longer window", "maxWindow: 24h", "maxWindow: 25h", []policy.Touch{policy.TouchSeals}},
		{"a longer evidence deadline", "evidenceWithin: 5m", "evidenceWithin: 6m", []policy.Touch{policy.TouchSeals}},
		{"a weaker level", "finance: {level: 1", "finance: {level: 2", []policy.Touch{policy.TouchLevels}},
		{"a stronger level", "business: {level: 2", "business: {level: 1", []policy.Touch{policy.TouchTightening}},
		{"a level asks for less", "1: {methods: [fingerprint, face]}", "1: {methods: [fingerprint]}", []policy.Touch{policy.TouchLevels}},
		{"a level asks for more", "2: {methods: [fingerprint]}", "2: {methods: [fingerprint, face]}", []policy.Touch{policy.TouchTightening}},
		{"another level", "    2: {methods: [fingerprint]}", "    2: {methods: [fingerprint]}\n    3: {methods: [fingerprint]}", []policy.Touch{policy.TouchLevels}},
		{"a radio access is named", "rats: []", "rats: [EUTRAN]", []policy.Touch{policy.TouchTightening}},
		{"handsets need not tell", "requireIMEI: true", "requireIMEI: false", []policy.Touch{policy.TouchReach}},
		{"another server", `servers: ["`, `servers: ["other.example", "`, []policy.Touch{policy.TouchSeals}},
		{"no fallback", "    allowed: true", "    allowed: false", []policy.Touch{policy.TouchTightening}},
		{"a level less over the fallback", "forbidLevels: []", "forbidLevels: [1]", []policy.Touch{policy.TouchTightening}},
		{"connections last longer", " lifetime: 12h", " lifetime: 13h", []policy.Touch{policy.TouchReach}},
		{"connections last less long", " lifetime: 12h", " lifetime: 6h", []policy.Touch{policy.TouchTightening}},
		{"what is issued lasts longer", "issuedLifetime: 2160h", "issuedLifetime: 2161h", []policy.Touch{policy.TouchReach}},
		{"what is issued lasts less long", "issuedLifetime: 2160h", "issuedLifetime: 1h", []policy.Touch{policy.TouchTightening}},
		{"a longer grace", "grace: 2m", "grace: 3m", []policy.Touch{policy.TouchReach}},
		{"a shorter grace", "grace: 2m", "grace: 30s", []policy.Touch{policy.TouchTightening}},
		{"a clock may be further off", "clockTolerance: 2m", "clockTolerance: 3m", []policy.Touch{policy.TouchSeals}},
		{"a session ends earlier", "      mtu: 1400", "      sessionTimeout: 24h\n      mtu: 1400", []policy.Touch{policy.TouchTightening}},
		{"other name servers", "dns: []", "dns: [10.91.0.53]", []policy.Touch{policy.TouchReach}},
		{"two things", "finance: {level: 1, maxCount: 20", "finance: {level: 2, maxCount: 21", []policy.Touch{policy.TouchSeals, policy.TouchLevels}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := edited(t, c.old, c.new)
			if got := Touched(base, r); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v: %v", got, c.want, Settings(base, r))
			}
			if c.want[0] == policy.TouchTightening && c.name != "words only" {
				if got := Touched(r, base); slices.Contains(got, policy.TouchTightening) {
					t.Errorf("taken back it is a tightening too: %v", Settings(r, base))
				}
			}
		})
	}
}

// How long a place counts widens, or doesn't, by what the rules say of places.
func TestTouchedByPlaceAge(t *testing.T) {
	const none = ""
	permits := "- {id: office, action: use, effect: permit, match: {locations: [office]}}"
	forbids := "- {id: office, action: use, effect: forbid, match: {locations: [office]}}\n    - {id: all, action: use, effect: permit}"
	attach := "- {id: office, action: attach, effect: permit, match: {locations: [office]}}"
	carrier := "- {id: office, action: use, effect: permit, match: {locations: [office], paths: [carrier]}}"
	same := []policy.Touch{policy.TouchTightening}
	for _, c := range []struct {
		name, rules     string
		longer, shorter []policy.Touch
	}{
		{"no rules", none, same, same},
		{"seals are used at places", permits, []policy.Touch{policy.TouchSeals}, same},
		{"seals are not used at places", forbids, same, []policy.Touch{policy.TouchSeals}},
		{"terminals attach at places", attach, []policy.Touch{policy.TouchReach}, same},
		{"places of the carrier's path alone", carrier, same, same},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := func(age string) *policy.Rules {
				text := strings.Replace(string(Default(Params{})), "placeAge: 12h", "placeAge: "+age, 1)
				if c.rules != "" {
					text = strings.Replace(text, "\n  changeControl:", "\n  locations: {office: {tais: [46001-0001]}}\n  rules:\n    "+c.rules+"\n  changeControl:", 1)
				}
				r, _, err := Parse("p.yaml", []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			short, long := doc("0"), doc("6h")
			if got := Touched(short, long); !slices.Equal(got, c.longer) {
				t.Errorf("longer: %v, want %v: %v", got, c.longer, Settings(short, long))
			}
			if got := Touched(long, short); !slices.Equal(got, c.shorter) {
				t.Errorf("shorter: %v, want %v: %v", got, c.shorter, Settings(long, short))
			}
		})
	}
}

func TestTouchedWithoutPolicy(t *testing.T) {
	r := edited(t, "kind: Policy", "kind: Policy")
	if got := Touched(nil, r); !slices.Contains(got, policy.TouchControl) || !slices.Contains(got, policy.TouchSeals) || !slices.Contains(got, policy.TouchReach) {
		t.Errorf("a first policy touches %v", got)
	}
	if got := Touched(r, nil); !slices.Equal(got, []policy.Touch{policy.TouchTightening}) {
		t.Errorf("no policy touches %v", got)
	}
}
