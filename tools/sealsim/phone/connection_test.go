package phone

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

var shared = []byte("the key that phone and gateway share")

// desk grants connections, as each node's public listener and the phone API do.
type desk struct {
	w  *world
	at string // the public listener

	mu      sync.Mutex
	got     []wire.ConnectionRequest
	inside  int // how many came through the tunnel
	problem *wire.Problem
}

// newDesk makes a world where the phone asks for the fallback path.
func newDesk(t *testing.T, change func(*Config)) *desk {
	t.Helper()
	d := new(desk)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.at = listener.Addr().String()
	d.w = newWorld(t, func(c *Config) {
		c.Fallback.GatewayKey, c.Fallback.Gateway, c.Fallback.Address = [32]byte{}, netip.AddrPort{}, netip.Addr{}
		c.Fallback.Requests = []string{d.at}
		c.Fallback.Credentials = Credentials{Account: "van 7", Password: "secret", Key: shared}
		if change != nil {
			change(c)
		}
	})
	d.w.mux.HandleFunc("POST "+wire.PathConnections, func(rw http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.inside++
		d.mu.Unlock()
		d.serve(rw, r)
	})
	public := &http.Server{Handler: http.HandlerFunc(d.serve), ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = public.Serve(tls.NewListener(listener, &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{d.w.certificate}, ClientAuth: tls.RequestClientCert,
		}))
	})
	t.Cleanup(func() { _ = public.Close(); serving.Wait() })
	return d
}

func (d *desk) serve(w http.ResponseWriter, r *http.Request) {
	var in wire.ConnectionRequest
	if err := wire.DecodeRequest(r.Body, &in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, in)
	binding, err := r.TLS.ExportKeyingMaterial(wire.ConnectionExporter, nil, 32)
	switch {
	case d.problem != nil:
		d.problem.Write(w)
		return
	case err != nil || !bytes.Equal(in.KeyProof, wire.ConnectionProof(shared, binding, in)):
		wire.NewProblem(wire.CodeConnectionRefused, "").Write(w)
		return
	}
	psk := bytes.Repeat([]byte{byte(len(d.got))}, 32)
	_ = d.w.wireguard.IpcSet(fmt.Sprintf("public_key=%s\npreshared_key=%s\n", hex.EncodeToString(in.PublicKey), hex.EncodeToString(psk)))
	b, _ := json.Marshal(wire.ConnectionAnswer{
		Connection: 3, Address: given.String(), AllowedIPs: []string{gateway.String() + "/32"}, Endpoints: []string{"127.0.0.1:1"},
		GatewayKeys: []wire.GatewayKey{{PublicKey: d.w.key.PublicKey().Bytes()}}, PresharedKey: psk, MTU: 1300,
		Issued: time.Now(), RenewAfter: time.Now().Add(8 * time.Hour), Expires: time.Now().Add(12 * time.Hour),
	})
	answerJSON(w, http.StatusCreated, string(b))
}

// The phone that has no coverage asks at a public listener; what it proves is bound to the
// connection.
func TestConnectionIsAskedForInPublic(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.Fallback.Requests = append([]string{"127.0.0.1:1"}, c.Fallback.Requests...) })
	if err := d.w.phone.SwitchToFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.w.path() != FallbackPath || d.w.phone.Address() != given {
		t.Errorf("on %s with %v", d.w.path(), d.w.phone.Address())
	}
	in := d.got[0]
	if in.RequestID == "" || in.IMSI != "460010000000001" || in.Account != "van 7" || in.Password != "secret" ||
		!bytes.Equal(in.PublicKey, d.w.phoneKey.PublicKey().Bytes()) || time.Since(in.Time).Abs() > time.Minute || d.inside != 0 {
		t.Errorf("asked %+v, %d times inside", in, d.inside)
	}
	// It has a lease now, and asks no more.
	if _, err := d.w.phone.OpenFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(d.got) != 1 {
		t.Errorf("asked %d times", len(d.got))
	}
}

// The phone that has coverage asks inside the tunnel, ahead of need. A renewed connection
// has another pre-shared key, in the place of the first.
func TestConnectionIsAskedForInside(t *testing.T) {
	d := newDesk(t, nil)
	d.w.attach()
	if _, err := d.w.phone.RequestConnection(t.Context(), CarrierPath); err != nil {
		t.Fatal(err)
	}
	if _, err := d.w.phone.RequestConnection(t.Context(), CarrierPath); err != nil {
		t.Fatal(err)
	}
	if a, err := d.w.phone.OpenFallback(t.Context()); err != nil || a.Path != wire.ProbeFallback || a.Active {
		t.Fatalf("%+v, %v", a, err)
	}
	if d.inside != 2 || len(d.got) != 2 || d.w.path() != CarrierPath || d.got[0].RequestID == d.got[1].RequestID {
		t.Errorf("asked %d times, %d inside; on %s", len(d.got), d.inside, d.w.path())
	}
}

func TestConnectionRefused(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.Fallback.Credentials.Key = []byte("another key") })
	var p *wire.Problem
	if err := d.w.phone.SwitchToFallback(t.Context()); !errors.As(err, &p) || p.Code != wire.CodeConnectionRefused {
		t.Errorf("got %v", err)
	}
	if len(d.got) != 1 || d.w.path() != NoPath {
		t.Errorf("asked %d times, on %s", len(d.got), d.w.path())
	}
	if _, err := d.w.phone.Probe(cancelled(t), FallbackPath); err == nil {
		t.Error("a probe was answered over no path")
	}
	nowhere := newWorld(t, func(c *Config) { c.Fallback.GatewayKey = [32]byte{} })
	if err := nowhere.phone.SwitchToFallback(t.Context()); err == nil {
		t.Error("a phone that knows no listener got onto the fallback")
	}
}

// What the wire says is checked before the phone relies on it.
func TestConnectionAnswerIsChecked(t *testing.T) {
	good := func() *wire.ConnectionAnswer {
		return &wire.ConnectionAnswer{
			Address: "10.90.0.7", Endpoints: []string{"[2001:db8::1]:51820"}, PresharedKey: make([]byte, 32),
			GatewayKeys: []wire.GatewayKey{{PublicKey: make([]byte, 32)}},
		}
	}
	if _, err := leaseOf(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*wire.ConnectionAnswer){
		"address":     func(a *wire.ConnectionAnswer) { a.Address = "10.90.0" },
		"short PSK":   func(a *wire.ConnectionAnswer) { a.PresharedKey = a.PresharedKey[1:] },
		"short key":   func(a *wire.ConnectionAnswer) { a.GatewayKeys[0].PublicKey = nil },
		"no key":      func(a *wire.ConnectionAnswer) { a.GatewayKeys = nil },
		"no endpoint": func(a *wire.ConnectionAnswer) { a.Endpoints = nil },
	} {
		a := good()
		spoil(a)
		if _, err := leaseOf(a); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The gateway has another key by now; with a new connection the tunnel that is up goes on.
func TestTunnelFollowsTheGatewaysKey(t *testing.T) {
	d := newDesk(t, nil)
	if err := d.w.phone.SwitchToFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.w.key = x25519(t)
	if err := d.w.wireguard.IpcSet("private_key=" + hex.EncodeToString(d.w.key.Bytes()) + "\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.w.phone.RequestConnection(t.Context(), NoPath); err != nil {
		t.Fatal(err)
	}
	if _, err := d.w.phone.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Keys and endpoints take turns with the attempts.
func TestAttemptsGoRound(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.phone.SwitchToFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, now := [32]byte(x25519(t).PublicKey().Bytes()), [32]byte(w.key.PublicKey().Bytes())
	l := &lease{keys: [][32]byte{now, old}, endpoints: []string{"127.0.0.1:1", "127.0.0.2:7"}}
	for i, want := range []struct {
		key      [32]byte
		endpoint string
	}{{now, "127.0.0.1:1"}, {old, "127.0.0.1:1"}, {now, "127.0.0.2:7"}, {old, "127.0.0.2:7"}, {now, "127.0.0.1:1"}} {
		if err := w.phone.tunnel.configure(l, i); err != nil {
			t.Fatal(err)
		}
		if w.phone.tunnel.key != want.key {
			t.Errorf("attempt %d has another key", i)
		}
	}
	if err := w.phone.tunnel.configure(&lease{keys: [][32]byte{now}, endpoints: []string{"nowhere"}}, 0); err == nil {
		t.Error("an endpoint without a port was taken")
	}
}
