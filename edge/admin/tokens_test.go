package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// with sends a request with a token and no certificate.
func (s *Server) with(token, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.TLS = &tls.ConnectionState{}
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

func issue(t *testing.T, s *Server, body string) adminapi.IssuedToken {
	t.Helper()
	w := s.send(t, operator, "POST", "/v1/tokens", "", body)
	var i adminapi.IssuedToken
	if err := json.Unmarshal(w.Body.Bytes(), &i); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return i
}

func TestTokens(t *testing.T) {
	s, n := newServer(t)
	i := issue(t, s, `{"label":"nightly export","roles":["viewer"],"lifetime_seconds":3600}`)
	if i.Token.Owner != "operator:li" || i.Token.Label != "nightly export" || len(i.Token.Roles) != 1 || !strings.HasPrefix(i.Bearer, i.Token.ID+".") {
		t.Errorf("issued %+v", i)
	}
	_, secret, _ := strings.Cut(i.Bearer, ".")
	if raw := command.Marshal(n.machine.Token(i.Token.ID)); strings.Contains(string(raw), secret) {
		t.Error("the secret is in the state")
	}
	if w := s.with(i.Bearer, "GET", "/v1/orders", ""); w.Code != http.StatusOK {
		t.Errorf("with the token: %d %s", w.Code, w.Body)
	}
	// Its roles are its own.
	if w := s.with(i.Bearer, "POST", "/v1/orders/suspend?number=1", `{"reason":"x"}`); w.Code != http.StatusForbidden || codeOf(t, w) != "role-missing" {
		t.Errorf("with a role that it doesn't have: %d %s", w.Code, w.Body)
	}
	for name, token := range map[string]string{
		"another secret": i.Token.ID + "." + strings.ToLower(secret), "no secret": i.Token.ID, "an empty secret": i.Token.ID + ".",
		"nothing": "", "another id": "x." + secret, "only a secret": "." + secret, "a longer one": i.Bearer + "A",
	} {
		if w := s.with(token, "GET", "/v1/orders", ""); w.Code != http.StatusUnauthorized || codeOf(t, w) != "token-invalid" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	// Another sort of authorization doesn't fall back to the certificate.
	r := httptest.NewRequest("GET", "/v1/orders", nil)
	r.Header.Set("Authorization", "Basic bGk6bGk=")
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("basic: %d %v", w.Code, w.Header())
	}
	if w := s.send(t, operator, "DELETE", "/v1/tokens/"+i.Token.ID, "", ""); w.Code != http.StatusOK {
		t.Fatalf("revoke: %d %s", w.Code, w.Body)
	}
	if w := s.with(i.Bearer, "GET", "/v1/orders", ""); w.Code != http.StatusUnauthorized || codeOf(t, w) != "token-invalid" {
		t.Errorf("when revoked: %d %s", w.Code, w.Body)
	}
}

func TestTokensExpire(t *testing.T) {
	s, n := newServer(t)
	now := time.Now()
	s.cfg.Now = func() time.Time { return now }
	i := issue(t, s, `{"roles":["viewer"],"lifetime_seconds":60}`)
	if w := s.with(i.Bearer, "GET", "/v1/orders", ""); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	now = now.Add(time.Minute)
	if w := s.with(i.Bearer, "GET", "/v1/orders", ""); w.Code != http.StatusUnauthorized || codeOf(t, w) != "token-expired" {
		t.Errorf("by the node's clock: %d %s", w.Code, w.Body)
	}
	// A node whose clock is behind goes by the cluster's.
	i = issue(t, s, `{"roles":["viewer"],"lifetime_seconds":60}`)
	c := command.New("test", "", "test", &command.RecordDecision{})
	c.LeaderTime = now.Add(2 * time.Minute).UnixNano()
	if _, err := n.Propose(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if w := s.with(i.Bearer, "GET", "/v1/orders", ""); w.Code != http.StatusUnauthorized || codeOf(t, w) != "token-expired" {
		t.Errorf("by the cluster's clock: %d %s", w.Code, w.Body)
	}
}

func TestTokensAreIssuedForOneself(t *testing.T) {
	s, _ := newServer(t)
	for name, body := range map[string]string{
		"no roles":            `{"lifetime_seconds":60}`,
		"no lifetime":         `{"roles":["viewer"]}`,
		"a longer one":        `{"roles":["viewer"],"lifetime_seconds":31622401}`,
		"a long label":        `{"roles":["viewer"],"lifetime_seconds":60,"label":"` + strings.Repeat("x", 201) + `"}`,
		"an owner":            `{"roles":["viewer"],"lifetime_seconds":60,"owner":"operator:wu"}`,
		"a role of another":   `{"roles":["auditor"],"lifetime_seconds":60}`,
		"a role of nobody":    `{"roles":["king"],"lifetime_seconds":60}`,
		"one too many of two": `{"roles":["viewer","backup"],"lifetime_seconds":60}`,
	} {
		if w := s.send(t, operator, "POST", "/v1/tokens", "", body); w.Code != http.StatusBadRequest && w.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	i := issue(t, s, `{"roles":["viewer","seal-administrator","viewer"],"lifetime_seconds":31622400}`)
	if w := s.with(i.Bearer, "POST", "/v1/tokens", `{"roles":["viewer"],"lifetime_seconds":60}`); w.Code != http.StatusForbidden || codeOf(t, w) != "certificate-needed" {
		t.Errorf("by a token: %d %s", w.Code, w.Body)
	}
}

// A repeat can't have the secret; it says which token there is.
func TestTokensOfRepeats(t *testing.T) {
	s, n := newServer(t)
	body := `{"roles":["viewer"],"lifetime_seconds":60}`
	if w := s.send(t, operator, "POST", "/v1/tokens", "key", body); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	w := s.send(t, operator, "POST", "/v1/tokens", "key", body)
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "sealctl token revoke tk") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	count := 0
	for range n.machine.Tokens() {
		count++
	}
	if count != 1 {
		t.Errorf("%d tokens", count)
	}
}

func TestTokensOfOthers(t *testing.T) {
	s, _ := newServer(t)
	viewer := certificate("sealedge://operator/wu", "viewer")
	i := issue(t, s, `{"roles":["viewer"],"lifetime_seconds":60}`)
	if w := call(s, "GET", "/v1/tokens", viewer); strings.Contains(w.Body.String(), i.Token.ID) {
		t.Errorf("a viewer sees another's: %s", w.Body)
	}
	if w := call(s, "DELETE", "/v1/tokens/"+i.Token.ID, viewer); w.Code != http.StatusForbidden {
		t.Errorf("a viewer revokes another's: %d %s", w.Code, w.Body)
	}
	if w := call(s, "DELETE", "/v1/tokens/none", viewer); w.Code != http.StatusNotFound {
		t.Errorf("one that isn't there: %d %s", w.Code, w.Body)
	}
	auditor := certificate("sealedge://operator/rao", "auditor")
	if w := call(s, "GET", "/v1/tokens", auditor); !strings.Contains(w.Body.String(), i.Token.ID) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("an auditor sees: %s", w.Body)
	}
	admin := certificate("sealedge://operator/zhao", "seal-administrator")
	if w := call(s, "DELETE", "/v1/tokens/"+i.Token.ID, admin); w.Code != http.StatusOK {
		t.Errorf("a seal administrator: %d %s", w.Code, w.Body)
	}
	// A token may end itself: what leaks is stopped by whoever finds it.
	i = issue(t, s, `{"roles":["viewer"],"lifetime_seconds":60}`)
	if w := s.with(i.Bearer, "DELETE", "/v1/tokens/"+i.Token.ID, ""); w.Code != http.StatusOK {
		t.Errorf("by itself: %d %s", w.Code, w.Body)
	}
}

// behind is a node that hears of what the others did when it asks for it.
type behind struct {
	*oneNode
	news func()
}

func (b *behind) ReadIndex(context.Context) error {
	b.news()
	return nil
}

// A token that was revoked at another node changes nothing at one that hasn't heard.
func TestTokenRevokedElsewhere(t *testing.T) {
	s, n := newServer(t)
	i := issue(t, s, `{"roles":["viewer","seal-administrator"],"lifetime_seconds":3600}`)
	s.cfg.Cluster = &behind{n, func() {
		if _, err := n.Propose(t.Context(), command.New("other", "", "operator:li", &command.RevokeToken{Id: i.Token.ID})); err != nil {
			t.Error(err)
		}
	}}
	if w := s.with(i.Bearer, "POST", "/v1/orders/resume?number=1", `{"reason":"x"}`); w.Code != http.StatusUnauthorized || codeOf(t, w) != "token-invalid" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
