package telemetry

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
)

// begin makes a tree of three spans, and returns what ends its root.
func begin(t *Traces, session int64) (end func(cause string)) {
	ctx, root := t.Tracer().Start(context.Background(), "gtp.request", trace.WithAttributes(attribute.Int64("sealedge.session", session)))
	_, wait := t.Tracer().Start(ctx, "gtp.wait")
	wait.End()
	_, decide := t.Tracer().Start(ctx, "session.decide")
	decide.End()
	return func(cause string) {
		if cause != "" {
			root.SetStatus(codes.Error, cause)
		}
		root.End()
	}
}

// Who has his requests refused without an end leaves room for the traces of all others,
// although the collector is too slow for his own, and some of his arrive, too. Each trace
// arrives as a whole or not at all.
func TestRefusedLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{t: t}
		c.answers = func(int) (int, http.Header, []byte) {
			time.Sleep(time.Second) // so that it takes 512 a second
			return 200, nil, nil
		}
		traces := newTraces(c)
		const flood, seconds, others = 2000, 30, 40 // each second
		n := uint64(0)
		for range seconds {
			var attaches []func(string)
			for i := range int64(others) {
				attaches = append(attaches, begin(traces, i)) // they last, too
			}
			for range flood {
				begin(traces, 0)("no resources available")
			}
			for _, end := range attaches {
				end("")
			}
			n += 3 * (flood + others)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		_ = traces.Close()
		type key [16]byte
		whole, ended := map[key]int{}, map[bool]int{}
		for _, s := range c.spans() {
			whole[key(s.TraceId)]++
			if s.Name == "gtp.request" {
				ended[s.Status.GetCode() != otlp.Status_STATUS_CODE_ERROR]++
			}
		}
		for _, spans := range whole {
			if spans != 3 {
				t.Fatalf("of a trace %d spans arrived", spans)
			}
		}
		if ended[true] != seconds*others || ended[false] < batchSpans {
			t.Errorf("%d attaches arrived of %d, and %d refused ones", ended[true], seconds*others, ended[false])
		}
		if got := traces.exported.Load() + traces.drops(refused); got != n || traces.drops(refused) == 0 || traces.drops(queueFull)+traces.drops(undelivered)+traces.drops(rejected) > 0 {
			t.Errorf("%d exported and %d dropped of %d; for another reason %d, %d, %d", traces.exported.Load(), traces.drops(refused), n,
				traces.drops(queueFull), traces.drops(undelivered), traces.drops(rejected))
		}
	})
}

// Where there is room refused ones arrive like all, and what is made after the root
// ended does, too, once.
func TestTreeIsQueuedWithItsRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{t: t}
		traces := newTraces(c)
		defer traces.Close()
		ctx, root := traces.Tracer().Start(t.Context(), "use.request")
		begin(traces, 1)("system failure")
		time.Sleep(2 * batchEvery)
		if n := len(c.spans()); n != 3 {
			t.Errorf("%d spans arrived", n)
		}
		_, part := traces.Tracer().Start(ctx, "use.decide")
		part.End()
		_, late := traces.Tracer().Start(ctx, "use.grant")
		time.Sleep(2 * batchEvery)
		if n := len(c.spans()); n != 3 {
			t.Errorf("%d spans arrived before their root had ended", n)
		}
		root.End()
		root.End()
		part.End()
		late.End()
		time.Sleep(2 * batchEvery)
		if n := len(c.spans()); n != 6 {
			t.Errorf("%d spans arrived", n)
		}
		// Another node's is a tree by itself, and so is a trace that begins within another.
		remote := trace.ContextWithRemoteSpanContext(t.Context(), root.SpanContext())
		_, part = traces.Tracer().Start(remote, "cluster.lead")
		part.End()
		_, other := traces.Tracer().Start(ctx, "use.check", trace.WithNewRoot())
		other.End()
		time.Sleep(2 * batchEvery)
		if n := len(c.spans()); n != 8 {
			t.Errorf("%d spans arrived", n)
		}
		// Of what never ends little waits.
		ctx, _ = traces.Tracer().Start(t.Context(), "use.request")
		for range treeSpans + 5 {
			_, part := traces.Tracer().Start(ctx, "use.decide")
			part.End()
		}
		if n := traces.drops(queueFull); n != 5 {
			t.Errorf("%d spans found no room", n)
		}
	})
}
