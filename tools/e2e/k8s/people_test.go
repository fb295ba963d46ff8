//go:build linux

package k8s

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// People at the seal server. Everybody's password is his name twice over.
const applicant, approver = "li.wei", "wu.min"

func password(name string) string { return name + "+" + name }

// office is the seal server, outside of Kubernetes, and people in their browsers.
type office struct {
	*site
	log    string
	http   *http.Client
	tokens map[string]string
}

// startOffice starts the reference seal server, with its people, for the whole site.
func (s *site) startOffice() {
	s.Helper()
	program := s.file("bin", "sealserver")
	for name, role := range map[string]string{applicant: "applicant", approver: "approver"} {
		cmd := exec.CommandContext(s.soon(), program, "add-user", "--config", s.layout.SealServer, "--role", role, name)
		cmd.Stdin = strings.NewReader(password(name) + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Fatalf("add-user: %v: %s", err, out)
		}
	}
	o := &office{site: s, log: s.file("sealserver.log"), tokens: map[string]string{}}
	out, err := os.Create(o.log)
	if err != nil {
		s.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, "serve", "--config", s.layout.SealServer)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.life.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.until("the seal server serves", func() bool { return strings.Contains(o.words(), "seal server ready") })
	o.http = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.roots()}}}
	s.life.Cleanup(o.http.CloseIdleConnections)
	s.people = o
}

func (o *office) words() string {
	b, _ := os.ReadFile(o.log)
	return string(b)
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
	r, err := http.NewRequestWithContext(o.soon(), method, "https://"+o.sealServer().String()+path, bytes.NewReader(body))
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

// tail is the end of a log.
func tail(file string) string {
	b, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
