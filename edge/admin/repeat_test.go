package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/keywrap"
)

// oneNode is a cluster of one, without a log.
type oneNode struct {
	mu      sync.Mutex
	machine *state.Machine
	index   uint64
}

func (n *oneNode) Propose(_ context.Context, c *command.Command) (*command.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	if c.LeaderTime == 0 {
		c.LeaderTime = time.Now().UnixNano()
	}
	r, _, err := n.machine.Apply(n.index, 1, command.Marshal(c))
	return r, err
}

func (n *oneNode) View(fn func(*state.Machine)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(n.machine)
}

func (n *oneNode) Clone() *state.Machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.machine.Clone()
}

func (*oneNode) ReadIndex(context.Context) error { return nil }

func newServer(t *testing.T, pushed ...*[]string) (*Server, *oneNode) {
	t.Helper()
	w, err := keywrap.New(make([]byte, keywrap.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	n := &oneNode{machine: state.New()}
	return New(Config{
		Cluster: n, Alive: func(string) bool { return false },
		Push: func(l *command.Lock) {
			for _, p := range pushed {
				*p = append(*p, l.Barrel)
			}
		},
		Secrets: w, Logger: slog.New(slog.DiscardHandler),
	}), n
}

// send sends a request as an operator with all roles.
func (s *Server) send(t *testing.T, uri, method, path, key, body string) *httptest.ResponseRecorder {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{URIs: []*url.URL{u}, Subject: pkix.Name{OrganizationalUnit: []string{"viewer", "operator", "seal-administrator"}}}
	r := httptest.NewRequest(method, path, bytes.NewReader([]byte(body)))
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	if err := s.asDocumented(r, w); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return w
}

const operator = "sealedge://operator/li"

func barrelDocument(t *testing.T, psk string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"id": "SB-0001", "mac": "02:00:00:00:00:01", "psk_identity": "SB-0001", "state": "active", "seal_type": "contract",
		"psk":                base64.StdEncoding.EncodeToString([]byte(psk)),
		"receipt_public_key": base64.StdEncoding.EncodeToString(make([]byte, 32)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A client whose answer was lost repeats the request, at another node perhaps,
// and gets the first answer.
func TestRepeats(t *testing.T) {
	s, n := newServer(t)
	body := barrelDocument(t, "0123456789abcdef0123456789abcdef")
	for range 2 {
		if w := s.send(t, operator, "PUT", "/v1/barrels/SB-0001", "put", body); w.Code != http.StatusOK {
			t.Fatalf("put: %d %s", w.Code, w.Body)
		}
	}
	if v := n.machine.Barrel("SB-0001").GetVersion(); v != 1 {
		t.Errorf("the barrel is at version %d, want 1", v)
	}
	// The same key for another secret is a mistake that is told.
	if w := s.send(t, operator, "PUT", "/v1/barrels/SB-0001", "put", barrelDocument(t, "another-secret-of-thirty-two-by!")); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("the key for another document: %d %s", w.Code, w.Body)
	}

	var answers [2]string
	for i := range answers {
		w := s.send(t, operator, "POST", "/v1/barrels/SB-0001/lock", "lock", `{"reason":"lost"}`)
		if w.Code != http.StatusOK {
			t.Fatalf("lock: %d %s", w.Code, w.Body)
		}
		answers[i] = w.Body.String()
	}
	if answers[0] != answers[1] || len(n.machine.PendingLocks()) != 1 {
		t.Errorf("answers %q, %d locks", answers, len(n.machine.PendingLocks()))
	}
	// Without a key, or with another, it is another lock.
	if w := s.send(t, operator, "POST", "/v1/barrels/SB-0001/lock", "", `{"reason":"lost"}`); w.Body.String() == answers[0] {
		t.Errorf("a second order gave the first lock")
	}
}

// Certificates of the same CA that are no operator's get nowhere, whatever
// roles they claim.
func TestOnlyOperators(t *testing.T) {
	s, _ := newServer(t)
	for _, uri := range []string{
		"sealedge://node/node1", "sealedge://seal-server", "sealedge://gateway/gw1", "sealedge://operator", "sealedge://operator/", "https://operator/li",
	} {
		if w := s.send(t, uri, "GET", "/v1/barrels", "", ""); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", uri, w.Code)
		}
	}
	r := httptest.NewRequest("GET", "/v1/barrels", nil)
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("without a certificate: %d", w.Code)
	}
}

// With the commit of its terminal's revocation a barrel can't be reached any
// more: it is told before.
func TestRevokingTellsBarrelsFirst(t *testing.T) {
	var pushed []string
	s, _ := newServer(t, &pushed)
	for _, r := range []struct{ method, path, body string }{
		{"PUT", "/v1/barrels/SB-0001", barrelDocument(t, "0123456789abcdef0123456789abcdef")},
		{"PUT", "/v1/terminals/460011234567890", `{"imsi":"460011234567890","apns":["seal.corp"]}`},
		{"POST", "/v1/barrels/SB-0001/checkout", `{"imsi":"460011234567890"}`},
		{"POST", "/v1/terminals/460011234567890/revoke", `{"reason":"stolen"}`},
	} {
		if w := s.send(t, operator, r.method, r.path, "", r.body); w.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", r.method, r.path, w.Code, w.Body)
		}
	}
	if len(pushed) != 1 || pushed[0] != "SB-0001" {
		t.Errorf("pushed to %v, want SB-0001", pushed)
	}
}
