package admin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
)

// maxKey bounds what a client calls its request.
const maxKey = 200

// guard authenticates, limits, authorizes, bounds, answers and has the call
// recorded.
func (s *Server) guard(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Sealedge-Node", s.cfg.Name)
		w.Header().Set("Cache-Control", "no-store") // some answers have secrets, and all are of now
		inLog := new(bool)
		r = r.WithContext(context.WithValue(r.Context(), proposedKey{}, inLog))
		caller, v, p := s.respond(w, r, rt)
		status := http.StatusOK
		switch {
		case p == nil && v == nil:
			status = http.StatusNoContent
		case p != nil:
			status = p.Status
			s.cfg.Logger.Info("admin request refused", "operator", caller.Name, "path", r.URL.Path, "code", p.Code)
		}
		// A command names the caller, but not his token.
		if !*inLog || caller.Token != "" {
			s.calls.note(s.callOf(r, rt.pattern, caller, status))
		}
		if p == nil {
			send(w, v)
			return
		}
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		p.Write(w)
	}
}

// nowhere answers what is no operation.
func (s *Server) nowhere(w http.ResponseWriter, r *http.Request) {
	caller, _ := s.authenticate(r)
	p := s.limited(r, caller)
	if p == nil {
		p = notFound("such path")
	}
	s.calls.note(s.callOf(r, "unknown path", caller, p.Status))
	p.Write(w)
}

// limited refuses a caller who calls too often.
func (s *Server) limited(r *http.Request, c Caller) *problem {
	wait, ok := s.limits.admit(limitKey(r, c), s.cfg.Now())
	if ok {
		return nil
	}
	p := refuse(http.StatusTooManyRequests, wire.CodeRateLimited, "That were too many requests.", "", "Wait for as long as Retry-After says. The limit is admin.requests_per_second of the node.")
	p.RetryAfterSeconds = int(math.Ceil(wait.Seconds()))
	return p
}

func (s *Server) respond(w http.ResponseWriter, r *http.Request, rt route) (Caller, any, *problem) {
	caller, p := s.authenticate(r)
	if tooMany := s.limited(r, caller); tooMany != nil {
		return caller, nil, tooMany
	}
	if p == nil && !caller.May(rt.role) {
		p = refuse(http.StatusForbidden, "role-missing", "This is for another role.",
			fmt.Sprintf("%s has %v; this needs %s.", caller.Name, caller.Roles, rt.role), "Ask somebody who has the role, or have your certificate issued with it.")
	}
	if p == nil {
		p = wellFormed(r)
	}
	switch {
	case p != nil:
	case r.Method != http.MethodGet:
		if caller.Token != "" && !withdraws(rt.pattern) {
			p = s.tokenHolds(r)
		}
	case r.URL.Query().Get("stale") != "true":
		p = s.mayRead(r, caller)
	}
	if p != nil {
		return caller, nil, p
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	v, p := rt.answer(r, caller)
	return caller, v, p
}

// wellFormed refuses text that no record can hold.
func wellFormed(r *http.Request) *problem {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey || !utf8.ValidString(key) {
		return badRequest(fmt.Errorf("Idempotency-Key: not UTF-8, or longer than %d bytes", maxKey))
	}
	if !utf8.ValidString(r.URL.Path) {
		return badRequest(errors.New("the path is not UTF-8"))
	}
	for _, values := range r.URL.Query() {
		for _, v := range values {
			if !utf8.ValidString(v) {
				return badRequest(errors.New("the query is not UTF-8"))
			}
		}
	}
	return nil
}

// mayRead sees to it that an answer is not older than the question, and that it can
// be recorded that it was given.
func (s *Server) mayRead(r *http.Request, caller Caller) *problem {
	if s.calls.full() {
		p := refuse(http.StatusServiceUnavailable, "audit-behind", "Nothing is shown for now.", "Reads are recorded in the audit chain, and this node is behind with that.",
			"Wait until the cluster has a quorum again, or ask another node. With --stale this node answers all the same.")
		p.RetryAfterSeconds = 1
		return p
	}
	if caller.Token != "" {
		return s.tokenHolds(r)
	}
	return s.linearize(r)
}

// tokenHolds asks once more when this node knows all that others do: the token may
// have been revoked where it hadn't heard of it.
func (s *Server) tokenHolds(r *http.Request) *problem {
	if p := s.linearize(r); p != nil {
		return p
	}
	_, p := s.authenticate(r)
	return p
}

// withdraws tells of the operations that only stop something: those never wait for a
// quorum before they push a lock.
func withdraws(pattern string) bool {
	for _, verb := range []string{"/revoke", "/lock", "/suspend"} {
		if strings.HasSuffix(pattern, verb) {
			return true
		}
	}
	return false
}

// linearize waits until this node knows all that was changed before the request.
func (s *Server) linearize(r *http.Request) *problem {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := s.cfg.Cluster.ReadIndex(ctx); err != nil {
		return problemOf(noQuorum(err))
	}
	return nil
}

// noQuorum takes a read that ran out of time for what it means.
func noQuorum(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, command.ErrUnknownOutcome) {
		return command.ErrNoQuorum
	}
	return err
}
