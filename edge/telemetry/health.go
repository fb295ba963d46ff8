package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

// Check is one condition of readiness. Run returns nil when it is met, and otherwise
// why not, in words for an operator; it has until ctx ends.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// checkTime is how long all checks may take together, and who asks waits. They are told
// to end a little before, so that what they have to say is heard.
const (
	checkTime = time.Second
	toldTime  = checkTime * 9 / 10
)

// livez says that the process lives: it can answer. Whatever else is wrong with the
// node, ending the process wouldn't mend it, and may end the quorum.
func livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "ok")
}

// health runs the checks of readiness, for all who ask at a time at once: that they
// ask often doesn't load the cluster.
type health struct {
	checks []Check
	notes  func() []string // nil: there are none
	flight singleflight.Group
}

// outcome is what a check came to.
type outcome struct {
	name string
	err  error
}

func (h *health) readyz(w http.ResponseWriter, r *http.Request) {
	states, err := h.look(r.Context())
	failed := err != nil
	var b strings.Builder
	for _, s := range states {
		if s.err != nil {
			failed = true
			fmt.Fprintf(&b, "[-]%s: %s\n", s.name, strings.ReplaceAll(s.err.Error(), "\n", "; "))
		} else {
			fmt.Fprintf(&b, "[+]%s ok\n", s.name)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, verbose := r.URL.Query()["verbose"]
	if !failed && !verbose {
		_, _ = fmt.Fprintln(w, "ok")
		return
	}
	if h.notes != nil {
		for _, n := range h.notes() {
			fmt.Fprintf(&b, "[i]%s\n", n)
		}
	}
	switch {
	case err != nil:
		fmt.Fprintf(&b, "not ready: %v\n", err)
	case failed:
		b.WriteString("not ready\n")
	default:
		b.WriteString("ready\n")
	}
	if failed {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(b.String()))
}

// look runs the checks, or waits for those that run. One that hangs holds up nobody
// for longer than checkTime, and is not begun again.
func (h *health) look(ctx context.Context) ([]outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	flight := h.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), toldTime)
		defer cancel()
		states := make([]outcome, len(h.checks))
		for i, c := range h.checks {
			states[i] = outcome{c.Name, c.Run(ctx)}
		}
		return states, nil
	})
	select {
	case r := <-flight:
		return r.Val.([]outcome), nil
	case <-ctx.Done():
		select {
		case r := <-flight: // both came at once
			return r.Val.([]outcome), nil
		default:
			return nil, fmt.Errorf("the checks took longer than %s", checkTime)
		}
	}
}
