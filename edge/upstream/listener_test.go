package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

const serverName = "urn:sealedge:seal-server"

// gateway is a node's listener, and what it did in which order.
type gateway struct {
	*usetest.World
	t    *testing.T
	ca   authority
	base string

	mu   sync.Mutex
	did  []string        // guarded by mu
	lock []*command.Lock // pushed; guarded by mu
}

func (g *gateway) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	g.note("propose", nil)
	return g.World.Propose(ctx, c)
}

func (g *gateway) note(what string, l *command.Lock) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.did = append(g.did, what)
	if l != nil {
		g.lock = append(g.lock, l)
	}
}

func listen(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{World: usetest.New(t, time.Now), t: t, ca: newAuthority(t)}
	l, err := NewListener(ListenerConfig{
		Cluster: g, Push: func(l *command.Lock) { g.note("push", l) }, TLS: g.ca.config(t, "localhost", ""),
		Names: []string{serverName}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.base = "https://" + on.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, on) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return g
}

// use reserves two stampings of an order.
func (g *gateway) use(order string) *command.Use {
	g.t.Helper()
	var sub *command.Subscriber
	var b *command.Barrel
	var session *command.Session
	g.View(func(m *state.Machine) {
		sub, b = m.Subscriber(usetest.Terminal), m.Barrel(usetest.Barrel)
		session = m.SessionByAddress(usetest.Address(usetest.Terminal))
	})
	now := time.Now()
	use := new(command.Use)
	res, err := g.World.Propose(g.t.Context(), command.New("phone:"+usetest.Terminal, "r-"+order, "test", &command.ReserveUses{
		Order: order, Barrel: b.Id, Imsi: sub.Imsi, User: usetest.User, SealType: b.SealType, Level: 1,
		Methods: []string{wire.MethodFace}, Count: 2, Permitted: 2, PolicyRevision: 1, SubscriberVersion: sub.Version,
		BarrelVersion: b.Version, Session: session.Id, GrantNotAfter: now.Add(time.Minute).UnixNano(),
		NotBefore: now.Add(-time.Hour).UnixNano(), NotAfter: now.Add(time.Hour).UnixNano(),
	}))
	if err != nil || res.Into(use) != nil {
		g.t.Fatalf("reserve: %v, %v", res, err)
	}
	return use
}

func (g *gateway) client(config *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: config}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// post is the seal server's call.
func (g *gateway) post(d any) (*http.Response, []byte) {
	g.t.Helper()
	body, err := json.Marshal(d)
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := g.client(g.ca.config(g.t, "anything", serverName)).Post(g.base+wire.PathDisconnects, "application/json", bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp, b
}

func (g *gateway) locks(t *testing.T, b []byte) []uint64 {
	t.Helper()
	var a wire.DisconnectAnswer
	if err := json.Unmarshal(b, &a); err != nil || !a.Committed {
		t.Fatalf("answered %s, %v", b, err)
	}
	return a.Locks
}

// Pushed first, committed then, and only then acknowledged; a repeat gives the
// same lock.
func TestDisconnect(t *testing.T) {
	g := listen(t)
	use := g.use(usetest.Order)
	d := wire.Disconnect{ID: "v-1", Order: use.Order, Use: use.Id, Reason: "wrong page"}
	var first []uint64
	for range 2 {
		resp, b := g.post(d)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("answered %s: %s", resp.Status, b)
		}
		locks := g.locks(t, b)
		if first == nil {
			first = locks
		}
		if len(locks) != 1 || !slices.Equal(locks, first) {
			t.Errorf("locks %v, then %v", first, locks)
		}
	}
	if want := []string{"push", "propose", "push", "propose"}; !slices.Equal(g.did, want) {
		t.Errorf("did %v, want %v", g.did, want)
	}
	if l := g.lock[0]; l.Id != 0 || l.Barrel != usetest.Barrel || l.Imsi != usetest.Terminal || l.Use != use.Id || l.Reason != "wrong page" {
		t.Errorf("pushed %v", l)
	}
	if u := g.Use(use.Id); u.State != command.UseState_STOPPED {
		t.Errorf("the use is %v", u.State)
	}
	if o := g.Order(use.Order); o.State != command.OrderState_ENDED_ORDER {
		t.Errorf("the order is %v", o.State)
	}
}

// Of a whole order, every open use is pushed; one that the ledger hasn't met is
// ended all the same.
func TestDisconnectOfOrder(t *testing.T) {
	g := listen(t)
	use := g.use(usetest.Order)
	if resp, b := g.post(wire.Disconnect{ID: "v-1", Order: use.Order, Reason: "wrong page"}); resp.StatusCode != 200 || len(g.locks(t, b)) != 1 {
		t.Errorf("answered %s: %s", resp.Status, b)
	}
	if len(g.lock) != 1 || g.lock[0].Use != use.Id {
		t.Errorf("pushed %v", g.lock)
	}
	if resp, b := g.post(wire.Disconnect{ID: "v-2", Order: "WO-never-used", Reason: "withdrawn"}); resp.StatusCode != 200 || len(g.locks(t, b)) != 0 {
		t.Errorf("answered %s: %s", resp.Status, b)
	}
	if o := g.Order("WO-never-used"); o.GetState() != command.OrderState_ENDED_ORDER {
		t.Errorf("the order is %v", o)
	}
}

// Without a quorum the lock is pushed and the server told to come again.
func TestDisconnectWithoutQuorum(t *testing.T) {
	for name, fail := range map[string]error{"no quorum": command.ErrNoQuorum, "outcome unknown": command.ErrUnknownOutcome} {
		t.Run(name, func(t *testing.T) {
			g := listen(t)
			use := g.use(usetest.Order)
			d := wire.Disconnect{ID: "v-1", Order: use.Order, Use: use.Id, Reason: "wrong page"}
			g.Fail(fail)
			resp, b := g.post(d)
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("answered %s: %s", resp.Status, b)
			}
			if want := []string{"push", "propose"}; !slices.Equal(g.did, want) {
				t.Errorf("did %v, want %v", g.did, want)
			}
			g.Fail(nil)
			if resp, b := g.post(d); resp.StatusCode != 200 || len(g.locks(t, b)) != 1 {
				t.Errorf("answered %s: %s", resp.Status, b)
			}
		})
	}
}

func TestWhoMayDisconnect(t *testing.T) {
	g := listen(t)
	try := func(config *tls.Config) (int, error) {
		resp, err := g.client(config).Post(g.base+wire.PathDisconnects, "application/json", strings.NewReader(`{"id":"v-1","order":"WO-1"}`))
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	for name, uri := range map[string]string{"another name": "urn:sealedge:barrel", "no name": ""} {
		if status, err := try(g.ca.config(t, "localhost", uri)); err != nil || status != http.StatusForbidden {
			t.Errorf("%s: status %d, %v, want 403", name, status, err)
		}
	}
	if status, err := try(g.ca.config(t, serverName, "")); err != nil || status != http.StatusOK {
		t.Errorf("by DNS name: status %d, %v, want 200", status, err)
	}
	anonymous := g.ca.config(t, "localhost", "")
	anonymous.Certificates = nil
	if _, err := try(anonymous); err == nil {
		t.Error("without a certificate: no error")
	}
	stranger := newAuthority(t).config(t, "localhost", serverName)
	stranger.RootCAs = g.ca.pool
	if _, err := try(stranger); err == nil {
		t.Error("of another authority: no error")
	}
}

func TestBadDisconnects(t *testing.T) {
	g := listen(t)
	for name, tc := range map[string]struct {
		method, path, body string
		want               int
	}{
		"no JSON":        {"POST", wire.PathDisconnects, `{`, 400},
		"unknown field":  {"POST", wire.PathDisconnects, `{"id":"v","order":"WO-1","force":true}`, 400},
		"no id":          {"POST", wire.PathDisconnects, `{"order":"WO-1"}`, 400},
		"no order":       {"POST", wire.PathDisconnects, `{"id":"v"}`, 400},
		"too long":       {"POST", wire.PathDisconnects, `{"id":"` + strings.Repeat("x", 2*wire.MaxJSON) + `"}`, 400},
		"another method": {"GET", wire.PathDisconnects, "", 405},
		"another path":   {"POST", "/v1/other", "{}", 404},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, g.base+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := g.client(g.ca.config(t, "x", serverName)).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tc.want || resp.Header.Get("Content-Type") != wire.ContentTypeProblem {
				t.Errorf("answered %s, want %d and a problem", resp.Status, tc.want)
			}
		})
	}
	if len(g.did) != 0 {
		t.Errorf("did %v", g.did)
	}
}

func TestNewListener(t *testing.T) {
	good := ListenerConfig{
		Cluster: usetest.New(t, time.Now), Push: func(*command.Lock) {}, TLS: newAuthority(t).config(t, "localhost", ""),
		Names: []string{serverName}, Logger: slog.New(slog.DiscardHandler),
	}
	if _, err := NewListener(good); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(c *ListenerConfig){
		"cluster":   func(c *ListenerConfig) { c.Cluster = nil },
		"push":      func(c *ListenerConfig) { c.Push = nil },
		"TLS":       func(c *ListenerConfig) { c.TLS = nil },
		"client CA": func(c *ListenerConfig) { c.TLS = new(tls.Config) },
		"names":     func(c *ListenerConfig) { c.Names = nil },
		"a name":    func(c *ListenerConfig) { c.Names = []string{""} },
	} {
		c := good
		spoil(&c)
		if _, err := NewListener(c); err == nil {
			t.Errorf("without %s: no error", name)
		}
	}
}
