package carrier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ErrNoAnswer is returned when the gateway stayed silent for N3 repetitions.
var ErrNoAnswer = errors.New("the gateway did not answer")

// transactions are the requests of one version of GTP-C that wait for answers.
type transactions[M any] struct {
	mu      sync.Mutex
	highest uint32                 // number that a request may have
	last    uint32                 // number given; guarded by mu
	waiting map[uint32]*pending[M] // by sequence number; guarded by mu
}

// pending is a request that waits for its answer.
type pending[M any] struct {
	wants  []uint8 // message types that answer it
	answer chan M
}

func (t *transactions[M]) begins(highest uint32) {
	t.highest, t.last = highest, rand.Uint32()&highest
	t.waiting = make(map[uint32]*pending[M])
}

// begin gives a request a sequence number that no waiting one has, with the
// bits of mark set.
func (t *transactions[M]) begin(mark uint32, wants ...uint8) (uint32, *pending[M]) {
	p := &pending[M]{wants: wants, answer: make(chan M, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		t.last = (t.last + 1) & t.highest
		if _, taken := t.waiting[t.last|mark]; !taken {
			break
		}
	}
	t.waiting[t.last|mark] = p
	return t.last | mark, p
}

func (t *transactions[M]) finish(sequence uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, sequence)
}

// deliver hands an answer to who waits for it.
func (t *transactions[M]) deliver(sequence uint32, kind uint8, answer M) bool {
	t.mu.Lock()
	p := t.waiting[sequence]
	if p == nil || !slices.Contains(p.wants, kind) {
		// A second answer to a repeated request lands here too.
		t.mu.Unlock()
		return false
	}
	delete(t.waiting, sequence)
	t.mu.Unlock()
	p.answer <- answer
	return true
}

// exchange sends a request and waits for its answer, repeating it every T3 and
// giving up after N3 repetitions (TS 29.060 7.6, TS 29.274 7.6). Every
// repetition carries the same bytes.
func exchange[M any](ctx context.Context, c *Carrier, wire []byte, to netip.AddrPort, p *pending[M]) (none M, err error) {
	timer := time.NewTimer(c.cfg.T3)
	defer timer.Stop()
	c.stats.requests.Add(1)
	for try := 0; ; try++ {
		if try > 0 {
			c.stats.retransmitted.Add(1)
		}
		if err := c.sendControl(wire, to); err != nil {
			return none, err
		}
		select {
		case answer := <-p.answer:
			return answer, nil
		case <-ctx.Done():
			return none, context.Cause(ctx)
		case <-c.closed:
			return none, ErrClosed
		case <-timer.C:
		}
		if try == c.cfg.N3 {
			c.stats.unanswered.Add(1)
			return none, fmt.Errorf("message type %d to %s: %w", wire[1], to, ErrNoAnswer)
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
		if err := c.receiveControl(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())); err != nil {
			c.stats.dropped.Add(1)
			c.log.Debug("control message dropped", "from", from, "error", err)
		}
	}
}

// receiveControl handles one datagram of the control plane.
func (c *Carrier) receiveControl(b []byte, from netip.AddrPort) error {
	if len(b) < 8 {
		return errors.New("message shorter than a header")
	}
	switch b[0] >> 5 {
	case 1:
		msg, err := parseV1(b)
		if err != nil {
			return err
		}
		return c.dispatchV1(msg, from)
	case 2:
		msg, err := parse(b)
		if err != nil {
			return err
		}
		return c.dispatch(msg, from)
	}
	return fmt.Errorf("GTP version %d", b[0]>>5)
}

var errUnexpected = errors.New("nobody waits for this message")
