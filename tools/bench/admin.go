package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/edge/wire"
)

// admin calls the operators' API of whichever node answers.
type admin struct {
	addresses []string
	first     atomic.Pointer[string] // asked first, if any
	http      *http.Client
}

// hands is how many calls are under way at once where only the end matters.
const hands = 32

func newAdmin(identity *tls.Config) *admin {
	return &admin{http: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: identity, MaxIdleConnsPerHost: hands},
	}}
}

// prefer asks one node first from now on.
func (a *admin) prefer(address string) { a.first.Store(&address) }

func (a *admin) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	order := a.addresses
	if p := a.first.Load(); p != nil {
		order = append([]string{*p}, order...)
	}
	var last error
	for _, address := range order {
		r, err := http.NewRequestWithContext(ctx, method, "https://"+address+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if last = exchange(a.http, r, out); last == nil {
			return nil
		}
		var p *wire.Problem
		if errors.As(last, &p) && p.Status < 500 {
			return last
		}
	}
	return last
}

// exchange makes a request with a JSON answer (out nil: it doesn't matter). A
// refusal is a *wire.Problem.
func exchange(client *http.Client, r *http.Request, out any) error {
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body) // to the end, so that the connection is used again
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		p := &wire.Problem{Title: answer.Status, Detail: string(b)}
		_ = json.Unmarshal(b, p) // else what came is the detail
		p.Status = answer.StatusCode
		return fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, p)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

// patient tries again while the cluster has no leader, or the way to it is
// broken. What it is used for does no harm when it is done twice.
func patient(ctx context.Context, do func() error) error {
	for begin := time.Now(); ; {
		err := do()
		var p *wire.Problem
		refused := errors.As(err, &p) && p.Status < 500
		if err == nil || refused || ctx.Err() != nil || time.Since(begin) > 20*time.Second {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// all does something for 0 to n-1, several at once, and stops at the first error.
func all(parent context.Context, n, atOnce int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(parent)
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(parent) // nil after another's error
			}
			return do(ctx, i)
		})
	}
	return g.Wait()
}
