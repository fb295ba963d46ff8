package policy

import (
	"net/netip"
	"testing"
)

func TestCarrierOf(t *testing.T) {
	r := &Rules{Carriers: []Carrier{
		{Name: "wide", Peers: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}},
		{Name: "narrow", Peers: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("198.51.100.64/26")}},
		{Name: "one", Peers: []netip.Prefix{netip.MustParsePrefix("198.51.100.70/32"), netip.MustParsePrefix("2001:db8::70/128")}},
	}}
	for peer, want := range map[string]string{
		"198.51.100.1":         "wide",
		"198.51.100.64":        "narrow",
		"198.51.100.70":        "one", // though a wider range comes first
		"::ffff:198.51.100.70": "one",
		"198.51.100.128":       "wide",
		"203.0.113.7":          "narrow",
		"203.0.113.8":          "",
		"2001:db8::1":          "wide",
		"2001:db8::70":         "one",
		"2001:db9::1":          "",
		"::198.51.100.70":      "", // not that IPv4 address
	} {
		c, ok := r.CarrierOf(netip.MustParseAddr(peer))
		if got := carrierName(c); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v; want %q", peer, got, ok, want)
		}
	}
	if c, ok := r.CarrierOf(netip.Addr{}); ok {
		t.Errorf("no address at all belongs to %q", carrierName(c))
	}
	if got := testing.AllocsPerRun(10, func() { r.CarrierOf(netip.MustParseAddr("203.0.113.8")) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func carrierName(c *Carrier) string {
	if c == nil {
		return ""
	}
	return c.Name
}

// Without carriers the node's configuration alone says who is served.
func TestCarrierOfWithoutCarriers(t *testing.T) {
	for _, r := range []*Rules{nil, {}} {
		c, ok := r.CarrierOf(netip.MustParseAddr("198.51.100.1"))
		if !ok || c == nil || c.Name != "" || c.IMSIPrefixes != nil || c.PLMNs != nil || c.RATs != nil || c.Versions != nil || c.CreatesPerSecond != 0 {
			t.Errorf("%+v, %v", c, ok)
		}
	}
}

func TestServes(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.90.0.1"), netip.MustParseAddr("fd00:90::1")
	for _, c := range []struct {
		apn      APN
		ip4, ip6 bool
	}{
		{APN{}, false, false},
		{APN{GatewayAddress: v4}, true, false},
		{APN{GatewayAddress6: v6}, false, true},
		{APN{GatewayAddress: v4, GatewayAddress6: v6}, true, true},
	} {
		if c.apn.ServesIPv4() != c.ip4 || c.apn.ServesIPv6() != c.ip6 {
			t.Errorf("%+v: IPv4 %v, IPv6 %v", c.apn, c.apn.ServesIPv4(), c.apn.ServesIPv6())
		}
	}
}

func TestAuthenticationWords(t *testing.T) {
	for a := AuthenticationNone; a <= AuthenticationCHAP; a++ {
		if got, err := ParseAuthentication(a.String()); err != nil || got != a {
			t.Errorf("%s: got %s, %v", a, got, err)
		}
	}
	if AuthenticationNone != 0 || AuthenticationCHAP.String() != "chap" || Authentication(9).String() != "authentication 9" {
		t.Error("the words don't match the numbers")
	}
	for _, wrong := range []string{"", "PAP", "mschap"} {
		if a, err := ParseAuthentication(wrong); err == nil {
			t.Errorf("%q was read as %s", wrong, a)
		}
	}
}
