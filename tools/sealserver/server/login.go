package server

import (
	"errors"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

// After freeFailures wrong passwords in a row a user must wait, twice as long
// with each further one, at most maxWait.
const (
	freeFailures = 5
	firstWait    = time.Second
	maxWait      = 5 * time.Minute
)

// limiter slows down the guessing of passwords, by user name: the addresses
// that logins come from are all the gateway's.
type limiter struct {
	mu    sync.Mutex
	users map[string]failures // guarded by mu
}

type failures struct {
	count int
	until time.Time // no try before
}

func newLimiter() *limiter { return &limiter{users: map[string]failures{}} }

// wait tells how long the user must wait yet.
func (l *limiter) wait(user string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.users[user].until.Sub(now)
}

func (l *limiter) note(user string, ok bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		delete(l.users, user)
		return
	}
	f := l.users[user]
	f.count++
	if over := f.count - freeFailures; over >= 0 {
		f.until = now.Add(min(maxWait, firstWait<<min(over, 16)))
	}
	l.users[user] = f
}

// sweep forgets who hasn't failed for a while, so that made-up names don't
// fill the memory.
func (l *limiter) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for user, f := range l.users {
		if now.Sub(f.until) > maxWait {
			delete(l.users, user)
		}
	}
}

func (s *Server) tooSoon(user string) error {
	wait := s.logins.wait(user, s.cfg.Now())
	if wait <= 0 {
		return nil
	}
	p := wire.NewProblem(wire.CodeRateLimited, "Too many wrong passwords.")
	p.RetryAfterSeconds = int(math.Ceil(wait.Seconds()))
	return p
}

func (s *Server) login(w http.ResponseWriter, r *http.Request, _ store.User) error {
	var req wire.LoginRequest
	if err := wire.DecodeRequest(r.Body, &req); err != nil {
		return err
	}
	if len(req.User) > store.MaxUser || len(req.Password) > store.MaxPassword {
		return wire.NewProblem(wire.CodeLoginFailed, "") // nobody is called that; not worth remembering
	}
	if p := s.tooSoon(req.User); p != nil {
		return p
	}
	select {
	case s.hashes <- struct{}{}:
		defer func() { <-s.hashes }()
	case <-r.Context().Done():
		return wire.NewProblem(wire.CodeRateLimited, "Too many people are logging in.")
	}
	// Of guesses that waited together, those behind the last free one end here.
	if p := s.tooSoon(req.User); p != nil {
		return p
	}
	now := s.cfg.Now()
	expires := now.Add(tokenLife).Truncate(time.Second)
	token, u, err := s.cfg.Store.Login(r.Context(), req.User, req.Password, expires)
	if err == nil || errors.Is(err, store.ErrLogin) {
		s.logins.note(req.User, err == nil, now)
	}
	if errors.Is(err, store.ErrLogin) {
		s.cfg.Logger.Warn("login failed", "user", req.User)
		return wire.NewProblem(wire.CodeLoginFailed, "")
	}
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, wire.LoginAnswer{Token: token, Expires: expires, Name: u.Display})
}
