package gtpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/spantest"
	"github.com/sealedge/sealedge/policy"
)

func tracing(options ...sdk.TracerProviderOption) (*tracetest.SpanRecorder, trace.Tracer) {
	r := tracetest.NewSpanRecorder()
	return r, sdk.NewTracerProvider(append(options, sdk.WithSpanProcessor(r))...).Tracer("test")
}

// treeOf writes the spans that ended as a tree, and forgets them.
func treeOf(r *tracetest.SpanRecorder) string {
	defer r.Reset()
	return spantest.Tree(r.Ended())
}

func compare(t *testing.T, what, got, want string) {
	t.Helper()
	if got = strings.TrimSpace(got); got != strings.TrimSpace(want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, got, strings.TrimSpace(want))
	}
}

// An attach is one tree, from its arrival to its answer, whatever becomes of it.
func TestTraceOfAnAttach(t *testing.T) {
	var r *tracetest.SpanRecorder
	var s *site
	cfg := Config{Rules: oneCarrier(func(c *policy.Carrier) { c.Name = "North" })}
	r, cfg.Tracer = tracing()
	s = newSite(t, func(c *ProceduresConfig) {
		c.Tracer = cfg.Tracer
		c.Prepare = func(context.Context, *command.Session) { time.Sleep(2 * time.Millisecond) } // of the bubble
	})
	inBubble(t, cfg, s, func(t *testing.T, g *rig) {
		peer := gtptest.New()
		g.from(sgw, peer.Create())
		if len(g.conn.sent()) != 0 {
			t.Error("answered before the tunnel is there")
		}
		after(2 * time.Millisecond)
		g.conn.sent()
		compare(t, "accepted", treeOf(r), `
gtp.request gtp.carrier=North gtp.cause=request accepted (16) gtp.procedure=create-session gtp.version=2 session=1 (2ms)
  gtp.wait
  session.decide attempt=1 outcome=ok
  tunnel.program (2ms)
  gtp.answer
`)
		g.from(sgw, peer.Create())
		g.conn.sent()
		compare(t, "a duplicate", treeOf(r), "")

		peer.Seq++
		peer.IMSI = "460019999999999"
		g.from(sgw, peer.Create())
		g.conn.sent()
		compare(t, "not on the list", treeOf(r), `
gtp.request gtp.carrier=North gtp.cause=APN access denied - no subscription (93) gtp.procedure=create-session gtp.version=2 ! APN access denied - no subscription (93)
  gtp.wait
  session.decide attempt=1 outcome=imsi-unknown ! imsi-unknown
  gtp.answer
`)
		peer = gtptest.New()
		peer.Seq += 2
		g.from(sgw, peer.Delete(7))
		g.conn.sent()
		compare(t, "a session that isn't there", treeOf(r), `
gtp.request gtp.carrier=North gtp.cause=context not found (64) gtp.procedure=delete-session gtp.version=2 ! context not found (64)
  gtp.wait
  session.decide attempt=1 outcome=context not found (64) ! context not found (64)
  gtp.answer
`)
		g.from(sgw, gtptest.NewSGSN().Create())
		after(2 * time.Millisecond)
		g.conn.sent()
		if got := treeOf(r); !strings.HasPrefix(got, "gtp.request gtp.carrier=North gtp.cause=request accepted (16) gtp.procedure=create-pdp-context gtp.version=1 ") {
			t.Errorf("of another version:\n%s", got)
		}
	})
}

// What is decided again, is answered without a quorum, or not at all, shows.
func TestTraceOfWhatFails(t *testing.T) {
	var r *tracetest.SpanRecorder
	cfg := Config{}
	r, cfg.Tracer = tracing()
	s := newSite(t, func(c *ProceduresConfig) { c.Tracer, c.ProposeTime = cfg.Tracer, time.Second })
	inBubble(t, cfg, s, func(t *testing.T, g *rig) {
		peer := gtptest.New()
		s.before = func(*command.Command) error { return fmt.Errorf("%w: none", command.ErrNoQuorum) }
		g.from(sgw, peer.Create())
		g.conn.sent()
		compare(t, "no quorum", treeOf(r), `
gtp.request gtp.carrier=unnamed gtp.cause=system failure (72) gtp.procedure=create-session gtp.version=2 ! system failure (72)
  gtp.wait
  session.decide attempt=1 outcome=ok
  gtp.answer
`)
		peer.Seq++
		s.before = func(*command.Command) error { return command.ErrUnknownOutcome }
		g.from(sgw, peer.Create())
		after(2 * time.Second)
		if len(g.conn.sent()) != 0 {
			t.Error("answered without knowing")
		}
		compare(t, "no answer", treeOf(r), `
gtp.request gtp.carrier=unnamed gtp.cause=none gtp.procedure=create-session gtp.version=2 (1s) ! none
  gtp.wait
  session.decide attempt=1 outcome=ok
`)
		peer.Seq++
		tries := 0
		s.before = func(c *command.Command) error {
			if tries++; tries == 1 { // the policy changes before it is carried out
				s.index++
				_, _, err := s.state.Apply(s.index, 1, command.Marshal(command.New("test", "", "test", &command.PutSubscriber{
					Subscriber: &command.Subscriber{Imsi: imsi, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}, AnyVersion: true,
				})))
				return err
			}
			return nil
		}
		g.from(sgw, peer.Create())
		g.conn.sent()
		compare(t, "decided once more", treeOf(r), `
gtp.request gtp.carrier=unnamed gtp.cause=request accepted (16) gtp.procedure=create-session gtp.version=2 session=1
  gtp.wait
  session.decide attempt=1 outcome=ok
  session.decide attempt=2 outcome=ok
  gtp.answer
`)
	})
}

// Who fences himself doesn't say that he has answered, nor does a refusal under load
// go unseen.
func TestTraceOfWhatIsNotCarriedOut(t *testing.T) {
	held, full := true, false
	cfg := Config{Holds: func() bool { return held }, Full: func() bool { return full }}
	var r *tracetest.SpanRecorder
	r, cfg.Tracer = tracing()
	inBubble(t, cfg, answering("answer"), func(t *testing.T, g *rig) {
		peer := gtptest.New()
		held = false
		g.from(sgw, peer.Create())
		g.conn.sent()
		compare(t, "fenced", treeOf(r), `
gtp.request gtp.carrier=unnamed gtp.cause=none gtp.procedure=create-session gtp.version=2 ! none
  gtp.wait
`)
		held, full = true, true
		peer.Seq++
		g.from(sgw, peer.Create())
		g.conn.sent()
		compare(t, "full", treeOf(r), `
gtp.request gtp.carrier=unnamed gtp.cause=no resources available (73) gtp.procedure=create-session gtp.version=2 ! no resources available (73)
`)
	})
	calls := 0
	r.Reset()
	inBubble(t, cfg, commanded(&calls), func(t *testing.T, g *rig) {
		g.from(sgw, gtptest.New().ModifyCommand(7))
		g.conn.sent()
		compare(t, "an update first", treeOf(r), `
gtp.request gtp.carrier=unnamed gtp.cause=request accepted (16) gtp.procedure=modify-bearer-command gtp.version=2
  gtp.wait
  gtp.answer
`)
	})
}

// What proposes in the background, when the answer has left, isn't part of the trace.
func TestTraceEndsWithTheAnswer(t *testing.T) {
	var proposals []context.Context
	r, tracer := tracing()
	s := newSite(t, func(c *ProceduresConfig) { c.Tracer = tracer })
	s.Procedures.cfg.Cluster = &listened{s.oneNode, func(ctx context.Context) { proposals = append(proposals, ctx) }}
	inBubble(t, Config{Tracer: tracer}, s, func(t *testing.T, g *rig) {
		peer := gtptest.New()
		g.from(sgw, peer.Create())
		g.conn.sent()
		peer.Seq++
		peer.IMSI = "460019999999999"
		g.from(sgw, peer.Create())
		g.conn.sent()
	})
	if len(proposals) != 2 {
		t.Fatalf("%d proposals, want a session and the record of a refusal", len(proposals))
	}
	first, second := trace.SpanContextFromContext(proposals[0]), trace.SpanContextFromContext(proposals[1])
	if !first.IsSampled() || r.Ended()[0].SpanContext().TraceID() != first.TraceID() || second.IsValid() {
		t.Errorf("the session's is of %v, the record's of %v", first, second)
	}
}

type listened struct {
	*oneNode
	hears func(context.Context)
}

func (l *listened) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	l.hears(ctx)
	return l.oneNode.Propose(ctx, c)
}

// A password's check is part of it, and what a hostile terminal shows isn't told.
func TestTraceNamesNobody(t *testing.T) {
	r, tracer := tracing()
	s := newSite(t, demanding(policy.AuthenticationPAP), func(c *ProceduresConfig) {
		c.Tracer, c.Logger = tracer, slog.New(slog.DiscardHandler)
	})
	withPassword(t, s)
	inBubble(t, Config{Tracer: tracer}, s, func(t *testing.T, g *rig) {
		g.from(sgw, showing(gtptest.New(), 0xc023, pap("460011234567890", "127.0.20.1")))
		g.conn.sent()
		got := treeOf(r)
		if !strings.Contains(got, "\n  session.authenticate") {
			t.Errorf("no password is checked:\n%s", got)
		}
		for _, hidden := range []string{"4600112345", "127.0.20", "seal.corp", "35209900"} {
			if strings.Contains(got, hidden) {
				t.Errorf("%s is in the trace:\n%s", hidden, got)
			}
		}
	})
}

// What isn't traced costs nothing.
func TestNoTraceCostsNothing(t *testing.T) {
	_, never := tracing(sdk.WithSampler(sdk.NeverSample()))
	ctx := context.Background()
	off, s := &Procedures{}, &Server{}
	on := &Procedures{cfg: ProceduresConfig{Tracer: never}}
	unsampled, root := never.Start(ctx, "root")
	defer root.End()
	try := func(p *Procedures, ctx context.Context) func() {
		return func() {
			span := s.request(arrival{})
			s.since(span, spanWait, time.Time{})
			within, part := p.span(within(ctx, span), spanProgram)
			about(within, nil)
			part.End()
			answered(span, 16)
		}
	}
	for name, try := range map[string]func(){"off": try(off, ctx), "not sampled": try(on, unsampled)} {
		if n := testing.AllocsPerRun(100, try); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

var errSink error

// What a trace of an attach costs beside the attach.
func BenchmarkTracedAttach(b *testing.B) {
	for name, sampler := range map[string]sdk.Sampler{"off": nil, "not-sampled": sdk.NeverSample(), "traced": sdk.AlwaysSample()} {
		b.Run(name, func(b *testing.B) {
			var tracer trace.Tracer
			if sampler != nil {
				tracer = sdk.NewTracerProvider(sdk.WithSampler(sampler), sdk.WithSpanProcessor(swallow{})).Tracer("bench")
			}
			site := newSite(b, func(c *ProceduresConfig) { c.Tracer, c.Logger = tracer, slog.New(slog.DiscardHandler) })
			s := New(Config{Tracer: tracer, AllowedPeers: prefixes("127.0.20.0/24"), RestartCounter: three, CreateRate: 1 << 30, AnswerCount: 64}, site)
			l, wall := newLoop(s, nowhere{}), newFirewall(s.cfg.AllowedPeers, 1<<30)
			peer, now := gtptest.New(), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				peer.Seq++
				a, ok := s.admit(wall, nil, now, sgw, peer.Create())
				if !ok {
					errSink = errors.New("not admitted")
				}
				l.arrive(now, a)
				to, j := l.offer()
				to.pop()
				l.finish(now, outcome{job: j, reply: s.handle(context.Background(), j), done: now})
			}
			if errSink != nil || s.Counters()[countSent] == 0 {
				b.Fatal(errSink, s.Counters())
			}
		})
	}
}

// swallow takes spans as an exporter's queue does.
type swallow struct{}

func (swallow) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (swallow) OnEnd(sdk.ReadOnlySpan)                     {}
func (swallow) Shutdown(context.Context) error             { return nil }
func (swallow) ForceFlush(context.Context) error           { return nil }
