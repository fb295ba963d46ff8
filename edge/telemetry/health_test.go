package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// quiet is a source of a node with nothing in it.
func quiet() Source {
	return Source{
		Version: "test", Node: func() Node { return Node{Role: "follower", DiskUsed: -1} },
		Counters: func() map[string]uint64 { return nil }, State: state.New, Certificates: func() []Certificate { return nil },
		Procedures: func() []adminapi.Procedure { return nil }, BackedUp: func() time.Time { return time.Time{} },
		Configuration: func() Configuration { return Configuration{} },
	}
}

func server(checks ...Check) *Server {
	return New(Config{Source: quiet(), Checks: checks, Logger: slog.New(slog.DiscardHandler)})
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func met(context.Context) error   { return nil }
func unmet(context.Context) error { return errors.New("no leader is known") }

func TestReadiness(t *testing.T) {
	running, caughtUp, behind := Check{"running", met}, Check{"caught-up", met}, Check{"caught-up", unmet}
	for _, c := range []struct {
		name   string
		checks []Check
		target string
		code   int
		want   string
	}{
		{"ready", []Check{running, caughtUp}, "/readyz", 200, "ok\n"},
		{"ready, in detail", []Check{running, caughtUp}, "/readyz?verbose", 200, "[+]running ok\n[+]caught-up ok\nready\n"},
		{"not ready says why without being asked", []Check{running, behind}, "/readyz", 503, "[+]running ok\n[-]caught-up: no leader is known\nnot ready\n"},
		{"not ready, in detail", []Check{running, behind}, "/readyz?verbose=1", 503, "[+]running ok\n[-]caught-up: no leader is known\nnot ready\n"},
		{
			"a line for each check, whatever it says",
			[]Check{{"caught-up", func(context.Context) error { return errors.Join(errors.New("no quorum"), errors.New("no leader")) }}},
			"/readyz", 503, "[-]caught-up: no quorum; no leader\nnot ready\n",
		},
		{"what isn't ready lives", []Check{behind}, "/livez", 200, "ok\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(server(c.checks...), "GET", c.target)
			if w.Code != c.code || w.Body.String() != c.want {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.code, c.want)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q: an answer of yesterday could be believed", got)
			}
		})
	}
}

// What an operator should know beside the checks doesn't make a node unready.
func TestNotes(t *testing.T) {
	s := New(Config{
		Source: quiet(), Checks: []Check{{"running", met}}, Notes: func() []string { return []string{"configuration: a restart is needed"} },
		Logger: slog.New(slog.DiscardHandler),
	})
	if w := ask(s, "GET", "/readyz?verbose"); w.Code != 200 || w.Body.String() != "[+]running ok\n[i]configuration: a restart is needed\nready\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w := ask(s, "GET", "/readyz"); w.Code != 200 || w.Body.String() != "ok\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, c := range []struct {
		method, target string
		code           int
	}{
		{"GET", "/", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/debug/pprof/heap", 404},
		{"POST", "/metrics", 405},
		{"DELETE", "/readyz", 405},
		{"HEAD", "/livez", 200},
	} {
		if w := ask(server(), c.method, c.target); w.Code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.target, w.Code, c.code)
		}
	}
}

// A check that hangs and heeds no context keeps nobody waiting, and is not begun again
// for each who asks.
func TestHungCheckHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		release := make(chan struct{})
		s := server(Check{"caught-up", func(context.Context) error { runs.Add(1); <-release; return nil }})
		for range 3 {
			begun := time.Now()
			w := ask(s, "GET", "/readyz")
			if took := time.Since(begun); took != checkTime {
				t.Errorf("it took %s, want %s", took, checkTime)
			}
			if w.Code != 503 || !strings.Contains(w.Body.String(), "took longer than 1s") {
				t.Errorf("%d %q", w.Code, w.Body)
			}
		}
		if n := runs.Load(); n != 1 {
			t.Errorf("the check was begun %d times, want once", n)
		}
		close(release)
		synctest.Wait()
		if w := ask(s, "GET", "/readyz"); w.Code != 200 || runs.Load() != 2 {
			t.Errorf("after it: %d, %d runs", w.Code, runs.Load())
		}
	})
}

// A check hears when its time is up, and its reason is told.
func TestSlowCheckIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server(Check{"caught-up", func(ctx context.Context) error { <-ctx.Done(); return errors.New("no majority answered") }})
		w := ask(s, "GET", "/readyz")
		if w.Code != 503 || !strings.Contains(w.Body.String(), "[-]caught-up: no majority answered\n") {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		synctest.Wait()
	})
}

func TestManyAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		s := server(Check{"caught-up", func(context.Context) error { runs.Add(1); time.Sleep(checkTime / 2); return nil }})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if w := ask(s, "GET", "/readyz"); w.Code != 200 {
					t.Errorf("%d %q", w.Code, w.Body)
				}
			})
		}
		all.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("a hundred who asked at once made %d runs, want one", n)
		}
	})
}
