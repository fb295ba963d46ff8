package session

import (
	"bytes"
	"testing"

	iev1 "github.com/wmnsk/go-gtp/gtpv1/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// A faulty request about a context is answered to the SGSN that has it, and about
// none that there is none, whatever else is wrong.
func TestFaultyPDPRequestsAreAnsweredToTheContextsPeer(t *testing.T) {
	w, s := newWorld(t), gtptest.NewSGSN()
	w.anyRAT()
	_, _, done := w.carryV1(sgsn, s.Create())
	teid := done.Session.GetGtp().GetLocalTeidC()
	for _, typ := range []uint8{gtp.TypeUpdatePDPContextRequest, gtp.TypeDeletePDPContextRequest, gtp.TypeMSInfoChangeNotification} {
		if a, _, _ := w.carryV1(sgsn, s.Request(typ, teid)); a.Type != typ+1 || a.Cause() != 202 || a.TEID != s.ControlTEID {
			t.Errorf("type %d: %+v", typ, a)
		}
		want := uint8(192)
		if typ == gtp.TypeMSInfoChangeNotification {
			want = 194
		}
		if a, _, _ := w.carryV1(sgsn, s.Request(typ, teid+1)); a.Type != typ+1 || a.Cause() != want || a.TEID != 0 {
			t.Errorf("type %d about no context: %+v", typ, a)
		}
	}
	// Nothing of this is about a context.
	if a, _, _ := w.carryV1(sgsn, s.Request(100, 0, iev1.NewTEIDCPlane(0x77))); a.Type != 101 || a.Cause() != 200 || a.TEID != 0x77 {
		t.Errorf("Create MBMS Context Request: %+v", a)
	}
}

// Where the SGSN forbids negotiation the quality of service is answered as it was
// asked for, without protocol configuration options; what the APN allows is
// enforced all the same. The TEID for signalling, which the request has named, is
// not told again (TS 29.060 7.3.4).
func TestUpdateWithoutNegotiation(t *testing.T) {
	w, s := newWorld(t), gtptest.NewSGSN()
	w.anyRAT()
	_, _, done := w.carryV1(sgsn, s.Create())
	teid := done.Session.GetGtp().GetLocalTeidC()
	s.QoS[13], s.QoS[15] = 0xfa, 0xfa // 256 Mbit/s each way, above the APN's 50 up
	for seq, negotiable := range []bool{true, false} {
		s.Seq = uint16(seq)
		all := append(s.UpdateElements(), iev1.New(iev1.ProtocolConfigurationOptions, s.PCO))
		if !negotiable {
			all = append(all, iev1.NewCommonFlags(0, 0, 0, 1, 0, 0, 0, 0))
		}
		a, _, _ := w.carryV1(sgsn, s.Request(gtp.TypeUpdatePDPContextRequest, teid, all...))
		if a.Cause() != 128 || bytes.Equal(a.Find(iev1.QoSProfile, 0), s.QoS) == negotiable || (a.Find(iev1.ProtocolConfigurationOptions, 0) != nil) != negotiable {
			t.Errorf("negotiable %v: %+v", negotiable, a)
		}
		if a.Find(iev1.TEIDCPlane, 0) != nil {
			t.Errorf("negotiable %v: the TEID for signalling is told again", negotiable)
		}
		if up := w.state.SessionByTEIDC(teid).GetGtp().GetAmbrUpKbps(); up != 50000 {
			t.Errorf("negotiable %v: %d kbit/s up", negotiable, up)
		}
	}
}
