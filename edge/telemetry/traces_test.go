package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// collector is one in memory. What it says is its test's.
type fakeCollector struct {
	t       *testing.T
	answers func(try int) (status int, header http.Header, body []byte) // nil: 200
	hangs   bool

	mu    sync.Mutex
	tries []*otlp.TracesData // guarded by mu
	asked []*http.Request    // guarded by mu
	raw   []byte             // guarded by mu: all that came
}

// RoundTrip implements http.RoundTripper.
func (c *fakeCollector) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	zip, err := gzip.NewReader(r.Body)
	if err != nil {
		c.t.Error(err)
		return nil, err
	}
	raw, err := io.ReadAll(zip)
	if err != nil {
		c.t.Error(err)
		return nil, err
	}
	data := new(otlp.TracesData)
	if err := proto.Unmarshal(raw, data); err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tries, c.asked, c.raw = append(c.tries, data), append(c.asked, r), append(c.raw, raw...)
	w := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
	if c.answers != nil {
		var body []byte
		w.StatusCode, w.Header, body = c.answers(len(c.tries))
		w.Body = io.NopCloser(bytes.NewReader(body))
	}
	return w, nil
}

// spans are all that came, in any try.
func (c *fakeCollector) spans() (all []*otlp.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.tries {
		for _, r := range d.ResourceSpans {
			for _, s := range r.ScopeSpans {
				all = append(all, s.Spans...)
			}
		}
	}
	return all
}

func newTraces(c *fakeCollector, change ...func(*TracesConfig)) *Traces {
	cfg := TracesConfig{
		Endpoint: "https://otel.test/v1/traces", Ratio: 1, Node: "node1", Version: "v1", Logger: slog.New(slog.DiscardHandler), transport: c,
	}
	for _, f := range change {
		f(&cfg)
	}
	return NewTraces(cfg)
}

// make one span, of a name that is known.
func (t *Traces) one(attributes ...attribute.KeyValue) {
	_, s := t.Tracer().Start(context.Background(), "gtp.request", trace.WithAttributes(attributes...))
	s.End()
}

func (t *Traces) drops(d drop) uint64 { return t.dropped[d].Load() }

func TestTracesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{t: t}
		token := "a"
		traces := newTraces(c, func(cfg *TracesConfig) {
			cfg.Headers = func() (http.Header, error) { return http.Header{"Authorization": {"Bearer " + token}}, nil }
		})
		ctx, root := traces.Tracer().Start(t.Context(), "gtp.request", trace.WithSpanKind(trace.SpanKindServer))
		_, part := traces.Tracer().Start(ctx, "session.decide")
		part.SetStatus(codes.Error, "imsi-unknown")
		part.End()
		root.End()
		time.Sleep(batchEvery)
		synctest.Wait()
		all := c.spans()
		if len(all) != 2 || len(c.tries) != 1 {
			t.Fatalf("%d spans in %d requests", len(all), len(c.tries))
		}
		if all[0].Name != "session.decide" || !bytes.Equal(all[0].ParentSpanId, all[1].SpanId) || !bytes.Equal(all[0].TraceId, all[1].TraceId) ||
			all[0].Status.Code != otlp.Status_STATUS_CODE_ERROR || all[0].Status.Message != "imsi-unknown" || all[1].Kind != otlp.Span_SPAN_KIND_SERVER {
			t.Errorf("%v", all)
		}
		resource := fmt.Sprint(c.tries[0].ResourceSpans[0].Resource)
		for _, want := range []string{"service.name", "sealedge", "service.instance.id", "node1", "service.version", "v1"} {
			if !strings.Contains(resource, want) {
				t.Errorf("no %s in %s", want, resource)
			}
		}
		r := c.asked[0]
		if r.Method != "POST" || r.URL.String() != "https://otel.test/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("Authorization") != "Bearer a" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		// A full batch doesn't wait, and the token is read anew.
		token = "b"
		for range batchSpans {
			traces.one()
		}
		synctest.Wait()
		if len(c.tries) != 2 || c.asked[1].Header.Get("Authorization") != "Bearer b" {
			t.Errorf("%d requests, %v", len(c.tries), c.asked[len(c.asked)-1].Header)
		}
		// What is left is sent at the end.
		traces.one()
		_ = traces.Close()
		if n := len(c.spans()); n != 2+batchSpans+1 || traces.exported.Load() != uint64(n) {
			t.Errorf("%d spans arrived, %d are counted", n, traces.exported.Load())
		}
		_ = traces.Close()
	})
}

// A collector that hangs keeps nobody waiting, neither who makes spans nor the end.
func TestCollectorThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		traces := newTraces(&fakeCollector{t: t, hangs: true})
		began := time.Now()
		const most = 3 * queued
		for range most {
			traces.one()
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("spans waited %s", took)
		}
		if n := traces.drops(queueFull); n == 0 || n > most-queued {
			t.Errorf("%d of %d spans found no room, with a queue for %d", n, most, queued)
		}
		time.Sleep(tries*sendTime + time.Minute)
		synctest.Wait()
		if n := traces.drops(undelivered); n < batchSpans {
			t.Errorf("%d were given up", n)
		}
		began = time.Now()
		_ = traces.Close()
		if took := time.Since(began); took > flushTime {
			t.Errorf("the end waited %s", took)
		}
		traces.one() // is of no use, and does no harm
		if sum := traces.drops(queueFull) + traces.drops(undelivered) + traces.exported.Load(); sum != most {
			t.Errorf("of %d spans %d are accounted for", most, sum)
		}
	})
}

// What may pass is tried again, what won't isn't.
func TestCollectorThatRefuses(t *testing.T) {
	partially := protowire.AppendTag(nil, 1, protowire.BytesType)
	partially = protowire.AppendBytes(partially, append(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 2),
		protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "too many")...))
	for _, tc := range []struct {
		name                            string
		answers                         func(try int) (int, http.Header, []byte)
		tries                           int
		exported, undelivered, rejected uint64
		after                           time.Duration // of the second try
	}{
		{"nothing", func(int) (int, http.Header, []byte) { return 200, nil, nil }, 1, 3, 0, 0, 0},
		{"an empty part", func(int) (int, http.Header, []byte) { return 200, nil, []byte{0x0a, 0} }, 1, 3, 0, 0, 0},
		{"a part", func(int) (int, http.Header, []byte) { return 200, nil, partially }, 1, 1, 0, 2, 0},
		{"rubbish", func(int) (int, http.Header, []byte) { return 200, nil, []byte("<html>") }, 1, 3, 0, 0, 0},
		{"all", func(int) (int, http.Header, []byte) { return 400, nil, nil }, 1, 0, 3, 0, 0},
		{"elsewhere", func(int) (int, http.Header, []byte) {
			return 307, http.Header{"Location": {"https://elsewhere.test/"}}, nil
		}, 1, 0, 3, 0, 0},
		{"for a moment", func(try int) (int, http.Header, []byte) {
			return map[bool]int{true: 503, false: 200}[try == 1], nil, nil
		}, 2, 3, 0, 0, backOff},
		{"until a time", func(try int) (int, http.Header, []byte) {
			return map[bool]int{true: 429, false: 200}[try == 1], http.Header{"Retry-After": {"7"}}, nil
		}, 2, 3, 0, 0, 7 * time.Second},
		{"until far too late", func(try int) (int, http.Header, []byte) {
			return map[bool]int{true: 429, false: 200}[try == 1], http.Header{"Retry-After": {"86400"}}, nil
		}, 2, 3, 0, 0, longestOff},
		{"for good", func(int) (int, http.Header, []byte) { return 502, nil, nil }, tries, 0, 3, 0, backOff},
	} {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			c := &fakeCollector{t: t}
			c.answers = func(try int) (int, http.Header, []byte) {
				at = append(at, time.Now())
				return tc.answers(try)
			}
			traces := newTraces(c)
			for range 3 {
				traces.one()
			}
			time.Sleep(5 * time.Minute)
			_ = traces.Close()
			if len(c.tries) != tc.tries || traces.exported.Load() != tc.exported || traces.drops(undelivered) != tc.undelivered || traces.drops(rejected) != tc.rejected {
				t.Errorf("%s: %d tries, %d exported, %d undelivered, %d rejected", tc.name, len(c.tries), traces.exported.Load(), traces.drops(undelivered), traces.drops(rejected))
			}
			if len(at) > 1 && at[1].Sub(at[0]) != tc.after {
				t.Errorf("%s: tried again after %s, want %s", tc.name, at[1].Sub(at[0]), tc.after)
			}
			for _, r := range c.asked {
				if r.URL.Host != "otel.test" {
					t.Errorf("%s: %s was asked", tc.name, r.URL)
				}
			}
		})
	}
}

// A token that can't be read for a moment isn't left out.
func TestTracesWaitForTheirHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, asked := &fakeCollector{t: t}, 0
		traces := newTraces(c, func(cfg *TracesConfig) {
			cfg.Headers = func() (http.Header, error) {
				if asked++; asked == 1 {
					return nil, errors.New("it is being replaced")
				}
				return http.Header{"Authorization": {"Bearer x"}}, nil
			}
		})
		traces.one()
		time.Sleep(time.Minute)
		_ = traces.Close()
		if len(c.asked) != 1 || c.asked[0].Header.Get("Authorization") != "Bearer x" {
			t.Errorf("%d requests", len(c.asked))
		}
	})
}

// Whatever a part would put into a span, what could name somebody doesn't leave.
func TestSpansNameNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{t: t}
		traces := newTraces(c)
		hostile := []string{"460011234567890", "imsi-460011234567890", "4915112345678", "127.0.20.77", "2001:db8::17", "02:00:5e:10:00:99", "order WO-2026-0815", strings.Repeat("long", 100)}
		for _, h := range hostile {
			traces.one(attribute.String("gtp.cause", h), attribute.String("sealedge.outcome", h), attribute.Int64("gtp.cause", 460011234567890))
			traces.one(attribute.String("user", h), attribute.StringSlice("gtp.cause", []string{h}), attribute.String("sealedge.use", h))
			_, s := traces.Tracer().Start(t.Context(), "gtp.request", trace.WithLinks(trace.Link{Attributes: []attribute.KeyValue{attribute.String("who", h)}}))
			s.AddEvent(h)
			s.RecordError(errors.New(h))
			s.SetStatus(codes.Error, h)
			s.End()
			_, s = traces.Tracer().Start(t.Context(), h)
			s.End()
		}
		traces.one(attribute.String("gtp.cause", "request accepted (16)"), attribute.Int64("sealedge.use", 123456789))
		_ = traces.Close()
		if n := len(c.spans()); n != 3*len(hostile)+1 || traces.drops(rejected) != uint64(len(hostile)) {
			t.Errorf("%d spans left, %d didn't", n, traces.drops(rejected))
		}
		for _, h := range hostile {
			if bytes.Contains(c.raw, []byte(h[:min(len(h), 64)])) {
				t.Errorf("%s is exported", h)
			}
		}
		last := fmt.Sprint(c.spans()[3*len(hostile)])
		if !strings.Contains(last, "request accepted (16)") || !strings.Contains(last, "123456789") {
			t.Errorf("what is fine is not exported: %s", last)
		}
	})
}

// A trace that begins here is sampled by its id; one that is passed on as its first node
// decided, or by its id if that doesn't say.
func TestSampling(t *testing.T) {
	type chosen struct{}
	traces := newTraces(&fakeCollector{t: t}, func(cfg *TracesConfig) {
		cfg.Ratio = 0.5
		cfg.Chosen = func(ctx context.Context) (trace.SpanID, bool) {
			id, ok := ctx.Value(chosen{}).(trace.SpanID)
			return id, ok
		}
	})
	defer traces.Close()
	low, high := trace.TraceID{0: 1, 8: 0x10}, trace.TraceID{0: 1, 8: 0xf0}
	for _, tc := range []struct {
		name  string
		id    trace.TraceID
		span  trace.SpanID
		flags trace.TraceFlags
		want  bool
	}{
		{"its id says yes", low, trace.SpanID{}, 0, true},
		{"its id says no", high, trace.SpanID{}, 0, false},
		{"a parent that doesn't say, yes", low, trace.SpanID{1}, 0, true},
		{"a parent that doesn't say, no", high, trace.SpanID{1}, 0, false},
		{"a parent that is sampled", high, trace.SpanID{1}, trace.FlagsSampled, true},
	} {
		ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: tc.id, SpanID: tc.span, TraceFlags: tc.flags}))
		_, s := traces.Tracer().Start(ctx, "use.request")
		if s.IsRecording() != tc.want || s.SpanContext().TraceID() != tc.id || !s.SpanContext().SpanID().IsValid() {
			t.Errorf("%s: %v, %v", tc.name, s.IsRecording(), s.SpanContext())
		}
	}
	want := trace.SpanID{7}
	_, s := traces.Tracer().Start(context.WithValue(t.Context(), chosen{}, want), "use.grant")
	if s.SpanContext().SpanID() != want {
		t.Errorf("the span has the id %v", s.SpanContext().SpanID())
	}
}

// What an attach costs, when nobody takes the spans away.
func BenchmarkSpan(b *testing.B) {
	for name, ratio := range map[string]float64{"sampled": 1, "not-sampled": 0} {
		b.Run(name, func(b *testing.B) {
			traces := newTraces(&fakeCollector{hangs: true}, func(cfg *TracesConfig) { cfg.Ratio = ratio })
			defer traces.Close()
			b.ReportAllocs()
			for b.Loop() {
				traces.one()
			}
		})
	}
}

// What became of spans is among the metrics, of a node that makes any.
func TestTracesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := quiet()
		if body := ask(New(Config{Source: src, Logger: slog.New(slog.DiscardHandler)}), "GET", "/metrics").Body.String(); strings.Contains(body, "sealedge_traces") {
			t.Error("a node without a collector counts traces")
		}
		src.Traces = newTraces(&fakeCollector{t: t, answers: func(try int) (int, http.Header, []byte) {
			return map[bool]int{true: 200, false: 400}[try == 1], nil, nil
		}})
		src.Traces.one()
		time.Sleep(2 * batchEvery)
		src.Traces.one()
		src.Traces.one()
		_ = src.Traces.Close()
		body := ask(New(Config{Source: src, Logger: slog.New(slog.DiscardHandler)}), "GET", "/metrics").Body.String()
		for _, want := range []string{
			"sealedge_traces_exported_total 1", `sealedge_traces_dropped_total{cause="undelivered"} 2`,
			`sealedge_traces_dropped_total{cause="queue-full"} 0`, `sealedge_traces_dropped_total{cause="rejected"} 0`,
		} {
			if !strings.Contains(body, "\n"+want+"\n") {
				t.Errorf("no %s", want)
			}
		}
	})
}
