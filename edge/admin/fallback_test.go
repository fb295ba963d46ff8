package admin

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/bundle"
)

var (
	terminalKey   = bytes.Repeat([]byte{7}, 32)
	terminalKey64 = base64.StdEncoding.EncodeToString(terminalKey)
)

const fallbackPath = phonePath + "/fallback"

// onFallback is a cluster with a policy, and a phone that may come over the fallback.
func onFallback(t *testing.T, edit func(policy string) string) (*Server, *oneNode) {
	t.Helper()
	s, n := newServer(t)
	s.cfg.Fallback = &Fallback{Endpoints: []string{"198.51.100.1:51820", "vpn.example.com:51820"}, MTU: 1400, Keepalive: 25}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	doc := string(bundle.Default(bundle.Params{}))
	if edit != nil {
		before := doc
		if doc = edit(doc); doc == before {
			t.Fatal("the policy is the same")
		}
	}
	put := putPolicy(t, doc)
	n.must(t, put)
	n.must(t, &command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: phone, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: terminalKey, StaticAddress: []byte{10, 90, 7, 7},
	}})
	return s, n
}

func putPolicy(t *testing.T, doc string) *command.PutPolicy {
	t.Helper()
	_, pools, err := bundle.Parse("policy", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return &command.PutPolicy{Document: []byte(doc), Pools: pools}
}

// rotate puts a new key into the state.
func rotate(t *testing.T, s *Server, key, body string) (k adminapi.FallbackKey) {
	t.Helper()
	w := s.send(t, operator, "POST", "/v1/fallback/keys/rotate", key, body)
	into(t, w, &k)
	return k
}

func into(t *testing.T, w *httptest.ResponseRecorder, v any) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatal(err)
	}
}

func issueBody(key string, lifetime time.Duration) string {
	return fmt.Sprintf(`{"public_key":%q,"lifetime_seconds":%d}`, key, int(lifetime.Seconds()))
}

func TestIssueFallback(t *testing.T) {
	s, n := onFallback(t, nil)
	old := rotate(t, s, "", `{"overlap_seconds":0}`)
	now := rotate(t, s, "", `{"overlap_seconds":3600}`)

	w := s.send(t, operator, "POST", fallbackPath, "once", issueBody(terminalKey64, time.Hour))
	var got adminapi.IssuedFallback
	into(t, w, &got)
	if c := w.Header().Get("Cache-Control"); c != "no-store" {
		t.Errorf("an answer with a secret may be kept: %q", c)
	}
	c, l := got.Connection, got.Lease
	if c.Address != "10.90.7.7" || !slices.Equal(c.AllowedIPs, []string{"10.90.0.1/32"}) || !slices.Equal(c.Endpoints, s.cfg.Fallback.Endpoints) || c.MTU != 1400 || c.Keepalive != 25 ||
		c.Connection != l.Number || !c.Expires.Equal(l.Expires) || !c.RenewAfter.Equal(l.Expires) || l.Expires.Sub(l.Issued) != time.Hour {
		t.Errorf("%+v", got)
	}
	if len(c.GatewayKeys) != 2 || base64.StdEncoding.EncodeToString(c.GatewayKeys[0].PublicKey) != now.PublicKey || c.GatewayKeys[0].Until != nil ||
		base64.StdEncoding.EncodeToString(c.GatewayKeys[1].PublicKey) != old.PublicKey || c.GatewayKeys[1].Until == nil {
		t.Errorf("gateway keys %+v", c.GatewayKeys)
	}
	if l.IMSI != phone || l.PublicKey != terminalKey64 || l.By != "operator:li" || !l.ByHand || !slices.Equal(l.Shown, []string{"pre-shared-key"}) {
		t.Errorf("%+v", l)
	}
	stored := n.machine.FallbackLease(phone)
	if psk, err := s.cfg.Secrets.Unwrap("wireguard-psk:"+phone, stored.PresharedKey); err != nil || !bytes.Equal(psk, c.PresharedKey) || len(psk) != 32 {
		t.Errorf("the state has another key than the answer: %v", err)
	}
	if bytes.Contains(stored.PresharedKey, c.PresharedKey) {
		t.Error("the key is there in clear")
	}

	// A request whose answer was lost gets it once more.
	index := n.index
	var again adminapi.IssuedFallback
	into(t, s.send(t, operator, "POST", fallbackPath, "once", issueBody(terminalKey64, time.Hour)), &again)
	if !bytes.Equal(again.Connection.PresharedKey, c.PresharedKey) || again.Lease.Number != l.Number || n.index != index {
		t.Errorf("a repeat made another lease: %+v", again)
	}
	other := base64.StdEncoding.EncodeToString(make([]byte, 32))
	if w := s.send(t, operator, "POST", fallbackPath, "once", issueBody(other, time.Hour)); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("the same key for another request: %d %s", w.Code, w.Body)
	}

	// Nothing but that answer has it.
	secret := base64.StdEncoding.EncodeToString(c.PresharedKey)
	for _, path := range []string{fallbackPath, "/v1/fallback/leases", "/v1/fallback/keys", phonePath, "/v1/sessions"} {
		if w := s.send(t, operator, "GET", path, "", ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}

	// Without a lifetime it is what the policy lets one issue; the new one takes the
	// place of the other.
	var longer adminapi.IssuedFallback
	into(t, s.send(t, operator, "POST", fallbackPath, "", issueBody(terminalKey64, 0)), &longer)
	if longer.Lease.Expires.Sub(longer.Lease.Issued) != 2160*time.Hour || longer.Lease.Number == l.Number || bytes.Equal(longer.Connection.PresharedKey, c.PresharedKey) {
		t.Errorf("%+v", longer.Lease)
	}
	var leases adminapi.List[adminapi.FallbackLease]
	into(t, s.send(t, operator, "GET", "/v1/fallback/leases", "", ""), &leases)
	if len(leases.Items) != 1 || leases.Items[0].Number != longer.Lease.Number {
		t.Errorf("%+v", leases)
	}
}

func TestIssueFallbackRefused(t *testing.T) {
	other := base64.StdEncoding.EncodeToString(make([]byte, 32))
	edit := func(old, new string) func(string) string {
		return func(doc string) string { return strings.Replace(doc, old, new, 1) }
	}
	for name, c := range map[string]struct {
		policy func(string) string
		change func(*Server, *oneNode)
		path   string
		body   string
		status int
		want   string
	}{
		"no key in the request":      {body: `{}`, status: 400, want: "public_key: has 0 bytes"},
		"no key":                     {body: issueBody("AAAA", 0), status: 400, want: "public_key: has 3 bytes"},
		"another key":                {body: issueBody(other, 0), status: 409, want: terminalKey64},
		"too long":                   {body: issueBody(terminalKey64, 2161*time.Hour), status: 400, want: "spec.fallback.issuedLifetime"},
		"nobody":                     {path: "/v1/terminals/460019999999999/fallback", status: 404, want: "460019999999999"},
		"no IMSI":                    {path: "/v1/terminals/46/fallback", status: 400, want: "IMSI"},
		"no fallback path":           {change: func(s *Server, _ *oneNode) { s.cfg.Fallback = nil }, status: 409, want: "no fallback path"},
		"the policy forbids it":      {policy: edit("    allowed: true\n    forbidLevels", "    allowed: false\n    forbidLevels"), status: 403, want: "not-admitted"},
		"a rule forbids it":          {policy: edit("  changeControl:", "  rules:\n    - {id: never, action: attach, effect: forbid, match: {paths: [fallback]}}\n    - {id: else, action: attach, effect: permit}\n  changeControl:"), status: 403, want: "never"},
		"it asks for more":           {policy: edit("    requireIMEI: true", "    credentials: {fallback: [wireguard, certificate]}\n    requireIMEI: true"), status: 403, want: "certificate"},
		"it asks for what is proved": {policy: edit("    requireIMEI: true", "    credentials: {fallback: [wireguard, pre-shared-key]}\n    requireIMEI: true"), status: 200},
		"suspended":                  {change: func(_ *Server, n *oneNode) { n.must(t, &command.SuspendDevice{Imsi: phone, Reason: "x"}) }, status: 403, want: "not-admitted"},
		"revoked":                    {change: func(_ *Server, n *oneNode) { n.must(t, &command.RevokeSubscriber{Imsi: phone, Reason: "x"}) }, status: 403, want: "not-admitted"},
		"no address": {policy: func(doc string) string {
			return regexp.MustCompile(`(?m)^( *)gateway: .*$`).ReplaceAllString(regexp.MustCompile(`pools: \[.*?\]`).ReplaceAllString(doc, `pools: ["fd00:90::/48"]`), `${1}gateway6: "fd00:90::1"`)
		}, change: func(_ *Server, n *oneNode) {
			n.must(t, &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460011234567891", Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: make([]byte, 32)}})
		}, path: "/v1/terminals/460011234567891/fallback", body: issueBody(other, 0), status: 409, want: "static-address"},
		"no key on the list": {change: func(_ *Server, n *oneNode) {
			n.must(t, &command.PutSubscriber{BaseVersion: 1, Subscriber: &command.Subscriber{Imsi: phone, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, StaticAddress: []byte{10, 90, 7, 7}}})
		}, status: 409, want: "no WireGuard key"},
	} {
		t.Run(name, func(t *testing.T) {
			s, n := onFallback(t, c.policy)
			rotate(t, s, "", `{}`)
			if c.change != nil {
				c.change(s, n)
			}
			if c.path == "" {
				c.path = fallbackPath
			}
			if c.body == "" {
				c.body = issueBody(terminalKey64, 0)
			}
			w := s.send(t, operator, "POST", c.path, "", c.body)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %s; want %d with %q", w.Code, w.Body, c.status, c.want)
			}
			if got := n.machine.FallbackLease(phone) != nil; got != (c.status == 200) {
				t.Errorf("lease: %v", got)
			}
		})
	}
}

// Before the leading node has made the first key there is nothing to issue for.
func TestIssueFallbackWithoutKey(t *testing.T) {
	s, _ := onFallback(t, nil)
	if w := s.send(t, operator, "POST", fallbackPath, "", issueBody(terminalKey64, 0)); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "no key for the fallback path yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestEndFallback(t *testing.T) {
	s, n := onFallback(t, nil)
	rotate(t, s, "", `{}`)
	if w := s.send(t, operator, "DELETE", fallbackPath+"?reason=x", "", ""); w.Code != http.StatusNotFound {
		t.Errorf("nothing to end: %d %s", w.Code, w.Body)
	}
	var got adminapi.IssuedFallback
	into(t, s.send(t, operator, "POST", fallbackPath, "", issueBody(terminalKey64, 0)), &got)
	var v adminapi.Fallback
	into(t, s.send(t, operator, "GET", fallbackPath, "", ""), &v)
	if v.Lease == nil || v.Lease.Number != got.Lease.Number || v.Address != "10.90.7.7" || v.PublicKey != terminalKey64 || v.Session != 0 || v.Active {
		t.Errorf("%+v", v)
	}
	n.must(t, &command.AttachWireGuard{Imsi: phone, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: n.machine.Subscriber(phone).Version, PublicKey: terminalKey, GatewayAddress: "gw1", Lease: leaseOf(n)})
	into(t, s.send(t, operator, "GET", fallbackPath, "", ""), &v)
	if v.Session == 0 || !v.Active {
		t.Errorf("it is on the fallback path: %+v", v)
	}
	if w := s.send(t, operator, "DELETE", fallbackPath, "", ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "reason") {
		t.Errorf("without a reason: %d %s", w.Code, w.Body)
	}
	var ended adminapi.FallbackLease
	into(t, s.send(t, operator, "DELETE", fallbackPath+"?reason=lost", "end", ""), &ended)
	into(t, s.send(t, operator, "DELETE", fallbackPath+"?reason=lost", "end", ""), &ended)
	if ended.Number != got.Lease.Number || n.machine.FallbackLease(phone) != nil {
		t.Errorf("%+v", ended)
	}
	if w := s.send(t, operator, "GET", "/v1/terminals/460019999999999/fallback", "", ""); w.Code != http.StatusNotFound {
		t.Errorf("nobody: %d", w.Code)
	}
}

// leaseOf is the number of the lease as a command has to name it: while the cluster
// takes no notice of leases, none.
func leaseOf(n *oneNode) uint64 {
	if n.machine.Level() < 2 {
		return 0
	}
	return n.machine.FallbackLease(phone).GetNumber()
}

func TestRotateFallbackKey(t *testing.T) {
	s, n := onFallback(t, nil)
	var none adminapi.List[adminapi.FallbackKey]
	into(t, s.send(t, operator, "GET", "/v1/fallback/keys", "", ""), &none)
	if none.Items == nil || len(none.Items) != 0 {
		t.Errorf("%+v", none)
	}
	first := rotate(t, s, "a", `{"overlap_seconds":0}`)
	if again := rotate(t, s, "a", `{"overlap_seconds":0}`); again != first {
		t.Errorf("a repeat made another key: %+v, %+v", first, again)
	}
	stored := n.machine.ServerKeys()[0]
	private, err := s.cfg.Secrets.Unwrap("wireguard-server:"+hex.EncodeToString(stored.PublicKey), stored.PrivateKey)
	if err != nil || len(private) != 32 || publicOf(t, private) != first.PublicKey || first.By != "operator:li" {
		t.Errorf("%+v, %v", first, err)
	}
	second := rotate(t, s, "", fmt.Sprintf(`{"replaces":%q,"overlap_seconds":3600}`, first.PublicKey))
	var keys adminapi.List[adminapi.FallbackKey]
	into(t, s.send(t, operator, "GET", "/v1/fallback/keys", "", ""), &keys)
	if len(keys.Items) != 2 || keys.Items[0].PublicKey != second.PublicKey || !keys.Items[0].Until.IsZero() || keys.Items[1].PublicKey != first.PublicKey || keys.Items[1].Until.IsZero() {
		t.Errorf("%+v", keys)
	}
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"overlap_seconds":60}`, 409, "retire it first"},
		{fmt.Sprintf(`{"replaces":%q}`, first.PublicKey), 409, "rotated meanwhile"},
		{`{"replaces":"AAAA"}`, 400, "replaces: has 3 bytes"},
		{`{"overlap_seconds":31622401}`, 400, "at most 31622400"},
	} {
		if w := s.send(t, operator, "POST", "/v1/fallback/keys/rotate", "", c.body); w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
		}
	}
	retire := func(key, query string) *httptest.ResponseRecorder {
		raw, _ := base64.StdEncoding.DecodeString(key)
		return s.send(t, operator, "DELETE", "/v1/fallback/keys/"+hex.EncodeToString(raw)+query, "", "")
	}
	if w := retire(first.PublicKey, ""); w.Code != http.StatusBadRequest {
		t.Errorf("without a reason: %d", w.Code)
	}
	if w := retire("AAAA", "?reason=x"); w.Code != http.StatusBadRequest {
		t.Errorf("no key: %d", w.Code)
	}
	if w := retire(second.PublicKey, "?reason=x"); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("the current one: %d %s", w.Code, w.Body)
	}
	var gone adminapi.FallbackKey
	into(t, retire(first.PublicKey, "?reason=leaked"), &gone)
	if gone.PublicKey != first.PublicKey || len(n.machine.ServerKeys()) != 1 {
		t.Errorf("%+v", gone)
	}
	s.cfg.Fallback = nil
	if w := s.send(t, operator, "POST", "/v1/fallback/keys/rotate", "", `{}`); w.Code != http.StatusConflict {
		t.Errorf("no fallback path: %d", w.Code)
	}
}

func publicOf(t *testing.T, private []byte) string {
	t.Helper()
	key, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}
