package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// office is the real seal server, and the people at it.
type office struct {
	*process
	http   *http.Client
	tokens map[string]string // by user
}

// openOffice starts the seal server with its users.
func (s *site) openOffice(ctx context.Context) (*office, error) {
	program := filepath.Join(s.bin, "sealserver")
	for user, role := range map[string]string{userName: "applicant", approver: "approver"} {
		add := exec.CommandContext(ctx, program, "add-user", "--config", s.layout.SealServer, "--role", role, user)
		add.Stdin = strings.NewReader(password + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("add-user: %w: %s", err, out)
		}
	}
	identity, err := s.client("operator")
	if err != nil {
		return nil, err
	}
	identity.Certificates = nil // people have none
	p, err := start(s.dir, "sealserver", program, "serve", "--config", s.layout.SealServer)
	if err != nil {
		return nil, err
	}
	o := &office{process: p, tokens: map[string]string{}, http: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: identity, MaxIdleConnsPerHost: hands},
	}}
	for {
		err := o.login(ctx)
		if err == nil {
			return o, nil
		}
		if ended := errors.Join(ctx.Err(), p.ended()); ended != nil {
			p.stop()
			return nil, errors.Join(ended, err)
		}
		time.Sleep(20 * time.Millisecond) // until it listens
	}
}

func (o *office) login(ctx context.Context) error {
	for _, user := range []string{userName, approver} {
		var a wire.LoginAnswer
		if err := o.as(ctx, user, "POST", wire.PathServerLogin, wire.LoginRequest{User: user, Password: password}, &a); err != nil {
			return err
		}
		o.tokens[user] = a.Token
	}
	return nil
}

// as makes a call as one of the people.
func (o *office) as(ctx context.Context, who, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+sealServer.String()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if token := o.tokens[who]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return exchange(o.http, r, out)
}

// approve makes approved orders.
func (o *office) approve(ctx context.Context, orders []string) error {
	from, until := orderWindow()
	return all(ctx, len(orders), hands, func(ctx context.Context, i int) error {
		err := o.as(ctx, userName, "POST", "/v1/work-orders", map[string]any{
			"number": orders[i], "reason": "bench", "seal_type": sealType, "count": orderCount, "not_before": from, "not_after": until,
		}, nil)
		if err != nil {
			return err
		}
		return o.as(ctx, approver, "POST", "/v1/work-orders/"+orders[i]+"/approve", struct{}{}, nil)
	})
}
