package admin

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/keywrap"
	"github.com/sealedge/sealedge/edge/wire"
)

// Cluster is what the API needs of the replicated state.
type Cluster interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	View(fn func(*state.Machine))
	Clone() *state.Machine
	ReadIndex(ctx context.Context) error
}

// Node is what the API needs of the node it runs on.
type Node interface {
	Status() adminapi.Status
	StepDown(ctx context.Context) error
	// Drain has the node give its addresses and the leadership to others, and take none
	// back, or undoes that. It doesn't wait until they have them.
	Drain(ctx context.Context, drained bool)
	AuditRange(ctx context.Context, fromSequence uint64, fn func(*command.AuditEntry) error) error
}

// Config is what a Server is made of.
type Config struct {
	TLS        *tls.Config // ClientCAs are those of operators; a client may have a token instead
	Cluster    Cluster
	Node       Node
	Chain      Chain
	Membership Membership
	Alive      func(barrel string) bool // whether the barrel holds a live lease here
	Push       func(*command.Lock)      // sends a lock at once, before it is committed
	Counters   func() map[string]uint64 // "component.reason" to count
	Ready      func() error             // nil: caught up and serving
	// Procedures counts the carriers' requests that were answered here.
	Procedures func() []adminapi.Procedure
	Secrets    *keywrap.Wrapper // wraps barrels' pre-shared keys and terminals' CHAP secrets
	// Departed tells what this node knows of the end of a session, and when a barrel
	// last said here that it has locked. Each may be nil: nothing is known.
	Departed func(session uint64) adminapi.Departure
	Locked   func(barrel string) time.Time
	Lease    time.Duration // for how long a barrel stays unlocked unheard
	// Backup writes a backup; see cluster.Node.
	Backup func(ctx context.Context, w io.Writer, to []age.Recipient) error
	Trace  Tracer
	Router func(imsi string) (*adminapi.Router, *problem) // what a travel router has to know, or why it can't be had
	// Fallback is nil where there is no fallback path.
	Fallback *Fallback
	Logger   *slog.Logger
	Now      func() time.Time // nil: time.Now
	Name     string           // of this node; every answer has it
	// RequestsPerSecond is what one caller may ask of this node; 0: no limit.
	RequestsPerSecond int
	// Streams is how many watches there may be at a time.
	Streams int
}

// Server answers operators.
type Server struct {
	cfg    Config
	mux    *http.ServeMux
	calls  *calls
	limits *limits

	streams atomic.Int32  // watches that are under way
	ending  chan struct{} // closed when Serve ends

	inForce rulesInForce
}

// maxBody bounds a request: the largest is a policy document.
const maxBody = 4 << 20

// New makes a server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), calls: newCalls(), limits: newLimits(cfg.RequestsPerSecond), ending: make(chan struct{})}
	s.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	s.mux.HandleFunc("GET /readyz", s.ready)
	for _, rt := range s.routes() {
		s.mux.HandleFunc(rt.pattern, s.guard(rt))
	}
	s.mux.HandleFunc("/", s.nowhere)
	return s
}

// route is one operation: who may call it and what answers.
type route struct {
	pattern string
	role    Role
	// answer returns the document to send (nil: 204), or a problem.
	answer func(r *http.Request, c Caller) (any, *problem)
}

func (s *Server) routes() []route {
	return []route{
		{"GET /v1/status", Viewer, s.status},
		{"GET /v1/counters", Viewer, s.counters},
		{"POST /v1/cluster/step-down", Operator, s.stepDown},
		{"POST /v1/node/drain", Operator, s.drain},
		{"GET /v1/cluster/members", Viewer, s.members},
		{"DELETE /v1/cluster/members/{member}", Operator, s.removeMember},
		{"POST /v1/cluster/addresses/{name}/move", Operator, s.moveAddress},

		{"GET /v1/terminals", Viewer, s.terminals},
		{"GET /v1/terminals/{imsi}", Viewer, s.terminal},
		{"PUT /v1/terminals/{imsi}", SealAdministrator, s.putTerminal},
		{"POST /v1/terminals/{imsi}/revoke", SealAdministrator, s.revokeTerminal},
		{"POST /v1/terminals/{imsi}/suspend", SealAdministrator, s.suspendTerminal},
		{"POST /v1/terminals/{imsi}/resume", SealAdministrator, s.resumeTerminal},

		{"POST /v1/routers/{imsi}/export", SealAdministrator, s.exportRouter},

		{"GET /v1/terminals/{imsi}/fallback", Viewer, s.fallback},
		{"POST /v1/terminals/{imsi}/fallback", SealAdministrator, s.issueFallback},
		{"DELETE /v1/terminals/{imsi}/fallback", SealAdministrator, s.endFallback},
		{"GET /v1/fallback/leases", Viewer, s.fallbackLeases},
		{"GET /v1/fallback/keys", Viewer, s.fallbackKeys},
		{"POST /v1/fallback/keys/rotate", Operator, s.rotateFallbackKey},
		{"DELETE /v1/fallback/keys/{key}", Operator, s.retireFallbackKey},

		{"GET /v1/barrels", Viewer, s.barrels},
		{"GET /v1/barrels/{id}", Viewer, s.barrel},
		{"PUT /v1/barrels/{id}", SealAdministrator, s.putBarrel},
		{"POST /v1/barrels/{id}/revoke", SealAdministrator, s.revokeBarrel},
		{"POST /v1/barrels/{id}/suspend", SealAdministrator, s.suspendBarrel},
		{"POST /v1/barrels/{id}/resume", SealAdministrator, s.resumeBarrel},
		{"POST /v1/barrels/{id}/checkout", SealAdministrator, s.checkOut},
		{"POST /v1/barrels/{id}/checkin", SealAdministrator, s.checkIn},
		{"POST /v1/barrels/{id}/lock", Operator, s.lockBarrel},

		{"POST /v1/devices/batch", SealAdministrator, s.batchDevices},

		{"GET /v1/orders", Viewer, s.orders},
		{"POST /v1/orders/suspend", SealAdministrator, s.suspendOrder},
		{"POST /v1/orders/resume", SealAdministrator, s.resumeOrder},
		{"GET /v1/uses", Viewer, s.uses},
		{"GET /v1/uses/{id}", Viewer, s.use},
		{"POST /v1/uses/{id}/release", SealAdministrator, s.releaseUse},
		{"POST /v1/uses/{id}/release/confirm", SealAdministrator, s.confirmRelease},

		{"GET /v1/sessions", Viewer, s.sessions},
		{"GET /v1/sessions/{id}", Viewer, s.session},
		{"DELETE /v1/sessions/{id}", Operator, s.endSession},
		{"GET /v1/peers", Viewer, s.peers},
		{"GET /v1/trace", Operator, s.trace},
		{"GET /v1/watch", Viewer, s.watch},
		{"GET /v1/openapi.yaml", Viewer, s.openapi},
		{"GET /v1/procedures", Viewer, s.procedures},

		{"GET /v1/policy", Viewer, s.policy},
		{"PUT /v1/policy", SealAdministrator, s.putPolicy},
		{"POST /v1/policy/diff", Viewer, s.policyDiff},
		{"POST /v1/policy/explain", Viewer, s.policyExplain},
		{"GET /v1/policy/history", Viewer, s.policyHistory},
		{"GET /v1/policy/revisions/{n}", Viewer, s.policyRevision},
		{"GET /v1/changes", Viewer, s.changes},
		{"POST /v1/changes", SealAdministrator, s.proposeChangeRequest},
		{"GET /v1/changes/{id}", Viewer, s.change},
		{"POST /v1/changes/{id}/approve", SealAdministrator, s.approve},
		{"POST /v1/changes/{id}/reject", SealAdministrator, s.reject},
		{"POST /v1/changes/{id}/review", SealAdministrator, s.review},

		{"GET /v1/audit", Auditor, s.searchAudit},
		{"GET /v1/audit/export", Auditor, s.audit},
		{"GET /v1/audit/head", Auditor, s.auditHead},
		{"GET /v1/audit/proof/{sequence}", Auditor, s.auditProof},

		{"GET /v1/tokens", Viewer, s.tokens},
		{"POST /v1/tokens", Viewer, s.issueToken},
		{"DELETE /v1/tokens/{id}", Viewer, s.revokeToken},

		{"GET /v1/epoch", Viewer, s.epoch},
		{"POST /v1/epoch/close", SealAdministrator, s.closeEpoch},
		{"POST /v1/barrels/{id}/excuse", SealAdministrator, s.excuseBarrel},
		{"POST /v1/backup", Backup, s.backup},
	}
}

// stream is an answer that writes itself.
type stream func(w http.ResponseWriter)

func send(w http.ResponseWriter, v any) {
	switch v := v.(type) {
	case nil:
		w.WriteHeader(http.StatusNoContent)
	case stream:
		v(w)
	case accepted:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(v.document)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the client may be gone
	}
}

// read decodes a JSON body strictly.
func read(r *http.Request, into any) *problem {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return badRequest(fmt.Errorf("the body is not the JSON document that is expected: %w", err))
	}
	return nil
}

// propose carries a change out and decodes the record that came of it into
// record (nil: none is expected). A client that repeats a request with the
// same Idempotency-Key gets the first answer.
func (s *Server) propose(r *http.Request, c Caller, payload, record proto.Message) *problem {
	return s.proposeAs(r, c, requestID(r), payload, record)
}

// requestID is the client's name for a request, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("Idempotency-Key"); id != "" {
		return id
	}
	return rand.Text()
}

// clientOf is whose request ids a caller's are.
func clientOf(c Caller) string { return "admin:" + c.Name }

func (s *Server) proposeAs(r *http.Request, c Caller, id string, payload, record proto.Message) *problem {
	_, p := s.proposeOnce(r, c, id, payload, record)
	return p
}

// proposeOnce also returns how the command ended, when it did.
func (s *Server) proposeOnce(r *http.Request, c Caller, id string, payload, record proto.Message) (command.Code, *problem) {
	return s.proposeUnder(r, c, 0, id, payload, record)
}

// proposeUnder is proposeOnce of what one person may do by a revision of the policy;
// 0 is for what doesn't depend on it.
func (s *Server) proposeUnder(r *http.Request, c Caller, revision uint64, id string, payload, record proto.Message) (command.Code, *problem) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	cmd := command.New(clientOf(c), id, c.Actor(), payload)
	if revision != 0 {
		cmd.Under(revision)
	}
	res, err := s.proposeWhenKnown(ctx, cmd)
	if err != nil {
		return command.Code_CODE_UNSPECIFIED, problemOf(err)
	}
	proposed(r)
	if res.Code != command.Code_OK {
		return res.Code, problemOfResult(res)
	}
	if record == nil {
		return res.Code, nil
	}
	if err := res.Into(record); err != nil {
		return res.Code, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	return res.Code, nil
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Serve answers on l until ctx ends, then finishes what is under way.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	operators := s.cfg.TLS.Clone()
	operators.ClientAuth = tls.VerifyClientCertIfGiven // else there is a token, or the request is refused
	hs := &http.Server{
		Handler:           s.mux,
		TLSConfig:         operators,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		close(s.ending) // watches would outlive the grace time
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = hs.Shutdown(grace) // what outlives the grace time is cut below
		_ = hs.Close()
	})
	defer stop()
	recorded := make(chan struct{})
	go func() { defer close(recorded); s.record(ctx) }()
	defer func() { <-recorded }()
	err := hs.ServeTLS(l, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin: %w", err)
}

// reasonOf reads a body with a reason, which must not be empty.
func reasonOf(r *http.Request) (string, *problem) {
	var b adminapi.Reason
	if p := read(r, &b); p != nil {
		return "", p
	}
	if strings.TrimSpace(b.Reason) == "" {
		return "", badRequest(errors.New("reason: missing: say why, it goes into the audit chain"))
	}
	return b.Reason, nil
}
