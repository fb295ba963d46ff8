// Package server is the HTTPS API of the reference seal server, for two kinds
// of callers: the gateway, known by its client certificate, and people, known
// by the token that logging in gave them. docs/api/sealserver.yaml describes
// it, and is served at /openapi.yaml.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

// Config is what a Server is made of.
type Config struct {
	Store   *store.Store
	Gateway string           // URI SAN of the gateway's client certificate
	Now     func() time.Time // default time.Now
	Wake    chan<- struct{}  // told when a disconnect is queued; buffered
	OpenAPI []byte           // served at /openapi.yaml
	Logger  *slog.Logger
}

// Server is the handler of all routes.
type Server struct {
	cfg    Config
	mux    *http.ServeMux
	logins *limiter
	hashes chan struct{} // bounds the memory that argon2id takes
	body   time.Duration // for a request's body; uploads, which only the gateway may send, take as long as they take
}

const tokenLife = 12 * time.Hour

// New makes the server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), logins: newLimiter(), hashes: make(chan struct{}, 2), body: 30 * time.Second}
	s.mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(cfg.OpenAPI) // the client may be gone
	})
	for _, rt := range s.routes() {
		s.mux.HandleFunc(rt.method+" "+rt.path, s.handle(rt))
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		wire.NewProblem(wire.CodeNotFound, "The API is at /openapi.yaml.").Write(w)
	})
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// access says who may call a route.
type access int

const (
	anybody access = iota
	gateway
	person // a token, and one of the roles if any are named
)

type route struct {
	method, path string
	access       access
	roles        []string
	handle       func(w http.ResponseWriter, r *http.Request, u store.User) error
}

func (s *Server) routes() []route {
	return []route{
		{"POST", wire.PathServerLogin, anybody, nil, s.login},
		{"GET", wire.PathServerOrders, person, nil, s.myOrders},
		{"POST", wire.PathServerVerify, gateway, nil, s.verify},
		{"POST", wire.PathServerSettled, gateway, nil, s.settled},
		{"HEAD", wire.PathServerEvidence, gateway, nil, s.evidenceState},
		{"PATCH", wire.PathServerEvidence, gateway, nil, s.evidenceAppend},

		{"GET", "/v1/users", person, []string{store.RoleAdmin}, s.users},
		{"POST", "/v1/users", person, []string{store.RoleAdmin}, s.addUser},
		{"GET", "/v1/seal-types", person, nil, s.sealTypes},
		{"PUT", "/v1/seal-types/{name}", person, []string{store.RoleAdmin}, s.putSealType},
		{"GET", "/v1/work-orders", person, nil, s.workOrders},
		{"POST", "/v1/work-orders", person, []string{store.RoleApplicant}, s.apply},
		{"GET", "/v1/work-orders/{number}", person, nil, s.workOrder},
		{"POST", "/v1/work-orders/{number}/approve", person, []string{store.RoleApprover}, s.approve},
		{"POST", "/v1/work-orders/{number}/reject", person, []string{store.RoleApprover}, s.reject},
		{"GET", "/v1/evidence", person, []string{store.RoleReviewer, store.RoleApprover}, s.evidence},
		{"GET", "/v1/evidence/{order}/{use}/{stamp}/image", person, []string{store.RoleReviewer, store.RoleApprover}, s.image},
		{"POST", "/v1/evidence/{order}/{use}/{stamp}/verdict", person, []string{store.RoleReviewer}, s.verdict},
		{"GET", "/v1/disconnects", person, []string{store.RoleReviewer, store.RoleAdmin}, s.disconnects},
	}
}

// Paths lists method and path of every route.
func (s *Server) Paths() []string {
	var list []string
	for _, rt := range s.routes() {
		list = append(list, rt.method+" "+rt.path)
	}
	return list
}

func (s *Server) handle(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if rt.method != http.MethodPatch {
			// A recorder in a test has no deadlines.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.body))
		}
		u, err := s.admit(r, rt)
		if err == nil {
			err = rt.handle(w, r, u)
		}
		if err == nil {
			return
		}
		p := problemOf(err)
		if p.Code == wire.CodeInternal {
			s.cfg.Logger.Error("request failed", "path", r.URL.Path, "err", err)
		}
		p.Write(w)
	}
}

func (s *Server) admit(r *http.Request, rt route) (store.User, error) {
	switch rt.access {
	case gateway:
		if !s.isGateway(r) {
			return store.User{}, forbidden("This is for the gateway: its client certificate is missing or another one.")
		}
	case person:
		u, err := s.user(r)
		if err != nil {
			return u, err
		}
		if len(rt.roles) > 0 && !slices.ContainsFunc(rt.roles, u.Has) {
			return u, forbidden("This needs the role " + strings.Join(rt.roles, " or ") + ".")
		}
		return u, nil
	}
	return store.User{}, nil
}

func (s *Server) isGateway(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return false
	}
	for _, u := range r.TLS.VerifiedChains[0][0].URIs {
		if u.String() == s.cfg.Gateway {
			return true
		}
	}
	return false
}

// user is the person of the request's token.
func (s *Server) user(r *http.Request) (store.User, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return store.User{}, wire.NewProblem(wire.CodeTokenInvalid, "")
	}
	u, err := s.cfg.Store.ByToken(r.Context(), token, s.cfg.Now())
	if errors.Is(err, store.ErrNotFound) {
		return u, wire.NewProblem(wire.CodeTokenInvalid, "")
	}
	return u, err
}

func forbidden(detail string) *wire.Problem {
	return &wire.Problem{
		Type: "urn:sealedge:problem:forbidden", Title: "You may not do that.", Status: http.StatusForbidden,
		Code: "forbidden", Detail: detail, Hint: "Have an administrator give you the role.",
	}
}

func conflict(err error) *wire.Problem {
	return &wire.Problem{
		Type: "urn:sealedge:problem:conflict", Title: "That cannot be done now.", Status: http.StatusConflict,
		Code: "conflict", Detail: err.Error(), Hint: "Look at it again.",
	}
}

func badRequest(detail string) *wire.Problem { return wire.NewProblem(wire.CodeBadRequest, detail) }

// problemOf maps errors to problems, once.
func problemOf(err error) *wire.Problem {
	var p *wire.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, store.ErrNotFound):
		return wire.NewProblem(wire.CodeNotFound, err.Error())
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrState):
		return conflict(err)
	case errors.Is(err, store.ErrOffset):
		return wire.NewProblem(wire.CodeUploadOffset, err.Error())
	case errors.Is(err, store.ErrDigest):
		return wire.NewProblem(wire.CodeDigestMismatch, err.Error())
	case errors.Is(err, store.ErrConflict):
		return wire.NewProblem(wire.CodeEvidenceConflict, err.Error())
	case errors.Is(err, wire.ErrMalformed):
		return badRequest(err.Error())
	}
	return wire.NewProblem(wire.CodeInternal, "")
}

func send(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
	return nil
}

// Sweep drops expired tokens every hour until ctx ends.
func (s *Server) Sweep(ctx context.Context) error {
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := s.cfg.Store.ForgetTokens(ctx, s.cfg.Now()); err != nil && ctx.Err() == nil {
				return err
			}
			s.logins.sweep(s.cfg.Now())
		}
	}
}
