package barrel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/dtls/v2"

	"github.com/sealedge/sealedge/edge/barrel/rfc7905"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
)

// Times of the session with the gateway. A node that took over knows nothing of
// the association, and doesn't answer: the barrel has to shake hands anew long
// before its lease is over.
const (
	handshakeTimeout = 5 * time.Second
	flightInterval   = 300 * time.Millisecond
	reconnectWait    = 300 * time.Millisecond
	maxMissed        = 2 // heartbeats, before a new handshake
	ackTimeout       = 300 * time.Millisecond
	reportTimeout    = 5 * time.Second  // of a receipt, statement or event
	retryRefused     = 10 * time.Second // a report that the gateway refused
)

// talk keeps up a DTLS session until the connection ends.
func (c *connection) talk() {
	for c.ctx.Err() == nil {
		endpoint, err := c.handshake()
		if err == nil {
			c.session(endpoint)
			continue
		}
		c.life.b.log.Debug("no session with the gateway", "error", err)
		timer := time.NewTimer(reconnectWait)
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
		}
	}
}

// handshake opens a DTLS session from a new port.
func (c *connection) handshake() (*coap.Endpoint, error) {
	b := c.life.b
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTimeout)
	defer cancel()
	if b.cfg.Gateway.Addr().Is6() {
		// The terminal may have another /64 by now.
		if err := c.stack.SetAddress6(prefix6(c.link.Address6())); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
	}
	socket, err := c.stack.DialUDP(b.cfg.Gateway)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	conn, err := dtls.ClientWithContext(ctx, rfc7905.Guard(socket), b.cfg.Credentials.config())
	if err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return coap.NewConn(conn, coap.Config{Handler: c.serveGateway, AckTimeout: ackTimeout, Logger: b.log}), nil
}

// prefix6 is an address as the stack takes it; the zero Addr is the zero Prefix.
func prefix6(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, 128)
}

func (cr *Credentials) config() *dtls.Config {
	c := &dtls.Config{FlightInterval: flightInterval, RootCAs: cr.RootCAs, ServerName: cr.ServerName}
	if cr.Certificate != nil {
		c.Certificates = []tls.Certificate{*cr.Certificate}
	} else {
		c.PSK = func([]byte) ([]byte, error) { return cr.PSK, nil }
		c.PSKIdentityHint = []byte(cr.PSKIdentity)
	}
	return rfc7905.Client(c)
}

// session sends heartbeats until too many are missed.
func (c *connection) session(endpoint *coap.Endpoint) {
	ctx, cancel := context.WithCancel(c.ctx)
	reporting := make(chan struct{})
	go func() {
		defer close(reporting)
		c.report(ctx, endpoint)
	}()
	defer func() {
		cancel()
		_ = endpoint.Close()
		<-reporting
	}()
	ticker := time.NewTicker(c.life.b.cfg.Heartbeat)
	defer ticker.Stop()
	for missed := 0; missed < maxMissed; {
		if c.beat(endpoint) {
			if missed = 0; c.ctx.Err() == nil {
				c.wake()
			}
		} else {
			missed++
		}
		select {
		case <-ticker.C:
		case <-endpoint.Done():
			return
		case <-c.ctx.Done():
			return
		}
	}
}

// beat sends one heartbeat and tells whether it was answered, be it by a
// refusal.
func (c *connection) beat(endpoint *coap.Endpoint) bool {
	l := c.life
	var heartbeat wire.Heartbeat
	var sent time.Time
	if l.do(func(m *Machine, now time.Time) []Action {
		heartbeat, sent = m.Heartbeat(), now
		return nil
	}) != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(c.ctx, l.b.cfg.Heartbeat)
	defer cancel()
	answer, err := endpoint.Do(ctx, nil, coap.Request{
		Method: coap.POST, Path: wire.PathHeartbeat, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(heartbeat),
	})
	if err != nil {
		return false
	}
	var lease wire.HeartbeatAnswer
	if answer.Code != coap.Changed {
		l.b.log.Info("heartbeat refused", "code", answer.Code, "problem", problemOf(answer))
		return true
	}
	if err := wire.UnmarshalCBOR(answer.Payload, &lease); err != nil {
		l.b.log.Info("heartbeat's answer dropped", "error", err)
		return true
	}
	return l.do(func(m *Machine, now time.Time) []Action { return m.HeartbeatAnswered(sent, now, lease) }) == nil
}

func problemOf(r coap.Response) string {
	var p wire.ConciseProblem
	if r.Format != wire.ContentProblem || wire.UnmarshalCBOR(r.Payload, &p) != nil {
		return ""
	}
	return string(p.Title)
}

// report sends what is in the outbox, and acknowledgements of locks, whenever
// it is woken.
func (c *connection) report(ctx context.Context, endpoint *coap.Endpoint) {
	refused := make(map[uint64]time.Time) // when an item was
	for {
		select {
		case <-c.woken:
		case <-ctx.Done():
			return
		}
		if !c.reportLocks(ctx, endpoint) {
			continue
		}
		var items []Item
		if c.life.do(func(m *Machine, _ time.Time) []Action { items = m.Outbox(); return nil }) != nil {
			return
		}
		for _, i := range items {
			if time.Since(refused[i.Sequence]) < retryRefused {
				continue
			}
			taken, err := c.reportItem(ctx, endpoint, i)
			if err != nil {
				break // again with the next heartbeat
			}
			if !taken {
				refused[i.Sequence] = time.Now()
			} else {
				delete(refused, i.Sequence)
			}
		}
	}
}

// reportLocks acknowledges locks that came with heartbeats. What gets lost
// comes again with the next one.
func (c *connection) reportLocks(ctx context.Context, endpoint *coap.Endpoint) bool {
	c.mu.Lock()
	ids := c.locks
	c.locks = nil
	c.mu.Unlock()
	if len(ids) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	_, err := endpoint.Do(ctx, nil, coap.Request{
		Method: coap.POST, Path: wire.PathBarrelLock, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(wire.LockAck{IDs: ids}),
	})
	return err == nil
}

// errNotNow is a gateway that can't take anything at the moment.
var errNotNow = errors.New("the gateway takes no reports now")

// reportItem sends one item, and forgets it when the gateway has taken it. An
// error means that nothing would be taken now, false that this item wasn't.
func (c *connection) reportItem(ctx context.Context, endpoint *coap.Endpoint, i Item) (taken bool, err error) {
	r := coap.Request{Method: coap.POST, Format: wire.ContentCOSE, Payload: i.Signed}
	switch i.Kind {
	case ItemReceipt:
		r.Path = wire.PathBarrelReceipt
	case ItemStatement:
		r.Path = wire.PathBarrelSettle
	default:
		r.Path, r.Format, r.Payload = wire.PathBarrelEvent, wire.ContentCBOR, wire.MarshalCBOR(i.Event)
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	answer, err := endpoint.Do(ctx, nil, r)
	if err != nil {
		return false, err
	}
	if answer.Code == coap.ServiceUnavailable {
		return false, errNotNow
	}
	if answer.Code >= coap.BadRequest {
		c.life.b.log.Info("report refused", "kind", i.Kind, "use", i.Use, "code", answer.Code, "problem", problemOf(answer))
		return false, nil
	}
	return true, c.life.do(func(m *Machine, _ time.Time) []Action { return m.Delivered(i.Sequence) })
}

// serveGateway answers the gateway's requests.
func (c *connection) serveGateway(_ context.Context, r coap.Request) coap.Response {
	switch {
	case r.Path == wire.PathBarrelLock && r.Method == coap.PUT:
		var order wire.LockOrder
		if err := wire.UnmarshalCBOR(r.Payload, &order); err != nil {
			return coap.Response{Code: coap.BadRequest}
		}
		// The answer says that the seal is locked.
		if c.life.do(func(m *Machine, now time.Time) []Action { return m.Lock(now, order) }) != nil {
			return coap.Response{Code: coap.ServiceUnavailable}
		}
		return coap.Response{Code: coap.Changed}
	case r.Path == wire.PathBarrelStatus && r.Method == coap.GET:
		return c.status(coap.Content)
	case r.Path == wire.PathBarrelLock, r.Path == wire.PathBarrelStatus:
		return coap.Response{Code: coap.MethodNotAllowed}
	}
	return coap.Response{Code: coap.NotFound}
}

func (c *connection) status(code coap.Code) coap.Response {
	var s wire.BarrelStatus
	if c.life.do(func(m *Machine, now time.Time) []Action { s = m.Status(now); return nil }) != nil {
		return coap.Response{Code: coap.ServiceUnavailable}
	}
	return coap.Response{Code: code, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(s)}
}
