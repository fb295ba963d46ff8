package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// ClientConfig says where the seal server is and how to reach it.
type ClientConfig struct {
	// URL is https and the authority, e.g. https://127.0.2.1:8443.
	URL string
	// TLS holds the CA of the seal server and the gateway's client certificate.
	TLS *tls.Config
	// Timeout bounds a call and its answer; 10 s by default. The upload of an
	// image has no bound in all, but must not stand still for this long.
	Timeout time.Duration
	// MaxConns bounds the connections to the server; 64 by default.
	MaxConns int
}

// Client calls the seal server. It is safe for concurrent use and implements
// phoneapi's SealServer and EvidenceStore: every error is a *wire.Problem.
type Client struct {
	base    string
	http    *http.Client
	timeout time.Duration
}

// NewClient checks cfg and makes a client. It doesn't connect yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream: URL of the seal server: %w", err)
	}
	if base.Scheme != "https" || base.Hostname() == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" ||
		base.Path != "" && base.Path != "/" {
		return nil, fmt.Errorf("upstream: URL of the seal server is %q: want https://host:port and nothing more", cfg.URL)
	}
	if cfg.TLS == nil {
		return nil, errors.New("upstream: the seal server is reached with mutual TLS, but there is no TLS configuration")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 64
	}
	return &Client{
		base:    "https://" + base.Host,
		timeout: cfg.Timeout,
		http: &http.Client{
			Transport: transport(cfg),
			// The seal server's paths are fixed: a redirection would carry the
			// user's token to wherever it points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func transport(cfg ClientConfig) *http.Transport {
	tlsConfig := cfg.TLS.Clone()
	tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	return &http.Transport{
		// No Proxy: one that the environment names has no business in between.
		DialContext:            (&net.Dialer{Timeout: cfg.Timeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    cfg.Timeout,
		ResponseHeaderTimeout:  cfg.Timeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        time.Minute,
		MaxConnsPerHost:        cfg.MaxConns,
		MaxIdleConnsPerHost:    min(cfg.MaxConns, 8),
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: cfg.Timeout, PingTimeout: cfg.Timeout},
	}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Login passes user and password on. A wrong one is CodeLoginFailed.
func (c *Client) Login(ctx context.Context, login wire.LoginRequest) (a wire.LoginAnswer, err error) {
	return a, c.json(ctx, http.MethodPost, wire.PathServerLogin, "", login, &a, wire.CodeLoginFailed)
}

// Orders lists the orders that the token's user may use.
func (c *Client) Orders(ctx context.Context, token string) (a wire.OrderList, err error) {
	return a, c.json(ctx, http.MethodGet, wire.PathServerOrders, token, nil, &a, wire.CodeTokenInvalid)
}

// Verify asks whether an order may be used now. A refusal by the order's
// rules is an answer (Pass false), not an error.
func (c *Client) Verify(ctx context.Context, token string, req wire.VerifyRequest) (a wire.VerifyAnswer, err error) {
	err = c.json(ctx, http.MethodPost, wire.PathServerVerify, token, req, &a, wire.CodeTokenInvalid)
	a.Reason = words(a.Reason)
	return a, err
}

// Settled reports what became of a use. Nil means that the server has it, from
// now or from an earlier report.
func (c *Client) Settled(ctx context.Context, report wire.SettledReport) error {
	return c.json(ctx, http.MethodPost, wire.PathServerSettled, "", report, nil, wire.CodeServerRefused)
}

// json carries out a call with a JSON request and answer, either of which may
// be nil. unauthorized is what a 401 without a problem means.
func (c *Client) json(ctx context.Context, method, path, token string, in, out any, unauthorized wire.Code) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errSlow)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return wire.NewProblem(wire.CodeBadRequest, words(err.Error()))
		}
		body = bytes.NewReader(b)
	}
	req, err := c.request(ctx, method, path, token, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(ctx, err)
	}
	defer finish(resp)
	if resp.StatusCode/100 != 2 {
		return refusal(resp, unauthorized)
	}
	if out == nil {
		return nil
	}
	if err := wire.DecodeAnswer(resp.Body, out); err != nil {
		if !errors.Is(err, wire.ErrMalformed) || ctx.Err() != nil {
			return unreachable(ctx, err)
		}
		return wire.NewProblem(wire.CodeServerUnreachable, "Its answer cannot be understood: "+words(err.Error())+".")
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path, token string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, wire.NewProblem(wire.CodeBadRequest, words(err.Error()))
	}
	req.Header.Set("User-Agent", "sealedge")
	if token != "" {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, wire.NewProblem(wire.CodeTokenInvalid, "")
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// finish drains a little of what is left of an answer, so that the connection
// can be used again, and closes it.
func finish(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
}
