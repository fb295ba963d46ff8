package session

import (
	"bytes"
	"net/netip"
	"testing"

	iev1 "github.com/wmnsk/go-gtp/gtpv1/ie"
	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/policy"
)

// carryV1 decides and carries out a request of GTPv1.
func (w *world) carryV1(peer string, raw []byte) (gtptest.AnswerV1, Outcome, Answer) {
	w.t.Helper()
	o := w.from(peer, raw)
	if o.Command == nil {
		return gtptest.ReadV1(o.Response), o, Answer{Response: o.Response, Cause: o.Cause}
	}
	a := o.Finish(w.apply(o.Command))
	if a.Again {
		w.t.Fatal("must be decided again")
	}
	return gtptest.ReadV1(a.Response), o, a
}

const sgsn = "127.0.20.1:2123"

// anyRAT lets terminals attach over every radio access.
func (w *world) anyRAT() { w.rules.Admission.RATs = nil }

func TestCreatePDPContext(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-request", "")
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response", "")
	gtptest.ShowsIn(t, "29.060/reliable-delivery", "a-response-has-the-request-s-sequence-number", "a-retransmission-gets-the-response-of-before")
	w, s := newWorld(t), gtptest.NewSGSN()
	w.anyRAT()
	a, o, done := w.carryV1(sgsn, s.Create())
	if a.Type != 17 || a.Cause() != 128 || a.TEID != s.ControlTEID || a.Seq != s.Seq || o.IMSI != s.IMSI {
		t.Fatalf("%+v", a)
	}
	path := done.Session.GetGtp()
	if path.GetVersion() != 1 || path.GetEbi() != 5 || path.GetPeerC().GetTeid() != s.ControlTEID || path.GetPeerU().GetTeid() != s.UserTEID ||
		path.GetRatType() != 1 || path.GetServingPlmn() != "46001" || path.GetImei() != s.IMEI[:14] || path.GetPeerRestartCounter() != 7 || path.GetPdnType() != 1 {
		t.Errorf("%+v", path)
	}
	if a.TEIDOf(iev1.TEIDCPlane) != path.GetLocalTeidC() || a.TEIDOf(iev1.TEIDDataI) != path.GetLocalTeidU() {
		t.Error("TEIDs of the answer and on record differ")
	}
	if eua := a.Find(iev1.EndUserAddress, 0); !bytes.Equal(eua, append([]byte{0xf1, 0x21}, done.Session.GetAddress()...)) {
		t.Errorf("end user address % x", eua)
	}
	// The request's 100 and 200 Mbit/s (APN-AMBR) within the APN's 50 and 300; the
	// QoS profile's maxima are no higher than that either.
	if path.GetAmbrUpKbps() != 50000 || path.GetAmbrDownKbps() != 200000 {
		t.Errorf("rates: %d up, %d down", path.GetAmbrUpKbps(), path.GetAmbrDownKbps())
	}
	if up, down := (gtp.QoSProfile{Data: path.GetQosProfile()}).MaxKbps(); up > 50000 || down > 300000 || up == 0 || down == 0 {
		t.Errorf("QoS profile: %d up, %d down", up, down)
	}
	if q := a.Find(iev1.QoSProfile, 0); !bytes.Equal(q[1:], path.GetQosProfile()) || q[0] != 2 {
		t.Errorf("QoS profile % x, on record % x", q, path.GetQosProfile())
	}
	if pco := a.Find(iev1.ProtocolConfigurationOptions, 0); !bytes.Contains(pco, []byte{0x00, 0x10, 2, 0x05, 0x78}) {
		t.Errorf("no MTU in % x", pco)
	}
	// The duplicate, here or on another node, gets the same bytes.
	if again := w.from(sgsn, s.Create()); again.Command != nil || !bytes.Equal(again.Response, done.Response) {
		t.Error("a duplicate is answered otherwise")
	}
}

func TestCreatePDPContextRefusals(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-request", "linked-nsapi")
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response",
		"cause-missing-or-unknown-apn-219", "cause-unknown-pdp-address-or-pdp-type-220", "cause-user-authentication-failed-209",
		"cause-apn-access-denied-no-subscription-222", "cause-system-failure-204")
	for _, c := range []struct {
		name  string
		alter func(*gtptest.SGSN, *world)
		cause uint8
	}{
		{"unlisted SIM", func(s *gtptest.SGSN, _ *world) { s.IMSI = "460019999999999" }, 222},
		{"unknown APN", func(s *gtptest.SGSN, _ *world) { s.APN = "internet" }, 219},
		{"another handset", func(s *gtptest.SGSN, _ *world) { s.IMEI = "4920990017614823" }, 222},
		{"another network", func(s *gtptest.SGSN, _ *world) { s.MNC = "02" }, 200},
		{"another radio access", func(_ *gtptest.SGSN, w *world) { w.rules.Admission.RATs = []policy.RAT{6} }, 200},
		{"IPv6 where there is none", func(s *gtptest.SGSN, _ *world) { s.PDPType = 0x57 }, 220},
		{"no password where one is demanded", func(_ *gtptest.SGSN, w *world) {
			w.serve(func(a *policy.APN) { a.Authentication = policy.AuthenticationAny })
		}, 209},
		{"no policy", func(_ *gtptest.SGSN, w *world) { w.rules = nil }, 204},
	} {
		w, s := newWorld(t), gtptest.NewSGSN()
		w.anyRAT()
		c.alter(&s, w)
		a, o, _ := w.carryV1(sgsn, s.Create())
		if o.Command != nil || a.Type != 17 || a.Cause() != c.cause || a.TEID != s.ControlTEID {
			t.Errorf("%s: cause %d to %x, want %d to %x", c.name, a.Cause(), a.TEID, c.cause, s.ControlTEID)
		}
	}
	w, s := newWorld(t), gtptest.NewSGSN()
	w.anyRAT()
	linked := append(s.CreateElements()[:7:7], append([]*iev1.IE{iev1.NewNSAPI(6)}, s.CreateElements()[7:]...)...)
	if a, o, _ := w.carryV1(sgsn, s.Request(16, 0, linked...)); o.Command != nil || a.Cause() != 200 {
		t.Errorf("a secondary context: %+v", a)
	}
}

func TestPDPTypes(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response", "end-user-address", "cause-new-pdp-type-129-130")
	for _, c := range []struct {
		typ   uint8
		dual  bool // the APN offers IPv6 too
		cause uint8
		given string // start of the end user address
	}{
		{0x21, true, 128, "\xf1\x21"}, {0x57, true, 128, "\xf1\x57"}, {0x8d, true, 128, "\xf1\x8d"}, {0x8d, false, 129, "\xf1\x21"},
	} {
		w, s := newWorld(t), gtptest.NewSGSN()
		w.anyRAT()
		if c.dual {
			w.dualStack()
		}
		s.PDPType = c.typ
		a, _, _ := w.carryV1(sgsn, s.Create())
		if eua := a.Find(iev1.EndUserAddress, 0); a.Cause() != c.cause || !bytes.HasPrefix(eua, []byte(c.given)) {
			t.Errorf("type %x: cause %d, address % x", c.typ, a.Cause(), eua)
		}
	}
}

func TestUpdateAndDeletePDPContext(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/update-pdp-context-request", "", "another-sgsn-takes-over", "imsi", "nsapi")
	gtptest.ShowsIn(t, "29.060/update-pdp-context-response", "")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-request", "")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-response", "")
	w, s := newWorld(t), gtptest.NewSGSN()
	w.anyRAT()
	_, _, done := w.carryV1(sgsn, s.Create())
	teid, address := done.Session.GetGtp().GetLocalTeidC(), done.Session.GetAddress()

	// A routing area update to another SGSN.
	s.Addr, s.ControlTEID, s.UserTEID, s.Seq, s.RAT = netip.MustParseAddr("127.0.20.2"), 0x99, 0xaa, s.Seq+1, 2
	if o := w.from("127.0.20.3:2123", s.Update(teid)); o.Command != nil || gtptest.ReadV1(o.Response).Cause() != 192 {
		t.Error("one who isn't the SGSN that it names moves the context")
	}
	a, _, _ := w.carryV1("127.0.20.2:2123", s.Update(teid))
	path := w.state.SessionByTEIDC(teid).GetGtp()
	if a.Type != 19 || a.Cause() != 128 || a.TEID != 0x99 || path.GetPeerU().GetTeid() != 0xaa || path.GetRatType() != 2 || a.Find(iev1.QoSProfile, 0) == nil {
		t.Errorf("%+v, %+v", a, path)
	}
	if !bytes.Equal(w.state.SessionByTEIDC(teid).GetAddress(), address) {
		t.Error("the address changed")
	}
	// Of another bearer, another subscriber.
	other := s
	other.NSAPI = 6
	if o := w.from("127.0.20.2:2123", other.Update(teid)); o.Command != nil || gtptest.ReadV1(o.Response).Cause() != 192 {
		t.Error("another NSAPI is updated")
	}
	other = s
	other.IMSI = "460010000000009"
	if o := w.from("127.0.20.2:2123", other.Update(teid)); o.Command != nil || gtptest.ReadV1(o.Response).Cause() != 192 {
		t.Error("another subscriber's context is updated")
	}

	if o := w.from(sgsn, s.Delete(teid)); o.Command != nil {
		t.Error("the former SGSN deletes the context")
	}
	s.Seq++
	a, _, gone := w.carryV1("127.0.20.2:2123", s.Delete(teid))
	if a.Type != 21 || a.Cause() != 128 || a.TEID != 0x99 || w.state.SessionByTEIDC(teid) != nil {
		t.Errorf("delete: %+v", a)
	}
	if again := w.from("127.0.20.2:2123", s.Delete(teid)); !bytes.Equal(again.Response, gone.Response) {
		t.Error("the duplicate of a delete is answered otherwise")
	}
}

// A session goes from 4G to 3G and back, and keeps address and tunnel ends
// (TS 23.401 annex D).
func TestHandoverBetweenVersions(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/update-pdp-context-request", "handover-from-an-sgw")
	gtptest.ShowsIn(t, "29.274/modify-bearer-request", "handover-from-an-sgsn-of-gn-gp")
	w, sgw := newWorld(t), gtptest.New()
	w.anyRAT()
	a, _, first := w.carry(sgw.Create())
	teid := a.TEIDOf(1)

	old := gtptest.NewSGSN()
	old.Addr, old.ControlTEID, old.UserTEID = netip.MustParseAddr("127.0.20.7"), 0x71, 0x72
	moved, _, done := w.carryV1("127.0.20.7:2123", old.Update(teid))
	path := done.Session.GetGtp()
	if moved.Cause() != 128 || moved.TEID != 0x71 || path.GetVersion() != 1 || path.GetRatType() != 1 || path.GetLocalTeidC() != teid {
		t.Fatalf("to 3G: %+v, %+v", moved, path)
	}
	if o := w.decide(sgw.Delete(teid), 0); o.Command != nil {
		t.Error("the SGW that lost the session deletes it")
	}
	sgw.Seq++
	sgw.Addr, sgw.ControlTEID, sgw.UserTEID = netip.MustParseAddr("127.0.20.8"), 0x81, 0x82
	// An SGW that doesn't say who it is can't take it over.
	if o := w.from("127.0.20.7:2123", sgw.Modify(teid, false)); o.Command != nil || o.Cause != gtp.CauseConditionalMissing {
		t.Errorf("without F-TEID: %+v", o)
	}
	back := w.from("127.0.20.8:2123", sgw.Modify(teid, true))
	after := back.Finish(w.apply(back.Command))
	if a := gtptest.Read(after.Response); a.Cause() != 16 || a.TEID != 0x81 || a.Find(ie.BearerContext, 0) == nil {
		t.Errorf("to 4G: %+v", a)
	}
	path = after.Session.GetGtp()
	if path.GetVersion() != 2 || path.GetInterfaceType() != 6 || path.GetLocalTeidU() != first.Session.GetGtp().GetLocalTeidU() ||
		!bytes.Equal(after.Session.GetAddress(), first.Session.GetAddress()) {
		t.Errorf("back: %+v", after.Session)
	}
}

// A Create of one version replaces the session of the other on the same bearer.
func TestCreateReplacesAcrossVersions(t *testing.T) {
	w, sgw := newWorld(t), gtptest.New()
	w.anyRAT()
	_, _, first := w.carry(sgw.Create())
	_, _, second := w.carryV1(sgsn, gtptest.NewSGSN().Create())
	if second.Session.GetId() != first.Session.GetId() || second.Session.GetGtp().GetVersion() != 1 ||
		!bytes.Equal(second.Session.GetAddress(), first.Session.GetAddress()) || w.state.SessionByTEIDC(first.Session.GetGtp().GetLocalTeidC()) != nil {
		t.Errorf("%+v", second.Session)
	}
}

func TestMSInfoChange(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/ms-info-change-notification-request", "", "rat-type")
	gtptest.ShowsIn(t, "29.060/ms-info-change-notification-response", "")
	w, s := newWorld(t), gtptest.NewSGSN()
	w.anyRAT()
	_, _, done := w.carryV1(sgsn, s.Create())
	s.Seq++
	s.RAT = 2
	a, _, _ := w.carryV1(sgsn, s.Inform(done.Session.GetGtp().GetLocalTeidC()))
	if a.Type != 129 || a.Cause() != 128 || w.state.Session(done.Session.GetId()).GetGtp().GetRatType() != 2 {
		t.Errorf("%+v", a)
	}
}
