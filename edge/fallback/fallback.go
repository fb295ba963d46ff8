// Package fallback answers the connection request: a terminal asks for the fallback
// path, shows who it is by its WireGuard key and whatever else the policy demands, and
// is given a lease of the path with all that its WireGuard client has to know.
//
// It is asked over HTTPS on a public listener of each node (docs/api/fallback.yaml), and
// over the phone API inside a tunnel, ahead of need. Nothing that an answer depends on
// is kept here: leases are in the replicated state, so that any node answers, and a
// repeat gets the same answer.
//
// Who asks from the internet and isn't let in learns nothing: whether the terminal is
// unknown, suspended or has other credentials, or the policy doesn't want it there, the
// answer is the same, and the work that it took is too. The reason is in the audit
// chain. Only who has shown all that is asked of it hears of anything else.
package fallback

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
	"github.com/sealedge/sealedge/policy/ident"
)

// Cluster is the replicated state, as cluster.Node gives it.
type Cluster interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	View(fn func(*state.Machine))
}

// Secrets wraps what is kept in the replicated state; *keywrap.Wrapper does.
type Secrets interface {
	Wrap(owner string, secret []byte, random io.Reader) ([]byte, error)
	Unwrap(owner string, wrapped []byte) ([]byte, error)
}

// Config is what the server is composed of. All of it is needed.
type Config struct {
	Cluster Cluster
	Rules   func() *policy.Rules // in force now; nil when there are none
	Secrets Secrets
	// Certificate is the public listener's. It is asked for at every handshake, so that
	// a renewed one is taken up.
	Certificate func() (*tls.Certificate, error)
	// APN is the private network that a terminal has on the fallback path; empty: none.
	APN         func(*command.Subscriber) string
	Endpoints   []string // host:port of each gateway address, as terminals reach it
	MTU         int      // inside the tunnel, bytes
	Requests    int      // a minute, of one source address
	Connections int      // open at a time, of all
	Logger      *slog.Logger
}

// keepalive is how often a client that is silent shows that it is there, so that a NAT
// on its way keeps the mapping.
const keepalive = 25 * time.Second

// Request is a connection request, with what it came by.
type Request struct {
	Wire wire.ConnectionRequest
	TLS  *tls.ConnectionState // that carries it
	From netip.Addr
	// Session is the terminal's that asks inside a tunnel; nil: it asks from outside.
	Session *command.Session
}

// Server answers connection requests.
type Server struct {
	cfg    Config
	log    *slog.Logger
	limits *limits
	work   chan struct{} // has room for as many passwords as are hashed at a time
	decoy  []byte        // wrapped; what is opened when a record has no key
	hash   func(password, salt []byte, iterations uint32) []byte
	record *recorder

	mu     sync.Mutex
	counts map[string]uint64 // guarded by mu: answers, by code
}

// New makes a server; Serve and Run set it to work.
func New(cfg Config) (*Server, error) {
	s := &Server{
		cfg: cfg, log: cfg.Logger, limits: newLimits(cfg.Requests), work: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		hash: credential.Hash, record: newRecorder(cfg.Logger), counts: map[string]uint64{},
	}
	var err error
	s.decoy, err = newDecoy(cfg.Secrets)
	return s, err
}

// Run records decisions in the audit chain, until ctx ends.
func (s *Server) Run(ctx context.Context) error { return s.record.run(ctx, s.cfg.Cluster) }

// Counters tells how many requests were answered, by the problem's code or "ok", and
// how many connections found no room.
func (s *Server) Counters() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

func (s *Server) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// Connect answers a request. The answer has a secret, which is the caller's to forget.
func (s *Server) Connect(ctx context.Context, r Request) (*wire.ConnectionAnswer, *wire.Problem) {
	if p := s.limits.source(r.From, time.Now()); p != nil {
		s.count(string(p.Code))
		return nil, p
	}
	return s.answer(ctx, r)
}

// answer is Connect after the source's limit.
func (s *Server) answer(ctx context.Context, r Request) (*wire.ConnectionAnswer, *wire.Problem) {
	a, p := s.connect(ctx, r)
	if p != nil {
		s.count(string(p.Code))
		return nil, p
	}
	s.count("ok")
	return a, nil
}

// decideAfter is how long to wait before a request is decided, and decided once more
// because the records had changed by the time its lease was applied.
var decideAfter = [...]time.Duration{0, 0, 50 * time.Millisecond, 200 * time.Millisecond}

func (s *Server) connect(ctx context.Context, r Request) (*wire.ConnectionAnswer, *wire.Problem) {
	imsi, bad := parse(r.Wire)
	if bad != nil {
		return nil, bad
	}
	if p := s.limits.claim(imsi, r.From, time.Now(), s.known(imsi, r)); p != nil {
		return nil, p
	}
	for _, wait := range decideAfter {
		if wait > 0 && !pause(ctx, wait) {
			break
		}
		d, busy := s.decide(ctx, imsi, r)
		switch {
		case busy != nil:
			return nil, busy
		case d.refused():
			s.refuse(imsi, r, d)
			return nil, wire.NewProblem(wire.CodeConnectionRefused, "")
		case d.problem != nil:
			return nil, d.problem
		case d.earlier != nil:
			return s.grant(d, d.earlier)
		}
		lease, again, p := s.lease(ctx, imsi, r, d)
		switch {
		case p != nil:
			return nil, p
		case !again:
			s.log.Info("terminal may use the fallback path", "terminal", imsi, "from", r.From, "shown", d.shown, "lease", lease.Number)
			return s.grant(d, lease)
		}
	}
	p := wire.NewProblem(wire.CodeConflict, "")
	p.RetryAfterSeconds = sealuse.RetrySeconds
	return nil, p
}

// known tells that a request comes from the terminal that it claims to, whatever it
// shows besides: over its own tunnel, or with its own certificate. Nobody else can use
// up what such a request is limited by.
func (s *Server) known(imsi ident.IMSI, r Request) bool {
	var pinned []byte
	s.cfg.Cluster.View(func(m *state.Machine) { pinned = m.Subscriber(imsi.String()).GetDeviceCertSha256() })
	shown, right := certificate(r.TLS, pinned)
	return shown && right || r.Session.GetImsi() == imsi.String()
}

// refuse notes a refusal where the terminal doesn't see it.
func (s *Server) refuse(imsi ident.IMSI, r Request, d decision) {
	recorded := s.record.refused(r.From, &command.RecordDecision{
		Kind: "connection", Subject: imsi.String(), Code: d.code, PolicyRevision: d.rules.revision(),
		Reasons: append(d.reasons, "asked from "+r.From.String()),
	})
	level := slog.LevelInfo
	if !recorded { // a flood fills neither the chain nor the log
		level = slog.LevelDebug
	}
	s.log.Log(context.Background(), level, "connection refused", "terminal", imsi, "from", r.From, "code", d.code)
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
