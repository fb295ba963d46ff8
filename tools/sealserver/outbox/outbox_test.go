package outbox

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

// queue is a store of one disconnect. One goroutine at a time uses it.
type queue struct {
	d        store.Disconnect
	done     bool
	failures []string
}

func (q *queue) Disconnects(context.Context, bool) ([]store.Disconnect, error) {
	if q.done || q.d.ID == "" {
		return nil, nil
	}
	return []store.Disconnect{q.d}, nil
}

func (q *queue) NoteDelivery(_ context.Context, _, failure string, _ time.Time) error {
	q.failures = append(q.failures, failure)
	q.done = failure == ""
	return nil
}

// nodes answers by host name.
type nodes map[string]func() (*http.Response, error)

func (n nodes) RoundTrip(r *http.Request) (*http.Response, error) {
	var d wire.Disconnect
	if err := wire.DecodeRequest(r.Body, &d); err != nil || // as the gateway does
		d.Order != "WO-1" || d.Use != 7 {
		return nil, errors.New("not the disconnect")
	}
	return n[r.URL.Host]()
}

func status(code int) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader("{}"))}, nil
	}
}

func down() (*http.Response, error) { return nil, errors.New("connection refused") }

func run(t *testing.T, q *queue, n nodes, during func(wake chan<- struct{})) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{}, 1)
		o := &Outbox{
			Store: q, Gateways: []string{"https://a", "https://b"}, HTTP: &http.Client{Transport: n},
			Logger: slog.New(slog.DiscardHandler), Wake: wake,
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- o.Run(ctx) }()
		during(wake)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestTriesEveryNode(t *testing.T) {
	q := &queue{d: store.Disconnect{ID: "1", Order: "WO-1", Use: 7}}
	run(t, q, nodes{"a": down, "b": status(200)}, func(chan<- struct{}) { synctest.Wait() })
	if !q.done || len(q.failures) != 1 {
		t.Errorf("done %v after %q", q.done, q.failures)
	}
}

// However much a reviewer writes, the gateway can read it.
func TestLongReason(t *testing.T) {
	q := &queue{d: store.Disconnect{ID: "1", Order: "WO-1", Use: 7, Reason: strings.Repeat("<", 60<<10)}}
	run(t, q, nodes{"a": status(200), "b": down}, func(chan<- struct{}) { synctest.Wait() })
	if !q.done {
		t.Errorf("not delivered: %q", q.failures)
	}
}

// A push that isn't committed may be lost with its node: it is repeated.
func TestRepeatsUntilCommitted(t *testing.T) {
	q := &queue{d: store.Disconnect{ID: "1", Order: "WO-1", Use: 7}}
	tries := 0
	accepted := func() (*http.Response, error) {
		if tries++; tries < 4 {
			return status(202)()
		}
		return status(200)()
	}
	run(t, q, nodes{"a": accepted, "b": status(503)}, func(chan<- struct{}) { <-time.After(firstWait * 7) })
	if !q.done || len(q.failures) != 4 || !strings.Contains(q.failures[0], "https://b") {
		t.Errorf("done %v after %d attempts: %q", q.done, len(q.failures), q.failures)
	}
}

func TestWakesForANewOne(t *testing.T) {
	q := &queue{}
	run(t, q, nodes{"a": status(200), "b": status(200)}, func(wake chan<- struct{}) {
		synctest.Wait()
		q.d = store.Disconnect{ID: "1", Order: "WO-1", Use: 7}
		wake <- struct{}{}
		synctest.Wait()
	})
	if !q.done {
		t.Error("not delivered")
	}
}
