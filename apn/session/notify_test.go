package session

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
)

func TestSuspendAndResume(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/suspend-notification", "")
	gtptest.ShowsIn(t, "29.274/suspend-acknowledge", "cause")
	gtptest.ShowsIn(t, "29.274/resume-notification", "")
	gtptest.ShowsIn(t, "29.274/resume-acknowledge", "cause")
	w, s, teid := attached(t)
	a, _, done := w.carry(s.Suspend(teid))
	if a.Type != 163 || a.Cause() != 16 || a.TEID != s.ControlTEID || !w.state.SessionByTEIDC(teid).GetGtp().GetSuspended() {
		t.Fatalf("suspend: %+v", a)
	}
	if again := w.decide(s.Suspend(teid), 0); again.Command != nil || !bytes.Equal(again.Response, done.Response) {
		t.Error("a duplicate is carried out, or answered otherwise")
	}
	s.Seq++
	if a, _, _ = w.carry(s.Resume(teid)); a.Type != 165 || a.Cause() != 16 || w.state.SessionByTEIDC(teid).GetGtp().GetSuspended() {
		t.Errorf("resume: %+v", a)
	}
	// Whoever moves can be reached again.
	s.Seq++
	w.carry(s.Suspend(teid))
	s.Seq++
	w.carry(s.Modify(teid, true))
	if w.state.SessionByTEIDC(teid).GetGtp().GetSuspended() {
		t.Error("still suspended after a move")
	}
	// Nobody suspends another's session.
	if o := w.from("127.0.20.9:2123", s.Suspend(teid)); o.Command != nil || gtptest.Read(o.Response).Cause() != 64 {
		t.Errorf("a stranger: %+v", o)
	}
}

func TestChangeNotification(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/change-notification-request", "", "rat-type", "user-location-information-uli")
	gtptest.ShowsIn(t, "29.274/change-notification-response", "")
	w, s, teid := attached(t)
	s.Addr = netip.MustParseAddr("127.0.20.1")
	elsewhere := []byte{0x18, 0x64, 0xf0, 0x10, 0, 2, 0x64, 0xf0, 0x10, 0, 0, 0, 2}
	raw := s.Request(38, teid, ie.NewIMSI(s.IMSI), ie.NewRATType(s.RAT), ie.New(ie.UserLocationInformation, 0, elsewhere))
	a, _, _ := w.carry(raw)
	if a.Type != 39 || a.Cause() != 16 || a.TEID != s.ControlTEID {
		t.Fatalf("%+v", a)
	}
	if got := w.state.SessionByTEIDC(teid).GetGtp().GetUserLocation(); !bytes.Equal(got, elsewhere) {
		t.Errorf("location % x", got)
	}
	// To where it may not be.
	s.Seq++
	o := w.decide(s.Request(38, teid, ie.NewIMSI(s.IMSI), ie.NewRATType(3), ie.New(ie.UserLocationInformation, 0, elsewhere)), 0)
	if o.Command != nil || gtptest.Read(o.Response).Cause() != 82 || o.Record == nil {
		t.Errorf("forbidden radio access: %+v", o)
	}
}

func TestModifyBearerCommand(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/modify-bearer-command", "")
	gtptest.ShowsIn(t, "29.274/modify-bearer-failure-indication", "", "cause")
	gtptest.ShowsIn(t, "29.274/update-bearer-request", "")
	w, s, teid := attached(t)
	raw := s.ModifyCommand(teid) // 30 and 40 Mbit/s, QCI 8
	o := w.decide(raw, 0)
	if o.Command == nil {
		t.Fatalf("%+v", o)
	}
	done := o.Finish(w.apply(o.Command))
	u := done.Update
	if u == nil || u.Seq != s.Seq|0x800000 || u.TEID != s.ControlTEID || u.AMBRUpKbps != 30000 || u.AMBRDownKbps != 40000 || u.Bearer.QCI != 8 || u.Bearer.EBI != 5 {
		t.Fatalf("%+v", u)
	}
	if path := w.state.SessionByTEIDC(teid).GetGtp(); path.GetAmbrUpKbps() != 30000 || path.GetQci() != 8 {
		t.Errorf("on record: %+v", path)
	}
	// A repetition changes nothing and triggers the same request.
	if again := w.decide(raw, 0); again.Command != nil || again.Update == nil || !bytes.Equal(again.Update.Marshal(), u.Marshal()) {
		t.Errorf("again: %+v", again)
	}
	// More than the APN has is not to be had.
	s.Seq++
	greedy := s.Request(64, teid, ie.NewAggregateMaximumBitRate(900000, 900000), ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5)))
	o = w.decide(greedy, 0)
	if done = o.Finish(w.apply(o.Command)); done.Update.AMBRUpKbps != 50000 || done.Update.AMBRDownKbps != 300000 {
		t.Errorf("greedy: %+v", done.Update)
	}
	// Of a bearer that isn't there.
	s.Seq++
	o = w.decide(s.Request(64, teid, ie.NewAggregateMaximumBitRate(1, 1), ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(6))), 0)
	if a := gtptest.Read(o.Response); o.Command != nil || a.Type != 65 || a.Cause() != 64 {
		t.Errorf("another bearer: %+v", a)
	}
}

func TestDeletePDNConnectionSet(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/delete-pdn-connection-set-request", "", "sgw-fq-csid")
	gtptest.ShowsIn(t, "29.274/delete-pdn-connection-set-response", "")
	w, s := newWorld(t), gtptest.New()
	all := append(s.CreateElements(), s.ConnectionSet(1, 3))
	a, _, _ := w.carry(s.Request(32, 0, all...))
	teid := a.TEIDOf(1)

	s.Seq++
	// Other sets, and the right ones out of a stranger's mouth: nothing goes.
	other, _, _ := w.carry(s.LostSets(4))
	o := w.from("127.0.20.9:2123", s.LostSets(3))
	if other.Type != 102 || other.Cause() != 16 || o.Cause != gtp.CauseAccepted || w.state.SessionByTEIDC(teid) == nil {
		t.Fatalf("%+v, %+v", other, o)
	}
	s.Seq++
	if a, _, _ = w.carry(s.LostSets(9, 3)); a.Cause() != 16 || w.state.SessionByTEIDC(teid) != nil {
		t.Errorf("%+v; the session is %v", a, w.state.SessionByTEIDC(teid))
	}
}

// More sessions than one command releases: the rest is for the next attempt.
func TestDeletePDNConnectionSetInParts(t *testing.T) {
	w, s := newWorld(t), gtptest.New()
	w.carry(s.Request(32, 0, append(s.CreateElements(), s.ConnectionSet(1, 3))...))
	o := w.decide(s.LostSets(3), 0)
	payload, err := proto.Marshal(&command.Released{More: true})
	if err != nil {
		t.Fatal(err)
	}
	if a := o.Finish(&command.Result{Code: command.Code_OK, Payload: payload}); !a.More || a.Response != nil {
		t.Errorf("%+v", a)
	}
	if next := w.decide(s.LostSets(3), 1); next.Command.GetRequestId() == o.Command.GetRequestId() {
		t.Error("the next part is a duplicate of the first")
	}
}

func TestPeerRestart(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/restoration", "restart-of-a-peer", "older-restart-counter-of-a-peer")
	w, s, teid := attached(t) // the SGW's counter is 7
	peer := s.Addr
	if !HasRestarted(w.state, peer, 8) || HasRestarted(w.state, peer, 7) || HasRestarted(w.state, peer, 6) {
		t.Error("8 is after 7, and neither 7 nor 6 is")
	}
	if HasRestarted(w.state, netip.MustParseAddr("127.0.20.9"), 8) {
		t.Error("a peer that nothing is known of has restarted")
	}
	// The restarted SGW attaches a terminal: its sessions of before are lost.
	s.Restarts, s.Seq, s.ControlTEID = 8, 1, 0x77
	o := w.decide(s.Create(), 0)
	if o.Restart == nil || *o.Restart != (Restart{peer, 8}) {
		t.Fatalf("%+v", o.Restart)
	}
	done := o.Finish(w.apply(o.Command)) // replaces the session, with the new counter
	w.apply(AfterRestart(*o.Restart, w.state.Clock()))
	if w.state.SessionByTEIDC(teid) != nil || w.state.SessionByTEIDC(done.Session.GetGtp().GetLocalTeidC()) == nil {
		t.Error("the path of before stays, or the one since is gone")
	}
	if w.state.Peer(peer).GetRestartCounter() != 8 || HasRestarted(w.state, peer, 8) {
		t.Errorf("on record: %+v", w.state.Peer(peer))
	}
	// Counters wrap.
	for c := 8; c < 300; c += 100 {
		w.apply(AfterRestart(Restart{peer, uint8(c)}, w.state.Clock()))
	}
	if HasRestarted(w.state, peer, 200) {
		t.Error("an older counter counts as a restart")
	}
}

// A Modify Bearer Request that doesn't move anything tells its sender's counter.
func TestPeerRestartInModify(t *testing.T) {
	w, s, teid := attached(t) // the SGW's counter is 7
	o := w.decide(s.Request(gtp.TypeModifyBearerRequest, teid, ie.NewRecovery(8)), 0)
	if o.Restart == nil || *o.Restart != (Restart{s.Addr, 8}) {
		t.Errorf("%+v", o.Restart)
	}
	if o := w.decide(s.Request(gtp.TypeModifyBearerRequest, teid, ie.NewRecovery(7)), 0); o.Restart != nil {
		t.Errorf("%+v", o.Restart)
	}
}

// A session that has moved to another SGW isn't the former one's any more, not
// even at the same address (TS 29.274 7.2.9.1, note 6).
func TestTheFormerPeerIsRefused(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/delete-session-request", "sender-f-teid-for-control-plane", "sender-f-teid-for-control-plane-of-a-former-peer")
	w, s, teid := attached(t)
	former := s
	s.ControlTEID++
	w.carry(s.Modify(teid, true))
	former.Seq += 9
	sender := ie.NewFullyQualifiedTEIDNetIP(6, former.ControlTEID, former.Addr.AsSlice(), nil)
	for name, raw := range map[string][]byte{
		"delete":  former.Request(36, teid, ie.NewEPSBearerID(5), sender),
		"command": former.ModifyCommand(teid), "suspend": former.Suspend(teid), "resume": former.Resume(teid),
	} {
		if o := w.decide(raw, 0); o.Command != nil || o.Cause != gtp.CauseInvalidPeer {
			t.Errorf("%s: %+v", name, o)
		}
	}
	// At another address it is told the same if it says who it is.
	elsewhere := ie.NewFullyQualifiedTEIDNetIP(6, 0x99, netip.MustParseAddr("127.0.20.9").AsSlice(), nil)
	if o := w.from("127.0.20.9:2123", former.Request(36, teid, ie.NewEPSBearerID(5), elsewhere)); o.Command != nil || o.Cause != gtp.CauseInvalidPeer || gtptest.Read(o.Response).TEID != 0x99 {
		t.Errorf("elsewhere: %+v", o)
	}
	if o := w.from("127.0.20.8:2123", former.Request(36, teid, ie.NewEPSBearerID(5), elsewhere)); o.Cause != gtp.CauseContextNotFound {
		t.Errorf("in another's name: %+v", o)
	}
	if a, _, _ := w.carry(s.Request(36, teid, ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEIDNetIP(6, s.ControlTEID, s.Addr.AsSlice(), nil))); a.Cause() != 16 {
		t.Errorf("the present peer: %+v", a)
	}
}

// Older implementations send the notification without a TEID.
func TestChangeNotificationByIMSI(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/change-notification-request", "imsi", "imsi-unknown-teid-0")
	w, s, _ := attached(t)
	a, _, _ := w.carry(s.Change(0))
	if a.Type != 39 || a.Cause() != 16 || a.TEID != s.ControlTEID || a.Find(ie.IMSI, 0) == nil {
		t.Errorf("%+v", a)
	}
	s.IMSI = "460019999999999"
	if o := w.decide(s.Change(0), 0); o.Command != nil || o.Response != nil {
		t.Errorf("an unknown IMSI is not silently discarded: %+v", o)
	}
}
