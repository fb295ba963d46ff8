package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/viper"
	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/wire"
)

// client talks to whichever node answers.
type client struct {
	addresses []string
	http      *http.Client
	stale     bool
	stderr    io.Writer
}

// settings is a context file: where the cluster is and who the caller is.
// Paths are relative to the file.
type settings struct {
	Addresses []string `mapstructure:"addresses"`
	CA        string   `mapstructure:"ca"`
	Cert      string   `mapstructure:"cert"`
	Key       string   `mapstructure:"key"`
}

// newClient reads the context: flags over environment over file.
func newClient(c *cli.Context) (*client, error) {
	file := c.String("context")
	v := viper.New()
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	v.SetEnvPrefix("SEALCTL")
	for _, k := range []string{"addresses", "ca", "cert", "key"} {
		_ = v.BindEnv(k) // fails only without a key
	}
	const hint = "'sealedge init' writes sealctl.yaml; name it with --context FILE or SEALCTL_CONTEXT"
	if err := v.ReadInConfig(); err != nil && !(errors.Is(err, os.ErrNotExist) && v.IsSet("addresses")) {
		return nil, &hinted{exitUsage, fmt.Sprintf("the context %s cannot be read: %v", file, err), hint}
	}
	var s settings
	if err := v.UnmarshalExact(&s); err != nil {
		return nil, &hinted{exitUsage, fmt.Sprintf("the context %s is wrong: %v", file, err), "it has the keys addresses, ca, cert and key"}
	}
	if len(s.Addresses) == 0 {
		return nil, &hinted{exitUsage, fmt.Sprintf("the context %s names no addresses", file), "list the nodes' admin addresses, such as 127.0.1.1:7443, under addresses"}
	}
	near := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(filepath.Dir(file), p)
	}
	pem, err := os.ReadFile(near(s.CA))
	if err != nil {
		return nil, &hinted{exitUsage, fmt.Sprintf("the cluster's CA certificate cannot be read: %v", err), "mend ca in " + file}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, &hinted{exitUsage, near(s.CA) + " holds no certificate", "mend ca in " + file}
	}
	pair, err := tls.LoadX509KeyPair(near(s.Cert), near(s.Key))
	if err != nil {
		return nil, &hinted{exitUsage, fmt.Sprintf("your certificate cannot be read: %v", err), "mend cert and key in " + file}
	}
	return &client{
		addresses: s.Addresses,
		stale:     c.Bool("stale"),
		stderr:    c.App.ErrWriter,
		http: &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair}},
			TLSHandshakeTimeout:   3 * time.Second,
			ResponseHeaderTimeout: 15 * time.Second,
		}},
	}, nil
}

// call sends a request to one node after the other until one answers with
// something else than "no quorum" or "outcome unknown", and decodes the answer
// into out (nil: none). All tries of one call carry one idempotency key, so a
// change whose answer was lost is carried out once.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
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
	key := rand.Text()
	var last error
	for _, addr := range c.addresses {
		req, err := http.NewRequestWithContext(ctx, method, "https://"+addr+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		resp, err := c.http.Do(req)
		if err != nil {
			last = unreachable(addr, err)
			continue
		}
		if resp.StatusCode < 400 {
			return resp, nil
		}
		p := problemIn(resp)
		if p.Code != wire.CodeNoQuorum && p.Code != wire.CodeOutcomeUnknown {
			return nil, p
		}
		last = p
	}
	return nil, last
}

func unreachable(addr string, err error) error {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return &hinted{exitDenied, fmt.Sprintf("%s is not who it should be: %v", addr, cert), "the context's ca must be the cluster's; somebody may be in between"}
	}
	return &hinted{exitNoLeader, fmt.Sprintf("no node answered; the last tried was %s: %v", addr, err), "see that the nodes run and that the context's addresses are theirs"}
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
