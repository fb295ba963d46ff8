package gtp

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// What the terminal is given, by PDN type (TS 29.274 figure 8.14-1: prefix
// length, prefix with interface identifier, then the IPv4 address).
func TestPAA(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-response", "pdn-address-allocation-paa")
	v4, prefix, id := netip.MustParseAddr("10.90.0.2"), netip.MustParseAddr("2001:db8:1:2::"), [8]byte{0, 0, 0, 1, 0, 0, 0, 9}
	six := []byte{64, 0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9}
	for _, c := range []struct {
		paa  PAA
		typ  uint8
		want []byte
	}{
		{PAA{IPv4: v4}, PDNTypeIPv4, []byte{1, 10, 90, 0, 2}},
		{PAA{Prefix6: prefix, InterfaceID: id}, PDNTypeIPv6, slices.Concat([]byte{2}, six)},
		{PAA{IPv4: v4, Prefix6: prefix, InterfaceID: id}, PDNTypeIPv4v6, slices.Concat([]byte{3}, six, []byte{10, 90, 0, 2})},
	} {
		r := accepted(t)
		r.PAA = c.paa
		e := gtptest.Read(r.Marshal()).Find(ie.PDNAddressAllocation, 0)
		if c.paa.Type() != c.typ || !bytes.Equal(e.Payload, c.want) || len(c.want) != paaLengths[c.typ] {
			t.Errorf("type %d: % x, want % x", c.paa.Type(), e.Payload, c.want)
		}
	}
	if (PAA{}).Type() != 0 {
		t.Error("no address has a type")
	}
}

// The PDN type that is asked for, with and without a PAA, and every length of it.
func TestPDNTypeAskedFor(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "pdn-type", "pdn-address-allocation-paa")
	gtptest.ShowsIn(t, "29.274/error-handling", "element-longer-than-its-type")
	s := gtptest.New()
	asked := func(e *ie.IE) (*CreateSessionRequest, *Error) {
		all := slices.DeleteFunc(s.CreateElements(), func(e *ie.IE) bool { return e.Type == ie.PDNType || e.Type == ie.PDNAddressAllocation })
		m, err := Parse(s.Request(TypeCreateSessionRequest, 0, append(all, e)...))
		if err != nil {
			return nil, m.(*Faulty).Err
		}
		return m.(*CreateSessionRequest), nil
	}
	for typ := range uint8(8) {
		known := typ >= PDNTypeIPv4 && typ <= PDNTypeEthernet
		if m, err := asked(ie.New(ie.PDNType, 0, []byte{0xf8 | typ})); known != (err == nil) || known && m.PDNType != typ {
			t.Errorf("PDN Type %d: %+v, %v", typ, m, err)
		}
		for n := range 30 {
			value := make([]byte, n)
			if n > 0 {
				value[0] = typ
			}
			m, err := asked(ie.New(ie.PDNAddressAllocation, 0, value))
			switch {
			case n == 0, known && n < paaLengths[typ]:
				if err == nil || err.Cause != CauseInvalidLength || err.IE != ie.PDNAddressAllocation {
					t.Errorf("PAA of type %d and length %d: %v", typ, n, err)
				}
			case !known:
				if err == nil || err.Cause != CauseMandatoryIncorrect {
					t.Errorf("PAA of type %d: %v", typ, err)
				}
			case err != nil || m.PDNType != typ:
				t.Errorf("PAA of type %d and length %d: %+v, %v", typ, n, m, err)
			}
		}
	}
}

// A peer with addresses of both families is spoken to over IPv4.
func TestDualFTEID(t *testing.T) {
	s := gtptest.New()
	for name, c := range map[string]struct {
		value []byte
		want  string
	}{
		"both":      {slices.Concat([]byte{0xc6, 0, 0, 0, 9, 127, 0, 20, 1}, netip.MustParseAddr("2001:db8::9").AsSlice()), "127.0.20.1"},
		"IPv6 only": {slices.Concat([]byte{0x46, 0, 0, 0, 9}, netip.MustParseAddr("2001:db8::9").AsSlice()), "2001:db8::9"},
		"IPv4 only": {[]byte{0x86, 0, 0, 0, 9, 127, 0, 20, 1}, "127.0.20.1"},
	} {
		m := mustParse[*SuspendNotification](t, s.Request(162, 1, ie.New(ie.FullyQualifiedTEID, 0, c.value)))
		if m.Sender.TEID != 9 || m.Sender.Addr.String() != c.want {
			t.Errorf("%s: %+v", name, m.Sender)
		}
		if e := fault(t, s.Request(162, 1, ie.New(ie.FullyQualifiedTEID, 0, c.value[:len(c.value)-1]))); e == nil || e.Cause != CauseInvalidLength {
			t.Errorf("%s, cut: %v", name, e)
		}
	}
}
