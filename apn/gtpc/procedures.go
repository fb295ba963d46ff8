package gtpc

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// Cluster is where commands are proposed and the state is seen.
type Cluster interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	View(fn func(*state.Machine))
}

// ProceduresConfig configures Procedures. Zero values get the defaults named.
type ProceduresConfig struct {
	Cluster Cluster
	// Rules returns the policy in force, compiled; nil when there is none. It
	// is called outside of Cluster.View.
	Rules   func() *policy.Rules
	Gateway session.Gateway
	// Prepare runs between the commit of a session and its answer, e.g. until
	// the user plane has the tunnel, so that the terminal's first packet isn't
	// lost. May be nil.
	Prepare func(ctx context.Context, s *command.Session)
	// ProposeTime bounds how long the cluster is waited for in all; it should be
	// shorter than the peers' T3 times N3. 4 s.
	ProposeTime time.Duration
	// RecordsPerSecond bounds how many refusals a second go into the audit
	// chain; the rest are only logged. 10.
	RecordsPerSecond int
	Logger           *slog.Logger
}

// Procedures is the Handler that carries out session procedures against the
// cluster.
type Procedures struct {
	cfg     ProceduresConfig
	log     *slog.Logger
	records *rate.Limiter
	slots   chan struct{} // one for each audit record being proposed
}

// maxAttempts is how often a request is decided when what it was decided upon
// keeps changing.
const maxAttempts = 4

// NewProcedures makes the handler.
func NewProcedures(cfg ProceduresConfig) *Procedures {
	defaults(&cfg.ProposeTime, 4*time.Second)
	defaults(&cfg.RecordsPerSecond, 10)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Procedures{
		cfg: cfg, log: cfg.Logger, slots: make(chan struct{}, 16),
		records: rate.NewLimiter(rate.Limit(cfg.RecordsPerSecond), 4*cfg.RecordsPerSecond),
	}
}

// Handle implements Handler.
func (p *Procedures) Handle(ctx context.Context, peer netip.AddrPort, m gtp.Message) Reply {
	bounded, cancel := context.WithTimeout(ctx, p.cfg.ProposeTime)
	defer cancel()
	var last session.Outcome
	for attempt := range maxAttempts {
		o := p.decide(m, peer, attempt)
		last = o
		if o.Command == nil {
			p.tell(peer, m, o, o.Cause)
			p.record(ctx, o)
			return replyOf(o, session.Answer{Response: o.Response, Cause: o.Cause})
		}
		result, err := p.propose(bounded, o.Command)
		if err != nil {
			return p.fail(peer, m, o, err)
		}
		a := o.Finish(result)
		if a.Again {
			continue
		}
		if a.Session != nil && p.cfg.Prepare != nil {
			p.cfg.Prepare(bounded, a.Session)
		}
		p.tell(peer, m, o, a.Cause)
		return replyOf(o, a)
	}
	p.log.Warn("GTP-C request given up: what it was decided upon kept changing", "peer", peer, "type", m.Head().Type, "attempts", maxAttempts)
	return replyOf(last, last.Fail(gtp.CauseSystemFailure))
}

// replyOf is what the transport is to do.
func replyOf(o session.Outcome, a session.Answer) Reply {
	comment := causeName(a.Cause)
	if o.Decision != nil && !o.Decision.Allowed {
		comment += ": " + strings.Join(o.Decision.Denials(), "; ")
	}
	return Reply{Datagram: a.Response, Cause: a.Cause, IMSI: o.IMSI, Comment: comment}
}

func (p *Procedures) decide(m gtp.Message, peer netip.AddrPort, attempt int) (o session.Outcome) {
	rules := p.cfg.Rules()
	p.cfg.Cluster.View(func(s *state.Machine) {
		o = p.cfg.Gateway.Decide(m, peer, session.View{State: s, Rules: rules}, attempt)
	})
	return o
}

// propose repeats a command whose outcome is unknown, with the same request id,
// for as long as there is time.
func (p *Procedures) propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	const pause = 50 * time.Millisecond
	for {
		result, err := p.cfg.Cluster.Propose(ctx, c)
		if !errors.Is(err, command.ErrUnknownOutcome) {
			return result, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// fail answers when proposing failed; with an unknown outcome by saying
// nothing.
func (p *Procedures) fail(peer netip.AddrPort, m gtp.Message, o session.Outcome, err error) Reply {
	ended := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if ended && !errors.Is(err, command.ErrNoQuorum) {
		// Whether it was committed before that isn't known.
		err = errors.Join(command.ErrUnknownOutcome, err)
	}
	cause, answer := session.CauseOfError(err)
	p.log.Warn("GTP-C request not carried out", "peer", peer, "type", m.Head().Type, "answered", answer, "err", err)
	if !answer {
		return Reply{IMSI: o.IMSI, Comment: err.Error()}
	}
	reply := replyOf(o, o.Fail(cause))
	reply.Comment += ": " + err.Error()
	return reply
}

// record puts a refusal into the audit chain, without keeping the answer
// waiting: a refusal needs no quorum.
func (p *Procedures) record(ctx context.Context, o session.Outcome) {
	if o.Record == nil || !p.records.Allow() {
		return
	}
	select {
	case p.slots <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-p.slots }()
		ctx, cancel := context.WithTimeout(ctx, p.cfg.ProposeTime)
		defer cancel()
		if _, err := p.cfg.Cluster.Propose(ctx, o.Record); err != nil {
			p.log.Warn("refusal not recorded in the audit chain", "err", err)
		}
	}()
}

// tell logs what became of a request, with the reasons of a refusal.
func (p *Procedures) tell(peer netip.AddrPort, m gtp.Message, o session.Outcome, cause gtp.Cause) {
	imsi, _ := ident.ParseIMSI(o.IMSI)
	h := m.Head()
	args := []any{"peer", peer, "type", h.Type, "seq", h.Seq, "imsi", imsi, "apn", o.APN, "cause", cause.String()}
	level := slog.LevelInfo
	if !cause.Accepted() {
		level = slog.LevelWarn
	}
	if f, ok := m.(*gtp.Faulty); ok {
		args = append(args, "err", f.Err)
	}
	if o.Decision != nil {
		args = append(args, "decision", *o.Decision)
	}
	p.log.Log(context.Background(), level, "GTP-C request", args...)
}
