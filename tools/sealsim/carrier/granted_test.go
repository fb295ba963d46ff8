package carrier

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// bothVersions runs fn for an SGW and for an SGSN.
func bothVersions(t *testing.T, fn func(t *testing.T, v1 bool, g *gateway, c *Carrier)) {
	t.Helper()
	for name, v1 := range map[string]bool{"GTPv2": false, "GTPv1": true} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) { fn(t, v1, g, c) })
		})
	}
}

func TestPDNTypes(t *testing.T) {
	for name, c := range map[string]struct {
		asked  PDNType
		single bool
		offers PDNType
		want   PDNType
		causes [2]uint8 // GTPv2, GTPv1
	}{
		"IPv4":                           {IPv4, false, IPv4v6, IPv4, [2]uint8{16, 128}},
		"IPv6":                           {IPv6, false, IPv4v6, IPv6, [2]uint8{16, 128}},
		"both":                           {IPv4v6, false, IPv4v6, IPv4v6, [2]uint8{16, 128}},
		"both where there is IPv6 only":  {IPv4v6, false, IPv6, IPv6, [2]uint8{18, 129}},
		"both without dual address flag": {IPv4v6, true, IPv4v6, IPv4, [2]uint8{19, 130}},
	} {
		t.Run(name, func(t *testing.T) {
			bothVersions(t, func(t *testing.T, v1 bool, g *gateway, carrier *Carrier) {
				g.gives.types = c.offers
				who := subscriber(1)
				who.GTPv1, who.PDNType, who.SingleAddress = v1, c.asked, c.single
				b, err := carrier.Attach(t.Context(), who)
				if err != nil {
					t.Fatal(err)
				}
				got := b.Granted()
				cause := c.causes[0]
				if v1 {
					cause = c.causes[1]
				}
				if got.PDNType() != c.want || got.Cause != cause {
					t.Errorf("type %d, cause %d; want %d, %d", got.PDNType(), got.Cause, c.want, cause)
				}
				if c.want&IPv4 != 0 && b.Address() != netip.MustParseAddr("10.90.0.1") {
					t.Errorf("address %v", b.Address())
				}
				if c.want&IPv6 != 0 && (got.Prefix != netip.MustParsePrefix("2001:db8:0:1::/64") || b.LinkLocal() != netip.MustParseAddr("fe80::1:1")) {
					t.Errorf("prefix %v, link-local %v", got.Prefix, b.LinkLocal())
				}
				var dns []netip.Addr
				if c.asked&IPv6 != 0 {
					dns = append(dns, netip.MustParseAddr("2001:db8::53"))
				}
				if c.asked&IPv4 != 0 {
					dns = append(dns, netip.MustParseAddr("10.90.0.53"))
				}
				if !slices.Equal(b.DNS(), dns) || b.MTU() != 1400 {
					t.Errorf("DNS %v, MTU %d", b.DNS(), b.MTU())
				}
			})
		})
	}
}

// A type that wasn't asked for, or narrowed without a word, breaks the protocol.
func TestPDNTypeOfTheAnswer(t *testing.T) {
	four, both := netip.MustParseAddr("10.90.0.1"), Granted{Prefix: netip.MustParsePrefix("2001:db8::/64")}
	both.Address = four
	for name, c := range map[string]struct {
		g    Granted
		who  Subscriber
		good bool
	}{
		"narrowed without a reason":        {Granted{Cause: 16, Address: four}, Subscriber{PDNType: IPv4v6}, false},
		"narrowed with one":                {Granted{Cause: 18, Address: four}, Subscriber{PDNType: IPv4v6}, true},
		"a reason without narrowing":       {Granted{Cause: 18, Address: four}, Subscriber{PDNType: IPv4}, false},
		"the other family":                 {Granted{Cause: 18, Address: four}, Subscriber{PDNType: IPv6}, false},
		"both for a single address bearer": {both, Subscriber{PDNType: IPv4v6, SingleAddress: true}, false},
		"both":                             {both, Subscriber{PDNType: IPv4v6}, true},
	} {
		if err := c.g.suits(c.who, 18, 19); c.good != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A PAA is read to its last octet (TS 29.274 8.14).
func TestReadPAA(t *testing.T) {
	const prefix, id, four = "\x20\x01\x0d\xb8\x00\x00\x00\x01", "\x00\x00\x00\x01\x00\x00\x00\x01", "\x0a\x5a\x00\x01"
	for name, c := range map[string]struct {
		b    string
		good bool
	}{
		"IPv4":                         {"\x01" + four, true},
		"IPv6":                         {"\x02\x40" + prefix + id, true},
		"both":                         {"\x03\x40" + prefix + id + four, true},
		"nothing":                      {"", false},
		"no type":                      {"\x00" + four, false},
		"non-IP":                       {"\x04", false},
		"IPv4 with more behind":        {"\x01" + four + "\x00", false},
		"IPv6 with a prefix of 56":     {"\x02\x38" + prefix + id, false},
		"IPv6 without prefix":          {"\x02\x40\x00\x00\x00\x00\x00\x00\x00\x00" + id, false},
		"IPv6 without identifier":      {"\x02\x40" + prefix + "\x00\x00\x00\x00\x00\x00\x00\x00", false},
		"both in the order of GTPv1":   {"\x03" + four + prefix + id + "\x40", false},
		"both without an IPv4 address": {"\x03\x40" + prefix + id, false},
	} {
		var g Granted
		if err := g.readPAA(ie.New(ie.PDNAddressAllocation, 0, []byte(c.b))); c.good != (err == nil) || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		for i := range c.b {
			_ = new(Granted).readPAA(ie.New(ie.PDNAddressAllocation, 0, []byte(c.b[:i])))
		}
	}
}

func TestLogin(t *testing.T) {
	for name, c := range map[string]struct {
		login Login
		want  Verdict
	}{
		"none":           {Login{}, Unanswered},
		"PAP":            {Login{User: user, Password: secret}, Acknowledged},
		"PAP, wrong":     {Login{User: user, Password: "battery staple"}, Rejected},
		"PAP, no secret": {Login{User: user}, Rejected},
		"CHAP":           {Login{User: user, Password: secret, CHAP: true}, Acknowledged},
		"CHAP, wrong":    {Login{User: user, Password: "battery staple", CHAP: true}, Rejected},
		"CHAP, stranger": {Login{User: "stranger", Password: secret, CHAP: true}, Rejected},
	} {
		t.Run(name, func(t *testing.T) {
			bothVersions(t, func(t *testing.T, v1 bool, _ *gateway, carrier *Carrier) {
				who := subscriber(1)
				who.GTPv1, who.Login, who.IPCP = v1, c.login, true
				b, err := carrier.Attach(t.Context(), who)
				if err != nil {
					t.Fatal(err)
				}
				g := b.Granted()
				if g.Authentication != c.want {
					t.Errorf("verdict %d, want %d", g.Authentication, c.want)
				}
				if !slices.Equal(g.IPCP, []netip.Addr{netip.MustParseAddr("10.90.0.53"), netip.MustParseAddr("10.90.0.54")}) {
					t.Errorf("IPCP gave %v", g.IPCP)
				}
			})
		})
	}
}

func TestLoginThatIsTooLong(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, _ *gateway, c *Carrier) {
		who := subscriber(1)
		who.Login.User = string(make([]byte, maxLogin+1))
		if _, err := c.Attach(t.Context(), who); err == nil {
			t.Error("attached")
		}
	})
}

// What the answer says must be well-formed and asked for.
func TestReadPCO(t *testing.T) {
	pap, chap := options{login: pcoPAP}, options{login: pcoCHAP}
	for name, c := range map[string]struct {
		b     string
		asked options
		good  bool
	}{
		"nothing":                      {"\x80", options{}, true},
		"unknown container":            {"\x80\x12\x34\x01x", options{}, true},
		"empty":                        {"", options{}, false},
		"another protocol":             {"\x81", options{}, false},
		"container cut short":          {"\x80\x00\x10\x02\x05", options{}, false},
		"MTU of 3 octets":              {"\x80\x00\x10\x03\x00\x05\x78", options{}, false},
		"IPv6 as an IPv4 name server":  {"\x80\x00\x0d\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", options{}, false},
		"PAP, acknowledged":            {"\x80\xc0\x23\x05\x02\x01\x00\x05\x00", pap, true},
		"PAP, not asked for":           {"\x80\xc0\x23\x05\x02\x01\x00\x05\x00", chap, false},
		"PAP, another identifier":      {"\x80\xc0\x23\x05\x02\x02\x00\x05\x00", pap, false},
		"PAP, no message":              {"\x80\xc0\x23\x04\x02\x01\x00\x04", pap, false},
		"PAP, message too long":        {"\x80\xc0\x23\x05\x02\x01\x00\x05\x01", pap, false},
		"CHAP, success":                {"\x80\xc2\x23\x04\x03\x01\x00\x04", chap, true},
		"CHAP, a challenge":            {"\x80\xc2\x23\x04\x01\x01\x00\x04", chap, false},
		"IPCP, rejected":               {"\x80\x80\x21\x0a\x04\x01\x00\x0a\x81\x06\x00\x00\x00\x00", options{}, true},
		"IPCP, length wrong":           {"\x80\x80\x21\x04\x02\x01\x00\x05", options{}, false},
		"IPCP, option of length 1":     {"\x80\x80\x21\x06\x02\x01\x00\x06\x81\x01", options{}, false},
		"IPCP, option beyond the end":  {"\x80\x80\x21\x06\x02\x01\x00\x06\x81\x06", options{}, false},
		"IPCP, a Configure-Request":    {"\x80\x80\x21\x04\x01\x01\x00\x04", options{}, false},
		"no extension bit":             {"\x00", options{}, false},
		"IPv4 as an IPv6 name server":  {"\x80\x00\x03\x04\x0a\x5a\x00\x35", options{}, false},
		"IPCP shorter than its header": {"\x80\x80\x21\x01\x02", options{}, false},
	} {
		var g Granted
		if err := g.readPCO([]byte(c.b), c.asked); c.good != (err == nil) || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		for i := range c.b {
			_ = new(Granted).readPCO([]byte(c.b[:i]), c.asked)
		}
	}
}

func FuzzReadPCO(f *testing.F) {
	f.Add([]byte("\x80\xc0\x23\x05\x02\x01\x00\x05\x00"))
	f.Add([]byte("\x80\x80\x21\x0a\x03\x01\x00\x0a\x81\x06\x0a\x5a\x00\x35\x00\x0d\x04\x0a\x5a\x00\x35"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var g Granted
		if g.readPCO(b, options{login: pcoPAP}) == nil && g.MTU > 65535 {
			t.Error("an MTU of more than 16 bits")
		}
	})
}

func TestAMBRAndQoSAreAskedForAndRead(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		who := subscriber(1)
		who.AMBR, who.QoS = AMBR{1000, 2000}, QoS{QCI: 7, ARP: 11}
		b, err := c.Attach(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Granted(); got.AMBR != who.AMBR || got.QoS != who.QoS || got.Charging != 1 {
			t.Errorf("granted %+v", got)
		}
		m := (<-g.seen).(*message.CreateSessionRequest)
		qos := find(m.BearerContextsToBeCreated[0].ChildIEs, ie.BearerQoS, 0)
		if m.AMBR.MustAggregateMaximumBitRateDown() != 2000 || qos.Payload[1] != 7 || qos.Payload[0]>>2&15 != 11 {
			t.Errorf("asked for % x, % x", m.AMBR.Payload, qos.Payload)
		}
	})
}
