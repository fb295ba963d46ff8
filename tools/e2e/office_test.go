package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// People at the seal server. Everybody's password is his name twice over.
const (
	applicant = "li.wei"
	approver  = "wu.min"
	reviewer  = "rao.jing"
)

func password(name string) string { return name + "+" + name }

// startServer starts the seal server, with its people the first time.
func (s *site) startServer() {
	s.Helper()
	if s.server == nil {
		for name, role := range map[string]string{applicant: "applicant", approver: "approver", reviewer: "reviewer"} {
			cmd := exec.CommandContext(s.soon(), filepath.Join(bin, "sealserver"), "add-user", "--config", s.layout.SealServer, "--role", role, name)
			cmd.Stdin = strings.NewReader(password(name) + "\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				s.Fatalf("add-user: %v: %s", err, out)
			}
		}
	}
	before := 0
	if s.server != nil {
		before = len(s.server.words())
	}
	s.server = start(s.T, s.dir, "sealserver", exec.Command(filepath.Join(bin, "sealserver"), "serve", "--config", s.layout.SealServer))
	s.server.ours = true
	s.until("the seal server serves", func() bool { return strings.Contains(s.server.words()[before:], "seal server ready") })
}

// office is what people do at the seal server, in their browsers.
type office struct {
	*site
	http   *http.Client
	tokens map[string]string
}

func (s *site) office() *office {
	s.Helper()
	o := &office{site: s, tokens: map[string]string{}, http: &http.Client{
		Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.roots()}},
	}}
	s.Cleanup(o.http.CloseIdleConnections)
	return o
}

// do is a request of one of the people.
func (o *office) do(who, method, path string, in, out any) {
	o.Helper()
	if o.tokens[who] == "" && who != "" {
		var a wire.LoginAnswer
		o.do("", http.MethodPost, wire.PathServerLogin, wire.LoginRequest{User: who, Password: password(who)}, &a)
		o.tokens[who] = a.Token
	}
	body, err := json.Marshal(in)
	if err != nil {
		o.Fatal(err)
	}
	r, err := http.NewRequestWithContext(o.Context(), method, "https://"+o.sealServer().String()+path, bytes.NewReader(body))
	if err != nil {
		o.Fatal(err)
	}
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+o.tokens[who])
	}
	answer, err := o.http.Do(r)
	if err != nil {
		o.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		o.Fatalf("%s %s: %s: %s: %v", method, path, answer.Status, raw, err)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(raw, out); err != nil {
		o.Fatal(err)
	}
}

// order has an order for a contract seal applied for and approved.
func (o *office) order(number string, count uint32) string {
	o.Helper()
	now := time.Now()
	o.do(applicant, http.MethodPost, "/v1/work-orders", map[string]any{
		"number": number, "reason": "signing at the customer's", "seal_type": "contract", "count": count,
		"not_before": now.Add(-time.Hour), "not_after": now.Add(8 * time.Hour), "document_name": number + ".pdf",
	}, nil)
	o.do(approver, http.MethodPost, "/v1/work-orders/"+url.PathEscape(number)+"/approve", struct{}{}, nil)
	return number
}

// evidence of a stamping, as the reviewer sees it.
type evidence struct {
	Use     uint64 `json:"use"`
	Stamp   uint32 `json:"stamp"`
	SHA256  []byte `json:"sha256"`
	Size    int64  `json:"size"`
	Verdict string `json:"verdict"`
}

func (o *office) evidence(order string) (list []evidence) {
	o.Helper()
	o.do(reviewer, http.MethodGet, "/v1/evidence?order="+url.QueryEscape(order), nil, &list)
	return list
}

// mismatch is the reviewer saying that page and document differ.
func (o *office) mismatch(order string, use uint64, stamp uint32) {
	o.Helper()
	ref := wire.EvidenceRef{Order: order, Use: use, Stamp: stamp}
	o.do(reviewer, http.MethodPost, wire.ServerEvidencePath(ref)+"/verdict", map[string]any{"match": false, "words": "another page"}, nil)
}

// refused fails the test unless err is the gateway's refusal with one of the
// codes.
func refused(t *testing.T, what string, err error, codes ...wire.Code) {
	t.Helper()
	var p *wire.Problem
	switch {
	case err == nil:
		t.Errorf("%s: not refused; want %v", what, codes)
	case !errors.As(err, &p) || !slices.Contains(codes, p.Code):
		t.Errorf("%s: %v; want %v", what, err, codes)
	case p.Hint == "":
		t.Errorf("%s: the refusal doesn't say what to do: %v", what, fmt.Sprintf("%+v", p))
	}
}

// refusal is the HTTP status of a refusal, 0 if err is none.
func refusal(err error) int {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}
