package phoneapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// route is one method of one path.
type route struct {
	method, path string
	// long: an upload or a stream, which sets its own deadlines.
	long  bool
	serve func(*call) error
}

func (s *Server) table() []route {
	return []route{
		{"GET", wire.PathStatus, false, s.status},
		{"POST", wire.PathLogin, false, s.login},
		{"GET", wire.PathOrders, false, s.orders},
		{"POST", wire.PathConnections, false, s.connect},
		{"POST", wire.PathAssociations, false, s.associate},
		{"GET", wire.PathAllowList, false, s.allowList},
		{"POST", wire.PathUses, false, s.use},
		{"POST", wire.PathUseCheck, false, s.checkUse},
		{"GET", wire.PathUse, false, s.useStatus},
		{"POST", wire.PathReceipts, false, s.receipt},
		{"POST", wire.PathSettlement, false, s.settlement},
		{"HEAD", wire.PathEvidence, false, s.evidenceOffset},
		{"PATCH", wire.PathEvidence, true, s.evidence},
		{"GET", wire.PathEvents, true, s.events},
		{"POST", wire.PathLockAck, false, s.acknowledge},
	}
}

// dispatch makes the mux of a table; a path or method that is not in it gets a
// problem, too. Handlers find their call in the request's context.
func dispatch(routes []route) *http.ServeMux {
	byPath := make(map[string][]route)
	for _, r := range routes {
		byPath[r.path] = append(byPath[r.path], r)
	}
	mux := http.NewServeMux()
	for path, ways := range byPath {
		mux.HandleFunc(path, func(_ http.ResponseWriter, r *http.Request) {
			c := r.Context().Value(callKey{}).(*call)
			c.r = r // with the path's values
			c.err = c.along(ways)
		})
	}
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		r.Context().Value(callKey{}).(*call).err = wire.NewProblem(wire.CodeNotFound, "")
	})
	return mux
}

// along serves the call by the route of its method.
func (c *call) along(ways []route) error {
	i := slices.IndexFunc(ways, func(r route) bool { return r.method == c.r.Method })
	if i < 0 {
		var allow []string
		for _, way := range ways {
			allow = append(allow, way.method)
		}
		c.w.Header().Set("Allow", strings.Join(allow, ", "))
		return wire.NewProblem(wire.CodeMethodNotAllowed, "")
	}
	if !ways[i].long {
		ctx, cancel := context.WithTimeout(c.r.Context(), requestTimeout)
		defer cancel()
		c.r = c.r.WithContext(ctx)
	}
	return ways[i].serve(c)
}

type callKey struct{}

// call is one request of one terminal.
type call struct {
	w http.ResponseWriter
	r *http.Request
	terminal
	proved policy.Credentials // by the request itself; owned by its handler
	err    error
	begun  time.Time  // if it may be traced
	span   trace.Span // of a request that is a part of a use; nil: it isn't, or not yet
}

// terminal is who asks: the holder of the address that the packets come from.
type terminal struct {
	from       netip.Addr
	session    *command.Session
	subscriber *command.Subscriber
}

// holder is what the terminal's limits are kept by.
func (t terminal) holder() netip.Prefix { return sealuse.Holder(t.from) }

func (t terminal) imsi() string { return t.session.GetImsi() }

// LogValue keeps the subscriber out of the log.
func (t terminal) LogValue() slog.Value {
	imsi, _ := ident.ParseIMSI(t.imsi())
	return slog.GroupValue(slog.Any("imsi", imsi), slog.String("address", t.from.String()))
}

// ServeHTTP finds out who asks and for what; a problem, from wherever it comes,
// is answered here.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, terminal: terminal{from: source(r.RemoteAddr)}}
	s.arrived(c)
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			s.log.Error("request failed", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			s.answer(c, wire.NewProblem(wire.CodeInternal, ""))
		}
	}()
	s.answer(c, s.serve(c))
}

func (s *Server) serve(c *call) error {
	c.deadline(requestTimeout + graceTimeout)
	if wait := s.limits.take(c.holder(), time.Now()); wait > 0 {
		return limited(wait)
	}
	if refusal := s.identify(c); refusal != nil {
		s.refused(c, sealuse.KindAccess, c.r.Method+" "+c.r.URL.Path, refusal)
		return refusal
	}
	s.mux.ServeHTTP(c.w, c.r.WithContext(context.WithValue(c.r.Context(), callKey{}, c)))
	return c.err
}

// identify looks the terminal up, and its device certificate where one is on
// record.
func (s *Server) identify(c *call) *wire.Problem {
	t, ok := s.lookup(c.from)
	c.terminal = t
	if !ok {
		return wire.NewProblem(wire.CodeTerminalUnknown, fmt.Sprintf("No session has the address %s.", c.from))
	}
	if want := t.subscriber.DeviceCertSha256; len(want) > 0 && !presented(c.r.TLS, want) {
		return wire.NewProblem(wire.CodeDeviceCertificate, "")
	}
	return nil
}

// answer writes a problem, if there is one, and counts.
func (s *Server) answer(c *call, err error) {
	defer c.traced(err)
	if err == nil {
		s.counts.add("ok")
		return
	}
	p := sealuse.FromError(err)
	s.counts.add(string(p.Code))
	if p.Code == wire.CodeInternal {
		s.log.Error("request failed", "terminal", c.terminal, "path", c.r.URL.Path, "err", err)
	}
	if p.Status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="sealedge"`) // RFC 9110 11.6.1
	}
	p.Write(c.w)
}

// refused notes a refusal in the log and, within limits, in the audit chain.
func (s *Server) refused(c *call, kind, subject string, p *wire.Problem) {
	s.log.Info("refused", "kind", kind, "terminal", c.terminal, "subject", subject, "code", p.Code)
	s.record.decided(s.record.refusals, c.holder(), sealuse.Decided(kind, c.imsi(), subject, p, s.revision()))
}

// alarm notes what administrators must hear of.
func (s *Server) alarm(c *call, what string) {
	if what == "" {
		return
	}
	s.log.Warn("alarm", "terminal", c.terminal, "what", what)
	s.record.decided(s.record.alarms, c.holder(), sealuse.Alarmed(c.imsi(), what, s.revision()))
}

func (s *Server) revision() uint64 {
	if r := s.cfg.Rules(); r != nil {
		return r.Revision
	}
	return 0
}

func limited(wait time.Duration) *wire.Problem {
	p := wire.NewProblem(wire.CodeRateLimited, "")
	p.RetryAfterSeconds = int(math.Ceil(wait.Seconds()))
	return p
}

// decode reads a JSON request.
func (c *call) decode(v any) error {
	if t := c.r.Header.Get("Content-Type"); t != "" && !strings.HasPrefix(t, "application/json") {
		return wire.NewProblem(wire.CodeBadRequest, "Content-Type: want application/json.")
	}
	if c.r.ContentLength > wire.MaxJSON {
		return wire.NewProblem(wire.CodeTooLarge, "")
	}
	if err := wire.DecodeRequest(c.r.Body, v); err != nil {
		return wire.NewProblem(wire.CodeBadRequest, fmt.Sprintf("%v.", err))
	}
	return nil
}

// reply writes a JSON answer.
func (c *call) reply(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b) // the terminal may be gone
	return nil
}

// token is the bearer token of the user (RFC 6750 2.1).
func (c *call) token() (string, error) {
	scheme, token, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 4096 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", wire.NewProblem(wire.CodeTokenInvalid, "")
	}
	return token, nil
}

// number is a number in the path.
func (c *call) number(name string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(c.r.PathValue(name), 10, bits)
	if err != nil || n == 0 {
		return 0, wire.NewProblem(wire.CodeNotFound, fmt.Sprintf("%s: want a number.", name))
	}
	return n, nil
}

// deadline bounds what is read and written from now on.
func (c *call) deadline(d time.Duration) {
	rc := http.NewResponseController(c.w)
	t := time.Now().Add(d)
	_ = rc.SetReadDeadline(t) // a recorder in a test has none
	_ = rc.SetWriteDeadline(t)
}
