package gtpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
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
	// Unwrap opens the secret that a CHAP response is checked with, which is
	// wrapped for an owner, see session.Authenticate. Nil: none can be opened.
	Unwrap func(owner string, wrapped []byte) ([]byte, error)
	// OnPeerRestart hears of a request whose restart counter is newer than the
	// peer's on record (TS 23.007 18). Requests can be anybody's, see
	// Server.AskCounter. It must not block. May be nil.
	OnPeerRestart func(peer netip.Addr, counter uint8)
	// ProposeTime bounds how long the cluster is waited for in all; it should be
	// shorter than the peers' T3 times N3. 4 s.
	ProposeTime time.Duration
	// RecordsPerSecond bounds how many refusals a second go into the audit
	// chain; the rest are only logged. 10.
	RecordsPerSecond int
	// Tracer makes spans of what is done for a request that is traced; nil: none.
	Tracer trace.Tracer
	Logger *slog.Logger
}

// Procedures is the Handler that carries out session procedures against the
// cluster.
type Procedures struct {
	cfg     ProceduresConfig
	log     *slog.Logger
	records *rate.Limiter
	slots   chan struct{} // one for each audit record being proposed
	checks  chan struct{} // one for each authentication being checked
	quiet   *quiet        // about what came to nothing
	brief   *quiet        // and about the rest
	budgets budgets
}

// maxAttempts is how often a request is decided when what it was decided upon
// keeps changing.
const maxAttempts = 4

// maxChecks is how many passwords are checked at once. Half of the processors are
// left for everything else: who floods with passwords must not keep the cluster's
// heartbeats waiting.
func maxChecks() int { return max(1, runtime.NumCPU()/2) }

// NewProcedures makes the handler.
func NewProcedures(cfg ProceduresConfig) *Procedures {
	defaults(&cfg.ProposeTime, 4*time.Second)
	defaults(&cfg.RecordsPerSecond, 10)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Unwrap == nil {
		cfg.Unwrap = func(string, []byte) ([]byte, error) { return nil, errors.New("this node has no key for it") }
	}
	return &Procedures{
		cfg: cfg, log: cfg.Logger, slots: make(chan struct{}, 16), checks: make(chan struct{}, maxChecks()),
		budgets: newBudgets(),
		quiet:   newQuiet(refusalLines), brief: newQuiet(acceptanceLines),
		records: rate.NewLimiter(rate.Limit(cfg.RecordsPerSecond), 4*cfg.RecordsPerSecond),
	}
}

// Handle implements Handler.
func (p *Procedures) Handle(ctx context.Context, peer netip.AddrPort, m gtp.Message) Reply {
	bounded, cancel := context.WithTimeout(ctx, p.cfg.ProposeTime)
	defer cancel()
	changed, restarted := 0, false
	for attempt := 0; ; attempt++ {
		o, err := p.decide(bounded, m, peer, attempt)
		if err != nil {
			// Nothing was done; the retransmission may find more time.
			p.warn(peer, "GTP-C request not carried out", "type", m.Head().Type, "err", err)
			return Reply{Comment: err.Error()}
		}
		if o.Restart != nil && !restarted && p.cfg.OnPeerRestart != nil {
			restarted = true
			p.cfg.OnPeerRestart(o.Restart.Peer, o.Restart.Counter)
		}
		if o.Command == nil && !o.Stale {
			p.tell(peer, m, o, o.Cause)
			p.record(ctx, o)
			return replyOf(o, session.Answer{Response: o.Response, Cause: o.Cause, Update: o.Update})
		}
		if o.Command != nil && o.Command.Type == command.Type_MODIFY_SESSION && !p.budgets.changes.spend(time.Now(), m.Head().TEID) {
			p.warn(peer, "GTP-C request refused: its session was changed too often", "type", m.Head().Type)
			return replyOf(o, o.Fail(gtp.CauseNoResources))
		}
		if !o.Stale {
			result, err := p.propose(bounded, o.Command)
			if err != nil {
				return p.fail(peer, m, o, err)
			}
			a := o.Finish(result)
			switch {
			case a.More:
				continue // the next part; the time bounds how many there can be
			case !a.Again:
				about(ctx, a.Session)
				if a.Session != nil && p.cfg.Prepare != nil {
					within, span := p.span(bounded, spanProgram)
					p.cfg.Prepare(within, a.Session)
					span.End()
				}
				p.tell(peer, m, o, a.Cause)
				return replyOf(o, a)
			}
		}
		if changed++; changed < maxAttempts {
			continue
		}
		p.warn(peer, "GTP-C request given up: what it was decided upon kept changing", "type", m.Head().Type, "attempts", changed)
		if o.Stale {
			return Reply{Comment: "the subscriber's record kept changing"}
		}
		return replyOf(o, o.Fail(gtp.CauseSystemFailure))
	}
}

// replyOf is what the transport is to do.
func replyOf(o session.Outcome, a session.Answer) Reply {
	comment := causeName(a.Cause)
	if o.Decision != nil && !o.Decision.Allowed {
		comment += ": " + strings.Join(o.Decision.Denials(), "; ")
	}
	return Reply{Datagram: a.Response, Update: a.Update, Cause: a.Cause, IMSI: o.IMSI, Comment: comment}
}

func (p *Procedures) decide(ctx context.Context, m gtp.Message, peer netip.AddrPort, attempt int) (o session.Outcome, err error) {
	rules := p.cfg.Rules()
	shown, err := p.authenticate(ctx, m)
	if err != nil {
		return o, err
	}
	_, span := p.span(ctx, spanDecide)
	p.cfg.Cluster.View(func(s *state.Machine) {
		o = p.cfg.Gateway.Decide(m, peer, session.View{
			State: s, Rules: rules, Authentication: shown, Now: time.Now(), NoTakeover: !p.budgets.astray.left(time.Now(), peer.Addr()),
		}, attempt)
	})
	decided(span, attempt, o)
	if o.Astray && attempt == 0 && !p.budgets.astray.spend(time.Now(), peer.Addr()) {
		p.warn(peer, "GTP-C peer names session after session that isn't there; it takes over none for a while")
	}
	return o, nil
}

// authenticate checks PAP or CHAP, which takes milliseconds of a processor and so
// happens outside of the view, not too often at once, and not for a subscriber
// whose passwords were wrong all the time.
func (p *Procedures) authenticate(ctx context.Context, m gtp.Message) (shown session.Authentication, err error) {
	if !session.NeedsAuthentication(m) {
		return shown, nil
	}
	ctx, span := p.span(ctx, spanAuthenticate)
	defer span.End()
	imsi := imsiOf(m)
	var sub *command.Subscriber
	p.cfg.Cluster.View(func(s *state.Machine) { sub = s.Subscriber(imsi) })
	if sub.GetCredentials() != nil && !p.budgets.wrong.left(time.Now(), imsi) {
		return session.Unchecked(m, sub, "too many passwords were wrong; the next is looked at in some seconds"), nil
	}
	select {
	case p.checks <- struct{}{}:
		defer func() { <-p.checks }()
	case <-ctx.Done():
		return shown, fmt.Errorf("waiting to check a password: %w", ctx.Err())
	}
	shown = session.Authenticate(m, sub, p.cfg.Unwrap)
	if sub.GetCredentials() != nil && shown.Wrong() {
		p.budgets.wrong.spend(time.Now(), imsi)
	}
	return shown, nil
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
	p.warn(peer, "GTP-C request not carried out", "type", m.Head().Type, "answered", answer, "err", err)
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
		if p.cfg.Tracer != nil {
			ctx = trace.ContextWithSpan(ctx, noSpan) // the request is over
		}
		ctx, cancel := context.WithTimeout(ctx, p.cfg.ProposeTime)
		defer cancel()
		if _, err := p.cfg.Cluster.Propose(ctx, o.Record); err != nil {
			p.log.Warn("refusal not recorded in the audit chain", "err", err)
		}
	}()
}
