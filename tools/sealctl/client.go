package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// client talks to whichever node answers.
type client struct {
	addresses []string
	answered  *atomic.Int32 // index of the address that did so last
	http      *http.Client
	token     string        // empty: a certificate says who calls
	stale     bool          // reads need no quorum
	patience  time.Duration // how long it goes on trying while no node can answer
	verbose   bool          // say which node answered
	stderr    io.Writer
}

// nodeHeader is where a node says its name.
const nodeHeader = "Sealedge-Node"

// newClient makes a client of what flags, environment and context say.
func newClient(c *cli.Context) (*client, error) {
	s, from, err := resolve(c)
	if err != nil {
		return nil, err
	}
	id, err := s.load(from)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: id.roots}
	if id.cert != nil {
		conf.Certificates = []tls.Certificate{*id.cert}
	}
	return &client{
		addresses: s.Addresses,
		answered:  new(atomic.Int32),
		token:     id.token,
		stale:     c.Bool("stale"),
		patience:  c.Duration("retry"),
		verbose:   c.Bool("verbose"),
		stderr:    c.App.ErrWriter,
		http:      &http.Client{Timeout: 5 * time.Minute, Transport: transport(conf)},
	}, nil
}

// transport gives a machine that is gone up soon: that one doesn't even refuse.
func transport(conf *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   3 * time.Second,
		ResponseHeaderTimeout: 15 * time.Second,
	}
}

// at is a client of one node alone.
func (c *client) at(addr string) *client {
	one := *c
	one.addresses, one.answered = []string{addr}, new(atomic.Int32)
	return &one
}

// once is a client that doesn't try again: for what is asked of one node, and for
// what must not happen twice.
func (c *client) once() *client {
	one := *c
	one.patience = 0
	return &one
}

// staleReads is a client whose reads need no quorum.
func (c *client) staleReads() *client {
	one := *c
	one.stale = true
	return &one
}

// certificate is what the caller can sign with. A token can't.
func (c *client) certificate() (tls.Certificate, error) {
	conf := c.http.Transport.(*http.Transport).TLSClientConfig
	if len(conf.Certificates) == 0 {
		return tls.Certificate{}, &hinted{exitUsage, "this takes your certificate, and the context has a token", "use a context with cert and key: what you sign has to be yours"}
	}
	return conf.Certificates[0], nil
}

// call sends a request (see persist) and decodes the answer into out (nil: none).
// A change whose answer was lost is carried out once.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusAccepted { // others have to agree first
		var change adminapi.Change
		if err := json.NewDecoder(resp.Body).Decode(&change); err != nil {
			return fmt.Errorf("the answer of %s cannot be read: %w", resp.Request.URL.Host, err)
		}
		return waits(change)
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s cannot be read: %w", resp.Request.URL.Host, err)
	}
	return nil
}

// do is call without decoding: the caller closes the body.
func (c *client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = b
	}
	if c.stale && method == http.MethodGet {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + "stale=true"
	}
	return c.persist(ctx, request{method: method, path: path, body: body, key: rand.Text()})
}

func problemIn(resp *http.Response) *wire.Problem {
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	p := new(wire.Problem)
	if err := json.Unmarshal(b, p); err != nil || p.Code == "" {
		return &wire.Problem{Status: resp.StatusCode, Code: wire.CodeInternal, Title: resp.Status, Detail: strings.TrimSpace(string(b))}
	}
	return p
}
