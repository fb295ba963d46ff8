package gtp

import (
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// sentV1 is every kind of message that we send over GTPv1, and every refusal.
func sentV1(t testing.TB) [][]byte {
	s := gtptest.NewSGSN()
	header := Header{Version: 1, TEID: 1, Seq: 0xfffe}
	create, dual, v6, release97, bare := grantedV1(t), grantedV1(t), grantedV1(t), grantedV1(t), grantedV1(t)
	dual.PAA, dual.Cause = dualPAA(), CauseAccepted
	v6.PAA, v6.Outer, v6.Cause = PAA{Prefix6: prefix6, InterfaceID: [8]byte{7: 1}}, netip.MustParseAddr("2001:db8::1"), CauseNewPDNTypeByPreference
	release97.QoS = QoSProfile{2, []byte{0x0b, 0x92, 0x1f}}
	bare.PCO, bare.AMBRUpKbps, bare.AMBRDownKbps = nil, 0, 0
	bare.QoS.Data = release7([3]byte{254, 250, 1}, [3]byte{254, 250, 162}, [3]byte{254, 1}, [3]byte{1})
	update := updatedV1(t)
	update.PCO, update.AMBRUpKbps = create.PCO, 6
	change := mustParse[*ChangeNotificationRequest](t, s.Inform(9))
	sent := [][]byte{
		(&EchoRequest{Header: header}).Marshal(), (&EchoResponse{Header: header, Recovery: 3}).Marshal(),
		(&SupportedExtensionHeaders{Header: header}).Marshal(),
		create.Marshal(), dual.Marshal(), v6.Marshal(), release97.Marshal(), bare.Marshal(),
		updatedV1(t).Marshal(), update.Marshal(),
		(&DeletePDPContextRequest{Header: header, NSAPI: 5, Teardown: true}).Marshal(), (&DeletePDPContextRequest{Header: header, NSAPI: 15}).Marshal(),
		(&DeletePDPContextResponse{Header: header, Cause: CauseAccepted}).Marshal(),
		(&ChangeNotificationResponse{Version: 1, TEID: 1, Seq: 2, Cause: CauseAccepted}).Marshal(),
		(&ChangeNotificationResponse{Version: 1, TEID: 1, Seq: 2, Cause: CauseAccepted, IMSI: change.IMSI, MEI: change.MEI, EBI: 5}).Marshal(),
	}
	restarts := uint8(9)
	for typ := range answeredV1 {
		if typ == TypeEchoRequest {
			continue
		}
		m, _ := Parse(s.Request(typ, 1, s.CreateElements()...))
		for c := range causeNames {
			if c == CauseReactivationRequested { // not of a response
				continue
			}
			r := Refusal{TEID: 1, Reason: &Error{Cause: c, IE: 16}, PCO: create.PCO, Recovery: &restarts}.Marshal(m)
			if r == nil {
				t.Fatalf("type %d is not answered", typ)
			}
			sent = append(sent, r)
		}
		m, err := Parse(withExtension(s.Request(typ, 1), 0xc0, 1, 0, 0, 0))
		sent = append(sent, Refusal{Reason: err.(*Error)}.Marshal(m))
	}
	return sent
}

// Wireshark must find nothing to say about any kind of message that we send over
// GTPv1, and nothing about those that the tests send to us.
func TestDissectorV1(t *testing.T) {
	s := gtptest.NewSGSN()
	var frames []gtptest.Frame
	for _, b := range append(sentV1(t), s.Create(), s.Update(1), s.Delete(1), s.Deleted(1, 128), s.Inform(1), s.Echo()) {
		frames = append(frames, gtptest.Frame{Port: Port, Payload: b})
	}
	gtptest.Dissect(t, frames)
}
