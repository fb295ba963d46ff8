package fallback

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/keywrap"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// There is one protocol: HTTP/1.1 over TLS 1.3, each connection with a handshake of its
// own.
func TestTransport(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, c := range []struct {
			name string
			cfg  *tls.Config
			ok   bool
		}{
			{"TLS 1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
			{"TLS 1.2", &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, false},
			{"HTTP/2 alone", &tls.Config{NextProtos: []string{"h2"}}, false},
		} {
			raw, err := r.ln.dial(t.Context(), home)
			if err != nil {
				t.Fatal(err)
			}
			c.cfg.InsecureSkipVerify = true
			conn := tls.Client(raw, c.cfg)
			if err := conn.HandshakeContext(t.Context()); (err == nil) != c.ok {
				t.Errorf("%s: %v", c.name, err)
			}
			conn.Close()
		}

		cache := tls.NewLRUClientSessionCache(4)
		for range 2 {
			raw, err := r.ln.dial(t.Context(), home)
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: "gateway", ClientSessionCache: cache})
			if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); err != nil {
				t.Fatal(err)
			}
			if conn.ConnectionState().DidResume {
				t.Error("a session was resumed")
			}
			conn.Close()
		}
	})
}

// What is no connection request is answered with what would be one, and never quoted.
func TestWhatIsNoRequest(t *testing.T) {
	const secret = "hunter2hunter2"
	valid := func(change func(m map[string]any)) []byte {
		b, _ := json.Marshal(bare("r1"))
		m := map[string]any{}
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, _ = json.Marshal(m)
		return b
	}
	set := func(key string, v any) []byte { return valid(func(m map[string]any) { m[key] = v }) }
	bubble(t, func(t *testing.T, r *rig) {
		r.unlimited()
		for i, c := range []struct {
			name, method, path string
			body               []byte
			code               wire.Code
		}{
			{"another path", "POST", "/", nil, wire.CodeNotFound},
			{"a path of the phone API", "GET", wire.PathStatus, nil, wire.CodeNotFound},
			{"another method", "GET", wire.PathConnections, nil, wire.CodeMethodNotAllowed},
			{"no body", "POST", wire.PathConnections, nil, wire.CodeBadRequest},
			{"no JSON", "POST", wire.PathConnections, []byte(secret), wire.CodeBadRequest},
			{"another type", "POST", wire.PathConnections, []byte(`{"password":{"` + secret + `":1}}`), wire.CodeBadRequest},
			{"an unknown member", "POST", wire.PathConnections, set(secret, 1), wire.CodeBadRequest},
			{"two values", "POST", wire.PathConnections, append(valid(func(map[string]any) {}), "{}"...), wire.CodeBadRequest},
			{"too large", "POST", wire.PathConnections, set("password", strings.Repeat("x", wire.MaxConnectionRequest-100)), wire.CodeTooLarge},
			{"too large, and no JSON", "POST", wire.PathConnections, bytes.Repeat([]byte(" "), wire.MaxConnectionRequest+1), wire.CodeTooLarge},
			{"no IMSI", "POST", wire.PathConnections, set("imsi", ""), wire.CodeBadRequest},
			{"an IMSI of letters", "POST", wire.PathConnections, set("imsi", secret), wire.CodeBadRequest},
			{"no request id", "POST", wire.PathConnections, set("request_id", ""), wire.CodeBadRequest},
			{"a request id that isn't one", "POST", wire.PathConnections, set("request_id", secret+":"), wire.CodeBadRequest},
			{"a short key", "POST", wire.PathConnections, set("public_key", make([]byte, 31)), wire.CodeBadRequest},
			{"no time", "POST", wire.PathConnections, set("time", time.Time{}), wire.CodeBadRequest},
			{"a password without an account", "POST", wire.PathConnections, set("password", secret), wire.CodeBadRequest},
			{"an account without a password", "POST", wire.PathConnections, set("account", secret), wire.CodeBadRequest},
			{"a long password", "POST", wire.PathConnections, valid(func(m map[string]any) { m["account"], m["password"] = "a", strings.Repeat(secret, 100) }), wire.CodeBadRequest},
			{"a short proof", "POST", wire.PathConnections, set("key_proof", make([]byte, 31)), wire.CodeBadRequest},
		} {
			a := r.dial(nth(i), nil).send(c.method, c.path, c.body)
			if kind, _ := c.code.Kind(); a.problem.Code != c.code || a.status != kind.Status {
				t.Errorf("%s: %d %s", c.name, a.status, a.body)
			}
			if strings.Contains(string(a.body)+r.log.String(), secret) {
				t.Errorf("%s: quoted: %s", c.name, a.body)
			}
			if c.code == wire.CodeMethodNotAllowed && a.header.Get("Allow") != "POST" {
				t.Errorf("%s: allowed %q", c.name, a.header.Get("Allow"))
			}
		}
		if n := r.srv.Counters(); n["bad-request"] != 15 || n["too-large"] != 2 || n["not-found"] != 2 || n["method-not-allowed"] != 1 {
			t.Errorf("counted %v", n)
		}
		if r.lease() != nil || len(r.recorded()) != 0 {
			t.Error("something was carried out or recorded")
		}
	})
}

// Who sends slowly, or nothing, is shown out.
func TestSlowSenders(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		shownOut := func(name string, conn net.Conn, within time.Duration) {
			t.Helper()
			began := time.Now()
			_ = conn.SetReadDeadline(began.Add(time.Hour))
			_, err := io.ReadAll(conn)
			if took := time.Since(began); errors.Is(err, os.ErrDeadlineExceeded) || took > within {
				t.Errorf("%s: after %s: %v", name, took, err)
			}
			conn.Close()
		}
		raw, err := r.ln.dial(t.Context(), home)
		if err != nil {
			t.Fatal(err)
		}
		shownOut("no handshake", raw, readTimeout)
		l := r.dial(home, nil)
		_, _ = io.WriteString(l.conn, "POST /v1/connections HTTP/1.1\r\nHost: x\r\n")
		shownOut("half a header", l.conn, readTimeout)
		l = r.dial(home, nil)
		_, _ = io.WriteString(l.conn, "POST /v1/connections HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n{")
		shownOut("half a body", l.conn, readTimeout+requestTimeout)
		l = r.dial(home, nil)
		_, _ = io.WriteString(l.conn, "GET /"+strings.Repeat("x", 2*maxHeader)+" HTTP/1.1\r\nHost: x\r\n\r\n")
		shownOut("a long header", l.conn, readTimeout)
		l = r.dial(home, nil)
		b, _ := json.Marshal(ask("r1"))
		_, _ = fmt.Fprintf(l.conn, "POST /v1/connections HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
		shownOut("nothing more", l.conn, idleTimeout)
		if r.lease() == nil {
			t.Error("a request was not carried out")
		}
	})
}

// A source has a part of the connections, all have all of them, and who goes makes room.
func TestConnectionsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) { // 64, of one source 4
		reached := func(from netip.Addr) (net.Conn, bool) {
			raw, err := r.ln.dial(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
			return raw, conn.HandshakeContext(t.Context()) == nil
		}
		var first net.Conn
		for i := range 6 {
			conn, ok := reached(home)
			if ok != (i < 4) {
				t.Errorf("connection %d of one source: %v", i+1, ok)
			}
			if i == 0 {
				first = conn
			}
		}
		open := 4
		for i := range 100 {
			if _, ok := reached(nth(i)); ok {
				open++
			}
		}
		if open != 64 {
			t.Errorf("%d connections", open)
		}
		first.Close()
		time.Sleep(time.Millisecond)
		if _, ok := reached(home); !ok {
			t.Error("no room after one has gone")
		}
		if n := r.srv.Counters()["no-room"]; n != 2+40 {
			t.Errorf("%d shown out", n)
		}
	})
}

// idle is a cluster of no records where nothing can be proposed.
type idle struct{ m *state.Machine }

func (idle) Propose(context.Context, *command.Command) (*command.Result, error) {
	return nil, command.ErrNoQuorum
}
func (i idle) View(fn func(*state.Machine)) { fn(i.m) }

// Whatever bytes come, the answer is a problem that doesn't quote them.
func FuzzRequest(f *testing.F) {
	b, _ := json.Marshal(wire.ConnectionRequest{RequestID: "r1", IMSI: usetest.Terminal, PublicKey: terminalKey, Time: time.Unix(1, 0)})
	f.Add(b)
	f.Add([]byte(`{"request_id":"a","imsi":"460010000000001","public_key":"AAAA","account":"x","password":"y","key_proof":""}`))
	f.Add([]byte(`{"time":"2026-11-23T04:00:00+25:00"}`))
	f.Add([]byte(`[]`))
	f.Add([]byte{0xff, 0xfe})
	w, err := keywrap.New(make([]byte, keywrap.KeySize))
	if err != nil {
		f.Fatal(err)
	}
	none := func() *policy.Rules { return nil }
	s, err := New(Config{
		Cluster: idle{state.New()}, Rules: none, Secrets: w, APN: func(*command.Subscriber) string { return "" },
		Requests: 1, Connections: 16, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	s.hash = func([]byte, []byte, uint32) []byte { return nil } // its time is not what is tested
	lax := &rig{srv: s}
	lax.unlimited()
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, wire.PathConnections, bytes.NewReader(body))
		s.ServeHTTP(rec, req)
		var p wire.Problem
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s: %v", rec.Body, err)
		}
		var parsed wire.ConnectionRequest
		switch p.Code {
		case wire.CodeConnectionRefused:
			if err := json.Unmarshal(body, &parsed); err != nil || len(parsed.PublicKey) != 32 || len(body) > wire.MaxConnectionRequest {
				t.Errorf("%q was taken for a request", body)
			}
		case wire.CodeBadRequest, wire.CodeTooLarge:
		default:
			t.Errorf("%q: %s", body, rec.Body)
		}
		for len(s.record.queue) > 0 {
			<-s.record.queue
		}
	})
}
