package phoneapi

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/spantest"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// heeding makes ids as whoever composes the node has to: see Chosen.
type heeding struct{}

func (g heeding) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	return id, g.NewSpanID(ctx, id)
}

func (heeding) NewSpanID(ctx context.Context, _ trace.TraceID) (id trace.SpanID) {
	if id, ok := Chosen(ctx); ok {
		return id
	}
	binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	return id
}

func tracing(options ...sdk.TracerProviderOption) (*tracetest.SpanRecorder, Traces) {
	r := tracetest.NewSpanRecorder()
	options = append([]sdk.TracerProviderOption{sdk.WithSpanProcessor(r), sdk.WithIDGenerator(heeding{}), sdk.WithSampler(sdk.AlwaysSample())}, options...)
	return r, Traces{Tracer: sdk.NewTracerProvider(options...).Tracer("test"), Key: []byte("key of the cluster")}
}

// bubbleTraced runs a test with a rig that makes traces.
func bubbleTraced(t *testing.T, test func(t *testing.T, r *rig, spans *tracetest.SpanRecorder)) {
	bubble(t, func(t *testing.T, r *rig) {
		spans, traces := tracing()
		r.stop()
		r.traces = traces
		r.start()
		test(t, r, spans)
	})
}

// treesOf writes the spans that have ended as trees.
func treesOf(r *tracetest.SpanRecorder) string {
	synctest.Wait()
	return spantest.Tree(r.Ended())
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	if got, want = strings.TrimSpace(got), strings.TrimSpace(want); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// All requests of a use are one tree, whichever node they come to.
func TestTraceOfAUse(t *testing.T) {
	bubbleTraced(t, func(t *testing.T, r *rig, spans *tracetest.SpanRecorder) {
		verify := r.seal.verify
		r.seal.verify = func(token string, req wire.VerifyRequest) (wire.VerifyAnswer, error) {
			time.Sleep(time.Second)
			return verify(token, req)
		}
		r.send("GET", wire.PathStatus, nil).want(t, 200, nil)
		u := r.use("r1")
		time.Sleep(100 * time.Millisecond)
		use := r.w.Use(u.Use)

		// The next node has the same key, and the record.
		r.stop()
		r.start()
		r.send("POST", wire.ReceiptsPath(u.Use), wire.ReceiptReport{Receipt: usetest.Receipt(t, use, 1)}).want(t, 200, nil)
		time.Sleep(100 * time.Millisecond)
		image := []byte("a page with a seal on it")
		r.upload(u.Use, 1, image, 0, 10).want(t, 204, nil)
		time.Sleep(100 * time.Millisecond)
		r.upload(u.Use, 1, image, 10, len(image)).want(t, 200, nil)
		time.Sleep(100 * time.Millisecond)
		r.w.Do(&command.Disconnect{SourceId: "d1", Order: usetest.Order, Use: u.Use, Reason: "wrong page"})
		r.send("POST", wire.LockAckPath(1), nil).want(t, 204, nil)
		time.Sleep(100 * time.Millisecond)
		r.send("POST", wire.SettlementPath(u.Use), wire.SettlementReport{Statement: usetest.Statement(t, r.w.Use(u.Use), 1)}).want(t, 200, nil)
		r.send("GET", wire.UsePath(u.Use), nil).want(t, 200, nil) // polled, and so not traced
		time.Sleep(2 * time.Second)
		compare(t, treesOf(spans), `
use.request outcome=ok use=1 (1s)
  use.screen outcome=ok
  use.verify outcome=ok (1s)
  use.decide attempt=1 outcome=ok
  use.grant use=1
    use.receipt outcome=ok use=1
    use.evidence outcome=ok use=1
      use.store outcome=ok
    use.evidence outcome=ok use=1
      use.store outcome=ok
    use.acknowledge outcome=ok use=1
    use.settlement outcome=ok use=1
    use.report outcome=ok use=1
`)
		id := spans.Ended()[0].SpanContext().TraceID()
		for _, s := range spans.Ended() {
			if s.SpanContext().TraceID() != id {
				t.Errorf("%s is of another trace", s.Name())
			}
			if want := map[string]trace.SpanKind{
				spanRequest: trace.SpanKindServer, spanReceipt: trace.SpanKindServer, spanEvidence: trace.SpanKindServer, spanSettlement: trace.SpanKindServer,
				spanAcknowledge: trace.SpanKindServer, spanVerify: trace.SpanKindClient, spanStore: trace.SpanKindClient, spanReport: trace.SpanKindClient,
			}[s.Name()]; want != 0 && s.SpanKind() != want {
				t.Errorf("%s is of kind %v", s.Name(), s.SpanKind())
			}
		}
	})
}

// A request that is repeated joins its trace, and its grant has one span of the id that
// the later ones name.
func TestTraceOfARepeatedRequest(t *testing.T) {
	bubbleTraced(t, func(t *testing.T, r *rig, spans *tracetest.SpanRecorder) {
		r.w.Fail(command.ErrNoQuorum)
		r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer).refused(t, wire.CodeNoQuorum)
		r.w.Fail(nil)
		time.Sleep(time.Second)
		r.use("r1")
		time.Sleep(time.Second)
		r.use("r1")
		compare(t, treesOf(spans), `
use.request outcome=no-quorum ! no-quorum
  use.screen outcome=ok
  use.verify outcome=ok
  use.decide attempt=1 outcome=ok
use.request outcome=ok use=1
  use.screen outcome=ok
  use.verify outcome=ok
  use.decide attempt=1 outcome=ok
  use.grant use=1
use.request outcome=ok use=1
  use.screen outcome=repeat
  use.grant use=1
`)
		seen := map[trace.SpanID]bool{}
		id := spans.Ended()[0].SpanContext().TraceID()
		for _, s := range spans.Ended() {
			if s.SpanContext().TraceID() != id || seen[s.SpanContext().SpanID()] {
				t.Errorf("%s: trace %v, span %v", s.Name(), s.SpanContext().TraceID(), s.SpanContext().SpanID())
			}
			seen[s.SpanContext().SpanID()] = true
		}
	})
}

// A refusal says its code, and where it came from.
func TestTraceOfARefusedUse(t *testing.T) {
	bubbleTraced(t, func(t *testing.T, r *rig, spans *tracetest.SpanRecorder) {
		r.seal.verify = func(string, wire.VerifyRequest) (wire.VerifyAnswer, error) {
			return wire.VerifyAnswer{Code: wire.CodeOrderNotOpen, Reason: "the order of Li Wei is for 460011234567890"}, nil
		}
		r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer).refused(t, wire.CodeOrderNotOpen)
		time.Sleep(time.Second)
		r.seal.verify = func(string, wire.VerifyRequest) (wire.VerifyAnswer, error) {
			return wire.VerifyAnswer{}, wire.NewProblem("460011234567890", "a code of its own making")
		}
		r.send("POST", wire.PathUses, usetest.Request("r2", time.Now()), "Authorization", bearer)
		time.Sleep(time.Second)
		r.dead.Store(true)
		r.send("POST", wire.PathUseCheck, usetest.Request("r3", time.Now()), "Authorization", bearer)
		time.Sleep(time.Second)
		r.send("POST", wire.PathUses, strings.NewReader("{"), "Authorization", bearer).refused(t, wire.CodeBadRequest)
		time.Sleep(time.Second)
		r.send("POST", wire.ReceiptsPath(7), wire.ReceiptReport{Receipt: []byte("x")}).refused(t, wire.CodeUseUnknown)
		compare(t, treesOf(spans), `
use.request outcome=order-not-open ! order-not-open
  use.screen outcome=ok
  use.verify outcome=not-passed ! not-passed
  use.decide attempt=1 outcome=order-not-open ! order-not-open
use.request outcome=internal ! internal
  use.screen outcome=ok
  use.verify outcome=internal ! internal
use.check outcome=barrel-offline ! barrel-offline
  use.screen outcome=barrel-offline ! barrel-offline
use.request outcome=bad-request ! bad-request
`)
	})
}

// What a terminal sends has no part in the ids of traces, nor in whether they are made;
// and what it sends isn't in them.
func TestTracesAreNotTheTerminals(t *testing.T) {
	bubbleTraced(t, func(t *testing.T, r *rig, spans *tracetest.SpanRecorder) {
		const theirs = "0af7651916cd43dd8448eb211c80319c"
		r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer,
			"traceparent", "00-"+theirs+"-b7ad6b7169203331-00", "tracestate", "imsi=460011234567890", "baggage", "user=li").want(t, 201, nil)
		synctest.Wait()
		all := spans.Ended()
		if len(all) != 5 {
			t.Errorf("%d spans, want those of a use", len(all))
		}
		for _, s := range all {
			if s.SpanContext().TraceID().String() == theirs || s.SpanContext().TraceState().Len() > 0 {
				t.Errorf("%s: %+v", s.Name(), s.SpanContext())
			}
		}
		text := treesOf(spans)
		for _, hidden := range []string{usetest.Terminal, usetest.Barrel, usetest.Order, usetest.User, "10.90", "r1"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s is in\n%s", hidden, text)
			}
		}
	})
	// Without the key nobody can tell whose a trace is.
	one, _ := Traces{Key: []byte("a")}.ids("460011234567890", "r1")
	if other, _ := (Traces{Key: []byte("b")}).ids("460011234567890", "r1"); one == other {
		t.Error("the key doesn't matter")
	}
	if other, _ := (Traces{Key: []byte("a")}).ids("460011234567891", "r1"); one == other {
		t.Error("the terminal doesn't matter")
	}
}

// A use is traced as a whole or not at all, as its trace's id has it.
func TestUsesAreSampledAsAWhole(t *testing.T) {
	half := sdk.TraceIDRatioBased(0.5)
	_, traces := tracing(sdk.WithSampler(sdk.ParentBased(half, sdk.WithRemoteParentNotSampled(half))))
	s := &Server{cfg: Config{Traces: traces}}
	sampled := 0
	for i := range uint64(200) {
		use := &command.Use{Id: i + 1, Imsi: "460011234567890", RequestId: fmt.Sprint("r", i)}
		id, _ := traces.of(use)
		ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: id}))
		_, request := traces.Tracer.Start(ctx, spanRequest)
		_, later := s.cfg.Traces.Begin(t.Context(), spanReceipt, use)
		if request.SpanContext().TraceID() != later.SpanContext().TraceID() || request.IsRecording() != later.IsRecording() {
			t.Errorf("use %d: %v and %v", use.Id, request.SpanContext(), later.SpanContext())
		}
		if later.IsRecording() {
			sampled++
		}
	}
	if sampled < 50 || sampled > 150 {
		t.Errorf("%d of 200 are sampled", sampled)
	}
}

// What isn't traced costs nothing.
func TestNoTraceCostsNothing(t *testing.T) {
	_, never := tracing(sdk.WithSampler(sdk.NeverSample()))
	unsampled, root := never.Tracer.Start(t.Context(), "root")
	defer root.End()
	off, on := &Server{}, &Server{cfg: Config{Traces: never}}
	use := &command.Use{Id: 1}
	try := func(s *Server, ctx context.Context) {
		within, span := s.span(ctx, spanVerify)
		verified(span, wire.VerifyAnswer{}, nil)
		_, span = s.span(within, spanDecide)
		span.End()
		s.cfg.Traces.End(span, nil)
	}
	c := &call{}
	for name, try := range map[string]func(){
		"off": func() {
			off.arrived(c)
			off.beginUse(c, spanRequest, "r1")
			off.begin(c, spanReceipt, use)
			_, span := off.cfg.Traces.Begin(unsampled, spanReport, use)
			span.End()
			try(off, unsampled)
			c.traced(nil)
		},
		"not sampled": func() { try(on, unsampled) },
	} {
		if n := testing.AllocsPerRun(100, try); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
