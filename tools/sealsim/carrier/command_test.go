package carrier

import (
	"errors"
	"testing"

	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

func TestModifyBearerCommand(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		want := AMBR{Up: 111, Down: 222}
		if err := b.ModifyBearerCommand(t.Context(), want, QoS{QCI: 8, ARP: 3}); err != nil {
			t.Fatal(err)
		}
		m, ok := (<-g.seen).(*message.ModifyBearerCommand)
		if !ok || m.Sequence()&0x800000 == 0 || m.TEID() != 1 {
			t.Fatalf("command: %+v", m)
		}
		// The update has the command's number, and is answered with it.
		if r, ok := (<-g.seen).(*message.UpdateBearerResponse); !ok || r.Sequence() != m.Sequence() || r.Cause.MustCause() != 16 || r.TEID() != 1 {
			t.Errorf("answer to the update: %+v", r)
		}
		if got := b.Granted(); got.AMBR != want || got.QoS != (QoS{QCI: 8, ARP: 3}) {
			t.Errorf("granted %+v", got)
		}
		g.mu.Lock()
		g.cause = 73
		g.mu.Unlock()
		var refused *RefusedError
		if err := b.ModifyBearerCommand(t.Context(), AMBR{1, 1}, QoS{}); !errors.As(err, &refused) || refused.Cause != 73 {
			t.Errorf("refused: %v", err)
		}
		if got := b.Granted().AMBR; got != want {
			t.Errorf("a refused command changed %+v", got)
		}
	})
}

// An update of another session is no answer to the command.
func TestCommandAnsweredForAnotherSession(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		attach(t, c)
		g.answer = func(m message.Message) any {
			if m, ok := m.(*message.ModifyBearerCommand); ok {
				return g.marshal(message.NewUpdateBearerRequest(g.peer[2].control, m.Sequence(), m.APNAMBR, m.BearerContext))
			}
			return nil
		}
		if err := b.ModifyBearerCommand(t.Context(), AMBR{1, 1}, QoS{}); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v", err)
		}
	})
}

// The gateway's own update has a number of its own, and no command waits.
func TestUpdateUnasked(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		g.send(message.NewUpdateBearerRequest(g.peer[1].control, 7, ie.NewBearerContext(ie.NewEPSBearerID(5)), ie.NewAggregateMaximumBitRate(3, 4)))
		if r, ok := (<-g.seen).(*message.UpdateBearerResponse); !ok || r.Cause.MustCause() != 16 {
			t.Errorf("answer: %+v", r)
		}
		if got := b.Granted().AMBR; got != (AMBR{3, 4}) {
			t.Errorf("AMBR %+v", got)
		}
	})
}

func TestCommandsForDedicatedBearersAreRefused(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		var refused *RefusedError
		if err := b.BearerResourceCommand(t.Context(), QoS{QCI: 1}); !errors.As(err, &refused) || refused.Cause != 68 || b.Err() != nil {
			t.Errorf("bearer resource command: %v, bearer %v", err, b.Err())
		}
		m := (<-g.seen).(*message.Generic)
		if m.MessageType() != 68 || m.Sequence()&0x800000 == 0 {
			t.Errorf("bearer resource command: %+v", m)
		}
		for _, want := range []uint8{ie.EPSBearerID, ie.ProcedureTransactionID, ie.FlowQoS, ie.TrafficAggregateDescription} {
			if find(m.IEs, want, 0) == nil {
				t.Errorf("bearer resource command without element %d", want)
			}
		}
		if err := b.DeleteBearerCommand(t.Context(), 6); !errors.As(err, &refused) || refused.Cause != 64 {
			t.Errorf("delete bearer command: %v", err)
		}
		if d := (<-g.seen).(*message.DeleteBearerCommand); len(d.BearerContexts) != 1 {
			t.Errorf("delete bearer command: %+v", d)
		}
	})
}

func TestNotifications(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		if err := errors.Join(b.Suspend(t.Context()), b.Resume(t.Context()), b.NotifyChange(t.Context(), Move{TAC: 9, RAT: NBIoT})); err != nil {
			t.Fatal(err)
		}
		if m, ok := (<-g.seen).(*message.SuspendNotification); !ok || m.TEID() != 1 {
			t.Errorf("suspend: %+v", m)
		}
		if m, ok := (<-g.seen).(*message.ResumeNotification); !ok || m.IMSI.MustIMSI() != "460010000000001" {
			t.Errorf("resume: %+v", m)
		}
		if m, ok := (<-g.seen).(*message.ChangeNotificationRequest); !ok || m.RATType.MustRATType() != 8 {
			t.Errorf("change: %+v", m)
		}
		g.mu.Lock()
		g.cause = 64
		g.mu.Unlock()
		if err := b.Suspend(t.Context()); err == nil || !errors.Is(b.Err(), ErrContextNotFound) {
			t.Errorf("of an unknown session: %v, bearer %v", err, b.Err())
		}
	})
}

func TestPDPContextsHaveNoCommands(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attachV1(t, c)
		<-g.seenV1
		for what, err := range map[string]error{
			"command": b.ModifyBearerCommand(t.Context(), AMBR{1, 1}, QoS{}),
			"suspend": b.Suspend(t.Context()),
		} {
			if !errors.Is(err, ErrNotGTPv2) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := b.NotifyChange(t.Context(), Move{RAT: GERAN}); err != nil {
			t.Fatal(err)
		}
		if m, ok := (<-g.seenV1).(*v1.Generic); !ok || m.MessageType() != v1InfoChangeRequest || m.TEID() != 1 {
			t.Errorf("info change: %+v", m)
		}
	})
}

func TestDeleteConnectionSet(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		one, two := subscriber(1), subscriber(2)
		one.ConnectionSet, two.ConnectionSet = 0x0101, 0x0202
		lost, stays := must(c.Attach(t.Context(), one)), must(c.Attach(t.Context(), two))
		m := (<-g.seen).(*message.CreateSessionRequest)
		if f := must(m.SGWFQCSID.FullyQualifiedCSID()); f.CSIDs[0] != 0x0101 {
			t.Errorf("created in set %+v", f)
		}
		<-g.seen
		if err := c.DeleteConnectionSet(t.Context(), 0x0101); err != nil {
			t.Fatal(err)
		}
		d := (<-g.seen).(*message.DeletePDNConnectionSetRequest)
		if f := must(d.SGWFQCSID.FullyQualifiedCSID()); f.CSIDs[0] != 0x0101 || d.TEID() != 0 {
			t.Errorf("deleted set %+v", f)
		}
		if !errors.Is(lost.Err(), ErrSetLost) || stays.Err() != nil {
			t.Errorf("ended with %v and %v", lost.Err(), stays.Err())
		}
	})
}

func TestIndicateError(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		b.IndicateError()
		m, ok := g.userMessage().(*v1.ErrorIndication)
		if !ok || m.TEIDDataI.MustTEID() != g.peer[1].user || m.GTPUPeerAddress.MustGSNAddress() != sgw.String() {
			t.Errorf("error indication: %+v", m)
		}
		if b.Err() != nil {
			t.Errorf("the bearer ended: %v", b.Err())
		}
	})
}
