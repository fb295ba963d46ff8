package phone

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// Credentials are what the phone shows in a connection request, beside its WireGuard
// key: what is set of them.
type Credentials struct {
	Certificate       *tls.Certificate
	Account, Password string
	// Key is the one shared with the gateway. It is proved, never sent.
	Key []byte
}

var errNoListener = errors.New("connection request: no listener is known (Fallback.Requests)")

// maxConnectionAnswer bounds what is read of an answer, in bytes.
const maxConnectionAnswer = 64 << 10

// RequestConnection asks for the fallback path and keeps what it is given, in the place
// of what it had: over a path that the phone is on, at the phone API inside the
// tunnel; with NoPath, at the public listeners in Fallback.Requests, one after the other
// until one answers. A refusal is a *wire.Problem.
func (p *Phone) RequestConnection(ctx context.Context, over Path) (*wire.ConnectionAnswer, error) {
	f := p.cfg.Fallback
	if f == nil {
		return nil, ErrNoFallback
	}
	request, err := p.NewConnectionRequest()
	if err != nil {
		return nil, err
	}
	return p.SendConnectionRequest(ctx, over, request)
}

// NewConnectionRequest makes a request with a fresh id, but for the proof of the shared
// key, which takes a connection.
func (p *Phone) NewConnectionRequest() (wire.ConnectionRequest, error) {
	f := p.cfg.Fallback
	key, err := ecdh.X25519().NewPrivateKey(f.PrivateKey[:])
	if err != nil {
		return wire.ConnectionRequest{}, fmt.Errorf("connection request: %w", err)
	}
	return wire.ConnectionRequest{
		RequestID: rand.Text(), IMSI: p.cfg.SIM.IMSI.String(), PublicKey: key.PublicKey().Bytes(), Time: p.cfg.Clock(),
		Account: f.Credentials.Account, Password: f.Credentials.Password,
	}, nil
}

// SendConnectionRequest sends a request as it is, with the proof of the connection that
// carries it.
func (p *Phone) SendConnectionRequest(ctx context.Context, over Path, request wire.ConnectionRequest) (*wire.ConnectionAnswer, error) {
	if over != NoPath {
		_, gateway := p.way()
		answer, err := p.exchange(ctx, p.stack.DialContext, netip.AddrPortFrom(gateway, wire.PhonePort).String(), p.cfg.App.ServerName, request)
		return p.granted(answer, err)
	}
	if len(p.cfg.Fallback.Requests) == 0 {
		return nil, errNoListener
	}
	var errs []error
	for _, at := range p.cfg.Fallback.Requests {
		answer, err := p.exchange(ctx, new(net.Dialer).DialContext, at, "", request)
		var refused *wire.Problem
		if err == nil || errors.As(err, &refused) && refused.Status != http.StatusServiceUnavailable {
			return p.granted(answer, err)
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// granted keeps what a connection request was answered.
func (p *Phone) granted(answer *wire.ConnectionAnswer, err error) (*wire.ConnectionAnswer, error) {
	if err != nil {
		return nil, fmt.Errorf("connection request: %w", err)
	}
	l, err := leaseOf(answer)
	if err != nil {
		return nil, fmt.Errorf("connection request: %w", err)
	}
	p.mu.Lock()
	p.lease = l
	t := p.tunnel
	p.mu.Unlock()
	p.fit(0, l.mtu)
	p.log.Info("connection granted", "connection", answer.Connection, "address", answer.Address, "expires", answer.Expires)
	if t != nil {
		err = t.configure(l, 0)
	}
	return answer, err
}

// exchange makes one request on one TLS connection, so that the proof can be bound to
// it.
func (p *Phone) exchange(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), at, name string, request wire.ConnectionRequest) (*wire.ConnectionAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.app.cfg.AttemptTimeout)
	defer cancel()
	raw, err := dial(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	defer func() { _ = raw.Close() }()
	if name == "" {
		if name, _, err = net.SplitHostPort(at); err != nil {
			return nil, err
		}
	}
	f := p.cfg.Fallback
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: p.cfg.App.RootCAs, ServerName: name, Time: p.cfg.Clock}
	if f.Credentials.Certificate != nil {
		config.Certificates = []tls.Certificate{*f.Credentials.Certificate}
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if f.Credentials.Key != nil {
		state := conn.ConnectionState()
		binding, err := state.ExportKeyingMaterial(wire.ConnectionExporter, nil, 32)
		if err != nil {
			return nil, err
		}
		request.KeyProof = wire.ConnectionProof(f.Credentials.Key, binding, request)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at+wire.PathConnections, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := problem(response); err != nil {
		return nil, err
	}
	answer := new(wire.ConnectionAnswer)
	return answer, wire.DecodeAnswer(http.MaxBytesReader(nil, response.Body, maxConnectionAnswer), answer)
}

// lease is what the phone has for the fallback path.
type lease struct {
	keys      [][32]byte // the gateway's, the current one first
	psk       [32]byte   // zero: none
	endpoints []string   // host:port
	address   netip.Addr // zero: not told
	mtu       int        // 0: not told
	keepalive int        // seconds; 0: none
	renew     time.Time
	expires   time.Time // zero: never
}

// leaseOf reads an answer.
func leaseOf(a *wire.ConnectionAnswer) (*lease, error) {
	l := &lease{endpoints: a.Endpoints, mtu: a.MTU, keepalive: a.Keepalive, renew: a.RenewAfter, expires: a.Expires}
	var err error
	if l.address, err = netip.ParseAddr(a.Address); err != nil {
		return nil, fmt.Errorf("%w: address: %w", wire.ErrMalformed, err)
	}
	for _, k := range a.GatewayKeys {
		if len(k.PublicKey) != 32 {
			return nil, fmt.Errorf("%w: a key of %d bytes", wire.ErrMalformed, len(k.PublicKey))
		}
		l.keys = append(l.keys, [32]byte(k.PublicKey))
	}
	if len(a.PresharedKey) != 32 || len(l.keys) == 0 || len(l.endpoints) == 0 {
		return nil, fmt.Errorf("%w: a connection without a key or an endpoint", wire.ErrMalformed)
	}
	l.psk = [32]byte(a.PresharedKey)
	return l, nil
}

// valid tells whether the lease may be used.
func (l *lease) valid(now time.Time) bool {
	return l != nil && (l.expires.IsZero() || now.Before(l.expires))
}
