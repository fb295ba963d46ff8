package bundle

import (
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

func parsed(t *testing.T, file string) (*policy.Rules, map[string][]string) {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rules, pools, err := Parse(file, doc)
	if err != nil {
		t.Fatal(err)
	}
	excluded := map[string][]string{} // by range
	for _, p := range pools {
		checkPool(t, rules, p)
		base, _ := netip.AddrFromSlice(p.PrefixAddress)
		key := p.Apn + " " + netip.PrefixFrom(base, int(p.PrefixBits)).String() + " " + (time.Duration(p.QuarantineSeconds) * time.Second).String()
		excluded[key] = []string{}
		for _, x := range p.Excluded {
			a, _ := netip.AddrFromSlice(x)
			excluded[key] = append(excluded[key], a.String())
		}
	}
	return rules, excluded
}

func TestNetwork(t *testing.T) {
	rules, pools := parsed(t, "testdata/carriers.yaml")
	apn := func(name string) policy.APN {
		n, err := ident.ParseAPN(name)
		if err != nil {
			t.Fatal(err)
		}
		a, ok := rules.APN(n)
		if !ok {
			t.Fatalf("no APN %s", name)
		}
		a.Name = ident.APN{}
		return a
	}
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	for name, want := range map[string]policy.APN{
		"seal.corp": {
			DNS: []netip.Addr{addr("10.90.0.53"), addr("fd00:90::53")}, MTU: 1400, AMBRUpKbps: 100_000, AMBRDownKbps: 100_000,
			GatewayAddress: addr("10.90.0.1"), GatewayAddress6: addr("fd00:90::1"),
			Pools:      []netip.Prefix{prefix("10.90.0.0/16"), prefix("fd00:90::/48"), prefix("2001:db8:7::/64")},
			Quarantine: time.Hour, Authentication: policy.AuthenticationCHAP, IdleTimeout: 2 * time.Hour, SessionTimeout: 24 * time.Hour,
		},
		"six.corp": {
			MTU: 1280, AMBRUpKbps: 100_000, AMBRDownKbps: 100_000, GatewayAddress6: addr("fd00:90:0:5::9"),
			Pools: []netip.Prefix{prefix("fd00:91::/32")}, Authentication: policy.AuthenticationAny,
		},
		"four.corp": {
			MTU: 1400, AMBRUpKbps: 100_000, AMBRDownKbps: 100_000, GatewayAddress: addr("10.90.7.1"),
			Pools: []netip.Prefix{prefix("10.91.0.0/24")},
		},
	} {
		if got := apn(name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
	if want := map[string][]string{
		"seal.corp 10.90.0.0/16 1h0m0s":    {"10.90.0.0", "10.90.0.1", "10.90.7.1", "10.90.255.255"},
		"seal.corp fd00:90::/48 1h0m0s":    {"fd00:90::", "fd00:90:0:5::"},
		"seal.corp 2001:db8:7::/64 1h0m0s": {},
		"six.corp fd00:91::/32 0s":         {},
		"four.corp 10.91.0.0/24 0s":        {"10.91.0.0", "10.91.0.255"},
	}; !reflect.DeepEqual(pools, want) {
		t.Errorf("pools:\ngot  %v\nwant %v", pools, want)
	}
}

func TestCarriers(t *testing.T) {
	rules, _ := parsed(t, "testdata/carriers.yaml")
	prefix := netip.MustParsePrefix
	plmn := func(s string) ident.PLMN {
		n, err := ident.ParsePLMN(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	want := []policy.Carrier{
		{
			Name: "carrier-a", Peers: []netip.Prefix{prefix("198.51.100.0/24"), prefix("203.0.113.7/32"), prefix("2001:db8:a::/48")},
			IMSIPrefixes: []string{"46001", "00101"}, PLMNs: []ident.PLMN{plmn("46001"), plmn("310410")},
			RATs: []policy.RAT{6, 10}, Versions: []uint8{2}, CreatesPerSecond: 500,
		},
		{Name: "carrier-b", Peers: []netip.Prefix{prefix("198.51.100.128/25")}, Versions: []uint8{1, 2}},
		{Name: "carrier-c", Peers: []netip.Prefix{prefix("2001:db8:c::1/128")}},
	}
	if !reflect.DeepEqual(rules.Carriers, want) {
		t.Errorf("got  %+v\nwant %+v", rules.Carriers, want)
	}
	if c, ok := rules.CarrierOf(netip.MustParseAddr("198.51.100.200")); !ok || c.Name != "carrier-b" {
		t.Errorf("the narrower range of carrier-b doesn't count: %+v", c)
	}
	if got := rules.Sources["spec/carriers/carrier-b"]; got != "testdata/carriers.yaml:33" {
		t.Errorf("carrier-b is said to stand at %q", got)
	}
}

// The examples in the comments of the first policy are good ones.
func TestDefaultExamples(t *testing.T) {
	var lines []string
	for _, line := range strings.Split(string(Default(Params{})), "\n") {
		indent, comment, _ := strings.Cut(line, "# ")
		if key := strings.TrimLeft(comment, " -"); strings.TrimSpace(indent) == "" && example.MatchString(key) {
			if name, _, _ := strings.Cut(key, ":"); name == "pools" || name == "dns" {
				// It replaces the line that is there.
				lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, indent+name+":") })
			}
			line = indent + comment
		}
		lines = append(lines, line)
	}
	rules, _, err := Parse("examples", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
	}
	n, _ := ident.ParseAPN("seal.corp")
	a, _ := rules.APN(n)
	if !a.ServesIPv6() || len(a.DNS) != 2 || a.Quarantine == 0 || a.Authentication == 0 || a.IdleTimeout == 0 || a.SessionTimeout == 0 {
		t.Errorf("%+v", a)
	}
	if len(rules.Carriers) != 1 || len(rules.Carriers[0].Versions) != 2 || rules.Carriers[0].CreatesPerSecond == 0 {
		t.Errorf("%+v", rules.Carriers)
	}
}

// example is a key of the GTP side, commented out.
var example = regexp.MustCompile(`^(gateway6|pools|dns|quarantine|authentication|idleTimeout|sessionTimeout|carriers|name|peers|imsiPrefixes|plmns|rats|versions|createsPerSecond):( |$)`)
