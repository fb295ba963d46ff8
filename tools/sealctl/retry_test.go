package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// fakeNode answers as it is told, one answer after the other; the last stays.
type fakeNode struct {
	*httptest.Server
	mu      sync.Mutex
	answers []*wire.Problem // guarded by mu; nil: 200
	asked   []*http.Request // guarded by mu
}

func newFakeNode(t *testing.T, answers ...*wire.Problem) *fakeNode {
	f := &fakeNode{answers: answers}
	f.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked = append(f.asked, r)
		p := f.answers[0]
		if len(f.answers) > 1 {
			f.answers = f.answers[1:]
		}
		w.Header().Set(nodeHeader, "node7")
		if p == nil {
			_, _ = io.WriteString(w, `{"node": "node7"}`)
			return
		}
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeNode) address() string { return f.Listener.Addr().String() }

// keys are the idempotency keys of what was asked.
func (f *fakeNode) keys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var keys []string
	for _, r := range f.asked {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
	}
	return keys
}

func clientOf(stderr io.Writer, patience time.Duration, nodes ...*fakeNode) *client {
	c := &client{answered: new(atomic.Int32), patience: patience, stderr: stderr, http: nodes[0].Client()}
	for _, n := range nodes {
		c.addresses = append(c.addresses, n.address())
	}
	return c
}

func refusal(status int, code wire.Code) *wire.Problem {
	return &wire.Problem{Status: status, Code: code, Title: "no"}
}

func TestRetries(t *testing.T) {
	noQuorum, unknown := refusal(503, wire.CodeNoQuorum), refusal(503, wire.CodeOutcomeUnknown)
	for _, c := range []struct {
		name     string
		patience time.Duration
		answers  []*wire.Problem
		asked    int
		code     int
	}{
		{"a leader is elected meanwhile", time.Minute, []*wire.Problem{noQuorum, noQuorum, nil}, 3, exitOK},
		{"the outcome was lost", time.Minute, []*wire.Problem{unknown, nil}, 2, exitOK},
		{"too many requests", time.Minute, []*wire.Problem{refusal(429, wire.CodeRateLimited), nil}, 2, exitOK},
		{"no patience", 0, []*wire.Problem{noQuorum, nil}, 1, exitNoLeader},
		{"refused", time.Minute, []*wire.Problem{refusal(403, "role-missing"), nil}, 1, exitDenied},
		{"in conflict", time.Minute, []*wire.Problem{refusal(409, wire.CodeConflict), nil}, 1, exitConflict},
		{"no room on the disks", time.Minute, []*wire.Problem{refusal(503, wire.CodeNoRoom), nil}, 1, exitNoLeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNode(t, c.answers...)
			err := clientOf(io.Discard, c.patience, n).call(t.Context(), http.MethodPost, "/v1/x", struct{}{}, nil)
			if code := exitCodeOf(err); code != c.code {
				t.Errorf("got %v, exit code %d, want %d", err, code, c.code)
			}
			keys := n.keys()
			if len(keys) != c.asked {
				t.Fatalf("asked %d times, want %d", len(keys), c.asked)
			}
			for _, k := range keys {
				if k == "" || k != keys[0] {
					t.Errorf("the tries of one change have the keys %q", keys)
				}
			}
		})
	}
}

func exitCodeOf(err error) int {
	if err == nil {
		return exitOK
	}
	return exitCode(err)
}

// A node that is down is passed over, and the one that answered is asked first
// from then on.
func TestTheNodeThatAnsweredIsAskedFirst(t *testing.T) {
	down, well := newFakeNode(t, nil), newFakeNode(t, nil)
	down.Close()
	var said bytes.Buffer
	c := clientOf(&said, 0, down, well)
	c.verbose = true
	for range 2 {
		if err := c.call(t.Context(), http.MethodGet, "/v1/x", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "connection refused"); n != 1 {
		t.Errorf("the node that is down was asked %d times:\n%s", n, &said)
	}
	if !strings.Contains(said.String(), "GET /v1/x: node7 at "+well.address()+" answered 200 OK after ") {
		t.Errorf("it isn't said who answered:\n%s", &said)
	}
}

// What a node says tells more than that another doesn't answer.
func TestTheBestReasonIsGiven(t *testing.T) {
	down, lost := newFakeNode(t, nil), newFakeNode(t, refusal(503, wire.CodeNoQuorum))
	down.Close()
	for _, c := range []*client{clientOf(io.Discard, 0, down, lost), clientOf(io.Discard, 0, lost, down)} {
		var p *wire.Problem
		if err := c.call(t.Context(), http.MethodGet, "/v1/x", nil, nil); !errors.As(err, &p) || p.Code != wire.CodeNoQuorum {
			t.Errorf("got %v", err)
		}
	}
}

func TestATokenIsShown(t *testing.T) {
	n := newFakeNode(t, nil)
	c := clientOf(io.Discard, 0, n)
	c.token = "T7.secret"
	if err := c.call(t.Context(), http.MethodGet, "/v1/x", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := n.asked[0].Header.Get("Authorization"); got != "Bearer T7.secret" {
		t.Errorf("got %q", got)
	}
}

// An interrupt ends the wait for a leader.
func TestAnInterruptEndsRetries(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := newFakeNode(t, refusal(503, wire.CodeNoQuorum))
	c := clientOf(writerFunc(func() { cancel() }), time.Hour, n)
	c.verbose = true // it says that it tries again, and then somebody interrupts
	if err := c.call(ctx, http.MethodGet, "/v1/x", nil, nil); err == nil {
		t.Error("an interrupted call succeeded")
	}
}

type writerFunc func()

func (f writerFunc) Write(b []byte) (int, error) { f(); return len(b), nil }
