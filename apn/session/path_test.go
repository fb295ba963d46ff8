package session

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

// attached is a world with the SGW's session in it, and its control TEID here.
func attached(t *testing.T) (*world, gtptest.SGW, uint32) {
	w, s := newWorld(t), gtptest.New()
	a, _, _ := w.carry(s.Create())
	s.Seq++
	return w, s, a.TEIDOf(1)
}

// from decides a request that comes from an address.
func (w *world) from(peer string, raw []byte) Outcome {
	w.t.Helper()
	m, err := gtp.Parse(raw)
	if m == nil {
		w.t.Fatal(err)
	}
	return dissected(w.gateway.Decide(m, netip.MustParseAddrPort(peer), View{State: w.state, Rules: w.rules}, 0))
}

func TestModifyBearer(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/modify-bearer-request", "", "handover-to-another-sgw")
	gtptest.ShowsIn(t, "29.274/modify-bearer-response", "")
	w, s, teid := attached(t)

	// Nothing new: answered without the log.
	o := w.decide(s.Modify(teid, false), 0)
	a := gtptest.Read(o.Response)
	if o.Command != nil || a.Cause() != 16 || a.TEID != s.ControlTEID || a.Type != 35 {
		t.Fatalf("unchanged: %+v", a)
	}

	// A new SGW takes over: the answer goes to its TEID and tells it all.
	s.Addr, s.ControlTEID, s.UserTEID, s.Seq = netip.MustParseAddr("127.0.20.2"), 0x55, 0x66, s.Seq+1
	moved := w.from("127.0.20.2:2123", s.Modify(teid, true))
	if moved.Command == nil {
		t.Fatal("a move changes nothing")
	}
	done := moved.Finish(w.apply(moved.Command))
	a = gtptest.Read(done.Response)
	path := w.state.SessionByTEIDC(teid).GetGtp()
	if a.Cause() != 16 || a.TEID != 0x55 || path.GetPeerC().GetTeid() != 0x55 || path.GetPeerU().GetTeid() != 0x66 || a.Find(ie.AggregateMaximumBitRate, 0) == nil {
		t.Errorf("moved: %+v, %+v", a, path)
	}
	// Its retransmission, at another node or here, gets the same bytes.
	if again := w.from("127.0.20.2:2123", s.Modify(teid, true)); again.Command != nil || string(again.Response) != string(done.Response) {
		t.Error("the duplicate is answered otherwise")
	}
	// The old SGW has no say any more.
	if old := w.decide(gtptest.New().Delete(teid), 0); old.Cause != gtp.CauseContextNotFound || gtptest.Read(old.Response).TEID != 0 {
		t.Errorf("the old SGW's delete: %v", old.Cause)
	}
	// Back again with the same words as before: a change of its own.
	back := s
	back.Addr, back.ControlTEID = netip.MustParseAddr("127.0.20.1"), 0x77
	o = w.decide(back.Modify(teid, true), 0)
	o.Finish(w.apply(o.Command))
	forth := w.from("127.0.20.2:2123", s.Modify(teid, true))
	if forth.Command == nil {
		t.Fatal("moving forth again is taken for the first time's duplicate")
	}
	forth.Finish(w.apply(forth.Command))
	if got := w.state.SessionByTEIDC(teid).GetGtp().GetPeerC().GetTeid(); got != 0x55 {
		t.Errorf("peer TEID %x after moving forth again", got)
	}
}

func TestModifyRefusals(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/modify-bearer-request", "serving-network", "rat-type")
	gtptest.ShowsIn(t, "29.274/header", "teid-0-where-the-peer-s-is-not-known")
	w, s, teid := attached(t)
	for _, c := range []struct {
		name  string
		raw   func() []byte
		peer  string
		cause gtp.Cause
		teid  uint32
	}{
		{"unknown TEID", func() []byte { return s.Modify(teid+1, false) }, "127.0.20.1:2123", gtp.CauseContextNotFound, 0},
		{"TEID 0", func() []byte { return s.Modify(0, false) }, "127.0.20.1:2123", gtp.CauseContextNotFound, 0},
		{"foreign peer", func() []byte { return s.Modify(teid, false) }, "127.0.20.9:2123", gtp.CauseContextNotFound, 0},
		{"foreign peer in the owner's name", func() []byte { return s.Modify(teid, true) }, "127.0.20.9:2123", gtp.CauseContextNotFound, 0},
		{"only a bearer that isn't there", func() []byte { x := s; x.EBI = 6; return x.Modify(teid, false) }, "127.0.20.1:2123", gtp.CauseContextNotFound, s.ControlTEID},
		{"network not allowed", func() []byte { x := s; x.MNC = "02"; return x.Modify(teid, false) }, "127.0.20.1:2123", gtp.CauseNotAuthorised, s.ControlTEID},
		{"radio access not allowed", func() []byte { x := s; x.RAT = 1; return x.Modify(teid, false) }, "127.0.20.1:2123", gtp.CauseRATDisallowed, s.ControlTEID},
		{"IPv6 tunnel", func() []byte {
			return s.Request(gtp.TypeModifyBearerRequest, teid, ie.NewFullyQualifiedTEID(6, 9, "", "2001:db8::1"))
		}, "127.0.20.1:2123", gtp.CauseMandatoryIncorrect, 9},
	} {
		before := w.state.SessionByTEIDC(teid)
		o := w.from(c.peer, c.raw())
		if o.Command != nil {
			t.Errorf("%s: a command", c.name)
			continue
		}
		a := gtptest.Read(o.Response)
		if o.Cause != c.cause || a.Cause() != uint8(c.cause) || a.TEID != c.teid || a.Type != 35 {
			t.Errorf("%s: cause %d to TEID %x, want %v to %x", c.name, a.Cause(), a.TEID, c.cause, c.teid)
		}
		if w.state.SessionByTEIDC(teid) != before {
			t.Errorf("%s: the session changed", c.name)
		}
	}
	o := w.decide(func() []byte { x := s; x.MNC = "02"; return x.Modify(teid, false) }(), 0)
	if o.Decision == nil || o.Decision.Code != policy.CodePLMNNotAllowed || o.Record == nil {
		t.Error("a refused move leaves no decision and no record")
	}
}

// One bearer of two is there: accepted partially. Bearers to be removed that
// were never made are not found; the default one stays.
func TestModifyPartially(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/modify-bearer-request", "bearer-contexts-to-be-removed")
	gtptest.ShowsIn(t, "29.274/modify-bearer-response", "bearer-contexts-modified", "bearer-contexts-marked-for-removal")
	w, s, teid := attached(t)
	bearer := func(ebi, instance uint8) *ie.IE {
		return ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(ebi)).WithInstance(instance)
	}
	o := w.decide(s.Request(gtp.TypeModifyBearerRequest, teid, bearer(5, 0), bearer(6, 0), bearer(7, 1), bearer(5, 1)), 0)
	a := gtptest.Read(o.Response)
	got := ""
	for _, e := range a.Elements {
		if e.Type == ie.BearerContext {
			got += fmt.Sprintf("%d/%d:%d ", e.Instance(), gtptest.Find(e.ChildIEs, ie.EPSBearerID, 0).Payload[0], gtptest.Find(e.ChildIEs, ie.Cause, 0).Payload[0])
		}
	}
	if want := "0/5:16 0/6:64 1/7:64 1/5:94 "; a.Cause() != 17 || got != want {
		t.Errorf("cause %d, bearers %q, want 17, %q", a.Cause(), got, want)
	}
}

func TestModifyConflict(t *testing.T) {
	w, s, teid := attached(t)
	s.Restarts++
	o := w.decide(s.Modify(teid, false), 0)
	if a := o.Finish(&command.Result{Code: command.Code_CONFLICT}); !a.Again {
		t.Errorf("%+v", a)
	}
	if a := o.Finish(&command.Result{Code: command.Code_NOT_FOUND}); a.Cause != gtp.CauseContextNotFound || gtptest.Read(a.Response).TEID != 0 {
		t.Errorf("%+v", a)
	}
	o.Finish(w.apply(o.Command))
	if got := w.state.SessionByTEIDC(teid).GetGtp().GetPeerRestartCounter(); got != uint32(s.Restarts) {
		t.Errorf("restart counter %d noted, want %d", got, s.Restarts)
	}
}

func TestDelete(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/delete-session-request", "", "linked-eps-bearer-id-lbi")
	gtptest.ShowsIn(t, "29.274/delete-session-response", "", "cause", "recovery")
	w, s, teid := attached(t)
	for _, c := range []struct {
		name string
		o    Outcome
		teid uint32
	}{
		{"unknown TEID", w.decide(s.Delete(teid+1), 0), 0},
		{"foreign peer", w.from("127.0.20.9:2123", s.Delete(teid)), 0},
		{"another bearer", w.decide(func() []byte { x := s; x.EBI = 6; return x.Delete(teid) }(), 0), s.ControlTEID},
	} {
		if a := gtptest.Read(c.o.Response); c.o.Command != nil || a.Cause() != 64 || a.TEID != c.teid || a.Type != 37 {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	a, _, _ := w.carry(s.Delete(teid))
	if a.Type != 37 || a.Cause() != 16 || a.TEID != s.ControlTEID || w.state.SessionByKey(s.IMSI, "seal.corp") != nil {
		t.Errorf("%+v", a)
	}
	if want := uint8(w.state.Address("gw").GetRestartCounter()); a.Find(ie.Recovery, 0) == nil || a.Find(ie.Recovery, 0).Payload[0] != want {
		t.Errorf("restart counter %v, want %d", a.Find(ie.Recovery, 0), want)
	}
}

// Detached by the carrier, the session lives on over the fallback path, with
// its address; attached again it is the same session.
func TestDeleteLeavesTheFallbackPath(t *testing.T) {
	w, s, teid := attached(t)
	sub := w.state.Subscriber(s.IMSI)
	w.do(&command.AttachWireGuard{Imsi: s.IMSI, Apn: "seal.corp", PublicKey: sub.GetWireguardPublicKey(), PolicyRevision: w.rules.Revision, SubscriberVersion: sub.GetVersion(), GatewayAddress: "gw"})
	before := w.state.SessionByKey(s.IMSI, "seal.corp")
	if a, _, _ := w.carry(s.Delete(teid)); a.Cause() != 16 {
		t.Fatalf("cause %d", a.Cause())
	}
	after := w.state.SessionByKey(s.IMSI, "seal.corp")
	if after.GetId() != before.GetId() || after.GetGtp() != nil || after.GetActive() != command.PathKind_WIREGUARD {
		t.Errorf("%+v", after)
	}
	s.Seq++
	a, _, _ := w.carry(s.Create())
	if got := w.state.SessionByTEIDC(a.TEIDOf(1)); got.GetId() != before.GetId() || got.GetActive() != command.PathKind_GTP {
		t.Errorf("attached again: %+v", got)
	}
}

// What is not offered, or faulty, is answered in the proper type, to the peer
// of the session, and leaves the session alone.
func TestOthers(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/remote-ue-report-notification", "")
	gtptest.ShowsIn(t, "29.274/remote-ue-report-acknowledge", "cause")
	gtptest.ShowsIn(t, "29.274/delete-bearer-command", "")
	gtptest.ShowsIn(t, "29.274/delete-bearer-failure-indication", "")
	gtptest.ShowsIn(t, "29.274/bearer-resource-command", "")
	gtptest.ShowsIn(t, "29.274/bearer-resource-failure-indication", "")
	gtptest.ShowsIn(t, "29.274/update-pdn-connection-set-request", "")
	gtptest.ShowsIn(t, "29.274/update-pdn-connection-set-response", "cause")
	w, s, teid := attached(t)
	children := []*ie.IE{ie.NewEPSBearerID(5), ie.NewProcedureTransactionID(1), ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(6))}
	before := w.state.SessionByTEIDC(teid)
	for typ, reply := range map[uint8]uint8{40: 41, 66: 67, 68: 69} {
		for _, c := range []struct {
			name  string
			teid  uint32
			peer  string
			cause uint8
			to    uint32
		}{
			{"own session", teid, "127.0.20.1:2123", 68, s.ControlTEID},
			{"unknown session", teid + 1, "127.0.20.1:2123", 64, 0},
			{"somebody else's session", teid, "127.0.20.9:2123", 64, 0},
		} {
			o := w.from(c.peer, s.Request(typ, c.teid, children...))
			a := gtptest.Read(o.Response)
			if o.Command != nil || a.Type != reply || a.Cause() != c.cause || a.TEID != c.to || a.Seq != s.Seq {
				t.Errorf("type %d, %s: %+v", typ, c.name, a)
			}
		}
	}
	for typ, reply := range map[uint8]uint8{200: 201} {
		a := gtptest.Read(w.decide(s.Request(typ, 0), 0).Response)
		if a.Type != reply || a.Cause() != 68 || a.TEID != 0 {
			t.Errorf("type %d: %+v", typ, a)
		}
	}
	// Faulty: bearer context without EBI; and a Create without its APN.
	faulty := gtptest.Read(w.decide(s.Request(34, teid, ie.NewGroupedIE(ie.BearerContext, ie.NewRecovery(1))), 0).Response)
	if faulty.Type != 35 || faulty.Cause() != 70 || faulty.TEID != s.ControlTEID {
		t.Errorf("faulty modify: %+v", faulty)
	}
	all := s.CreateElements()
	create := gtptest.Read(w.decide(s.Request(32, 0, append(all[:7:7], all[8:]...)...), 0).Response)
	if create.Type != 33 || create.Cause() != 70 || create.TEID != s.ControlTEID {
		t.Errorf("faulty create: %+v", create)
	}
	if w.state.SessionByTEIDC(teid) != before {
		t.Error("the session changed")
	}
	if o := w.decide(s.Echo(), 0); o.Response != nil || o.Command != nil {
		t.Error("an Echo is none of the procedures' business")
	}
}

func TestIPv6TunnelIsRefused(t *testing.T) {
	w, s := newWorld(t), gtptest.New()
	all := s.CreateElements()
	all[6] = ie.NewFullyQualifiedTEID(6, 9, "", "2001:db8::1")
	if a := gtptest.Read(w.decide(s.Request(32, 0, all...), 0).Response); a.Cause() != 69 || a.TEID != 9 {
		t.Errorf("control plane: %+v", a)
	}
	all = s.CreateElements()
	b := all[14].ChildIEs
	all[14] = ie.NewGroupedIE(ie.BearerContext, b[0], ie.NewFullyQualifiedTEID(4, 9, "", "2001:db8::1").WithInstance(2), b[2])
	a := gtptest.Read(w.decide(s.Request(32, 0, all...), 0).Response)
	if c := a.Find(ie.Cause, 0).Payload; c[0] != 69 || c[1] != 2 || c[2] != ie.FullyQualifiedTEID || c[5] != 2 {
		t.Errorf("user plane: % x", c)
	}
}

func TestCauseOfError(t *testing.T) {
	if c, ok := CauseOfError(fmt.Errorf("propose: %w", command.ErrNoQuorum)); !ok || c != gtp.CauseSystemFailure {
		t.Errorf("no quorum: %v %v", c, ok)
	}
	if _, ok := CauseOfError(fmt.Errorf("propose: %w", command.ErrUnknownOutcome)); ok {
		t.Error("an unknown outcome must not be answered")
	}
	if c, ok := CauseOfError(fmt.Errorf("propose: %w", command.ErrNoRoom)); !ok || c != gtp.CauseNoResources {
		t.Errorf("no room: %v, %v", c, ok)
	}
	if c, ok := CauseOfError(errors.New("else")); !ok || c != gtp.CauseSystemFailure {
		t.Errorf("else: %v %v", c, ok)
	}
	if CauseOf("some-new-code") != gtp.CauseNotAuthorised {
		t.Error("an unmapped code must be denied vaguely")
	}
}
