package gtpc

import (
	"context"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/cluster/command"
)

// A peer's request is a trace, if Config.Tracer says so: it begins when the request
// arrives and ends when its answer was sent. Who handles it finds its span in the
// context. Nothing in spans names a subscriber, terminal or address.

// Names of spans, and of their attributes: see docs/traces.md.
const (
	spanRequest      = "gtp.request"
	spanWait         = "gtp.wait"
	spanAuthenticate = "session.authenticate"
	spanDecide       = "session.decide"
	spanProgram      = "tunnel.program"
	spanAnswer       = "gtp.answer"

	keyVersion   = attribute.Key("gtp.version")
	keyProcedure = attribute.Key("gtp.procedure")
	keyCause     = attribute.Key("gtp.cause")
	keyCarrier   = attribute.Key("gtp.carrier")
	keySession   = attribute.Key("sealedge.session")
	keyAttempt   = attribute.Key("sealedge.attempt")
	keyOutcome   = attribute.Key("sealedge.outcome")
)

var noSpan trace.Span = noop.Span{}

// unnamed is a carrier without a name in the policy.
const unnamed = "unnamed"

// request begins the trace of a request. Without a tracer its span is nil.
func (s *Server) request(a arrival) trace.Span {
	if s.cfg.Tracer == nil {
		return nil
	}
	_, span := s.cfg.Tracer.Start(context.Background(), spanRequest, trace.WithTimestamp(a.at), trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return nil
	}
	h := a.m.Head()
	carrier := a.name
	if _, err := netip.ParsePrefix(carrier); err == nil || carrier == "" {
		carrier = unnamed
	}
	span.SetAttributes(keyVersion.Int(int(h.Version)), keyProcedure.String(procedureName(h)), keyCarrier.String(carrier))
	return span
}

// within puts a request's span into a context.
func within(ctx context.Context, span trace.Span) context.Context {
	if span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, span)
}

// since makes a span of something that began at a time and ends now.
func (s *Server) since(span trace.Span, name string, began time.Time) {
	if span == nil {
		return
	}
	_, part := s.cfg.Tracer.Start(within(context.Background(), span), name, trace.WithTimestamp(began))
	part.End()
}

// answered ends the trace of a request with the cause of its answer; 0: there is none.
func answered(span trace.Span, cause gtp.Cause) {
	if span == nil {
		return
	}
	span.SetAttributes(keyCause.String(causeName(cause)))
	if !cause.Accepted() {
		span.SetStatus(codes.Error, causeName(cause))
	}
	span.End()
}

// span begins a part of the request that ctx is of; without a trace it does nothing,
// nor costs anything.
func (p *Procedures) span(ctx context.Context, name string) (context.Context, trace.Span) {
	if p.cfg.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noSpan
	}
	return p.cfg.Tracer.Start(ctx, name)
}

// decided ends a span with what was decided.
func decided(span trace.Span, attempt int, o session.Outcome) {
	if !span.IsRecording() {
		return
	}
	outcome := "ok"
	switch {
	case o.Stale:
		outcome = "stale"
	case o.Decision != nil && !o.Decision.Allowed:
		outcome = string(o.Decision.Code)
	case o.Command == nil && o.Cause != 0 && !o.Cause.Accepted():
		outcome = causeName(o.Cause)
	}
	span.SetAttributes(keyAttempt.Int(attempt+1), keyOutcome.String(outcome))
	if outcome != "ok" {
		span.SetStatus(codes.Error, outcome)
	}
	span.End()
}

// about says which session a request is about.
func about(ctx context.Context, s *command.Session) {
	if span := trace.SpanFromContext(ctx); s != nil && span.IsRecording() {
		span.SetAttributes(keySession.Int64(int64(s.Id)))
	}
}
