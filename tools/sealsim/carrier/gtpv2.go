package carrier

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// Sequence numbers of GTPv2: the top bit is for commands (TS 29.274 7.6).
const (
	maxSequence  = 0x7fffff
	commandsMark = 0x800000
)

// request sends a GTPv2 request and waits for its answer.
func (c *Carrier) request(ctx context.Context, to netip.AddrPort, kind uint8, teid uint32, ies ...*ie.IE) (*message.Generic, error) {
	return c.ask(ctx, to, kind, teid, 0, []uint8{kind + 1}, ies)
}

func (c *Carrier) ask(ctx context.Context, to netip.AddrPort, kind uint8, teid, mark uint32, wants []uint8, ies []*ie.IE) (*message.Generic, error) {
	sequence, p := c.asked.begin(mark, append(wants, message.MsgTypeVersionNotSupportedIndication)...)
	defer c.asked.finish(sequence)
	var msg *message.Generic
	if kind == message.MsgTypeEchoRequest {
		msg = message.NewGenericWithoutTEID(kind, 0, sequence, ies...)
	} else {
		msg = message.NewGeneric(kind, teid, sequence, ies...)
	}
	wire, err := msg.Marshal()
	if err != nil {
		return nil, fmt.Errorf("carrier: encoding message type %d: %w", kind, err)
	}
	return exchange(ctx, c, wire, to, p)
}

// parse decodes a GTPv2-C message and owns its bytes. The library below is not
// trusted with what the network sends, so a panic in it is an error here.
func parse(b []byte) (msg *message.Generic, err error) {
	defer func() {
		if r := recover(); r != nil {
			msg, err = nil, fmt.Errorf("undecodable message: %v", r)
		}
	}()
	// A header without TEID is 8 bytes, which the library rejects as too
	// short when nothing follows it.
	own := append([]byte(nil), b...)
	if b[0]&0x08 == 0 && len(own) < 12 {
		own = append(own, make([]byte, 12-len(own))...)
	}
	msg, err = message.ParseGeneric(own)
	if err != nil {
		return nil, err
	}
	return msg, nil
}

// find returns the first IE of a type and instance: of repeated ones the first
// counts (TS 29.274 7.7.10).
func find(ies []*ie.IE, kind, instance uint8) *ie.IE {
	for _, i := range ies {
		if i.Type == kind && i.Instance() == instance {
			return i
		}
	}
	return nil
}

// dispatch hands an answer to who waits for it, and a request to its handler.
func (c *Carrier) dispatch(msg *message.Generic, from netip.AddrPort) error {
	if recovery := find(msg.IEs, ie.Recovery, 0); recovery != nil {
		if counter, err := recovery.Recovery(); err == nil {
			c.noteRestart(counter)
		}
	}
	kind, sequence := msg.MessageType(), msg.Sequence()
	switch kind {
	case message.MsgTypeEchoRequest, message.MsgTypeCreateBearerRequest,
		message.MsgTypeUpdateBearerRequest, message.MsgTypeDeleteBearerRequest:
		c.answer(transaction{peer: from, sequence: sequence, kind: kind}, func() marshaler { return c.reply(msg) })
		// A request may be the gateway's answer to a command.
		c.asked.deliver(sequence, kind, msg)
		return nil
	}
	if !c.asked.deliver(sequence, kind, msg) {
		return errUnexpected
	}
	return nil
}

// Echo asks whether the gateway lives, and returns its restart counter
// (TS 29.274 7.1.1).
func (c *Carrier) Echo(ctx context.Context) (restarts uint8, err error) {
	answer, err := c.request(ctx, netip.AddrPortFrom(c.cfg.Gateway, ControlPort),
		message.MsgTypeEchoRequest, 0, ie.NewRecovery(c.restarts()))
	if err != nil {
		return 0, fmt.Errorf("echo: %w", err)
	}
	recovery := find(answer.IEs, ie.Recovery, 0)
	if recovery == nil {
		return 0, fmt.Errorf("echo: %w: no recovery IE", ErrProtocol)
	}
	return recovery.Recovery()
}
