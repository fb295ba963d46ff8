package policy

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

func TestPermitUse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Rules, *UseRequest)
		failed string
		code   Code
	}{
		{"as ordered", func(*Rules, *UseRequest) {}, "", ""},
		{"clock at the edge", func(_ *Rules, q *UseRequest) { q.Time = noon.Add(2 * time.Minute) }, "", ""},
		{"server by name, any port", func(_ *Rules, q *UseRequest) { q.ServerAddress = "Seal.Example.org:444" }, "", ""},
		{"order known to the ledger", func(_ *Rules, q *UseRequest) {
			q.Ledger = Ledger{Found: true, State: StateActive, Reserved: 1, Confirmed: 1}
		}, "", ""},
		{"server asks for more", func(_ *Rules, q *UseRequest) {
			q.Barrel.SealType, q.Answer.SealType = "business", "business"
		}, "", ""},
		{"first instant of the window", func(_ *Rules, q *UseRequest) { q.Answer.NotBefore = noon }, "", ""},
		{"business seal over the fallback", func(_ *Rules, q *UseRequest) {
			q.Barrel.SealType, q.Answer.SealType, q.Path = "business", "business", PathWireGuard
		}, "", ""},

		{"terminal unknown", func(_ *Rules, q *UseRequest) { q.Terminal = Subscriber{} }, "terminal-listed barrel-checked-out", CodeTerminalUnknown},
		{"terminal revoked", func(_ *Rules, q *UseRequest) { q.Terminal.State = StateRevoked }, "terminal-active", CodeTerminalUnknown},
		{"another's address", func(_ *Rules, q *UseRequest) { q.TerminalAddress = netip.MustParseAddr("10.90.0.3") }, "address-own", CodeAddressMismatch},
		{"no address at all", func(_ *Rules, q *UseRequest) { q.TerminalAddress, q.SessionAddress = netip.Addr{}, netip.Addr{} }, "address-own", CodeAddressMismatch},
		{"one of its IPv6 addresses", inside("fd00:90:0:2::a1"), "", ""},
		{"another of its IPv6 addresses", inside("fd00:90:0:2:ffff:ffff:ffff:ffff"), "", ""},
		{"its IPv4 address beside IPv6", inside("10.90.0.2"), "", ""},
		{"its IPv4 address written as IPv6", inside("::ffff:10.90.0.2"), "", ""},
		{"IPv6 alone", func(r *Rules, q *UseRequest) {
			inside("fd00:90:0:2::a1")(r, q)
			q.SessionAddress = netip.Addr{}
		}, "", ""},
		{"the /64 before", inside("fd00:90:0:1:ffff:ffff:ffff:ffff"), "address-own", CodeAddressMismatch},
		{"the /64 after", inside("fd00:90:0:3::"), "address-own", CodeAddressMismatch},
		{"link-local address", inside("fe80::2"), "address-own", CodeAddressMismatch},
		{"its address on a link", inside("fd00:90:0:2::a1%rmnet0"), "address-own", CodeAddressMismatch},
		{"IPv4 of none with IPv6 alone", func(r *Rules, q *UseRequest) {
			inside("10.90.0.2")(r, q)
			q.SessionAddress = netip.Addr{}
		}, "address-own", CodeAddressMismatch},
		{"IPv6 of a tunnel that has none", func(_ *Rules, q *UseRequest) { q.TerminalAddress = netip.MustParseAddr("fd00:90:0:2::a1") }, "address-own", CodeAddressMismatch},
		{"no address named to a tunnel of IPv6", func(r *Rules, q *UseRequest) {
			inside("10.90.0.2")(r, q)
			q.SessionAddress, q.TerminalAddress = netip.Addr{}, netip.Addr{}
		}, "address-own", CodeAddressMismatch},
		{"other server", func(_ *Rules, q *UseRequest) { q.ServerAddress = "127.0.2.1:8444" }, "server-allowed", CodeServerNotAllowed},
		{"allowed server without its port", func(_ *Rules, q *UseRequest) { q.ServerAddress = "127.0.2.1" }, "server-allowed", CodeServerNotAllowed},
		{"no server", func(_ *Rules, q *UseRequest) { q.ServerAddress = "" }, "server-allowed", CodeServerNotAllowed},
		{"clock ahead", func(_ *Rules, q *UseRequest) { q.Time = noon.Add(2*time.Minute + 1) }, "clock-within", CodeClockSkew},
		{"clock behind", func(_ *Rules, q *UseRequest) { q.Time = noon.Add(-2*time.Minute - 1) }, "clock-within", CodeClockSkew},
		{"no time", func(_ *Rules, q *UseRequest) { q.Time = time.Time{} }, "clock-within", CodeClockSkew},
		{"barrel unknown", func(_ *Rules, q *UseRequest) { q.Barrel = Barrel{} }, "barrel-listed seal-type-matches", CodeBarrelNotBound},
		{"barrel suspended", func(_ *Rules, q *UseRequest) { q.Barrel.State = StateSuspended }, "barrel-active", CodeBarrelNotBound},
		{"barrel with another", func(_ *Rules, q *UseRequest) { q.Barrel.CheckedOutTo = "460010000000002" }, "barrel-checked-out", CodeBarrelNotBound},
		{"barrel silent", func(_ *Rules, q *UseRequest) { q.BarrelAlive = false }, "barrel-alive", CodeBarrelOffline},
		{"order suspended", func(_ *Rules, q *UseRequest) { q.Ledger = Ledger{Found: true, State: StateSuspended} }, "ledger-open", CodeOrderSuspended},
		{"order in unknown state", func(_ *Rules, q *UseRequest) { q.Ledger = Ledger{Found: true} }, "ledger-open", CodeOrderSuspended},
		{"order ended", func(_ *Rules, q *UseRequest) {
			q.Ledger = Ledger{Found: true, State: StateRevoked, EvidenceOverdue: true}
		}, "ledger-open", CodeOrderNotOpen},
		{"evidence missing", func(_ *Rules, q *UseRequest) {
			q.Ledger = Ledger{Found: true, State: StateSuspended, EvidenceOverdue: true}
		}, "ledger-open", CodeEvidenceOverdue},
		{"seal that policy has not", func(_ *Rules, q *UseRequest) { q.Barrel.SealType, q.Answer.SealType = "finance", "finance" }, "seal-type-known", CodeLevelNotMet},
		{"level 1 over the fallback", func(_ *Rules, q *UseRequest) { q.Path = PathWireGuard }, "path-for-level", CodeLevelNotMet},
		{"path never heard of", func(_ *Rules, q *UseRequest) { q.Path = 0 }, "path-for-level", CodeLevelNotMet},

		{"server refuses", func(_ *Rules, q *UseRequest) { q.Answer = Answer{Words: "not approved"} }, "server-passed", CodeServerRefused},
		{"server refuses but fills the rest", func(_ *Rules, q *UseRequest) { q.Answer.Pass = false }, "server-passed", CodeServerRefused},
		{"other seal", func(_ *Rules, q *UseRequest) { q.Answer.SealType = "business" }, "seal-type-matches", CodeBarrelNotBound},
		{"weaker level", func(_ *Rules, q *UseRequest) { q.Answer.Level = 2 }, "level-met", CodeLevelNotMet},
		{"level that is none", func(_ *Rules, q *UseRequest) { q.Answer.Level = 0 }, "level-met", CodeLevelNotMet},
		{"level below all", func(_ *Rules, q *UseRequest) { q.Answer.Level = -1 }, "level-met", CodeLevelNotMet},
		{"a method less", func(_ *Rules, q *UseRequest) { q.Answer.Methods = []string{"fingerprint"} }, "methods-met", CodeLevelNotMet},
		{"no method", func(_ *Rules, q *UseRequest) { q.Answer.Methods = nil }, "methods-met", CodeLevelNotMet},
		{"method that no barrel has", func(_ *Rules, q *UseRequest) { q.Answer.Methods = append(q.Answer.Methods, "iris") }, "methods-met", CodeLevelNotMet},
		{"level without methods in policy", func(r *Rules, _ *UseRequest) { r.Levels[1] = Level{} }, "methods-met", CodeLevelNotMet},
		{"stronger level without its methods", func(_ *Rules, q *UseRequest) {
			q.Barrel.SealType, q.Answer.SealType, q.Answer.Methods = "business", "business", []string{"fingerprint"}
		}, "methods-met", CodeLevelNotMet},
		{"count above policy", func(_ *Rules, q *UseRequest) { q.Answer.Count = 11 }, "count-within", CodeLevelNotMet},
		{"count of none", func(_ *Rules, q *UseRequest) { q.Answer.Count = 0 }, "count-within uses-left", CodeLevelNotMet},
		{"used up", func(_ *Rules, q *UseRequest) {
			q.Ledger = Ledger{Found: true, State: StateActive, Reserved: 1, Confirmed: 2}
		}, "uses-left", CodeOrderExhausted},
		{"server lowered the count below the ledger", func(_ *Rules, q *UseRequest) {
			q.Ledger = Ledger{Found: true, State: StateActive, Reserved: math.MaxUint32, Confirmed: math.MaxUint32}
		}, "uses-left", CodeOrderExhausted},
		{"before the window", func(_ *Rules, q *UseRequest) { q.Answer.NotBefore = noon.Add(1) }, "window-open", CodeOrderNotOpen},
		{"last instant of the window", func(_ *Rules, q *UseRequest) { q.Answer.NotAfter = noon }, "window-open", CodeOrderNotOpen},
		{"no window", func(_ *Rules, q *UseRequest) { q.Answer.NotBefore, q.Answer.NotAfter = time.Time{}, time.Time{} }, "window-open window-within", CodeOrderNotOpen},
		{"window without end", func(_ *Rules, q *UseRequest) { q.Answer.NotAfter = noon.AddDate(400, 0, 0) }, "window-within", CodeLevelNotMet},
		{"all wrong at once", func(_ *Rules, q *UseRequest) {
			q.TerminalAddress, q.ServerAddress, q.Time, q.BarrelAlive = netip.MustParseAddr("10.90.0.3"), "x", time.Time{}, false
			q.Answer.Level, q.Answer.Methods, q.Answer.Count, q.Answer.NotAfter = 2, nil, 99, noon
		}, "address-own server-allowed clock-within barrel-alive level-met methods-met count-within window-open", CodeAddressMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, q := rules(), use()
			c.change(r, &q)
			check(t, r.PermitUse(q), c.failed, c.code)
		})
	}
}

// inside makes a tunnel of both families, and an address that the request names.
func inside(address string) func(*Rules, *UseRequest) {
	return func(_ *Rules, q *UseRequest) {
		q.SessionPrefix = netip.MustParsePrefix("fd00:90:0:2::/64")
		q.TerminalAddress = netip.MustParseAddr(address)
	}
}

// A refusal says what the tunnel has.
func TestWordsOfAddresses(t *testing.T) {
	own, prefix := netip.MustParseAddr("10.90.0.2"), netip.MustParsePrefix("fd00:90:0:2::/64")
	for _, c := range []struct {
		address netip.Addr
		prefix  netip.Prefix
		words   string
	}{
		{own, netip.Prefix{}, "terminal address 10.90.0.3, its tunnel has 10.90.0.2"},
		{netip.Addr{}, prefix, "its tunnel has fd00:90:0:2::/64"},
		{own, prefix, "its tunnel has 10.90.0.2 and fd00:90:0:2::/64"},
		{netip.Addr{}, netip.Prefix{}, "its tunnel has none"},
	} {
		q := use()
		q.SessionAddress, q.SessionPrefix, q.TerminalAddress = c.address, c.prefix, netip.MustParseAddr("10.90.0.3")
		if got := strings.Join(rules().PermitUse(q).Denials(), "; "); !strings.Contains(got, c.words) {
			t.Errorf("%q lacks %q", got, c.words)
		}
	}
}

// Screening judges the request only: it neither needs nor trusts an answer.
func TestScreenUseIgnoresTheAnswer(t *testing.T) {
	q := use()
	q.Answer = Answer{}
	check(t, rules().ScreenUse(q), "", "")
	q.BarrelAlive = false
	check(t, rules().ScreenUse(q), "barrel-alive", CodeBarrelOffline)
	q = use()
	q.BarrelAlive = false
	if rules().PermitUse(q).Allowed {
		t.Error("a pass of the server made up for a silent barrel")
	}
}

func TestTerms(t *testing.T) {
	q := use()
	q.Ledger = Ledger{Found: true, State: StateActive, Confirmed: 1}
	got := rules().Terms(q)
	want := Terms{
		SealType: "company", Level: 1, Methods: []string{"fingerprint", "face"}, Count: 2,
		NotAfter: noon.Add(15 * time.Minute), EvidenceSeconds: 300,
	}
	if got.SealType != want.SealType || got.Level != want.Level || !slices.Equal(got.Methods, want.Methods) ||
		got.Count != want.Count || !got.NotAfter.Equal(want.NotAfter) || got.EvidenceSeconds != want.EvidenceSeconds {
		t.Errorf("got %+v, want %+v", got, want)
	}
	q.Answer.NotAfter = noon.Add(time.Minute)
	if got := rules().Terms(q).NotAfter; !got.Equal(q.Answer.NotAfter) {
		t.Errorf("the grant lasts until %s, past the order's window", got)
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.2.1:8443": "127.0.2.1:8443", "127.0.2.1": "127.0.2.1", "Seal.Example.ORG": "seal.example.org",
		"seal:1": "seal:1", "[::1]:8443": "[::1]:8443", "::1": "[::1]", "[0:0::1]": "[::1]", "::ffff:10.0.0.1": "10.0.0.1", "3com.example:80": "3com.example:80",
		"": "", ":8443": "", "seal:": "", "seal:0": "", "seal:65536": "", "seal:x": "", "https://seal": "", "a b": "", "[::1": "", "[::1]x": "", "[seal]:1": "",
		"-a.b": "", "a..b": "", "fe80::1%eth0": "",
	} {
		got, err := ParseServer(in)
		if want == "" {
			if err == nil {
				t.Errorf("ParseServer(%q) = %v, want a refusal", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("ParseServer(%q) = %q, %v; want %q", in, got, err, want)
		}
		if again, err := ParseServer(got.String()); err != nil || again != got {
			t.Errorf("%q does not parse to itself: %v, %v", got, again, err)
		}
	}
}

func TestVocabulary(t *testing.T) {
	for _, name := range RATNames() {
		if r, err := ParseRAT(name); err != nil || r.String() != name {
			t.Errorf("RAT %s parses to %v, %v", name, r, err)
		}
	}
	if _, err := ParseRAT("6G"); err == nil {
		t.Error("a RAT was made up")
	}
	all, ok := ParseMethods(MethodNames())
	if !ok || !slices.Equal(all.Names(), MethodNames()) {
		t.Errorf("%v is not all of %v", all, MethodNames())
	}
	if _, ok := ParseMethods([]string{"face", "face"}); ok {
		t.Error("a method counts twice")
	}
}

// The way to yes doesn't allocate: it is asked for every attach and use.
func TestAllowingDoesNotAllocate(t *testing.T) {
	r, a, u := rules(), admission(), use()
	h := HotspotRequest{MAC: must(ident.ParseMAC("02:00:5e:10:00:01")), Barrel: barrel(), Terminal: subscriber()}
	for name, ask := range map[string]func() Decision{
		"Admit":        func() Decision { return r.Admit(a) },
		"AllowHotspot": func() Decision { return r.AllowHotspot(h) },
		"PermitUse":    func() Decision { return r.PermitUse(u) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !ask().Allowed {
				t.Fatal("refused")
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	r, q := rules(), admission()
	b.ReportAllocs()
	for b.Loop() {
		if !r.Admit(q).Allowed {
			b.Fatal("refused")
		}
	}
}

func BenchmarkPermitUse(b *testing.B) {
	r, q := rules(), use()
	b.ReportAllocs()
	for b.Loop() {
		if !r.PermitUse(q).Allowed {
			b.Fatal("refused")
		}
	}
}

func BenchmarkPermitUseRefused(b *testing.B) {
	r, q := rules(), use()
	q.Answer.Level = 2
	b.ReportAllocs()
	for b.Loop() {
		if r.PermitUse(q).Allowed {
			b.Fatal("allowed")
		}
	}
}

// Rule ids are stable names: each is there, once, and fits into the set.
func TestRuleTable(t *testing.T) {
	seen := map[string]bool{}
	for id, rule := range ruleTable {
		if rule.id == "" || rule.ok == "" || seen[rule.id] || id >= 64 {
			t.Errorf("rule %d: %+v", id, rule)
		}
		seen[rule.id] = true
	}
}

func FuzzParseServer(f *testing.F) {
	for _, s := range []string{"127.0.2.1:8443", "[::1]:8443", "seal.example.org", "[::", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		once, err := ParseServer(in)
		if err != nil {
			return
		}
		if twice, err := ParseServer(once.String()); err != nil || twice != once {
			t.Fatalf("%q parses to %v, whose text to %v, %v", in, once, twice, err)
		}
	})
}
