package session

import (
	"testing"

	iev1 "github.com/wmnsk/go-gtp/gtpv1/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// What a GGSN may be asked for and doesn't offer here is refused, each with the
// type that follows its own (TS 29.060 table 1).
func TestOthersV1(t *testing.T) {
	w, s := newWorld(t), gtptest.NewSGSN()
	for typ, row := range map[uint8]string{
		29: "pdu-notification-reject-request", 98: "mbms-notification-reject-request", 100: "create-mbms-context-request", 102: "update-mbms-context-request",
		104: "delete-mbms-context-request", 112: "mbms-registration-request", 114: "mbms-de-registration-request",
	} {
		o := w.from(sgsn, s.Request(typ, 0, iev1.NewTEIDCPlane(9)))
		if a := gtptest.ReadV1(o.Response); o.Command != nil || a.Type != typ+1 || a.Cause() != 200 || a.TEID != 9 || a.Seq != s.Seq {
			t.Errorf("type %d: %+v", typ, a)
		}
		gtptest.Shows(t, "29.060/"+row)
	}
}

// An SGSN shows that it has restarted as an SGW does.
func TestPeerRestartV1(t *testing.T) {
	gtptest.Shows(t, "29.060/restoration/restart-of-a-peer")
	w, s := newWorld(t), gtptest.NewSGSN()
	w.anyRAT()
	_, first, done := w.carryV1(sgsn, s.Create())
	if first.Restart != nil {
		t.Errorf("the first counter of a peer is a restart: %+v", first.Restart)
	}
	s.Restarts, s.Seq = s.Restarts+1, 1
	o := w.from(sgsn, s.Update(done.Session.GetGtp().GetLocalTeidC()))
	if o.Restart == nil || *o.Restart != (Restart{s.Addr, s.Restarts}) {
		t.Fatalf("%+v", o.Restart)
	}
	w.apply(AfterRestart(*o.Restart, w.state.Clock()))
	if w.state.SessionByTEIDC(done.Session.GetGtp().GetLocalTeidC()) != nil {
		t.Error("a context that the SGSN has lost stays")
	}
}
