package gtp

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// Wireshark must find nothing to say about any kind of message that we send.
func TestDissector(t *testing.T) {
	s := gtptest.New()
	control := func(b []byte) gtptest.Frame { return gtptest.Frame{Port: Port, Payload: b} }
	user := func(b []byte) gtptest.Frame { return gtptest.Frame{Port: 2152, Payload: b} }
	surplus, v6, s2b, inner6, dual := accepted(t), accepted(t), accepted(t), accepted(t), accepted(t)
	surplus.Surplus = []uint8{6, 7, 8}
	v6.Outer = netip.MustParseAddr("2001:db8::1")
	s2b.PeerType = InterfaceS2bControl
	inner6.PAA = PAA{Prefix6: netip.MustParseAddr("2001:db8:1::"), InterfaceID: [8]byte{0, 0, 0, 1, 0, 0, 0, 9}}
	dual.PAA = PAA{IPv4: netip.MustParseAddr("10.90.0.2"), Prefix6: inner6.PAA.Prefix6, InterfaceID: inner6.PAA.InterfaceID}
	dual.PCO = parsePCO(ie.ProtocolConfigurationOptions, everything).Answer(PCOValues{
		DNS: []netip.Addr{netip.MustParseAddr("10.90.0.1"), netip.MustParseAddr("2001:db8::53")}, MTU: 1400, Authenticated: true,
	})
	inner6.PCO = parsePCO(ie.ExtendedProtocolConfigurationOptions, everything).Answer(PCOValues{DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53")}})
	change := mustParse[*ChangeNotificationRequest](t, s.Change(1))
	restarts := uint8(3)
	frames := []gtptest.Frame{
		control((&EchoRequest{Header: Header{Seq: 1}, Recovery: &restarts}).Marshal()),
		control((&EchoResponse{Header: Header{Seq: 1}, Recovery: 3}).Marshal()),
		control((&OtherVersion{Header: Header{Seq: 0x1234}}).Marshal()),
		control(accepted(t).Marshal()), control(surplus.Marshal()), control(v6.Marshal()), control(s2b.Marshal()),
		control(inner6.Marshal()), control(dual.Marshal()),
		control((&UpdateBearerRequest{TEID: 1, Seq: 0x800002, AMBRUpKbps: 3, AMBRDownKbps: 4, Bearer: Bearer{EBI: 5, QCI: 9, ARP: 0x24}}).Marshal()),
		control((&UpdateBearerRequest{TEID: 1, Seq: 2, AMBRUpKbps: 3, AMBRDownKbps: 4, Bearer: Bearer{EBI: 5}}).Marshal()),
		control((&ChangeNotificationResponse{Version: 2, TEID: 1, Seq: 2, Cause: CauseAccepted, IMSI: change.IMSI, MEI: change.MEI}).Marshal()),
		control((&SuspendAcknowledge{TEID: 1, Seq: 2, Cause: CauseAccepted}).Marshal()),
		control((&ResumeAcknowledge{TEID: 1, Seq: 2, Cause: CauseAccepted}).Marshal()),
		control((&DeletePDNConnectionSetResponse{Seq: 2, Cause: CauseAccepted, Recovery: 3}).Marshal()),
		control((&ModifyBearerResponse{TEID: 1, Seq: 2, Cause: CauseAccepted, LinkedEBI: 5, Bearers: []BearerResult{{5, CauseAccepted, 9}}}).Marshal()),
		control((&ModifyBearerResponse{
			TEID: 1, Seq: 2, Cause: CauseAcceptedPartially, LinkedEBI: 5, Moved: true, AMBRUpKbps: 1, AMBRDownKbps: 2, MSISDN: msisdn(t),
			PCO:     mustParse[*CreateSessionRequest](t, s.Create()).PCO.Answer(PCOValues{DNS: []netip.Addr{netip.MustParseAddr("10.90.0.1")}, MTU: 1400}),
			Bearers: []BearerResult{{5, CauseAccepted, 9}, {6, CauseContextNotFound, 0}}, Removed: []BearerResult{{7, CauseContextNotFound, 0}},
		}).Marshal()),
		control((&DeleteSessionResponse{TEID: 1, Seq: 2, Cause: CauseAccepted, Recovery: 3}).Marshal()),
		control((&DeleteBearerRequest{TEID: 1, Seq: 2, LinkedEBI: 5}).Marshal()),
		user(AppendUserEchoRequest(nil, 1)), user(AppendUserEchoResponse(nil, 1)), user(AppendUserEndMarker(nil, 1)),
		user(AppendUserExtensionHeaders(nil, 1)),
		user(AppendUserErrorIndication(nil, 1, 2, netip.MustParseAddr("127.0.10.1"))),
		user(AppendUserErrorIndication(nil, 1, 2, netip.MustParseAddr("2001:db8::1"))),
	}
	gpdu := make([]byte, UserHeaderLen, UserHeaderLen+20)
	PutUserGPDU(gpdu, 1, 20)
	frames = append(frames, user(append(gpdu, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 254, 0x65, 0x3f, 10, 90, 0, 1, 10, 90, 0, 2)))
	sequenced := make([]byte, UserHeaderLen+4, UserHeaderLen+24)
	PutUserGPDUSequenced(sequenced, 1, 7, 20)
	frames = append(frames, user(append(sequenced, gpdu[UserHeaderLen:UserHeaderLen+20]...)))

	// Every refusal of every type of request, in every way of offending.
	children := []*ie.IE{ie.NewEPSBearerID(5), ie.NewProcedureTransactionID(7), ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5)), ie.NewRATType(6), ie.NewIMSI(s.IMSI)}
	for typ := range replies {
		if typ == TypeEchoRequest {
			continue
		}
		m, _ := Parse(s.Request(typ, 1, children...))
		for _, why := range []*Error{
			{Cause: CauseSystemFailure},
			{Cause: CauseMandatoryMissing, IE: ie.AccessPointName},
			{Cause: CauseConditionalMissing, IE: ie.FullyQualifiedTEID, Instance: 2, Group: ie.BearerContext},
		} {
			b := Refusal{TEID: 1, Reason: why, Recovery: &restarts, PCO: dual.PCO}.Marshal(m)
			if b == nil {
				t.Fatal(fmt.Errorf("type %d is not answered", typ))
			}
			frames = append(frames, control(b))
		}
	}
	for c := range causeNames {
		m, _ := Parse(s.Create())
		frames = append(frames, control(Refusal{TEID: 1, Reason: &Error{Cause: c}}.Marshal(m)))
	}
	gtptest.Dissect(t, frames)
}

// everything are options that ask for all that can be answered.
var everything = asking(
	append([]byte{0xc0, 0x23, 1, 7, 0, 16, 4}, "seal\x06secret"...),
	[]byte{0xc2, 0x23, 1, 8, 0, 9, 4, 1, 2, 3, 4}, append([]byte{0xc2, 0x23, 2, 8, 0, 21, 16}, make([]byte, 16)...),
	[]byte{0x80, 0x21, 1, 3, 0, 16, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0},
	[]byte{0, 0x0d}, []byte{0, 3}, []byte{0, 0x10}, []byte{0, 1}, []byte{0, 0x0c},
)
