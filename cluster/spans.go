package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sealedge/sealedge/cluster/command"
)

// A proposal that is part of a trace (Config.Tracer) tells it where it went. To the
// leader the trace goes beside the command, in the frame: nothing of it is in the log.
// A node from before there were traces would drop the connection on such a frame, so
// the asking node asks first who is there, once a connection.

// Names of spans, and of their attributes: see docs/traces.md.
const (
	spanPropose = "cluster.propose"
	spanForward = "cluster.forward"
	spanLead    = "cluster.lead"
	spanApply   = "cluster.apply"
	spanCatchUp = "cluster.catch-up"

	keyCommand = attribute.Key("cluster.command")
	keyResult  = attribute.Key("cluster.result")
	keyLeader  = attribute.Key("cluster.leader")
	keyOutcome = attribute.Key("sealedge.outcome")
)

var noSpan trace.Span = noop.Span{}

// span begins a span of a trace that ctx is part of; without one it does nothing, nor
// costs anything.
func (n *Node) span(ctx context.Context, name string) (context.Context, trace.Span) {
	if n.cfg.Tracer == nil {
		return ctx, noSpan
	}
	parent := trace.SpanContextFromContext(ctx)
	if !parent.IsSampled() {
		return ctx, noSpan
	}
	kind := trace.SpanKindInternal
	switch {
	case name == spanForward:
		kind = trace.SpanKindClient
	case parent.IsRemote():
		kind = trace.SpanKindServer
	}
	return n.cfg.Tracer.Start(ctx, name, trace.WithSpanKind(kind))
}

// proposed ends the span of a proposal.
func proposed(span trace.Span, c *command.Command, r *command.Result, err error) {
	span.SetAttributes(keyCommand.String(c.Type.String()))
	if err == nil {
		span.SetAttributes(keyResult.String(r.GetCode().String()))
	}
	ended(span, outcomeOf(err))
}

// ended ends a span with a code.
func ended(span trace.Span, outcome string) {
	span.SetAttributes(keyOutcome.String(outcome))
	if outcome != "ok" {
		span.SetStatus(codes.Error, outcome)
	}
	span.End()
}

// outcomeOf is the code of Propose's error.
func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, command.ErrUnknownOutcome):
		return "unknown"
	case errors.Is(err, command.ErrNoQuorum):
		return "no-quorum"
	case errors.Is(err, command.ErrNoRoom):
		return "no-room"
	case errors.Is(err, command.ErrLevel):
		return "level"
	}
	return "refused"
}

// code is a verdict as spans call it.
func (v verdict) code() string {
	switch v {
	case done:
		return "ok"
	case notDone:
		return "not-done"
	case unknown:
		return "unknown"
	}
	return "refused"
}

// interval is when something was done.
type interval struct{ begun, ended time.Time }

// during says of what was applied together when it was.
func during(out []any, begun time.Time) {
	at := &interval{begun, time.Now()}
	for i := range out {
		if a, ok := out[i].(applied); ok {
			a.during = at
			out[i] = a
		}
	}
}

// tellApplied makes a span of it.
func (n *Node) tellApplied(ctx context.Context, at *interval) {
	if at == nil || n.cfg.Tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return
	}
	_, span := n.cfg.Tracer.Start(ctx, spanApply, trace.WithTimestamp(at.begun))
	span.End(trace.WithTimestamp(at.ended))
}

// traceSize is a trace's id and a span's: that of who asks.
const traceSize = 16 + 8

// traced puts the trace that ctx is part of into the frame of a proposal.
func (f frame) traced(ctx context.Context) frame {
	sc := trace.SpanContextFromContext(ctx)
	if f.kind != framePropose || !sc.IsSampled() {
		return f
	}
	id, span := sc.TraceID(), sc.SpanID()
	body := make([]byte, 0, len(f.body)+traceSize)
	body = append(append(append(append(body, f.body[:4]...), id[:]...), span[:]...), f.body[4:]...)
	return frame{kind: frameTraced, id: f.id, body: body}
}

// untraced gives the proposal as it would be without a trace, and a context that is
// part of it. False: it is malformed.
func (f frame) untraced(ctx context.Context) (context.Context, frame, bool) {
	if len(f.body) <= 4+traceSize {
		return ctx, f, false
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(f.body[4:20]), SpanID: trace.SpanID(f.body[20:28]), TraceFlags: trace.FlagsSampled, Remote: true,
	})
	body := append(f.body[:4:4], f.body[4+traceSize:]...)
	return trace.ContextWithRemoteSpanContext(ctx, sc), frame{kind: framePropose, id: f.id, body: body}, true
}

// askTraces asks who is there; the answer has no other question's number.
func (c *peerConn) askTraces() { c.conn.send(frame{kind: frameGreet, id: 0}) }

// told takes that answer.
func (c *peerConn) told(f frame) bool {
	if f.kind != frameGreeting || f.id != 0 {
		return false
	}
	var g greeting
	if json.Unmarshal(f.body, &g) == nil {
		c.traces.Store(g.Traces)
	}
	return true
}
