package carrier

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// ErrNoAnswer is returned when the gateway stayed silent for N3 repetitions.
var ErrNoAnswer = errors.New("the gateway did not answer")

// maxSequence is the highest sequence number of a request that is no answer to
// a command (TS 29.274 7.6: the top bit is for commands).
const maxSequence = 0x7fffff

// pending is a request that waits for its answer.
type pending struct {
	want   uint8 // message type of the answer
	answer chan *message.Generic
}

// begin gives a request a sequence number that no waiting one has.
func (c *Carrier) begin(want uint8) (uint32, *pending) {
	p := &pending{want: want, answer: make(chan *message.Generic, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.sequence = (c.sequence + 1) & maxSequence
		if _, taken := c.pending[c.sequence]; !taken {
			break
		}
	}
	c.pending[c.sequence] = p
	return c.sequence, p
}

func (c *Carrier) finish(sequence uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, sequence)
}

// request sends a request and waits for its answer, repeating it every T3 and
// giving up after N3 repetitions (TS 29.274 7.6). Every repetition carries the
// same bytes.
func (c *Carrier) request(ctx context.Context, to netip.AddrPort, kind uint8, teid uint32, ies ...*ie.IE) (*message.Generic, error) {
	sequence, p := c.begin(kind + 1)
	defer c.finish(sequence)
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
	timer := time.NewTimer(c.cfg.T3)
	defer timer.Stop()
	c.stats.requests.Add(1)
	for try := 0; ; try++ {
		if try > 0 {
			c.stats.retransmitted.Add(1)
		}
		if err := c.sendControl(wire, to); err != nil {
			return nil, err
		}
		select {
		case answer := <-p.answer:
			return answer, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.closed:
			return nil, ErrClosed
		case <-timer.C:
		}
		if try == c.cfg.N3 {
			c.stats.unanswered.Add(1)
			return nil, fmt.Errorf("message type %d to %s: %w", kind, to, ErrNoAnswer)
		}
		timer.Reset(c.cfg.T3)
	}
}

// sendControl writes one datagram. A network that refuses it (the peer's
// address is just moving, say) is a lost datagram, not an error.
func (c *Carrier) sendControl(wire []byte, to netip.AddrPort) error {
	if c.isClosed() {
		return ErrClosed
	}
	if c.cut.Load() {
		return nil
	}
	if _, err := c.control.WriteToUDPAddrPort(wire, to); err != nil && c.isClosed() {
		return ErrClosed
	}
	return nil
}

// serveControl reads the control socket until it is closed.
func (c *Carrier) serveControl() {
	buf := make([]byte, 65535)
	for {
		n, from, err := c.control.ReadFromUDPAddrPort(buf)
		if c.isClosed() {
			return
		}
		if err != nil {
			// An ICMP error for an earlier datagram surfaces here: the
			// socket itself is well.
			continue
		}
		if c.cut.Load() {
			continue
		}
		msg, err := parse(buf[:n])
		if err != nil {
			c.stats.dropped.Add(1)
			c.log.Debug("control message dropped", "from", from, "error", err)
			continue
		}
		c.dispatch(msg, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

// parse decodes a GTPv2-C message and owns its bytes. The library below is not
// trusted with what the network sends, so a panic in it is an error here.
func parse(b []byte) (msg *message.Generic, err error) {
	defer func() {
		if r := recover(); r != nil {
			msg, err = nil, fmt.Errorf("undecodable message: %v", r)
		}
	}()
	if len(b) < 8 {
		return nil, errors.New("message shorter than a header")
	}
	if version := b[0] >> 5; version != 2 {
		return nil, fmt.Errorf("GTP version %d", version)
	}
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
func (c *Carrier) dispatch(msg *message.Generic, from netip.AddrPort) {
	if recovery := find(msg.IEs, ie.Recovery, 0); recovery != nil {
		if counter, err := recovery.Recovery(); err == nil {
			c.noteRestart(counter)
		}
	}
	switch msg.MessageType() {
	case message.MsgTypeEchoRequest, message.MsgTypeCreateBearerRequest,
		message.MsgTypeUpdateBearerRequest, message.MsgTypeDeleteBearerRequest:
		c.answer(msg, from)
		return
	}
	c.mu.Lock()
	p := c.pending[msg.Sequence()]
	if p != nil && (p.want == msg.MessageType() || msg.MessageType() == message.MsgTypeVersionNotSupportedIndication) {
		delete(c.pending, msg.Sequence())
	} else {
		p = nil
	}
	c.mu.Unlock()
	if p == nil {
		// A second answer to a repeated request lands here too.
		c.stats.dropped.Add(1)
		return
	}
	p.answer <- msg
}

// Echo asks whether the gateway lives, and returns its restart counter
// (TS 29.274 7.1.1).
func (c *Carrier) Echo(ctx context.Context) (restarts uint8, err error) {
	answer, err := c.request(ctx, netip.AddrPortFrom(c.cfg.Gateway, ControlPort),
		message.MsgTypeEchoRequest, 0, ie.NewRecovery(c.cfg.RestartCounter))
	if err != nil {
		return 0, fmt.Errorf("echo: %w", err)
	}
	recovery := find(answer.IEs, ie.Recovery, 0)
	if recovery == nil {
		return 0, fmt.Errorf("echo: %w: no recovery IE", ErrProtocol)
	}
	return recovery.Recovery()
}
