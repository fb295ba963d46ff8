package gtp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
	ie2 "github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

func TestCreatePDPContextRequest(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-request",
		"imsi", "routeing-area-identity-rai", "recovery", "tunnel-endpoint-identifier-data-i", "tunnel-endpoint-identifier-control-plane", "nsapi",
		"end-user-address", "access-point-name", "protocol-configuration-options", "sgsn-address-for-signalling", "sgsn-address-for-user-traffic", "msisdn",
		"quality-of-service-profile", "common-flags", "rat-type", "user-location-information", "imei-sv", "apn-ambr")
	s := gtptest.NewSGSN()
	m := mustParse[*CreatePDPContextRequest](t, s.Create())
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"version", m.Version, uint8(1)},
		{"sequence", m.Seq, uint32(s.Seq)},
		{"IMSI", m.IMSI.String(), s.IMSI},
		{"MSISDN", m.MSISDN.String(), s.MSISDN},
		{"IMEI, first 14 digits", m.IMEI.String(), s.IMEI[:14]},
		{"APN without operator identifier", m.APN.String(), "seal.corp"},
		{"PLMN", m.ServingNetwork.String(), "46001"},
		{"RAT", m.RAT, uint8(1)},
		{"ULI", m.UserLocation, []byte{1, 0x64, 0xf0, 0x10, 0, 1, 0, 2}},
		{"NSAPI", m.NSAPI, uint8(5)},
		{"secondary", m.Secondary, false},
		{"control", m.Control, FTEID{0, s.ControlTEID, s.Addr}},
		{"user", m.User, FTEID{0, s.UserTEID, s.Addr}},
		{"PDN type", m.PDNType, PDNTypeIPv4},
		{"dual address", m.DualAddress, true},
		{"QoS", m.QoS, QoSProfile{2, s.QoS[1:]}},
		{"AMBR up", m.AMBRUpKbps, uint32(100000)},
		{"AMBR down", m.AMBRDownKbps, uint32(200000)},
		{"PCO", *m.PCO, PCO{element: ie2.ProtocolConfigurationOptions, DNS: true, MTU: true, IPCP: &IPCP{ID: 3, PrimaryDNS: true, SecondaryDNS: true}}},
		{"recovery", *m.Recovery, s.Restarts},
		{"TEID to answer to", SenderTEID(m), s.ControlTEID},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	b := s.Create()
	m = mustParse[*CreatePDPContextRequest](t, b)
	clear(b)
	if m.UserLocation[0] == 0 || m.QoS.Data[0] == 0 {
		t.Error("the message shares memory with the datagram")
	}
}

func TestUpdatePDPContextRequest(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/update-pdp-context-request",
		"imsi", "routeing-area-identity-rai", "recovery", "tunnel-endpoint-identifier-data-i", "tunnel-endpoint-identifier-control-plane", "nsapi",
		"protocol-configuration-options", "sgsn-address-for-control-plane", "sgsn-address-for-user-traffic", "quality-of-service-profile", "common-flags",
		"rat-type", "user-location-information", "apn-ambr", "imei-sv")
	s := gtptest.NewSGSN()
	m := mustParse[*UpdatePDPContextRequest](t, s.Update(0xabcd))
	want := &UpdatePDPContextRequest{
		Header: m.Header, IMSI: m.IMSI, NSAPI: 5, Control: FTEID{0, s.ControlTEID, s.Addr}, User: FTEID{0, s.UserTEID, s.Addr},
		RAT: 1, ServingNetwork: m.ServingNetwork, UserLocation: []byte{1, 0x64, 0xf0, 0x10, 0, 1, 0, 2}, QoS: QoSProfile{2, s.QoS[1:]}, Recovery: m.Recovery,
	}
	if !reflect.DeepEqual(m, want) || m.TEID != 0xabcd || m.IMSI.String() != s.IMSI || m.ServingNetwork.String() != "46001" || *m.Recovery != 7 {
		t.Errorf("%+v\nwant %+v", m, want)
	}
	// An SGSN that stays doesn't tell its TEID again, and may forbid negotiation.
	all := slices.DeleteFunc(s.UpdateElements(), func(e *ie.IE) bool { return e.Type == ie.TEIDCPlane })
	all = append(all, ie.NewCommonFlags(0, 0, 0, 1, 0, 0, 0, 0), ie.NewIMEISV(s.IMEI), ie.New(ie.ProtocolConfigurationOptions, []byte{0x80, 0, 0x10, 0}),
		ie.New(ie.AggregateMaximumBitRate, []byte{0, 0, 0, 1, 0, 0, 0, 2}))
	m = mustParse[*UpdatePDPContextRequest](t, s.Request(TypeUpdatePDPContextRequest, 1, all...))
	if m.Control != (FTEID{Addr: s.Addr}) || !m.NoQoSNegotiation || m.IMEI.String() != s.IMEI[:14] || SenderTEID(m) != 0 ||
		m.PCO == nil || !m.PCO.MTU || m.AMBRUpKbps != 1 || m.AMBRDownKbps != 2 {
		t.Errorf("%+v", m)
	}
}

// After the addresses of one family come those of the other; a GGSN takes those
// of IPv4 (TS 29.060 7.3.3).
func TestAlternativeAddresses(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/update-pdp-context-request", "alternative-sgsn-addresses", "sgsn-address-for-control-plane", "sgsn-address-for-user-traffic")
	s := gtptest.NewSGSN()
	v4, v6 := ie.NewGSNAddress("127.0.20.1"), ie.NewGSNAddress("2001:db8::1")
	for _, c := range []struct {
		name          string
		list          []*ie.IE
		control, user string
	}{
		{"IPv4", []*ie.IE{v4, v4}, "127.0.20.1", "127.0.20.1"},
		{"IPv6", []*ie.IE{v6, v6}, "2001:db8::1", "2001:db8::1"},
		{"IPv4, alternatively IPv6", []*ie.IE{v4, v4, v6, v6}, "127.0.20.1", "127.0.20.1"},
		{"IPv6, alternatively IPv4", []*ie.IE{v6, v6, v4, v4}, "127.0.20.1", "127.0.20.1"},
		{"the alternative of signalling alone", []*ie.IE{v6, v6, v4}, "127.0.20.1", "2001:db8::1"},
	} {
		var all []*ie.IE
		for _, e := range s.UpdateElements() {
			switch {
			case e.Type != ie.GSNAddress:
				all = append(all, e)
			case c.list != nil:
				all = append(all, c.list...)
				c.list = nil
			}
		}
		m := mustParse[*UpdatePDPContextRequest](t, s.Request(TypeUpdatePDPContextRequest, 1, all...))
		if m.Control.Addr != netip.MustParseAddr(c.control) || m.User.Addr != netip.MustParseAddr(c.user) {
			t.Errorf("%s: %s, %s", c.name, m.Control.Addr, m.User.Addr)
		}
	}
}

// A secondary context has its primary's subscriber, address and APN, and its
// TEID for signalling (TS 29.060 7.3.1).
func TestSecondaryContext(t *testing.T) {
	s := gtptest.NewSGSN()
	b := s.Request(TypeCreatePDPContextRequest, 9, ie.NewTEIDDataI(1), ie.NewNSAPI(6), ie.NewNSAPI(5),
		ie.NewGSNAddress("127.0.20.1"), ie.NewGSNAddress("127.0.20.1"), ie.NewQoSProfile(s.QoS), ie.New(ie.TrafficFlowTemplate, []byte{1}))
	if m := mustParse[*CreatePDPContextRequest](t, b); !m.Secondary || m.NSAPI != 6 || m.TEID != 9 || !m.IMSI.IsZero() || !m.APN.IsZero() {
		t.Errorf("%+v", m)
	}
}

func TestDeletePDPContext(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-request", "teardown-ind", "nsapi")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-response-received", "cause")
	s := gtptest.NewSGSN()
	if m := mustParse[*DeletePDPContextRequest](t, s.Delete(3)); m.NSAPI != 5 || m.TEID != 3 || !m.Teardown {
		t.Errorf("%+v", m)
	}
	for _, c := range []struct {
		list     []*ie.IE
		teardown bool
		cause    Cause
	}{
		{[]*ie.IE{ie.NewNSAPI(5)}, false, 0},
		{[]*ie.IE{ie.NewTeardownInd(false), ie.NewNSAPI(5)}, false, 0},
		{[]*ie.IE{ie.NewCause(8), ie.NewTeardownInd(true), ie.NewNSAPI(0xf5)}, true, 0}, // network failure; spare bits set
		{[]*ie.IE{ie.NewTeardownInd(true)}, false, CauseMandatoryMissing},
		{[]*ie.IE{ie.NewNSAPI(4)}, false, CauseMandatoryIncorrect},
	} {
		m, err := Parse(s.Request(TypeDeletePDPContextRequest, 3, c.list...))
		if c.cause != 0 {
			if f, ok := m.(*Faulty); !ok || f.Err.Cause != c.cause || f.Err.IE != ie.NSAPI {
				t.Errorf("%v: %T, %v", c.list, m, err)
			}
		} else if d, ok := m.(*DeletePDPContextRequest); !ok || d.Teardown != c.teardown || d.NSAPI != 5 {
			t.Errorf("%v: %+v, %v", c.list, m, err)
		}
	}
	for v1, want := range map[uint8]Cause{
		128: CauseAccepted, 192: CauseContextNotFound, 193: CauseInvalidMessageFormat, 199: CauseNoResources,
		200: CauseServiceNotSupported, 201: CauseMandatoryIncorrect, 202: CauseMandatoryMissing, 204: CauseSystemFailure, 203: 0, 64: 0, 255: 0,
	} {
		m := mustParse[*DeletePDPContextResponse](t, s.Deleted(3, v1))
		if m.Cause != want || m.Cause != 0 && m.Cause.V1() != v1 {
			t.Errorf("cause %d: %v, want %v", v1, m.Cause, want)
		}
	}
	// One that can't be read ends its transaction all the same.
	for _, b := range [][]byte{s.Request(TypeDeletePDPContextResponse, 3), append(s.Deleted(3, 128), 0)} {
		if m := mustParse[*DeletePDPContextResponse](t, b); m.Cause != 0 || m.Seq != uint32(s.Seq) {
			t.Errorf("% x: %+v", b, m)
		}
	}
}

// Every element of each request left out once: what is missing is named.
func TestV1WithoutElement(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "mandatorily-present-element-missing")
	s := gtptest.NewSGSN()
	mandatory, conditional := CauseMandatoryMissing, CauseConditionalMissing
	for _, c := range []struct {
		typ  uint8
		all  []*ie.IE
		want map[uint8]Cause
	}{
		{TypeCreatePDPContextRequest, s.CreateElements(), map[uint8]Cause{
			ie.IMSI: conditional, ie.TEIDDataI: mandatory, ie.TEIDCPlane: conditional, ie.NSAPI: mandatory, ie.EndUserAddress: conditional,
			ie.AccessPointName: conditional, ie.GSNAddress: mandatory, ie.QoSProfile: mandatory,
		}},
		{TypeUpdatePDPContextRequest, s.UpdateElements(), map[uint8]Cause{
			ie.TEIDDataI: mandatory, ie.NSAPI: mandatory, ie.GSNAddress: mandatory, ie.QoSProfile: mandatory,
		}},
		{TypeMSInfoChangeNotification, s.InformElements(), map[uint8]Cause{ie.RATType: mandatory}},
	} {
		for i, left := range c.all {
			b := s.Request(c.typ, 1, slices.Delete(slices.Clone(c.all), i, i+1)...)
			e := fault(t, b)
			cause, refused := c.want[left.Type]
			switch {
			case !refused && e != nil:
				t.Errorf("type %d without IE %d: %v", c.typ, left.Type, e)
			case refused && (e == nil || e.Cause != cause || e.IE != left.Type):
				t.Errorf("type %d without IE %d: %v, want %v", c.typ, left.Type, e, cause)
			case refused:
				m, _ := Parse(b)
				if a := gtptest.ReadV1(Refusal{TEID: 7, Reason: e}.Marshal(m)); a.Cause() != 202 || a.Type != c.typ+1 || a.TEID != 7 || a.Seq != s.Seq {
					t.Errorf("type %d without IE %d answered with %+v", c.typ, left.Type, a)
				}
			}
		}
	}
	// With TEID 0 an MS Info Change Notification is about its IMSI.
	if e := fault(t, s.Request(TypeMSInfoChangeNotification, 0, s.InformElements()[1:]...)); e == nil || e.Cause != conditional || e.IE != ie.IMSI {
		t.Errorf("nobody named: %v", e)
	}
	// What is missing counts before what is wrong (TS 29.060 11.1).
	all := s.CreateElements()
	all[6] = ie.NewNSAPI(0)
	all = slices.DeleteFunc(all, func(e *ie.IE) bool { return e.Type == ie.QoSProfile })
	if e := fault(t, s.Request(TypeCreatePDPContextRequest, 0, all...)); e == nil || e.Cause != mandatory || e.IE != ie.QoSProfile {
		t.Errorf("missing and wrong: %v", e)
	}
}

// Values that make no sense: refused where the element is mandatory or
// conditional, taken for absent where it is optional (TS 29.060 11.1.6 to 11.1.8).
func TestV1IncorrectElements(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "invalid-mandatory-element", "element-of-invalid-length")
	s := gtptest.NewSGSN()
	wrong := CauseMandatoryIncorrect
	for _, c := range []struct {
		name    string
		replace *ie.IE
		cause   Cause
	}{
		{"IMSI with letters", ie.New(ie.IMSI, []byte{0xba, 0xdc, 1, 1, 1, 1, 1, 1}), wrong},
		{"IMSI of nothing", ie.New(ie.IMSI, bytes.Repeat([]byte{0xff}, 8)), wrong},
		{"IMSI of 16 digits", ie.New(ie.IMSI, bytes.Repeat([]byte{0x11}, 8)), wrong},
		{"IMSI with filler inside", ie.New(ie.IMSI, []byte{0x64, 0xf0, 0x11, 0x32, 0x54, 0x76, 0x98, 0xf0}), wrong},
		{"IMSI of 14 digits", ie.New(ie.IMSI, []byte{0x64, 0x00, 0x11, 0x32, 0x54, 0x76, 0x98, 0xff}), 0},
		{"TEID 0 of signalling", ie.NewTEIDCPlane(0), wrong},
		{"TEID 0 of data", ie.NewTEIDDataI(0), wrong},
		{"NSAPI 4", ie.NewNSAPI(4), wrong},
		{"NSAPI with spare bits", ie.NewNSAPI(0xf5), 0},
		{"address 0.0.0.0", ie.NewGSNAddress("0.0.0.0"), wrong},
		{"address 224.0.0.1", ie.NewGSNAddress("224.0.0.1"), wrong},
		{"address 255.255.255.255", ie.NewGSNAddress("255.255.255.255"), wrong},
		{"address of 5 octets", ie.New(ie.GSNAddress, []byte{127, 0, 0, 1, 0}), wrong},
		{"address empty", ie.New(ie.GSNAddress, nil), wrong},
		{"IPv4 in IPv6", ie.New(ie.GSNAddress, netip.MustParseAddr("::ffff:127.0.0.1").AsSlice()), wrong},
		{"QoS of 2 octets", ie.New(ie.QoSProfile, []byte{2, 1, 1}), wrong},
		{"QoS of Release 97", ie.New(ie.QoSProfile, []byte{2, 0x0b, 0x92, 0x1f}), 0},
		{"QoS longer than any", ie.New(ie.QoSProfile, make([]byte, 100)), 0},
		{"APN empty", ie.New(ie.AccessPointName, nil), wrong},
		{"APN label too long", ie.New(ie.AccessPointName, []byte{9, 's', 'e', 'a', 'l'}), wrong},
		{"APN with a dot in a label", ie.New(ie.AccessPointName, []byte{5, 's', '.', 'e', 'a', 'l'}), wrong},
		{"address asked for empty", ie.New(ie.EndUserAddress, nil), wrong},
		{"IPv4 cut short", ie.New(ie.EndUserAddress, []byte{0xf1, 0x21, 10, 0}), wrong},
		{"IPv6 cut short", ie.New(ie.EndUserAddress, []byte{0xf1, 0x57, 10, 0, 0, 1}), wrong},
		{"IPv4v6 cut short", ie.New(ie.EndUserAddress, make([]byte, 7)), wrong},
		{"PPP", ie.New(ie.EndUserAddress, []byte{0xf0, 1}), CausePDNTypeNotSupported},
		{"IPX", ie.New(ie.EndUserAddress, []byte{0xf1, 0x2b}), CausePDNTypeNotSupported},
		{"ETSI's type 0", ie.New(ie.EndUserAddress, []byte{0xf0, 0}), wrong},
		{"organisation 2", ie.New(ie.EndUserAddress, []byte{0xf2, 0x21}), wrong},
		{"MSISDN with letters", ie.New(ie.MSISDN, []byte{0x91, 0x1c, 0x11, 0x11}), wrong},
		{"MSISDN empty: none", ie.New(ie.MSISDN, nil), 0},
		{"MSISDN the dummy", ie.New(ie.MSISDN, []byte{0x91, 0, 0, 0, 0, 0, 0, 0, 0xf0}), 0},
		{"IMEI not known", ie.New(ie.IMEISV, bytes.Repeat([]byte{0xff}, 8)), 0},
		{"IMEI of 2 digits", ie.New(ie.IMEISV, []byte{0x11}), 0},
		{"RAI with letters", ie.New(ie.RouteingAreaIdentity, []byte{0xa4, 0xf0, 0x10, 0, 0, 0}), 0},
		{"RAT empty", ie.New(ie.RATType, nil), 0},
		{"RAT spare", ie.NewRATType(77), 0},
		{"location cut short", ie.New(ie.UserLocationInformation, []byte{1, 2, 3}), 0},
		{"location of an unknown kind", ie.New(ie.UserLocationInformation, []byte{3, 1, 2, 3, 4, 5, 6, 7}), 0},
		{"flags empty", ie.New(ie.CommonFlags, nil), 0},
		{"AMBR cut short", ie.New(ie.AggregateMaximumBitRate, []byte{1, 2, 3}), 0},
		{"PCO cut short", ie.New(ie.ProtocolConfigurationOptions, []byte{0x80, 0x80, 0x21, 99, 1}), 0},
	} {
		all := s.CreateElements()
		for i := range all {
			if all[i].Type == c.replace.Type {
				all[i] = c.replace
			}
		}
		e := fault(t, s.Request(TypeCreatePDPContextRequest, 0, all...))
		switch {
		case c.cause == 0 && e != nil, c.cause != 0 && (e == nil || e.Cause != c.cause || e.IE != c.replace.Type):
			t.Errorf("%s: %v, want %v", c.name, e, c.cause)
		}
	}
}

// What was taken for absent is absent.
func TestV1OptionalNonsenseIsAbsent(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "invalid-optional-element", "incorrect-optional-element")
	s := gtptest.NewSGSN()
	all := s.CreateElements()
	for i, e := range all {
		switch e.Type {
		case ie.RouteingAreaIdentity:
			all[i] = ie.New(e.Type, []byte{0xa4, 0xf0, 0x10, 0, 0, 0})
		case ie.IMEISV:
			all[i] = ie.New(e.Type, bytes.Repeat([]byte{0xff}, 8))
		case ie.RATType:
			all[i] = ie.NewRATType(7)
		case ie.MSISDN:
			all[i] = ie.New(e.Type, []byte{0x91, 0, 0, 0, 0, 0, 0, 0, 0xf0})
		case ie.UserLocationInformation:
			all[i] = ie.New(e.Type, []byte{9, 0, 0, 0, 0, 0, 0, 0})
		}
	}
	m := mustParse[*CreatePDPContextRequest](t, s.Request(TypeCreatePDPContextRequest, 0, all...))
	if !m.ServingNetwork.IsZero() || !m.IMEI.IsZero() || m.RAT != 0 || !m.MSISDN.IsZero() || m.UserLocation != nil {
		t.Errorf("%+v", m)
	}
}

func TestEndUserAddresses(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-request", "end-user-address")
	s := gtptest.NewSGSN()
	for _, c := range []struct {
		value []byte
		want  uint8
	}{
		{[]byte{0xf1, 0x21}, PDNTypeIPv4},
		{[]byte{0x01, 0x21}, PDNTypeIPv4}, // spare bits
		{[]byte{0xf1, 0x21, 10, 0, 0, 1}, PDNTypeIPv4},
		{append([]byte{0xf1, 0x57}, make([]byte, 16)...), PDNTypeIPv6},
		{[]byte{0xf1, 0x57}, PDNTypeIPv6},
		{[]byte{0xf1, 0x8d}, PDNTypeIPv4v6},
		{[]byte{0xf1, 0x8d, 10, 0, 0, 1}, PDNTypeIPv4v6},
		{append([]byte{0xf1, 0x8d}, make([]byte, 16)...), PDNTypeIPv4v6},
		{append([]byte{0xf1, 0x8d}, make([]byte, 20)...), PDNTypeIPv4v6},
		{append([]byte{0xf1, 0x8d}, make([]byte, 30)...), PDNTypeIPv4v6}, // octets to come
		{[]byte{0xf0, 2}, PDNTypeNonIP},
	} {
		all := s.CreateElements()
		all[8] = ie.New(ie.EndUserAddress, c.value)
		if m := mustParse[*CreatePDPContextRequest](t, s.Request(TypeCreatePDPContextRequest, 0, all...)); m.PDNType != c.want {
			t.Errorf("% x: %d, want %d", c.value, m.PDNType, c.want)
		}
	}
}

// What an independent SGSN, osmo-ggsn's sgsnemu, sends: a Release 97 profile, no
// routeing area, a login, and an NSAPI of 0 unless it is told another.
func TestCreatePDPContextRequestOfSgsnemu(t *testing.T) {
	b, err := hex.DecodeString("3210006a00000000040100000264001132547698f00e010f011000000001110000000114001a0800800002f1218300" +
		"0a047365616c04636f727084001580c0231101010011036d69670868656d6d656c69678500047f0000028500047f00000286000891683119325476f8870004000b921f")
	if err != nil {
		t.Fatal(err)
	}
	if e := fault(t, b); e == nil || e.Cause != CauseMandatoryIncorrect || e.IE != ie.NSAPI {
		t.Errorf("NSAPI 0, which is reserved: %v", e)
	}
	i := bytes.Index(b, []byte{ie.NSAPI, 0, ie.ChargingCharacteristics})
	b[i+1] = 5
	m := mustParse[*CreatePDPContextRequest](t, b)
	if m.IMSI.String() != "460011234567890" || m.MSISDN.String() != "8613912345678" || m.APN.String() != "seal.corp" || m.Control.TEID != 1 || m.User.TEID != 1 ||
		m.Control.Addr != netip.MustParseAddr("127.0.0.2") || m.PDNType != PDNTypeIPv4 || !m.ServingNetwork.IsZero() || *m.Recovery != 1 || m.RAT != 0 {
		t.Errorf("%+v", m)
	}
	if up, down := m.QoS.MaxKbps(); up != 2048 || down != 2048 || len(m.QoS.Data) != 3 {
		t.Errorf("QoS % x: %d %d", m.QoS.Data, up, down)
	}
	if m.PCO.PAP == nil || m.PCO.PAP.User != "mig" || m.PCO.PAP.Password != "hemmelig" {
		t.Errorf("PAP %+v", m.PCO.PAP)
	}
}
