package telemetry

import (
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
)

// outside is a listener that is not on loopback.
type outside struct {
	net.Listener
	at     net.Addr
	closed bool
}

func (o *outside) Addr() net.Addr { return o.at }
func (o *outside) Close() error   { o.closed = true; return nil }

func TestProfilesAreOfLoopbackOnly(t *testing.T) {
	for _, at := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 6060},
		&net.TCPAddr{IP: net.IPv6zero, Port: 6060},
		&net.TCPAddr{Port: 6060},
		&net.UnixAddr{Name: "/run/x"},
	} {
		l := &outside{at: at}
		err := ServeProfiles(t.Context(), l, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "loopback only") || !l.closed {
			t.Errorf("%s: %v, closed %v", at, err, l.closed)
		}
	}
}

func TestProfilesAskedByWhatName(t *testing.T) {
	for host, code := range map[string]int{
		"127.0.0.1:6060": 200, "127.0.0.1": 200, "localhost:6060": 200, "[::1]:6060": 200,
		"evil.example:6060": 403, "evil.example": 403, "192.0.2.1:6060": 403, "localhost.evil.example": 403, "": 403,
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/debug/pprof/", nil)
		r.Host = host
		profiles().ServeHTTP(w, r)
		if w.Code != code {
			t.Errorf("Host %q: %d, want %d", host, w.Code, code)
		}
	}
}

func TestProfiles(t *testing.T) {
	for target, want := range map[string]string{
		"http://localhost/debug/pprof/":                  "goroutine",
		"http://localhost/debug/pprof/goroutine?debug=1": "goroutine profile: total",
		"http://localhost/debug/pprof/cmdline":           "telemetry",
	} {
		w := ask(profiles(), "GET", target)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, without %q", target, w.Code, want)
		}
	}
	if w := ask(profiles(), "GET", "http://localhost/metrics"); w.Code != 404 {
		t.Errorf("/metrics: %d, want 404", w.Code)
	}
}
