// Package people is what people do at the reference seal server, in their browsers, for
// tests of the whole: apply for orders, approve them, judge evidence.
package people

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// Those that the tests know, by their parts.
const (
	Applicant = "li.wei"
	Approver  = "wu.min"
	Reviewer  = "rao.jing"
)

// Password is somebody's: his name twice over.
func Password(name string) string { return name + "+" + name }

// patience bounds a request.
const patience = 90 * time.Second

// Test is what a failure is told.
type Test interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// Office is a seal server with its people, each of whom logs in when he first does something.
type Office struct {
	t      Test
	server string // host:port
	http   *http.Client
	tokens map[string]string
}

// New makes the office of the seal server at host:port, whose certificate is of one of roots.
func New(t Test, server string, roots *x509.CertPool) *Office {
	return &Office{t: t, server: server, tokens: map[string]string{}, http: &http.Client{
		Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}},
	}}
}

// Close ends its connections.
func (o *Office) Close() { o.http.CloseIdleConnections() }

// Do is a request of one of the people, which has to succeed; of nobody with an empty
// name. out may be nil.
func (o *Office) Do(who, method, path string, in, out any) {
	o.t.Helper()
	if o.tokens[who] == "" && who != "" {
		var a wire.LoginAnswer
		o.Do("", http.MethodPost, wire.PathServerLogin, wire.LoginRequest{User: who, Password: Password(who)}, &a)
		o.tokens[who] = a.Token
	}
	body, err := json.Marshal(in)
	if err != nil {
		o.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(o.t.Context(), method, "https://"+o.server+path, bytes.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+o.tokens[who])
	}
	answer, err := o.http.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		o.t.Fatalf("%s %s: %s: %s: %v", method, path, answer.Status, raw, err)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(raw, out); err != nil {
		o.t.Fatal(err)
	}
}

// Order has an order for so many stampings with a contract seal applied for and approved,
// and returns its number.
func (o *Office) Order(number string, count uint32) string {
	o.t.Helper()
	now := time.Now()
	o.Do(Applicant, http.MethodPost, "/v1/work-orders", map[string]any{
		"number": number, "reason": "signing at the customer's", "seal_type": "contract", "count": count,
		"not_before": now.Add(-time.Hour), "not_after": now.Add(8 * time.Hour), "document_name": number + ".pdf",
	}, nil)
	o.Do(Approver, http.MethodPost, "/v1/work-orders/"+url.PathEscape(number)+"/approve", struct{}{}, nil)
	return number
}
