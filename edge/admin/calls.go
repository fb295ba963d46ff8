package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sealedge/sealedge/cluster/command"
)

// What changes something stands in the audit chain by its command. Everything else,
// reads and what was refused before it came to a command, is put there by the node
// that answered: many calls in one command, at most a second later, equal ones
// counted. A node that can't be rid of them answers no more reads, except stale
// ones, which are for emergencies: of those it counts how many were lost.
const (
	recordEvery  = time.Second
	recordAtOnce = 500    // calls in one command
	mostCalls    = 10_000 // that wait
	maxSubject   = 200    // bytes
)

// calls are those of a node that wait to be recorded.
type calls struct {
	mu      sync.Mutex
	waiting []*command.Call           // guarded by mu
	index   map[callKey]*command.Call // guarded by mu: of those in waiting
	lost    uint64                    // guarded by mu
	sent    *command.Command          // owned by who records: not known to be carried out
	begun   chan struct{}             // something waits
}

type callKey struct {
	caller, token, operation, subject string
	status                            uint32
	personal                          bool
}

func keyOf(c *command.Call) callKey {
	return callKey{c.Caller, c.Token, c.Operation, c.Subject, c.Status, c.Personal}
}

func newCalls() *calls {
	return &calls{index: map[callKey]*command.Call{}, begun: make(chan struct{}, 1)}
}

// full tells that nothing more can wait.
func (q *calls) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) >= mostCalls
}

// note has a call recorded. Without room it is only counted.
func (q *calls) note(c *command.Call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := keyOf(c)
	switch same := q.index[k]; {
	case same != nil:
		same.Times = max(1, same.Times) + 1
	case len(q.waiting) >= mostCalls:
		q.lost++
	default:
		q.waiting, q.index[k] = append(q.waiting, c), c
	}
	select {
	case q.begun <- struct{}{}:
	default:
	}
}

// take returns the oldest calls as a command; nil: none wait.
func (q *calls) take() *command.RecordCalls {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), recordAtOnce)
	if n == 0 && q.lost == 0 {
		return nil
	}
	out := &command.RecordCalls{Calls: q.waiting[:n:n], Lost: q.lost}
	q.waiting, q.lost = q.waiting[n:], 0
	for _, c := range out.Calls {
		delete(q.index, keyOf(c))
	}
	return out
}

// record puts calls into the audit chain until ctx ends, and then those that are
// left, if that can be done at once.
func (s *Server) record(ctx context.Context) {
	for {
		select {
		case <-s.calls.begun:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.recordAll(last)
			return
		}
		select {
		case <-time.After(recordEvery):
		case <-ctx.Done():
		}
		for !s.recordAll(ctx) && ctx.Err() == nil {
			select {
			case <-time.After(recordEvery):
			case <-ctx.Done():
			}
		}
	}
}

// recordAll tells whether nothing waits any more. A command whose outcome isn't
// known is sent again as it was, so that it is carried out once.
func (s *Server) recordAll(ctx context.Context) bool {
	q := s.calls
	for {
		if q.sent == nil {
			batch := q.take()
			if batch == nil {
				return true
			}
			q.sent = command.New("admin-calls", rand.Text(), "gateway", batch)
		}
		once, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := s.cfg.Cluster.Propose(once, q.sent)
		cancel()
		switch {
		case err == nil:
			q.sent = nil
		case errors.Is(err, command.ErrLevel):
			if q.sent.Type == command.Type_RECORD_CALLS {
				q.sent = inOldWords(q.sent)
			}
		default:
			s.cfg.Logger.Debug("calls are not recorded yet", "err", err)
			return false
		}
	}
}

// inOldWords says the same by a command that every release knows.
func inOldWords(c *command.Command) *command.Command {
	_, payload, err := command.Decode(command.Marshal(c))
	p, ok := payload.(*command.RecordCalls)
	if err != nil || !ok {
		return c
	}
	d := &command.RecordDecision{Kind: "calls", Allowed: true}
	for _, call := range p.Calls {
		d.Reasons = append(d.Reasons, fmt.Sprintf("%s %s %s %s: %d, %d times; personal: %v", time.Unix(0, call.At).UTC().Format(time.RFC3339), call.Caller, call.Operation, call.Subject, call.Status, max(1, call.Times), call.Personal))
	}
	if p.Lost > 0 {
		d.Reasons = append(d.Reasons, fmt.Sprintf("%d calls were lost", p.Lost))
	}
	return command.New(c.ClientId, c.RequestId, c.Actor, d)
}

// impersonal are the operations that show nothing about a person; a new one is
// taken to do so until it stands here.
var impersonal = map[string]bool{
	"GET /v1/status": true, "GET /v1/counters": true, "GET /v1/procedures": true, "GET /v1/peers": true, "GET /v1/epoch": true,
	"GET /v1/cluster/members": true, "POST /v1/cluster/step-down": true, "POST /v1/node/drain": true, "GET /v1/policy": true, "GET /v1/orders": true, "GET /v1/openapi.yaml": true,
	"GET /v1/audit/head": true, "GET /v1/fallback/keys": true,
}

// callOf says what a request was. What an unknown caller wrote is not repeated.
func (s *Server) callOf(r *http.Request, pattern string, c Caller, status int) *command.Call {
	call := &command.Call{At: s.cfg.Now().UnixNano(), Caller: "unknown", Operation: pattern, Status: uint32(status)}
	if c.Name == "" {
		return call
	}
	call.Caller, call.Token, call.Subject = c.Actor(), c.Token, subjectOf(r, pattern)
	call.Personal = status < http.StatusBadRequest && !impersonal[pattern]
	return call
}

// subjectOf is what a request is about: the names in its path, or what its query
// asks for.
func subjectOf(r *http.Request, pattern string) string {
	var names []string
	for rest := pattern; ; {
		_, name, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		name, rest, _ = strings.Cut(name, "}")
		names = append(names, r.PathValue(name))
	}
	subject := strings.Join(names, " ")
	if subject == "" {
		q := r.URL.Query()
		q.Del("after")
		q.Del("limit")
		q.Del("stale")
		subject = q.Encode()
	}
	for len(subject) > maxSubject || !utf8.ValidString(subject) {
		subject = strings.ToValidUTF8(subject[:min(len(subject), maxSubject)], "")
	}
	return subject
}

// proposedKey finds in a request's context whether it came to a command.
type proposedKey struct{}

func proposed(r *http.Request) {
	if yes, ok := r.Context().Value(proposedKey{}).(*bool); ok {
		*yes = true
	}
}
