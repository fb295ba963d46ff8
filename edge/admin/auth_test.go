package admin

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/wire"
)

// call sends a request without a body, with a certificate or none.
func call(s *Server, method, path string, cert *x509.Certificate) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader("{}"))
	r.TLS = &tls.ConnectionState{}
	if cert != nil {
		r.TLS.VerifiedChains = [][]*x509.Certificate{{cert}}
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

func certificate(uri string, units ...string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "li", OrganizationalUnit: units}}
	if u, err := url.Parse(uri); err == nil && uri != "" {
		c.URIs = []*url.URL{u}
	}
	return c
}

func codeOf(t *testing.T, w *httptest.ResponseRecorder) wire.Code {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("no problem but %d %q", w.Code, w.Body)
	}
	return p.Code
}

// Certificates of the same CA that are not an operator's open nothing.
func TestOnlyOperatorsGetIn(t *testing.T) {
	s, _ := newServer(t)
	for name, c := range map[string]*x509.Certificate{
		"none":                        nil,
		"a node's":                    certificate("sealedge://node/node1", "operator", "seal-administrator"),
		"the seal server's":           certificate("sealedge://seal-server", "viewer"),
		"the gateway's":               certificate("sealedge://gateway/gw1", "viewer"),
		"an operator's without name":  certificate("sealedge://operator/", "viewer"),
		"another scheme":              certificate("https://operator/li", "viewer"),
		"only a common name":          certificate("", "viewer", "operator"),
		"an operator's without roles": certificate("sealedge://operator/li"),
		"an operator's unknown role":  certificate("sealedge://operator/li", "king"),
	} {
		for _, rt := range s.routes() {
			method, path, _ := strings.Cut(rt.pattern, " ")
			if w := call(s, method, path, c); w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
				t.Errorf("%s certificate: %s: status %d", name, rt.pattern, w.Code)
			}
		}
	}
}

// Each route is refused to every role but its own; who may change may look.
func TestRoles(t *testing.T) {
	s, _ := newServer(t)
	for _, rt := range s.routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		for _, role := range roles {
			if role == rt.role || rt.role == Viewer {
				continue
			}
			w := call(s, method, path, certificate("sealedge://operator/li", string(role)))
			if w.Code != http.StatusForbidden || codeOf(t, w) != "role-missing" {
				t.Errorf("%s as %s: status %d %s", rt.pattern, role, w.Code, w.Body)
			}
		}
	}
	for _, role := range roles {
		if w := call(s, "GET", "/v1/orders", certificate("sealedge://operator/li", string(role))); w.Code != http.StatusOK {
			t.Errorf("list of orders as %s: status %d", role, w.Code)
		}
	}
}

// What changes something is for no viewer, but for tokens of his own.
func TestViewersOnlyLook(t *testing.T) {
	s, _ := newServer(t)
	for _, rt := range s.routes() {
		own := strings.HasSuffix(rt.pattern, " /v1/tokens") || strings.Contains(rt.pattern, " /v1/tokens/")
		asks := rt.pattern == "POST /v1/policy/diff" || rt.pattern == "POST /v1/policy/explain"
		if rt.role == Viewer && !strings.HasPrefix(rt.pattern, "GET ") && !own && !asks {
			t.Errorf("%s is for viewers", rt.pattern)
		}
		if !slices.Contains(roles, rt.role) {
			t.Errorf("%s is for the role %q, which nobody can have", rt.pattern, rt.role)
		}
	}
}

func TestProbesNeedNoOperator(t *testing.T) {
	s, _ := newServer(t)
	if w := call(s, "GET", "/livez", nil); w.Code != http.StatusOK {
		t.Errorf("livez: %d", w.Code)
	}
	if w := call(s, "GET", "/v1/nowhere", nil); w.Code != http.StatusNotFound {
		t.Errorf("no such path: %d", w.Code)
	}
}
