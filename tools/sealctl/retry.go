package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// request is one call, however often it is sent. Reads can be repeated as they
// are; a change has one key in all its tries, by which the cluster carries it
// out once.
type request struct {
	method, path string
	body         []byte
	key          string
}

// The time between two rounds over all nodes.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 2 * time.Second
)

// persist sends a request to one node after the other until one answers, and
// begins anew for as long as the client's patience lasts, if what stands in the
// way may pass: nodes that don't answer, a leader that is being elected, a rate
// that is exceeded.
func (c *client) persist(ctx context.Context, r request) (*http.Response, error) {
	end := time.Now().Add(c.patience)
	told := false
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		resp, wait, err := c.round(ctx, r)
		if err == nil || !passing(err) || ctx.Err() != nil {
			return resp, err
		}
		wait = max(wait, pause/2+rand.N(pause/2+1)) // spread, so that many don't come back at once
		if time.Now().Add(wait).After(end) {
			return nil, err
		}
		if c.verbose || !told && screenOf(c.stderr).terminal {
			told = true
			fmt.Fprintf(c.stderr, "%s; trying again until %s\n", words(err), end.Format(time.TimeOnly))
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// round asks each node once, until one answers, and begins with the one that did
// last. wait is what a node asked for.
func (c *client) round(ctx context.Context, r request) (resp *http.Response, wait time.Duration, err error) {
	begin := int(c.answered.Load())
	for i := range c.addresses {
		n := (begin + i) % len(c.addresses)
		resp, now := c.send(ctx, c.addresses[n], r)
		if now == nil {
			c.answered.Store(int32(n))
			return resp, 0, nil
		}
		if err == nil || !isUnanswered(now) { // what a node says tells more than that another is silent
			err = now
		}
		var p *wire.Problem
		if errors.As(now, &p) {
			wait = max(wait, time.Duration(p.RetryAfterSeconds)*time.Second)
			if !elsewhere(p) {
				return nil, wait, now
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, wait, err
}

// send asks one node.
func (c *client) send(ctx context.Context, addr string, r request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, "https://"+addr+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", r.key)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		err = unreachable(addr, err)
		if c.verbose {
			fmt.Fprintf(c.stderr, "%s %s: %v\n", r.method, r.path, err)
		}
		return nil, err
	}
	if c.verbose {
		name := addr
		if n := resp.Header.Get(nodeHeader); n != "" {
			name = n + " at " + addr
		}
		fmt.Fprintf(c.stderr, "%s %s: %s answered %s after %d ms\n", r.method, r.path, name, resp.Status, time.Since(began).Milliseconds())
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	return nil, problemIn(resp)
}

// elsewhere tells whether another node may answer what this one can't.
func elsewhere(p *wire.Problem) bool {
	return p.Code == wire.CodeNoQuorum || p.Code == wire.CodeOutcomeUnknown
}

// passing tells whether the same request may succeed a little later.
func passing(err error) bool {
	var p *wire.Problem
	return isUnanswered(err) || errors.As(err, &p) && (elsewhere(p) || p.Status == http.StatusTooManyRequests)
}

// unanswered is of a node that gave no answer.
type unanswered struct {
	why error
	*hinted
}

func (s *unanswered) Unwrap() error { return s.hinted }

func isUnanswered(err error) bool {
	var s *unanswered
	return errors.As(err, &s)
}

// unreachable tells why there was no answer.
func unreachable(addr string, err error) error {
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which the words have
	}
	switch {
	case errors.As(err, &cert):
		return &hinted{exitDenied, fmt.Sprintf("%s is not who it should be: %v", addr, cert), "the context's ca must be the cluster's; somebody may be in between"}
	case errors.As(err, &op) && op.Op == "remote error":
		// A TLS alert: the node doesn't take the certificate, or misses it.
		return &hinted{exitDenied, fmt.Sprintf("%s refuses your certificate: %v", addr, op.Err), "see with 'sealctl context show' whether it has expired, or is of another cluster's CA"}
	case errors.Is(err, context.Canceled):
		return &hinted{exitFailed, "interrupted", ""}
	}
	return &unanswered{err, &hinted{exitNoLeader, fmt.Sprintf("no node answered; the last tried was %s: %v", addr, err), "see that the nodes run and that the context's addresses are theirs"}}
}
