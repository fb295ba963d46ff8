package gtp

import (
	"bytes"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

func TestModifyBearerCommand(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/modify-bearer-command",
		"apn-aggregate-maximum-bit-rate-apn-ambr", "bearer-context", "bearer-context-eps-bearer-id", "bearer-context-bearer-level-qos",
		"sender-f-teid-for-control-plane")
	s := gtptest.New()
	m := mustParse[*ModifyBearerCommand](t, s.ModifyCommand(9))
	if m.TEID != 9 || m.Seq != s.Seq|0x800000 || m.AMBRUpKbps != 30000 || m.AMBRDownKbps != 40000 ||
		m.Bearer != (Bearer{EBI: 5, QCI: 8, ARP: 0x40 | 9<<2 | 1}) || m.Sender != (FTEID{6, s.ControlTEID, s.Addr}) {
		t.Errorf("%+v", m)
	}
	if SenderTEID(m) != s.ControlTEID {
		t.Errorf("sender %x", SenderTEID(m))
	}
	bearer := func(children ...*ie.IE) *ie.IE { return ie.NewGroupedIE(ie.BearerContext, children...) }
	ambr, ebi := ie.NewAggregateMaximumBitRate(1, 2), ie.NewEPSBearerID(5)
	for _, c := range []struct {
		name       string
		ies        []*ie.IE
		cause      Cause
		typ, group uint8
	}{
		{"AMBR only", []*ie.IE{ambr, bearer(ebi)}, 0, 0, 0},
		{"no AMBR", []*ie.IE{bearer(ebi)}, CauseMandatoryMissing, ie.AggregateMaximumBitRate, 0},
		{"AMBR short", []*ie.IE{ie.New(ie.AggregateMaximumBitRate, 0, make([]byte, 7)), bearer(ebi)}, CauseInvalidLength, ie.AggregateMaximumBitRate, 0},
		{"no bearer", []*ie.IE{ambr}, CauseMandatoryMissing, ie.BearerContext, 0},
		{"no EBI", []*ie.IE{ambr, bearer(ie.NewRecovery(1))}, CauseMandatoryMissing, ie.EPSBearerID, ie.BearerContext},
		{"EBI 3", []*ie.IE{ambr, bearer(ie.NewEPSBearerID(3))}, CauseMandatoryIncorrect, ie.EPSBearerID, ie.BearerContext},
		{"QoS short", []*ie.IE{ambr, bearer(ebi, ie.New(ie.BearerQoS, 0, make([]byte, 21)))}, CauseInvalidLength, ie.BearerQoS, ie.BearerContext},
		{"sender an MME", []*ie.IE{ambr, bearer(ebi), ie.NewFullyQualifiedTEID(10, 1, "127.0.0.1", "")}, CauseMandatoryIncorrect, ie.FullyQualifiedTEID, 0},
	} {
		e := fault(t, s.Request(message.MsgTypeModifyBearerCommand, 1, c.ies...))
		switch {
		case c.cause == 0 && e != nil:
			t.Errorf("%s: %v", c.name, e)
		case c.cause != 0 && (e == nil || e.Cause != c.cause || e.IE != c.typ || e.Group != c.group):
			t.Errorf("%s: %v, want %v of IE %d in %d", c.name, e, c.cause, c.typ, c.group)
		}
	}
}

func TestUpdateBearerRequest(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/update-bearer-request",
		"bearer-contexts", "aggregate-maximum-bit-rate-apn-ambr", "bearer-context-eps-bearer-id", "bearer-context-bearer-level-qos")
	m := UpdateBearerRequest{TEID: 7, Seq: 0x800009, AMBRUpKbps: 1, AMBRDownKbps: 2, Bearer: Bearer{EBI: 5, QCI: 8, ARP: 0x24}}
	a := gtptest.Read(m.Marshal())
	if a.Type != 97 || a.TEID != 7 || a.Seq != 0x800009 {
		t.Errorf("%+v", a)
	}
	if ambr := a.Find(ie.AggregateMaximumBitRate, 0).Payload; !bytes.Equal(ambr, []byte{0, 0, 0, 1, 0, 0, 0, 2}) {
		t.Errorf("AMBR % x", ambr)
	}
	bearer := a.Find(ie.BearerContext, 0).ChildIEs
	if qos := gtptest.Find(bearer, ie.BearerQoS, 0).Payload; len(qos) != 22 || qos[0] != 0x24 || qos[1] != 8 {
		t.Errorf("QoS % x", qos)
	}
	if ebi := gtptest.Find(bearer, ie.EPSBearerID, 0).Payload; !bytes.Equal(ebi, []byte{5}) {
		t.Errorf("EBI % x", ebi)
	}
	m.Bearer.QCI = 0
	if bearer := gtptest.Read(m.Marshal()).Find(ie.BearerContext, 0).ChildIEs; len(bearer) != 1 {
		t.Errorf("a Bearer QoS that didn't change is sent: %v", bearer)
	}
}

// What came of a bearer is said by the message, or by the bearer itself when the
// message says "partially".
func TestResponsesAboutBearers(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/update-bearer-response", "cause", "bearer-contexts-cause", "recovery")
	gtptest.ShowsIn(t, "29.274/delete-bearer-response", "cause", "bearer-contexts-cause", "recovery")
	s := gtptest.New()
	cause := func(c Cause) *ie.IE { return ie.NewCause(uint8(c), 0, 0, 0, nil) }
	bearer := func(c Cause) *ie.IE { return ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5), cause(c)) }
	for _, c := range []struct {
		name string
		ies  []*ie.IE
		want Cause
	}{
		{"accepted", []*ie.IE{cause(CauseAccepted), bearer(CauseAccepted)}, CauseAccepted},
		{"refused", []*ie.IE{cause(CauseContextNotFound)}, CauseContextNotFound},
		{"partially, the bearer refused", []*ie.IE{cause(CauseAcceptedPartially), bearer(CauseNoResources)}, CauseNoResources},
		{"partially, the second refused", []*ie.IE{cause(CauseAcceptedPartially), bearer(CauseAccepted), bearer(CauseNoResources)}, CauseNoResources},
		{"partially, nothing refused", []*ie.IE{cause(CauseAcceptedPartially), bearer(CauseAccepted)}, CauseAcceptedPartially},
		{"no cause", []*ie.IE{bearer(CauseAccepted)}, 0},
		{"empty cause", []*ie.IE{ie.New(ie.Cause, 0, nil)}, 0},
	} {
		u := mustParse[*UpdateBearerResponse](t, s.Request(TypeUpdateBearerResponse, 3, append(c.ies, ie.NewRecovery(4))...))
		d := mustParse[*DeleteBearerResponse](t, s.Request(TypeDeleteBearerResponse, 3, append(c.ies, ie.NewRecovery(4))...))
		if u.Cause != c.want || u.TEID != 3 || u.Recovery == nil || *u.Recovery != 4 {
			t.Errorf("update, %s: %+v, want cause %d", c.name, u, c.want)
		}
		if d.Cause != c.want || d.TEID != 3 || d.Recovery == nil || *d.Recovery != 4 {
			t.Errorf("delete, %s: %+v, want cause %d", c.name, d, c.want)
		}
	}
}

// A response that can't be read says nothing, but ends its transaction (TS
// 29.274 7.7.1).
func TestUnreadableResponses(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "an-erroneous-reply-ends-its-transaction")
	s := gtptest.New()
	for _, typ := range []uint8{TypeUpdateBearerResponse, TypeDeleteBearerResponse} {
		whole := s.Request(typ, 3, ie.NewCause(uint8(CauseAcceptedPartially), 0, 0, 0, nil))
		noTEID := slices.Concat(whole[:4], whole[8:])
		noTEID[0] &^= 0x08
		noTEID[3] -= 4
		for name, b := range map[string][]byte{
			"inner element too long": appendElement(whole, []byte{ie.BearerContext, 0, 6, 0, ie.EPSBearerID, 0, 9, 0, 5, 0}),
			"element too long":       appendElement(whole, []byte{ie.BearerContext, 0, 6, 0, 1}),
			"cut":                    whole[:len(whole)-1],
			"longer than it says":    append(slices.Clone(whole), 0),
			"no TEID":                noTEID,
		} {
			m, err := Parse(b)
			if err != nil {
				t.Errorf("type %d, %s: %v", typ, name, err)
				continue
			}
			switch m := m.(type) {
			case *UpdateBearerResponse:
				if m.Cause != 0 || m.Seq != s.Seq {
					t.Errorf("%s: %+v", name, m)
				}
			case *DeleteBearerResponse:
				if m.Cause != 0 || m.Seq != s.Seq {
					t.Errorf("%s: %+v", name, m)
				}
			default:
				t.Errorf("%s: %T", name, m)
			}
		}
	}
}
