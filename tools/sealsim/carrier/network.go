package carrier

import (
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// answerCache remembers answers to the gateway's requests, so that a repeated
// request gets the same bytes (TS 29.274 7.6). The oldest go first.
type answerCache struct {
	answers map[transaction][]byte
	order   []transaction
}

type transaction struct {
	peer     netip.AddrPort
	sequence uint32
	kind     uint8
	v1       bool
}

// remembered is how many answers are kept.
const remembered = 1024

func (a *answerCache) put(t transaction, wire []byte) {
	if a.answers == nil {
		a.answers = make(map[transaction][]byte)
	}
	if len(a.order) == remembered {
		delete(a.answers, a.order[0])
		a.order = a.order[1:]
	}
	a.answers[t] = wire
	a.order = append(a.order, t)
}

// marshaler is a message of either version.
type marshaler interface{ Marshal() ([]byte, error) }

// answer serves a request of the gateway: carries it out, or, if it is a
// repeated one, only answers it again. Echoes are answered anew each time.
func (c *Carrier) answer(t transaction, carryOut func() marshaler) {
	c.mu.Lock()
	wire, again := c.answered.answers[t]
	c.mu.Unlock()
	if !again {
		var err error
		if wire, err = carryOut().Marshal(); err != nil {
			c.log.Error("encoding an answer", "to", t.kind, "error", err)
			return
		}
		if t.kind != message.MsgTypeEchoRequest { // of either version
			c.mu.Lock()
			c.answered.put(t, wire)
			c.mu.Unlock()
		}
	}
	_ = c.sendControl(wire, t.peer)
}

// reply carries a GTPv2 request of the gateway out.
func (c *Carrier) reply(msg *message.Generic) *message.Generic {
	kind, seq := msg.MessageType()+1, msg.Sequence()
	if msg.MessageType() == message.MsgTypeEchoRequest {
		return message.NewGenericWithoutTEID(kind, 0, seq, ie.NewRecovery(c.restarts()))
	}
	b, teid := c.bearerByControl(msg.TEID(), false)
	if b == nil {
		return message.NewGeneric(kind, 0, seq, ie.NewCause(causeContextNotFound, 0, 0, 0, nil))
	}
	cause := ie.NewCause(causeAccepted, 0, 0, 0, nil)
	recovery := ie.NewRecovery(c.restarts())
	switch msg.MessageType() {
	case message.MsgTypeDeleteBearerRequest:
		// With the linked EBI the whole PDN connection goes (TS 29.274
		// 7.2.9.2); dedicated bearers, which EBIs name, we have none of.
		linked := find(msg.IEs, ie.EPSBearerID, 0)
		if linked == nil || len(linked.Payload) == 0 {
			return message.NewGeneric(kind, teid, seq, ie.NewCause(causeContextNotFound, 0, 0, 0, nil), recovery)
		}
		b.end(ErrDeletedByGateway)
		return message.NewGeneric(kind, teid, seq, cause, ie.NewEPSBearerID(linked.Payload[0]), recovery)
	case message.MsgTypeUpdateBearerRequest:
		b.updated(msg)
		return message.NewGeneric(kind, teid, seq, eachBearer(msg, causeAccepted, recovery)...)
	default:
		// Simulated phones have one bearer and want no other.
		return message.NewGeneric(kind, teid, seq, eachBearer(msg, causeUERefuses, recovery)...)
	}
}

// eachBearer answers a request with a cause for the whole and for each of its
// bearer contexts (TS 29.274 7.2.4 and 7.2.16).
func eachBearer(msg *message.Generic, cause uint8, recovery *ie.IE) []*ie.IE {
	out := []*ie.IE{ie.NewCause(cause, 0, 0, 0, nil)}
	for _, context := range msg.IEs {
		if context.Type != ie.BearerContext || context.Instance() != 0 {
			continue
		}
		ebi := find(context.ChildIEs, ie.EPSBearerID, 0)
		if ebi == nil || len(ebi.Payload) == 0 {
			continue
		}
		out = append(out, ie.NewBearerContext(ie.NewEPSBearerID(ebi.Payload[0]), ie.NewCause(cause, 0, 0, 0, nil)))
	}
	return append(out, recovery)
}

// noteRestart keeps the gateway's restart counter. One that changed means that
// its sessions are lost (TS 23.007 18).
func (c *Carrier) noteRestart(counter uint8) {
	c.mu.Lock()
	restarted := c.peerKnown && c.peerCount != counter
	c.peerCount, c.peerKnown = counter, true
	c.mu.Unlock()
	if restarted {
		c.log.Warn("the gateway restarted", "counter", counter)
		// A session whose creation tells of it is a new one.
		c.endAll(ErrGatewayRestarted, func(b *Bearer) bool { return b.path.Load() != nil })
	}
}
