package gtp

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/policy/ident"
)

func msisdn(t testing.TB) ident.MSISDN {
	t.Helper()
	n, err := ident.ParseMSISDN("8613912345678")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// accepted is a Create Session Response of every element.
func accepted(t testing.TB) *CreateSessionResponse {
	t.Helper()
	m := mustParse[*CreateSessionRequest](t, gtptest.New().Create())
	return &CreateSessionResponse{
		TEID: m.Sender.TEID, Seq: m.Seq, Cause: CauseAccepted, PeerType: m.Sender.InterfaceType,
		ControlTEID: 0xc0000001, UserTEID: 0xd0000001, Outer: netip.MustParseAddr("127.0.10.1"), PAA: PAA{IPv4: netip.MustParseAddr("10.90.0.2")},
		AMBRUpKbps: 50000, AMBRDownKbps: 60000,
		PCO:    m.PCO.Answer(PCOValues{DNS: []netip.Addr{netip.MustParseAddr("10.90.0.1"), netip.MustParseAddr("10.90.0.3")}, MTU: 1400}),
		Bearer: m.Bearer, ChargingID: 77, Recovery: 4,
	}
}

func TestCreateSessionResponse(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-response",
		"cause", "pgw-f-teid-for-control-plane-s5-s8-s2a-s2b", "pdn-address-allocation-paa", "apn-restriction", "aggregate-maximum-bit-rate-apn-ambr",
		"recovery", "bearer-contexts-created", "bearer-context-eps-bearer-id", "bearer-context-cause", "bearer-context-s5-s8-u-pgw-f-teid",
		"bearer-context-bearer-level-qos", "bearer-context-charging-id")
	r := accepted(t)
	a := gtptest.Read(r.Marshal())
	if a.Type != 33 || a.TEID != r.TEID || a.Seq != r.Seq || a.Cause() != 16 {
		t.Errorf("%+v", a)
	}
	pgw, err := a.Find(ie.FullyQualifiedTEID, 1).FullyQualifiedTEID()
	if err != nil || pgw.InterfaceType != InterfaceS5S8PGWControl || pgw.TEIDGREKey != r.ControlTEID || pgw.IPv4Address.String() != "127.0.10.1" || pgw.IPv6Address != nil {
		t.Errorf("control F-TEID: %+v, %v", pgw, err)
	}
	if paa := a.Find(ie.PDNAddressAllocation, 0).Payload; !bytes.Equal(paa, []byte{1, 10, 90, 0, 2}) {
		t.Errorf("PAA % x", paa)
	}
	if ambr := a.Find(ie.AggregateMaximumBitRate, 0); ambr.MustAggregateMaximumBitRateUp() != 50000 || ambr.MustAggregateMaximumBitRateDown() != 60000 {
		t.Errorf("AMBR % x", ambr.Payload)
	}
	if rec := a.Find(ie.Recovery, 0).Payload; !bytes.Equal(rec, []byte{4}) {
		t.Errorf("recovery % x", rec)
	}
	if res := a.Find(ie.APNRestriction, 0).Payload; !bytes.Equal(res, []byte{0}) {
		t.Errorf("APN restriction % x", res)
	}
	bearer := a.Find(ie.BearerContext, 0).ChildIEs
	user, err := gtptest.Find(bearer, ie.FullyQualifiedTEID, 2).FullyQualifiedTEID()
	if err != nil || user.InterfaceType != InterfaceS5S8PGWUser || user.TEIDGREKey != r.UserTEID {
		t.Errorf("user F-TEID: %+v, %v", user, err)
	}
	if ebi := gtptest.Find(bearer, ie.EPSBearerID, 0).Payload; !bytes.Equal(ebi, []byte{5}) {
		t.Errorf("EBI % x", ebi)
	}
	if c := gtptest.Find(bearer, ie.Cause, 0).Payload; !bytes.Equal(c, []byte{16, 0}) {
		t.Errorf("bearer cause % x", c)
	}
	if id := gtptest.Find(bearer, ie.ChargingID, 0).Payload; !bytes.Equal(id, []byte{0, 0, 0, 77}) {
		t.Errorf("charging id % x", id)
	}
	qos := gtptest.Find(bearer, ie.BearerQoS, 0).Payload
	if len(qos) != 22 || qos[0] != r.Bearer.ARP || qos[1] != 9 || !bytes.Equal(qos[2:], make([]byte, 20)) {
		t.Errorf("QoS % x", qos)
	}
	if !bytes.Equal(r.Marshal(), r.Marshal()) {
		t.Error("two encodings differ")
	}
}

// Each access has F-TEIDs of its own types and instances.
func TestAccesses(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "bearer-context-s5-s8-u-sgw-f-teid", "bearer-context-s2b-u-epdg-f-teid", "bearer-context-s2a-u-twan-f-teid")
	gtptest.ShowsIn(t, "29.274/create-session-response",
		"pgw-f-teid-for-control-plane-s5-s8-s2a-s2b", "bearer-context-s5-s8-u-pgw-f-teid", "bearer-context-s2b-u-pgw-f-teid",
		"bearer-context-s2a-u-pgw-f-teid")
	s := gtptest.New()
	for _, c := range []struct {
		name                  string
		peer, peerUser        uint8
		peerInstance          uint8
		control, user, answer uint8
	}{
		{"S5/S8", InterfaceS5S8SGWControl, InterfaceS5S8SGWUser, 2, InterfaceS5S8PGWControl, InterfaceS5S8PGWUser, 2},
		{"S2b", InterfaceS2bControl, InterfaceS2bUser, 5, InterfaceS2bPGWControl, InterfaceS2bPGWUser, 4},
		{"S2a", InterfaceS2aControl, InterfaceS2aUser, 6, InterfaceS2aPGWControl, InterfaceS2aPGWUser, 5},
	} {
		all := s.CreateElements()
		all[6] = ie.NewFullyQualifiedTEID(c.peer, 5, "127.0.20.1", "")
		all[14] = ie.NewGroupedIE(ie.BearerContext, all[14].ChildIEs[0],
			ie.NewFullyQualifiedTEID(c.peerUser, 6, "127.0.20.1", "").WithInstance(c.peerInstance), all[14].ChildIEs[2])
		m := mustParse[*CreateSessionRequest](t, s.Request(TypeCreateSessionRequest, 0, all...))
		if m.Bearer.User.TEID != 6 || m.UserInstance() != c.peerInstance {
			t.Errorf("%s: %+v", c.name, m.Bearer)
		}
		r := accepted(t)
		r.PeerType = m.Sender.InterfaceType
		a := gtptest.Read(r.Marshal())
		if got := a.Find(ie.FullyQualifiedTEID, 1).MustInterfaceType(); got != c.control {
			t.Errorf("%s: control interface %d, want %d", c.name, got, c.control)
		}
		u := gtptest.Find(a.Find(ie.BearerContext, 0).ChildIEs, ie.FullyQualifiedTEID, c.answer)
		if u == nil || u.MustInterfaceType() != c.user {
			t.Errorf("%s: user plane F-TEID %v", c.name, u)
		}
	}
}

func TestSurplusBearersAreMarkedForRemoval(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "further-bearer-contexts-to-be-created")
	gtptest.ShowsIn(t, "29.274/create-session-response", "bearer-contexts-marked-for-removal")
	r := accepted(t)
	r.Surplus = []uint8{6, 7}
	a := gtptest.Read(r.Marshal())
	var removed []uint8
	for _, e := range a.Elements {
		if e.Type == ie.BearerContext && e.Instance() == 1 {
			removed = append(removed, gtptest.Find(e.ChildIEs, ie.EPSBearerID, 0).Payload[0])
		}
	}
	if !bytes.Equal(removed, []byte{6, 7}) || a.Cause() != uint8(CauseAcceptedPartially) {
		t.Errorf("removed %v, cause %d", removed, a.Cause())
	}
}

func TestModifyBearerResponse(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/modify-bearer-response",
		"cause", "msisdn", "linked-eps-bearer-id", "apn-restriction", "bearer-contexts-modified", "bearer-context-modified-eps-bearer-id",
		"bearer-context-modified-cause", "bearer-context-modified-charging-id", "bearer-contexts-marked-for-removal", "recovery")
	a := gtptest.Read((&ModifyBearerResponse{
		TEID: 1, Seq: 2, Cause: CauseAccepted, LinkedEBI: 5, Recovery: 3, Moved: true, AMBRUpKbps: 4, AMBRDownKbps: 5, MSISDN: msisdn(t),
		Bearers: []BearerResult{{5, CauseAccepted, 77}, {6, CauseContextNotFound, 0}},
		Removed: []BearerResult{{7, CauseContextNotFound, 0}},
	}).Marshal())
	if a.Type != 35 || a.TEID != 1 || a.Seq != 2 || a.Cause() != 16 || a.Find(ie.MSISDN, 0).MustMSISDN() != "8613912345678" ||
		a.Find(ie.AggregateMaximumBitRate, 0) == nil || a.Find(ie.APNRestriction, 0) == nil || a.Find(ie.EPSBearerID, 0).Payload[0] != 5 {
		t.Errorf("%+v", a)
	}
	if recovery := a.Find(ie.Recovery, 0).Payload; !bytes.Equal(recovery, []byte{3}) {
		t.Errorf("recovery % x", recovery)
	}
	var bearers []string
	for _, e := range a.Elements {
		if e.Type == ie.BearerContext {
			b := e.ChildIEs
			bearers = append(bearers, fmt.Sprintf("%d: %d %d", e.Instance(), gtptest.Find(b, ie.EPSBearerID, 0).Payload, gtptest.Find(b, ie.Cause, 0).Payload[0]))
			if id := gtptest.Find(b, ie.ChargingID, 0); (id != nil) != (len(bearers) == 1) || id != nil && id.MustChargingID() != 77 {
				t.Errorf("%s: charging ID %v", bearers[len(bearers)-1], id)
			}
		}
	}
	if want := []string{"0: [5] 16", "0: [6] 64", "1: [7] 64"}; !slices.Equal(bearers, want) {
		t.Errorf("bearers %q, want %q", bearers, want)
	}
	still := gtptest.Read((&ModifyBearerResponse{Cause: CauseAccepted}).Marshal())
	for _, typ := range []uint8{ie.MSISDN, ie.AggregateMaximumBitRate, ie.APNRestriction, ie.EPSBearerID} {
		if still.Find(typ, 0) != nil {
			t.Errorf("IE %d is sent to a peer that hasn't changed", typ)
		}
	}
}

// Commands get back what belongs to them, also when they are faulty.
func TestCommandFailures(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/bearer-resource-command", "linked-eps-bearer-id-lbi", "procedure-transaction-id-pti")
	gtptest.ShowsIn(t, "29.274/bearer-resource-failure-indication", "cause", "linked-eps-bearer-id", "procedure-transaction-id-pti", "recovery")
	gtptest.ShowsIn(t, "29.274/delete-bearer-command", "bearer-contexts-eps-bearer-id")
	gtptest.ShowsIn(t, "29.274/delete-bearer-failure-indication", "cause", "bearer-context-eps-bearer-id", "bearer-context-cause", "recovery")
	gtptest.ShowsIn(t, "29.274/modify-bearer-failure-indication", "cause", "recovery")
	gtptest.ShowsIn(t, "29.274/update-pdn-connection-set-response", "cause", "recovery")
	s := gtptest.New()
	bearer := func(ebi uint8) *ie.IE { return ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(ebi)) }
	for _, c := range []struct {
		name  string
		typ   uint8
		ies   []*ie.IE
		check func(gtptest.Answer) bool
	}{
		{"bearer resource command", 68, []*ie.IE{ie.NewEPSBearerID(5), ie.NewProcedureTransactionID(9)}, func(a gtptest.Answer) bool {
			return a.Cause() == 68 && a.Find(ie.EPSBearerID, 0).Payload[0] == 5 && a.Find(ie.ProcedureTransactionID, 0).Payload[0] == 9
		}},
		{"without PTI", 68, []*ie.IE{ie.NewEPSBearerID(5)}, func(a gtptest.Answer) bool {
			return a.Cause() == 70 && a.Find(ie.EPSBearerID, 0).Payload[0] == 5
		}},
		{"delete bearer command", 66, []*ie.IE{bearer(6), bearer(7)}, func(a gtptest.Answer) bool {
			var refused []uint8
			for _, e := range a.Elements {
				if e.Type == ie.BearerContext {
					refused = append(refused, gtptest.Find(e.ChildIEs, ie.EPSBearerID, 0).Payload[0], gtptest.Find(e.ChildIEs, ie.Cause, 0).Payload[0])
				}
			}
			return a.Cause() == 68 && bytes.Equal(refused, []byte{6, 68, 7, 68})
		}},
		{"delete bearer command without bearers", 66, nil, func(a gtptest.Answer) bool { return a.Cause() == 70 }},
		{"modify bearer command", 64, []*ie.IE{ie.NewAggregateMaximumBitRate(1, 2), bearer(5)}, func(a gtptest.Answer) bool { return a.Cause() == 68 }},
		{"update of connection sets", 200, nil, func(a gtptest.Answer) bool { return a.Cause() == 68 }},
		{"modify bearer command without AMBR", 64, []*ie.IE{bearer(5)}, func(a gtptest.Answer) bool { return a.Cause() == 70 }},
	} {
		m, err := Parse(s.Request(c.typ, 1, c.ies...))
		why := &Error{Cause: CauseServiceNotSupported}
		if f, ok := m.(*Faulty); ok {
			why = f.Err
		} else if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		restarts := uint8(9)
		a := gtptest.Read(Refusal{TEID: 2, Reason: why, Recovery: &restarts}.Marshal(m))
		if recovery := a.Find(ie.Recovery, 0); !c.check(a) || recovery == nil || recovery.Payload[0] != restarts {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

func TestRefusalOfEchoIsSilence(t *testing.T) {
	m := mustParse[*EchoRequest](t, gtptest.New().Echo())
	if b := (Refusal{Reason: &Error{Cause: CauseSystemFailure}}).Marshal(m); b != nil {
		t.Errorf("% x", b)
	}
}

func TestCauseNames(t *testing.T) {
	for _, c := range []struct {
		cause    Cause
		text     string
		accepted bool
	}{{16, "request accepted (16)", true}, {19, "new PDN type due to single address bearer only (19)", true}, {64, "context not found (64)", false}, {200, "cause 200", false}, {8, "reactivation requested (8)", false}} {
		if c.cause.String() != c.text || c.cause.Accepted() != c.accepted {
			t.Errorf("%d: %q %v", uint8(c.cause), c.cause, c.cause.Accepted())
		}
	}
}
