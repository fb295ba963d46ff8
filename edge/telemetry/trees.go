package telemetry

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Whoever may send requests can have as many of them refused as he likes. Their traces
// must not take the room of those that people look for, of attaches and of uses. What is
// made here of one trace, a tree, is therefore put into the queue when its root ends, for
// only then it is known how that ended: all of it or nothing. A tree whose root ended
// otherwise than well finds room only in the first quarter of the queue.

const (
	refusedShare = queued / 4 // of the queue, that trees whose roots failed may fill
	treeSpans    = 128        // that wait for their root; those beyond find no room
)

// tracer makes spans that know their tree.
type tracer struct {
	trace.Tracer
	traces *Traces
}

// Start implements trace.Tracer.
func (t tracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	above, _ := trace.SpanFromContext(ctx).(*span)
	ctx, made := t.Tracer.Start(ctx, name, options...)
	if !made.SpanContext().IsSampled() || !made.IsRecording() {
		return ctx, made
	}
	s := &span{Span: made}
	if above != nil && above.SpanContext().TraceID() == made.SpanContext().TraceID() {
		s.tree = above.tree
	} else {
		s.tree = &tree{root: made.SpanContext().SpanID()}
	}
	s.traces = t.traces
	return trace.ContextWithSpan(ctx, s), s
}

// span is one that knows its tree.
type span struct {
	trace.Span
	tree   *tree
	traces *Traces
}

// End implements trace.Span.
func (s *span) End(options ...trace.SpanEndOption) {
	if !s.IsRecording() { // it has ended
		return
	}
	s.Span.End(options...)
	if made, ok := s.Span.(sdk.ReadOnlySpan); ok {
		s.tree.end(s.traces, made)
	}
}

// tree is what this node made of one trace under one span, whose parent is none or
// another node's.
type tree struct {
	root trace.SpanID

	mu    sync.Mutex
	spans []sdk.ReadOnlySpan // guarded by mu: that ended, and wait for the root
	over  bool               // guarded by mu: the root has ended
	why   drop               // guarded by mu: why there may be no room for it, once it is over
}

// end takes a span that ended.
func (r *tree) end(t *Traces, s sdk.ReadOnlySpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch root := s.SpanContext().SpanID() == r.root; {
	case root:
		r.over = true
		if s.Status().Code == codes.Error {
			r.why = refused
		}
		t.enqueue(append(r.spans, s), r.why)
		r.spans = nil
	case r.over:
		t.enqueue([]sdk.ReadOnlySpan{s}, r.why)
	case len(r.spans) < treeSpans:
		r.spans = append(r.spans, s)
	default:
		t.dropped[queueFull].Add(1)
	}
}

// enqueue puts spans into the queue, all or none.
func (t *Traces) enqueue(spans []sdk.ReadOnlySpan, why drop) {
	room := queued
	if why == refused {
		room = refusedShare
	}
	t.adding.Lock()
	defer t.adding.Unlock()
	if len(t.queue)+len(spans) > room {
		t.dropped[why].Add(uint64(len(spans)))
		return
	}
	for _, s := range spans {
		t.queue <- s // there is room: nobody else adds
	}
}
