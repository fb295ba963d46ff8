package carrier

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	v1ie "github.com/wmnsk/go-gtp/gtpv1/ie"
	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
)

// maxSequenceV1 is the highest sequence number of GTPv1.
const maxSequenceV1 = 0xffff

// Messages that the library has no name for (TS 29.060 table 1).
const (
	v1InfoChangeRequest  = 128
	v1InfoChangeResponse = 129
)

// requestV1 sends a GTPv1 request and waits for its answer.
func (c *Carrier) requestV1(ctx context.Context, to netip.AddrPort, kind uint8, teid uint32, ies ...*v1ie.IE) (*v1.Generic, error) {
	sequence, p := c.askedV1.begin(0, kind+1, v1.MsgTypeVersionNotSupported)
	defer c.askedV1.finish(sequence)
	wire, err := v1.NewGeneric(kind, teid, uint16(sequence), ies...).Marshal()
	if err != nil {
		return nil, fmt.Errorf("carrier: encoding message type %d: %w", kind, err)
	}
	return exchange(ctx, c, wire, to, p)
}

// parseV1 decodes a GTPv1-C message and owns its bytes.
func parseV1(b []byte) (msg *v1.Generic, err error) {
	defer func() {
		if r := recover(); r != nil {
			msg, err = nil, fmt.Errorf("undecodable message: %v", r)
		}
	}()
	if b[0]&0x10 == 0 {
		return nil, errors.New("GTP'")
	}
	if b[0]&0x02 == 0 { // TS 29.060 6: signalling has sequence numbers
		return nil, errors.New("no sequence number")
	}
	return v1.ParseGeneric(append([]byte(nil), b...))
}

// findV1 returns the n-th IE of a type, from 0.
func findV1(ies []*v1ie.IE, kind uint8, n int) *v1ie.IE {
	for _, i := range ies {
		if i.Type == kind {
			if n == 0 {
				return i
			}
			n--
		}
	}
	return nil
}

// dispatchV1 hands an answer to who waits for it, and a request to its handler.
func (c *Carrier) dispatchV1(msg *v1.Generic, from netip.AddrPort) error {
	if recovery := findV1(msg.IEs, v1ie.Recovery, 0); recovery != nil {
		if counter, err := recovery.Recovery(); err == nil {
			c.noteRestart(counter)
		}
	}
	kind, sequence := msg.MessageType(), uint32(msg.Sequence())
	switch kind {
	case v1.MsgTypeEchoRequest, v1.MsgTypeDeletePDPContextRequest:
		c.answer(transaction{peer: from, sequence: sequence, kind: kind, v1: true},
			func() marshaler { return c.replyV1(msg) })
		return nil
	}
	if !c.askedV1.deliver(sequence, kind, msg) {
		return errUnexpected
	}
	return nil
}

// replyV1 carries a GTPv1 request of the gateway out.
func (c *Carrier) replyV1(msg *v1.Generic) *v1.Generic {
	kind, sequence := msg.MessageType()+1, msg.Sequence()
	if msg.MessageType() == v1.MsgTypeEchoRequest {
		return v1.NewGeneric(kind, 0, sequence, v1ie.NewRecovery(c.restarts()))
	}
	b, teid := c.bearerByControl(msg.TEID(), true)
	if b == nil {
		return v1.NewGeneric(kind, 0, sequence, v1ie.NewCause(causeV1NonExistent))
	}
	// The only context of its address goes, with the Teardown Ind or without
	// (TS 29.060 7.3.5).
	if nsapi := findV1(msg.IEs, v1ie.NSAPI, 0); nsapi == nil || nsapi.MustNSAPI()&0x0f != b.identity {
		return v1.NewGeneric(kind, teid, sequence, v1ie.NewCause(causeV1NonExistent))
	}
	b.end(ErrDeletedByGateway)
	return v1.NewGeneric(kind, teid, sequence, v1ie.NewCause(causeV1Accepted))
}

// EchoV1 is Echo over GTPv1 (TS 29.060 7.2.1).
func (c *Carrier) EchoV1(ctx context.Context) (restarts uint8, err error) {
	answer, err := c.requestV1(ctx, netip.AddrPortFrom(c.cfg.Gateway, ControlPort), v1.MsgTypeEchoRequest, 0)
	if err != nil {
		return 0, fmt.Errorf("echo: %w", err)
	}
	recovery := findV1(answer.IEs, v1ie.Recovery, 0)
	if recovery == nil {
		return 0, fmt.Errorf("echo: %w: no recovery IE", ErrProtocol)
	}
	return recovery.Recovery()
}
