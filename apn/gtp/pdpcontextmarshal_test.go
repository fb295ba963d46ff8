package gtp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv1/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

var prefix6 = netip.MustParseAddr("2001:db8:1:2::")

func dualPAA() PAA {
	return PAA{IPv4: netip.MustParseAddr("10.90.0.2"), Prefix6: prefix6, InterfaceID: [8]byte{0, 0, 0, 1, 0, 0, 0, 7}}
}

func grantedV1(t testing.TB) *CreatePDPContextResponse {
	m := mustParse[*CreatePDPContextRequest](t, gtptest.NewSGSN().Create())
	return &CreatePDPContextResponse{
		TEID: m.Control.TEID, Seq: m.Seq, Cause: CauseAccepted, ControlTEID: 0xaaaa0001, UserTEID: 0xaaaa0002, Outer: netip.MustParseAddr("127.0.10.1"),
		NSAPI: m.NSAPI, PAA: PAA{IPv4: netip.MustParseAddr("10.90.0.2")}, QoS: m.QoS, AMBRUpKbps: 50_000, AMBRDownKbps: 60_000,
		PCO: m.PCO.Answer(PCOValues{DNS: []netip.Addr{netip.MustParseAddr("10.90.0.1")}, MTU: 1400}), ChargingID: 0xcccc, Recovery: 9,
	}
}

func TestCreatePDPContextResponse(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response",
		"cause", "cause-new-pdp-type-129-130", "reordering-required", "recovery", "tunnel-endpoint-identifier-data-i", "tunnel-endpoint-identifier-control-plane", "nsapi", "charging-id",
		"end-user-address", "protocol-configuration-options", "ggsn-address-for-control-plane", "ggsn-address-for-user-traffic",
		"quality-of-service-profile", "apn-ambr")
	s := gtptest.NewSGSN()
	a := gtptest.ReadV1(grantedV1(t).Marshal())
	if a.Type != 17 || a.TEID != s.ControlTEID || a.Seq != s.Seq {
		t.Errorf("%+v", a)
	}
	outer := []byte{127, 0, 10, 1}
	for _, c := range []struct {
		what string
		typ  uint8
		nth  int
		want []byte
	}{
		{"cause", ie.Cause, 0, []byte{128}},
		{"reordering", ie.ReorderingRequired, 0, []byte{0xfe}},
		{"recovery", ie.Recovery, 0, []byte{9}},
		{"user TEID", ie.TEIDDataI, 0, []byte{0xaa, 0xaa, 0, 2}},
		{"control TEID", ie.TEIDCPlane, 0, []byte{0xaa, 0xaa, 0, 1}},
		{"NSAPI", ie.NSAPI, 0, []byte{5}},
		{"charging ID", ie.ChargingID, 0, []byte{0, 0, 0xcc, 0xcc}},
		{"address", ie.EndUserAddress, 0, []byte{0xf1, 0x21, 10, 90, 0, 2}},
		{"PCO", ie.ProtocolConfigurationOptions, 0, grantedV1(t).PCO.octets()},
		{"address for signalling", ie.GSNAddress, 0, outer},
		{"address for user traffic", ie.GSNAddress, 1, outer},
		{"third address", ie.GSNAddress, 2, nil},
		{"QoS", ie.QoSProfile, 0, s.QoS},
		{"AMBR", ie.AggregateMaximumBitRate, 0, []byte{0, 0, 0xc3, 0x50, 0, 0, 0xea, 0x60}},
		{"charging gateway", ie.ChargingGatewayAddress, 0, nil},
	} {
		if got := a.Find(c.typ, c.nth); !bytes.Equal(got, c.want) {
			t.Errorf("%s: % x, want % x", c.what, got, c.want)
		}
	}
	// What wasn't asked for isn't sent, and the cause says what was narrowed.
	m := grantedV1(t)
	m.AMBRUpKbps, m.AMBRDownKbps, m.PCO, m.Cause = 0, 0, nil, CauseNewPDNTypeSingleBearer
	a = gtptest.ReadV1(m.Marshal())
	if a.Find(ie.AggregateMaximumBitRate, 0) != nil || a.Find(ie.ProtocolConfigurationOptions, 0) != nil || a.Cause() != 130 {
		t.Errorf("%+v", a)
	}
}

func TestEndUserAddressAnswered(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response", "end-user-address")
	v6 := append(prefix6.AsSlice()[:8:8], 0, 0, 0, 1, 0, 0, 0, 7)
	dual := dualPAA()
	for _, c := range []struct {
		paa  PAA
		want []byte
	}{
		{PAA{IPv4: dual.IPv4}, []byte{0xf1, 0x21, 10, 90, 0, 2}},
		{PAA{Prefix6: dual.Prefix6, InterfaceID: dual.InterfaceID}, append([]byte{0xf1, 0x57}, v6...)},
		{dual, append([]byte{0xf1, 0x8d, 10, 90, 0, 2}, v6...)},
		{PAA{}, nil},
	} {
		m := grantedV1(t)
		m.PAA = c.paa
		if got := gtptest.ReadV1(m.Marshal()).Find(ie.EndUserAddress, 0); !bytes.Equal(got, c.want) {
			t.Errorf("%+v: % x, want % x", c.paa, got, c.want)
		}
	}
}

func updatedV1(t testing.TB) *UpdatePDPContextResponse {
	m := mustParse[*UpdatePDPContextRequest](t, gtptest.NewSGSN().Update(1))
	return &UpdatePDPContextResponse{
		TEID: m.Control.TEID, Seq: m.Seq, Cause: CauseAccepted, UserTEID: 0xaaaa0002, Outer: netip.MustParseAddr("2001:db8::1"),
		QoS: m.QoS, ChargingID: 0xcccc, Recovery: 9,
	}
}

func TestUpdatePDPContextResponse(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/update-pdp-context-response",
		"cause", "recovery", "tunnel-endpoint-identifier-data-i", "charging-id", "protocol-configuration-options", "ggsn-address-for-control-plane", "ggsn-address-for-user-traffic", "quality-of-service-profile", "apn-ambr")
	s := gtptest.NewSGSN()
	m := updatedV1(t)
	a := gtptest.ReadV1(m.Marshal())
	if a.Type != 19 || a.TEID != s.ControlTEID || a.Seq != s.Seq || a.Cause() != 128 || a.TEIDOf(ie.TEIDDataI) != 0xaaaa0002 ||
		a.Find(ie.TEIDCPlane, 0) != nil || !bytes.Equal(a.Find(ie.QoSProfile, 0), s.QoS) || !bytes.Equal(a.Find(ie.Recovery, 0), []byte{9}) ||
		binary.BigEndian.Uint32(a.Find(ie.ChargingID, 0)) != 0xcccc {
		t.Errorf("%+v", a)
	}
	for nth := range 2 {
		if !bytes.Equal(a.Find(ie.GSNAddress, nth), m.Outer.AsSlice()) {
			t.Errorf("address %d: % x", nth, a.Find(ie.GSNAddress, nth))
		}
	}
	m.AMBRUpKbps, m.AMBRDownKbps, m.PCO = 1, 2, grantedV1(t).PCO
	a = gtptest.ReadV1(m.Marshal())
	if !bytes.Equal(a.Find(ie.AggregateMaximumBitRate, 0), []byte{0, 0, 0, 1, 0, 0, 0, 2}) || !bytes.Equal(a.Find(ie.ProtocolConfigurationOptions, 0), m.PCO.octets()) {
		t.Errorf("%+v", a)
	}
}

func TestDeletePDPContextMarshal(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-request-sent", "teardown-ind", "nsapi")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-response", "cause")
	h := Header{Version: 1, TEID: 0x01020304, Seq: 0xabcd}
	request := []byte{0x32, 20, 0, 8, 1, 2, 3, 4, 0xab, 0xcd, 0, 0, 19, 0xff, 20, 5}
	if got := (&DeletePDPContextRequest{Header: h, NSAPI: 5, Teardown: true}).Marshal(); !bytes.Equal(got, request) {
		t.Errorf("% x, want % x", got, request)
	}
	// It is read as what it was made of.
	if m := mustParse[*DeletePDPContextRequest](t, request); m.TEID != h.TEID || m.Seq != h.Seq || m.NSAPI != 5 || !m.Teardown {
		t.Errorf("%+v", m)
	}
	response := []byte{0x32, 21, 0, 6, 1, 2, 3, 4, 0xab, 0xcd, 0, 0, 1, 128}
	if got := (&DeletePDPContextResponse{Header: h, Cause: CauseAccepted}).Marshal(); !bytes.Equal(got, response) {
		t.Errorf("% x, want % x", got, response)
	}
	if m := mustParse[*DeletePDPContextResponse](t, response); m.Cause != CauseAccepted || m.TEID != h.TEID {
		t.Errorf("%+v", m)
	}
}

// Every message of ours has its elements in the order of their types (TS 29.060
// 7.7.0).
func TestV1ElementsInOrder(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/all-messages", "elements-in-the-order-of-their-types")
	for i, b := range sentV1(t) {
		types := []uint8{}
		for _, e := range gtptest.ReadV1(b).Elements {
			types = append(types, e.Type)
		}
		if !slices.IsSorted(types) {
			t.Errorf("message %d of type %d: %v", i, b[1], types)
		}
	}
}

func TestV1Refusals(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/header", "teid-0-where-the-peer-s-is-not-known")
	s := gtptest.NewSGSN()
	restarts := uint8(9)
	create, _ := Parse(s.Create())
	pco := create.(*CreatePDPContextRequest).PCO.Answer(PCOValues{MTU: 1400})
	update, _ := Parse(s.Update(1))
	gone, _ := Parse(s.Delete(1))
	for _, c := range []struct {
		name  string
		m     Message
		cause Cause
		want  []*ie.IE
		teid  uint32
	}{
		{"create", create, CauseAuthenticationFailed, []*ie.IE{ie.NewCause(209), ie.NewRecovery(9), ie.New(ie.ProtocolConfigurationOptions, pco.octets())}, 7},
		{"create beside a context that isn't there", create, CauseContextNotFound, []*ie.IE{ie.NewCause(210), ie.NewRecovery(9), ie.New(ie.ProtocolConfigurationOptions, pco.octets())}, 0},
		{"update", update, CauseContextNotFound, []*ie.IE{ie.NewCause(192), ie.NewRecovery(9), ie.New(ie.ProtocolConfigurationOptions, pco.octets())}, 0},
		{"delete", gone, CauseContextNotFound, []*ie.IE{ie.NewCause(192)}, 0},
		{"delete for another reason", gone, CauseSystemFailure, []*ie.IE{ie.NewCause(204)}, 7},
	} {
		a := gtptest.ReadV1(Refusal{TEID: 7, Reason: &Error{Cause: c.cause}, PCO: pco, Recovery: &restarts}.Marshal(c.m))
		if a.Type != c.m.Head().Type+1 || a.TEID != c.teid || a.Seq != s.Seq || len(a.Elements) != len(c.want) {
			t.Errorf("%s: %+v", c.name, a)
			continue
		}
		for i, e := range c.want {
			if a.Elements[i].Type != e.Type || !bytes.Equal(a.Elements[i].Payload, e.Payload) {
				t.Errorf("%s: %v, want %v", c.name, a.Elements[i], e)
			}
		}
	}
	// Without anything to say but the cause.
	if a := gtptest.ReadV1(Refusal{Reason: &Error{Cause: CauseSystemFailure}}.Marshal(create)); len(a.Elements) != 1 || a.Cause() != 204 {
		t.Errorf("%+v", a)
	}
	for name, r := range map[string][]byte{
		"no reason":             Refusal{}.Marshal(create),
		"to be discarded":       Refusal{Reason: &Error{Reason: ReasonShort}}.Marshal(create),
		"nothing to be refused": Refusal{Reason: &Error{Cause: CauseSystemFailure}}.Marshal(&DeletePDPContextResponse{Header: Header{Version: 1, Type: 21}}),
	} {
		if r != nil {
			t.Errorf("%s: % x", name, r)
		}
	}
}

func TestCauseV1(t *testing.T) {
	want := map[Cause]uint8{
		CauseReactivationRequested: 6, CauseAccepted: 128, CauseAcceptedPartially: 128, CauseNewPDNTypeByPreference: 129, CauseNewPDNTypeSingleBearer: 130,
		CauseContextNotFound: 192, CauseInvalidMessageFormat: 193, CauseInvalidLength: 193, CauseServiceNotSupported: 200,
		CauseMandatoryIncorrect: 201, CauseMandatoryMissing: 202, CauseConditionalMissing: 202, CauseSystemFailure: 204, CauseNoResources: 199,
		CauseMissingOrUnknownAPN: 219, CauseRATDisallowed: 200, CausePDNTypeNotSupported: 220, CauseAddressesOccupied: 211, CauseNotAuthorised: 200,
		CauseAuthenticationFailed: 209, 96: 194, CauseAPNDenied: 222, CauseRequestRejected: 200, 100: 204, CauseAPNCongestion: 229, CauseEntityCongestion: 199, CauseInvalidPeer: 192,
	}
	for c := range causeNames {
		if _, ok := want[c]; !ok {
			t.Errorf("%v: what GTPv1 calls it isn't said here", c)
		}
	}
	for c := range 256 {
		got := Cause(c).V1()
		v, named := want[Cause(c)]
		switch {
		case named && got != v:
			t.Errorf("%v: %d, want %d", Cause(c), got, v)
		case named:
		case Cause(c).Accepted() && got != 128, !Cause(c).Accepted() && got != 199:
			t.Errorf("%v: %d", Cause(c), got)
		}
	}
}
