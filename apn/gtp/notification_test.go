package gtp

import (
	"bytes"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

func TestChangeNotification(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/change-notification-request", "imsi", "me-identity-mei", "rat-type", "user-location-information-uli", "lbi")
	gtptest.ShowsIn(t, "29.274/change-notification-response", "cause", "imsi", "me-identity-mei")
	s := gtptest.New()
	m := mustParse[*ChangeNotificationRequest](t, s.Change(9))
	mei := ie.NewMobileEquipmentIdentity(s.IMEI).Payload
	if m.TEID != 9 || m.IMSI.String() != s.IMSI || m.LinkedEBI != 5 || m.RAT != s.RAT || len(m.UserLocation) != 13 || !bytes.Equal(m.MEI, mei) {
		t.Errorf("%+v", m)
	}
	a := gtptest.Read((&ChangeNotificationResponse{Version: 2, TEID: 8, Seq: m.Seq, Cause: CauseAccepted, IMSI: m.IMSI, MEI: m.MEI, EBI: m.LinkedEBI}).Marshal())
	if a.Type != 39 || a.TEID != 8 || a.Seq != s.Seq || a.Cause() != 16 || a.Find(ie.IMSI, 0).MustIMSI() != s.IMSI ||
		!bytes.Equal(a.Find(ie.MobileEquipmentIdentity, 0).Payload, mei) || a.Find(ie.EPSBearerID, 0) != nil {
		t.Errorf("%+v", a)
	}
	bare := gtptest.Read((&ChangeNotificationResponse{Version: 2, Cause: CauseAccepted}).Marshal())
	if len(bare.Elements) != 1 {
		t.Errorf("identities are sent that the request didn't have: %+v", bare)
	}
	for _, c := range []struct {
		name  string
		ies   []*ie.IE
		cause Cause
		typ   uint8
	}{
		{"RAT only", []*ie.IE{ie.NewRATType(6)}, 0, 0},
		{"no RAT", []*ie.IE{ie.NewIMSI(s.IMSI)}, CauseMandatoryMissing, ie.RATType},
		{"RAT empty", []*ie.IE{ie.New(ie.RATType, 0, nil)}, CauseInvalidLength, ie.RATType},
		{"IMSI with letters", []*ie.IE{ie.NewRATType(6), ie.New(ie.IMSI, 0, []byte{0xba})}, CauseMandatoryIncorrect, ie.IMSI},
		{"EBI 2", []*ie.IE{ie.NewRATType(6), ie.NewEPSBearerID(2)}, CauseMandatoryIncorrect, ie.EPSBearerID},
	} {
		e := fault(t, s.Request(message.MsgTypeChangeNotificationRequest, 1, c.ies...))
		if c.cause == 0 && e != nil || c.cause != 0 && (e == nil || e.Cause != c.cause || e.IE != c.typ) {
			t.Errorf("%s: %v, want %v of IE %d", c.name, e, c.cause, c.typ)
		}
	}
}

func TestSuspendAndResume(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/suspend-notification", "sender-f-teid-for-control-plane")
	gtptest.ShowsIn(t, "29.274/suspend-acknowledge", "cause")
	gtptest.ShowsIn(t, "29.274/resume-notification", "imsi", "sender-f-teid-for-control-plane")
	gtptest.ShowsIn(t, "29.274/resume-acknowledge", "cause")
	s := gtptest.New()
	sender := FTEID{6, s.ControlTEID, s.Addr}
	if m := mustParse[*SuspendNotification](t, s.Suspend(9)); m.TEID != 9 || m.Sender != sender || SenderTEID(m) != s.ControlTEID {
		t.Errorf("%+v", m)
	}
	if m := mustParse[*ResumeNotification](t, s.Resume(9)); m.TEID != 9 || m.Sender != sender || SenderTEID(m) != s.ControlTEID {
		t.Errorf("%+v", m)
	}
	if m := mustParse[*SuspendNotification](t, s.Request(message.MsgTypeSuspendNotification, 9)); !m.Sender.IsZero() {
		t.Errorf("%+v", m)
	}
	mme := ie.NewFullyQualifiedTEID(10, 1, "127.0.0.1", "")
	dummy := ie.New(ie.IMSI, 0, bytes.Repeat([]byte{0}, 8))
	for _, c := range []struct {
		name  string
		typ   uint8
		ies   []*ie.IE
		cause Cause
	}{
		{"suspend by an MME", message.MsgTypeSuspendNotification, []*ie.IE{mme}, CauseMandatoryIncorrect},
		{"resume without IMSI", message.MsgTypeResumeNotification, nil, CauseMandatoryMissing},
		{"resume with an empty IMSI", message.MsgTypeResumeNotification, []*ie.IE{ie.New(ie.IMSI, 0, nil)}, CauseInvalidLength},
		{"resume with a dummy IMSI", message.MsgTypeResumeNotification, []*ie.IE{dummy}, 0},
		{"resume by an MME", message.MsgTypeResumeNotification, []*ie.IE{dummy, mme}, CauseMandatoryIncorrect},
	} {
		if e := fault(t, s.Request(c.typ, 1, c.ies...)); c.cause == 0 && e != nil || c.cause != 0 && (e == nil || e.Cause != c.cause) {
			t.Errorf("%s: %v, want %v", c.name, e, c.cause)
		}
	}
	for typ, b := range map[uint8][]byte{
		163: (&SuspendAcknowledge{TEID: 7, Seq: 8, Cause: CauseAccepted}).Marshal(),
		165: (&ResumeAcknowledge{TEID: 7, Seq: 8, Cause: CauseAccepted}).Marshal(),
	} {
		if a := gtptest.Read(b); a.Type != typ || a.TEID != 7 || a.Seq != 8 || a.Cause() != 16 || len(a.Elements) != 1 {
			t.Errorf("%+v", a)
		}
	}
}

func TestConnectionSets(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/delete-pdn-connection-set-request", "mme-fq-csid", "sgw-fq-csid", "epdg-fq-csid", "twan-fq-csid", "pgw-fq-csid")
	gtptest.ShowsIn(t, "29.274/delete-pdn-connection-set-response", "cause", "recovery")
	gtptest.ShowsIn(t, "29.274/create-session-request", "mme-fq-csid-sgw-fq-csid-epdg-fq-csid-twan-fq-csid")
	gtptest.ShowsIn(t, "29.274/modify-bearer-request", "mme-fq-csid-sgw-fq-csid")
	s := gtptest.New()
	sgw := func(csid byte) []byte { return []byte{roleSGW, 0, 127, 0, 20, 1, 0, csid} }
	equal := func(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }
	m := mustParse[*DeletePDNConnectionSetRequest](t, s.LostSets(3, 9, 3))
	if !equal(m.CSIDs, [][]byte{sgw(3), sgw(9)}) {
		t.Errorf("% x", m.CSIDs)
	}
	a := gtptest.Read((&DeletePDNConnectionSetResponse{Seq: m.Seq, Cause: CauseAccepted, Recovery: 4}).Marshal())
	if a.Type != 102 || a.TEID != 0 || a.Seq != s.Seq || a.Cause() != 16 || a.Find(ie.Recovery, 0).Payload[0] != 4 {
		t.Errorf("%+v", a)
	}

	// The names of a Create and a Modify are those of a Delete, although ePDG and
	// TWAN have other instances there.
	v6 := append([]byte{0x11}, append(s.Addr.AsSlice(), make([]byte, 14)...)...)
	node := ie.New(ie.FullyQualifiedCSID, 0, []byte{0x21, 0x70, 0x3f, 0x90, 0x01, 0, 7})
	told := []*ie.IE{node, s.ConnectionSet(1, 3), ie.New(ie.FullyQualifiedCSID, 2, v6), s.ConnectionSet(3, 8)}
	want := [][]byte{
		{roleMME, 2, 0x70, 0x3f, 0x90, 0x01, 0, 7},
		sgw(3),
		slices.Concat([]byte{roleEPDG, 1}, v6[1:]),
		{roleTWAN, 0, 127, 0, 20, 1, 0, 8},
	}
	if c := mustParse[*CreateSessionRequest](t, s.Request(TypeCreateSessionRequest, 0, append(s.CreateElements(), told...)...)); !equal(c.CSIDs, want) {
		t.Errorf("create: % x, want % x", c.CSIDs, want)
	}
	if c := mustParse[*ModifyBearerRequest](t, s.Request(TypeModifyBearerRequest, 1, told...)); !equal(c.CSIDs, want) {
		t.Errorf("modify: % x, want % x", c.CSIDs, want)
	}
	if c := mustParse[*ModifyBearerRequest](t, s.Modify(1, true)); c.CSIDs != nil {
		t.Errorf("modify without: % x", c.CSIDs)
	}
	for typ, role := range map[uint8]uint8{0: roleMME, 1: roleSGW, 3: roleEPDG, 4: roleTWAN} {
		lost := mustParse[*DeletePDNConnectionSetRequest](t, s.Request(message.MsgTypeDeletePDNConnectionSetRequest, 0, s.ConnectionSet(typ, 1)))
		if len(lost.CSIDs) != 1 || lost.CSIDs[0][0] != role {
			t.Errorf("instance %d: % x", typ, lost.CSIDs)
		}
	}

	for _, c := range []struct {
		name  string
		ies   []*ie.IE
		cause Cause
	}{
		{"nothing", nil, CauseConditionalMissing},
		{"our own set", []*ie.IE{s.ConnectionSet(2, 1)}, CauseConditionalMissing},
		{"unknown instance", []*ie.IE{s.ConnectionSet(5, 1)}, CauseConditionalMissing},
		{"empty", []*ie.IE{ie.New(ie.FullyQualifiedCSID, 1, nil)}, CauseInvalidLength},
		{"node ID cut", []*ie.IE{ie.New(ie.FullyQualifiedCSID, 1, []byte{0x01, 127, 0, 20})}, CauseInvalidLength},
		{"second set missing", []*ie.IE{ie.New(ie.FullyQualifiedCSID, 1, []byte{0x02, 127, 0, 20, 1, 0, 1})}, CauseInvalidLength},
		{"no set", []*ie.IE{ie.New(ie.FullyQualifiedCSID, 1, []byte{0x00, 127, 0, 20, 1})}, CauseMandatoryIncorrect},
		{"node ID type 3", []*ie.IE{ie.New(ie.FullyQualifiedCSID, 1, []byte{0x31, 127, 0, 20, 1, 0, 1})}, CauseMandatoryIncorrect},
		{"more octets than needed", []*ie.IE{ie.New(ie.FullyQualifiedCSID, 1, []byte{0x01, 127, 0, 20, 1, 0, 1, 9})}, 0},
	} {
		e := fault(t, s.Request(message.MsgTypeDeletePDNConnectionSetRequest, 0, c.ies...))
		if c.cause == 0 && e != nil || c.cause != 0 && (e == nil || e.Cause != c.cause || e.IE != ie.FullyQualifiedCSID) {
			t.Errorf("%s: %v, want %v", c.name, e, c.cause)
		}
		// Where a session only says what it depends on, a broken one isn't told.
		if m := mustParse[*ModifyBearerRequest](t, s.Request(TypeModifyBearerRequest, 1, c.ies...)); c.cause != 0 && c.name != "our own set" && m.CSIDs != nil {
			t.Errorf("%s in a Modify Bearer Request: % x", c.name, m.CSIDs)
		}
	}
	many := make([]*ie.IE, 0, 70)
	for i := range uint16(70) {
		many = append(many, s.ConnectionSet(1, slices.Collect(func(yield func(uint16) bool) {
			for j := range uint16(15) {
				if !yield(i*15 + j) {
					return
				}
			}
		})...))
	}
	if e := fault(t, s.Request(message.MsgTypeDeletePDNConnectionSetRequest, 0, many...)); e == nil || e.Cause != CauseMandatoryIncorrect {
		t.Errorf("1050 sets: %v", e)
	}
}
