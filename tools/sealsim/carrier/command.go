package carrier

import (
	"context"
	"errors"
	"fmt"

	v1ie "github.com/wmnsk/go-gtp/gtpv1/ie"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// ErrNotGTPv2 is returned for a procedure that PDP contexts don't have.
var ErrNotGTPv2 = errors.New("GTPv1 has no such procedure")

// command sends a command of GTPv2: a request that the gateway answers with a
// request of its own with the same sequence number, which is answered here, or
// with a failure indication (TS 29.274 7.6).
func (b *Bearer) command(ctx context.Context, kind uint8, triggers []uint8, ies ...*ie.IE) error {
	b.procedure.Lock()
	defer b.procedure.Unlock()
	if err := b.Err(); err != nil {
		return err
	}
	p := b.path.Load()
	if p.v1 {
		return ErrNotGTPv2
	}
	answer, err := p.carrier.ask(ctx, p.gateway(), kind, p.control.teid, commandsMark, append(triggers, kind+1), ies)
	if err != nil {
		return err
	}
	if answer.MessageType() != kind+1 && answer.MessageType() != message.MsgTypeVersionNotSupportedIndication {
		// Carried out by a request, if that was about this bearer.
		if answer.TEID() != b.newest().control && b.Err() == nil {
			return fmt.Errorf("%w: the command is answered by a request of another session", ErrProtocol)
		}
		return nil
	}
	switch err := accepted(answer); {
	case notFound(err):
		b.end(ErrContextNotFound)
		return err
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: a failure indication that accepts", ErrProtocol)
}

// ModifyBearerCommand tells the gateway of the subscription's new quality of
// service (TS 29.274 7.2.14). It returns when the gateway's Update Bearer
// Request is answered; Granted has what that says. A zero QoS is not told.
func (b *Bearer) ModifyBearerCommand(ctx context.Context, ambr AMBR, qos QoS) error {
	context := []*ie.IE{ie.NewEPSBearerID(b.identity)}
	if qos != (QoS{}) {
		context = append(context, bearerQoS(qos))
	}
	err := b.command(ctx, message.MsgTypeModifyBearerCommand, []uint8{message.MsgTypeUpdateBearerRequest},
		ie.NewAggregateMaximumBitRate(ambr.Up, ambr.Down), ie.NewBearerContext(context...))
	if err != nil {
		return fmt.Errorf("modify bearer command: %w", err)
	}
	return nil
}

// BearerResourceCommand asks for a dedicated bearer with the quality of service,
// for packets to TCP port 443 (TS 29.274 7.2.5).
func (b *Bearer) BearerResourceCommand(ctx context.Context, qos QoS) error {
	filter := ie.NewTFTPacketFilter(ie.TFTPFBidirectional, 1, 0, ie.NewTFTPFComponentSingleRemotePort(443))
	err := b.command(ctx, message.MsgTypeBearerResourceCommand, []uint8{message.MsgTypeCreateBearerRequest, message.MsgTypeUpdateBearerRequest},
		ie.NewEPSBearerID(b.identity), ie.NewProcedureTransactionID(1), ie.NewFlowQoS(qos.QCI, 0, 0, 0, 0),
		ie.NewTrafficAggregateDescriptionCreateNewTFT([]*ie.TFTPacketFilter{filter}, nil))
	if err != nil {
		return fmt.Errorf("bearer resource command: %w", err)
	}
	return nil
}

// DeleteBearerCommand asks the gateway to give up a dedicated bearer
// (TS 29.274 7.2.17.1).
func (b *Bearer) DeleteBearerCommand(ctx context.Context, identity uint8) error {
	err := b.command(ctx, message.MsgTypeDeleteBearerCommand, []uint8{message.MsgTypeDeleteBearerRequest},
		ie.NewBearerContext(ie.NewEPSBearerID(identity)))
	if err != nil {
		return fmt.Errorf("delete bearer command: %w", err)
	}
	return nil
}

// updated takes over what an Update Bearer Request says.
func (b *Bearer) updated(msg *message.Generic) {
	old := b.granted.Load()
	if old == nil {
		return
	}
	g := *old
	g.readQuality(msg.IEs, find(msg.IEs, ie.BearerContext, 0))
	b.granted.CompareAndSwap(old, &g)
}

// notify sends a request of GTPv2 that says something and is only acknowledged.
func (b *Bearer) notify(ctx context.Context, kind uint8, ies ...*ie.IE) error {
	p := b.path.Load()
	if p.v1 {
		return ErrNotGTPv2
	}
	answer, err := p.carrier.request(ctx, p.gateway(), kind, p.control.teid, ies...)
	if err != nil {
		return err
	}
	return accepted(answer)
}

// procedureOf runs a procedure by itself. The bearer is gone when the gateway
// doesn't know it.
func (b *Bearer) procedureOf(what string, run func() error) error {
	b.procedure.Lock()
	defer b.procedure.Unlock()
	err := b.Err()
	if err == nil {
		err = run()
	}
	if notFound(err) {
		b.end(ErrContextNotFound)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Suspend tells the gateway that the terminal can't be reached for now
// (TS 29.274 7.4.1).
func (b *Bearer) Suspend(ctx context.Context) error {
	return b.procedureOf("suspend", func() error { return b.notify(ctx, message.MsgTypeSuspendNotification) })
}

// Resume takes Suspend back (TS 29.274 7.4.3).
func (b *Bearer) Resume(ctx context.Context) error {
	return b.procedureOf("resume", func() error {
		return b.notify(ctx, message.MsgTypeResumeNotification, ie.NewIMSI(b.who.IMSI.String()))
	})
}

// NotifyChange tells the gateway where the subscriber is now, or on what RAT,
// without a handover (TS 29.274 7.3.14; TS 29.060 7.5B.1 of PDP contexts).
func (b *Bearer) NotifyChange(ctx context.Context, move Move) error {
	return b.procedureOf("notify change", func() error {
		who, p := b.who.after(move), b.path.Load()
		var err error
		if p.v1 {
			err = p.infoChange(ctx, who)
		} else {
			err = b.notify(ctx, message.MsgTypeChangeNotificationRequest, ie.NewIMSI(who.IMSI.String()),
				ie.NewRATType(uint8(who.RAT)), location(who.PLMN, who.TAC, who.Cell), ie.NewEPSBearerID(who.EBI))
		}
		if err == nil {
			b.who = who
		}
		return err
	})
}

// infoChange carries an MS Info Change Notification out (TS 29.060 7.5B).
func (p *path) infoChange(ctx context.Context, who Subscriber) error {
	answer, err := p.carrier.requestV1(ctx, p.gateway(), v1InfoChangeRequest, p.control.teid,
		v1ie.NewIMSI(who.IMSI.String()), v1ie.NewNSAPI(who.EBI), v1ie.NewRATType(uint8(who.RAT)), serviceArea(who))
	if err != nil {
		return err
	}
	_, err = acceptedV1(answer)
	return err
}

// DeleteConnectionSet tells the gateway that the serving node lost the sessions
// of connection sets (TS 29.274 7.9.1). Their bearers end with ErrSetLost.
func (c *Carrier) DeleteConnectionSet(ctx context.Context, sets ...uint16) error {
	lost := make(map[uint16]bool)
	for _, set := range sets {
		lost[set] = set != 0
	}
	c.endAll(ErrSetLost, func(b *Bearer) bool { return lost[b.set] })
	answer, err := c.request(ctx, c.peer(), message.MsgTypeDeletePDNConnectionSetRequest, 0, c.connectionSet(sets...))
	if err == nil {
		err = accepted(answer)
	}
	if err != nil {
		return fmt.Errorf("delete PDN connection set: %w", err)
	}
	return nil
}

// connectionSet is an SGW-FQ-CSID (TS 29.274 8.62).
func (c *Carrier) connectionSet(sets ...uint16) *ie.IE {
	return ie.NewFullyQualifiedCSID(c.cfg.Address.String(), sets...).WithInstance(1)
}
