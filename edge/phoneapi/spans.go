package phoneapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// Traces makes spans of what is done for a use. A use lasts long, and any node may
// have a hand in it: its trace's id is derived from whose request it was, so that
// every node knows it and nothing of it is kept. What a terminal sends has no part in
// it but for the number of its request.
type Traces struct {
	Tracer trace.Tracer // nil: none are made. It must not block.
	Key    []byte       // of the derivation; the same on every node
}

// Names of spans, and of their attributes: see docs/traces.md.
const (
	spanRequest     = "use.request"
	spanCheck       = "use.check"
	spanScreen      = "use.screen"
	spanVerify      = "use.verify"
	spanDecide      = "use.decide"
	spanGrant       = "use.grant"
	spanReceipt     = "use.receipt"
	spanEvidence    = "use.evidence"
	spanStore       = "use.store"
	spanSettlement  = "use.settlement"
	spanAcknowledge = "use.acknowledge"
	spanReport      = "use.report"

	keyUse     = attribute.Key("sealedge.use")
	keyAttempt = attribute.Key("sealedge.attempt")
	keyOutcome = attribute.Key("sealedge.outcome")
)

var noSpan trace.Span = noop.Span{}

// ids are those of the trace of the use that a terminal's request makes, and of the
// span of its grant.
func (t Traces) ids(imsi, request string) (id trace.TraceID, grant trace.SpanID) {
	mac := hmac.New(sha256.New, t.Key)
	mac.Write([]byte("use\x00" + imsi + "\x00" + request))
	sum := mac.Sum(nil)
	return trace.TraceID(sum[:16]), trace.SpanID(sum[16:24])
}

// of are the ids by a use's record.
func (t Traces) of(use *command.Use) (trace.TraceID, trace.SpanID) {
	request := use.GetRequestId()
	if request == "" { // it was lost in a restore; no request id has a colon
		request = "use:" + strconv.FormatUint(use.GetId(), 10)
	}
	return t.ids(use.GetImsi(), request)
}

// Begin begins a span of what happens to a use after it was granted, as a part of its
// trace.
func (t Traces) Begin(ctx context.Context, name string, use *command.Use, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t.Tracer == nil || use == nil {
		return ctx, noSpan
	}
	id, grant := t.of(use)
	// Whether it is sampled isn't said: the tracer knows by the trace's id.
	ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: grant, Remote: true}))
	ctx, span := t.Tracer.Start(ctx, name, options...)
	if span.IsRecording() {
		span.SetAttributes(keyUse.Int64(int64(use.Id)))
	}
	return ctx, span
}

// End ends a span with an error, if there is one, by its code.
func (t Traces) End(span trace.Span, err error) {
	if !span.IsRecording() {
		return
	}
	outcome := "ok"
	if p := sealuse.FromError(err); p != nil {
		outcome = code(p)
	}
	concluded(span, outcome)
}

// code is a problem's, if it is one of ours.
func code(p *wire.Problem) string {
	if _, known := p.Code.Kind(); !known {
		return string(wire.CodeInternal)
	}
	return string(p.Code)
}

func concluded(span trace.Span, outcome string) {
	span.SetAttributes(keyOutcome.String(outcome))
	switch outcome {
	case "ok", "repeat":
	default:
		span.SetStatus(codes.Error, outcome)
	}
	span.End()
}

type chosenKey struct{}

// Chosen is the id that the span which is begun with a context has to have, because
// others name it.
func Chosen(ctx context.Context) (trace.SpanID, bool) {
	id, ok := ctx.Value(chosenKey{}).(trace.SpanID)
	return id, ok
}

// begin makes the request a part of its trace.
func (s *Server) begin(c *call, name string, use *command.Use) {
	if s.cfg.Traces.Tracer == nil {
		return
	}
	ctx, span := s.cfg.Traces.Begin(c.r.Context(), name, use, trace.WithTimestamp(c.begun), trace.WithSpanKind(trace.SpanKindServer))
	c.span, c.r = span, c.r.WithContext(ctx)
}

// beginUse begins the trace of the use that is asked for; of a request that can't be
// read, one of its own.
func (s *Server) beginUse(c *call, name, request string) {
	if s.cfg.Traces.Tracer == nil {
		return
	}
	ctx := c.r.Context()
	if request != "" {
		id, _ := s.cfg.Traces.ids(c.imsi(), request)
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id}))
	}
	ctx, span := s.cfg.Traces.Tracer.Start(ctx, name, trace.WithTimestamp(c.begun), trace.WithSpanKind(trace.SpanKindServer))
	c.span, c.r = span, c.r.WithContext(ctx)
}

// span begins a part of the request that ctx is of; without a trace it does nothing,
// nor costs anything.
func (s *Server) span(ctx context.Context, name string) (context.Context, trace.Span) {
	if s.cfg.Traces.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noSpan
	}
	kind := trace.SpanKindInternal
	if name == spanVerify || name == spanStore {
		kind = trace.SpanKindClient
	}
	return s.cfg.Traces.Tracer.Start(ctx, name, trace.WithSpanKind(kind))
}

// stepped ends a span with what a step came to; attempt, from 1, if it counts.
func stepped(span trace.Span, attempt int, step sealuse.Step) {
	if !span.IsRecording() {
		return
	}
	if attempt > 0 {
		span.SetAttributes(keyAttempt.Int(attempt))
	}
	switch {
	case step.Refusal != nil:
		concluded(span, code(step.Refusal))
	case step.Repeat != nil:
		concluded(span, "repeat")
	default:
		concluded(span, "ok")
	}
}

// verified ends a span with the seal server's answer.
func verified(span trace.Span, answer wire.VerifyAnswer, err error) {
	if !span.IsRecording() {
		return
	}
	switch {
	case err != nil:
		concluded(span, code(sealuse.FromError(err)))
	case !answer.Pass:
		concluded(span, "not-passed") // why, the decision says
	default:
		concluded(span, "ok")
	}
}

// granting begins the span of a grant. The first has the id that follows from
// the use's record; a grant that is given out again has one of its own.
func (s *Server) granting(c *call, use *command.Use, made bool) trace.Span {
	ctx := c.r.Context()
	if s.cfg.Traces.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return noSpan
	}
	c.span.SetAttributes(keyUse.Int64(int64(use.Id)))
	if made {
		_, id := s.cfg.Traces.of(use)
		ctx = context.WithValue(ctx, chosenKey{}, id)
	}
	_, span := s.cfg.Traces.Tracer.Start(ctx, spanGrant)
	span.SetAttributes(keyUse.Int64(int64(use.Id)))
	return span
}

// traced ends the request's own span.
func (c *call) traced(err error) {
	if c.span == nil || !c.span.IsRecording() {
		return
	}
	outcome := "ok"
	if p := sealuse.FromError(err); p != nil {
		outcome = code(p)
	}
	concluded(c.span, outcome)
}

// arrived notes when a request began, if anybody is to know.
func (s *Server) arrived(c *call) {
	if s.cfg.Traces.Tracer != nil {
		c.begun = time.Now()
	}
}
