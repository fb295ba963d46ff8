package phone

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
)

// AppConfig is the app's.
type AppConfig struct {
	RootCAs *x509.CertPool // that vouch for the gateway
	// Certificate is the device's own, if it has one.
	Certificate *tls.Certificate
	// ServerName is expected in the gateway's certificate; the inner address
	// that is dialled if empty.
	ServerName string
	// Port of the phone API; 0 means wire.PhonePort.
	Port uint16
	// SealServer is the address of the seal server, told in use requests.
	SealServer string
	// AttemptTimeout bounds one try of a call; 0 means 5 s.
	AttemptTimeout time.Duration
	// ChunkSize is the most bytes of an image sent in one go; 0: all.
	ChunkSize int
}

// App talks to the gateway's phone API. Calls are tried again, unchanged, while
// the gateway can't be reached or can't decide, until their context ends; what
// it refuses is a *wire.Problem.
type App struct {
	phone  *Phone
	cfg    AppConfig
	client *http.Client
	token  atomic.Pointer[string]
	dials  atomic.Int64

	mu    sync.Mutex
	local *coap.Endpoint  // to the barrel; nil while there is none
	acked map[uint64]bool // locks carried out
	uses  map[uint64]bool // that the watcher was told of; true: they go on
}

func newApp(p *Phone) *App {
	cfg := p.cfg.App
	if cfg.AttemptTimeout <= 0 {
		cfg.AttemptTimeout = 5 * time.Second
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: cfg.RootCAs, ServerName: cfg.ServerName, Time: p.cfg.Clock}
	if cfg.Certificate != nil {
		config.Certificates = []tls.Certificate{*cfg.Certificate}
	}
	a := &App{
		phone: p, cfg: cfg, acked: make(map[uint64]bool), uses: make(map[uint64]bool),
	}
	a.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			a.dials.Add(1)
			return p.stack.DialContext(ctx, network, address)
		},
		TLSClientConfig: config,
		// HTTP/1.1: a call that is given up takes its connection
		// along, so that the next finds the gateway where it is now.
		TLSNextProto: make(map[string]func(string, *tls.Conn) http.RoundTripper),
	}}
	return a
}

// Dials tells how many connections to the phone API the app has opened.
func (a *App) Dials() int { return int(a.dials.Load()) }

func (a *App) close() {
	a.dropLocal()
	a.client.CloseIdleConnections()
}

// call is one call of the phone API.
type call struct {
	method, path string
	body         any // sent as JSON unless nil
}

// Times between tries.
const (
	firstWait = 200 * time.Millisecond
	longest   = 2 * time.Second
)

// do makes a call and reads its answer into out, unless out is nil.
func (a *App) do(ctx context.Context, c call, out any) error {
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return fmt.Errorf("%s: %w", c.path, err)
		}
	}
	return a.again(ctx, func(ctx context.Context) error {
		r, err := a.request(ctx, c.method, c.path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body != nil {
			r.Header.Set("Content-Type", "application/json")
		}
		answer, err := a.client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if err := problem(answer); err != nil {
			return err
		}
		if out == nil {
			return nil
		}
		return wire.DecodeAnswer(answer.Body, out)
	})
}

func (a *App) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	_, gateway := a.phone.way()
	r, err := http.NewRequestWithContext(ctx, method, "https://"+netip.AddrPortFrom(gateway, cmp.Or(a.cfg.Port, wire.PhonePort)).String()+path, body)
	if err != nil {
		return nil, err
	}
	if token := a.token.Load(); token != nil {
		r.Header.Set("Authorization", "Bearer "+*token)
	}
	return r, nil
}

// again tries a call until it succeeds, is refused, or ctx ends.
func (a *App) again(ctx context.Context, try func(context.Context) error) error {
	for wait := firstWait; ; wait = min(2*wait, longest) {
		a.phone.tell(pathwatch.Traffic{})
		attempt, cancel := context.WithTimeout(ctx, a.cfg.AttemptTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if err := a.pause(ctx, err, wait); err != nil {
			return err
		}
	}
}

// pause waits before another try after err. It returns err if that won't pass
// by itself, or if ctx ends.
func (a *App) pause(ctx context.Context, err error, wait time.Duration) error {
	wait, passing := passes(err, wait)
	if !passing || ctx.Err() != nil {
		return err
	}
	a.client.CloseIdleConnections()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), err)
	}
}

// passes tells whether an error may pass by itself, and when to try again.
func passes(err error, wait time.Duration) (time.Duration, bool) {
	var p *wire.Problem
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &p):
		busy := p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests
		return max(wait, time.Duration(p.RetryAfterSeconds)*time.Second), busy
	case errors.As(err, &certificate), errors.Is(err, wire.ErrMalformed), errors.Is(err, errEventTooLong):
		return 0, false
	}
	return wait, true
}

// problem reads a refusal, nil if the answer is none.
func problem(answer *http.Response) error {
	if answer.StatusCode < 300 {
		return nil
	}
	p := &wire.Problem{Status: answer.StatusCode, Title: answer.Status}
	if strings.HasPrefix(answer.Header.Get("Content-Type"), wire.ContentTypeProblem) && answer.Request.Method != http.MethodHead {
		if err := wire.DecodeAnswer(answer.Body, p); err != nil {
			return err
		}
	}
	return p
}

// Login logs the user in; later calls act for him.
func (a *App) Login(ctx context.Context, user, password string) (wire.LoginAnswer, error) {
	var out wire.LoginAnswer
	err := a.do(ctx, call{method: http.MethodPost, path: wire.PathLogin, body: wire.LoginRequest{User: user, Password: password}}, &out)
	if err == nil {
		a.token.Store(&out.Token)
	}
	return out, err
}

// UseToken makes later calls act for whom a token was issued to elsewhere.
func (a *App) UseToken(token string) { a.token.Store(&token) }

// Logout forgets the token.
func (a *App) Logout() { a.token.Store(nil) }

// Orders lists the user's approved orders.
func (a *App) Orders(ctx context.Context) ([]wire.Order, error) {
	var out wire.OrderList
	err := a.do(ctx, call{method: http.MethodGet, path: wire.PathOrders}, &out)
	return out.Orders, err
}

// Status asks what the gateway knows of the phone.
func (a *App) Status(ctx context.Context) (wire.Status, error) {
	var out wire.Status
	return out, a.do(ctx, call{method: http.MethodGet, path: wire.PathStatus}, &out)
}

// Associate reports a station of the hotspot.
func (a *App) Associate(ctx context.Context, s wire.Association) (wire.AssociationAnswer, error) {
	var out wire.AssociationAnswer
	err := a.do(ctx, call{method: http.MethodPost, path: wire.PathAssociations, body: s}, &out)
	return out, err
}
