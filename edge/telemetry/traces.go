package telemetry

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TracesConfig is where traces go, and which are made.
type TracesConfig struct {
	Endpoint string      // URL of the collector, with its path
	TLS      *tls.Config // for https
	// Headers are further ones of a request, asked for each time. May be nil.
	Headers func() (http.Header, error)
	Ratio   float64 // of the traces that begin here, 0 to 1
	// Chosen is the id of a span that somebody else knows it by already. May be nil.
	Chosen        func(context.Context) (trace.SpanID, bool)
	Node, Version string
	Logger        *slog.Logger

	transport http.RoundTripper // for tests, instead of the network
}

// Bounds of what waits for the collector. Who makes spans never waits.
const (
	queued     = 8192             // spans
	batchSpans = 512              // of a request
	batchEvery = time.Second      // a request is sent, though it isn't full
	sendTime   = 10 * time.Second // of one request
	tries      = 3                // of one batch
	backOff    = time.Second      // after the first; twice as long after each
	longestOff = 30 * time.Second // that a collector can ask for
	flushTime  = 2 * time.Second  // for all that waits when the node stops
)

// Traces sends spans to a collector, in the background.
type Traces struct {
	log      *slog.Logger
	provider *sdk.TracerProvider
	exporter *otlptrace.Exporter
	client   *collectorClient
	adding   sync.Mutex            // held by who puts into queue
	queue    chan sdk.ReadOnlySpan // of spans whose tree is over

	stop    context.CancelFunc // has run flush and end
	ended   chan struct{}      // closed when run has
	closing sync.Once

	exported atomic.Uint64
	dropped  [4]atomic.Uint64 // by drop
	failing  bool             // the last batch didn't arrive. Owned by run.
}

// drop is why a span was not exported.
type drop int

const (
	queueFull drop = iota
	refused
	undelivered
	rejected
)

var drops = [...]string{queueFull: "queue-full", refused: "refused", undelivered: "undelivered", rejected: "rejected"}

// NewTraces begins to send what Tracer's spans come to; Close ends it.
func NewTraces(cfg TracesConfig) *Traces {
	t := &Traces{log: cfg.Logger, queue: make(chan sdk.ReadOnlySpan, queued), ended: make(chan struct{}), client: newCollectorClient(cfg)}
	t.exporter = otlptrace.NewUnstarted(t.client)
	root := sdk.TraceIDRatioBased(cfg.Ratio)
	chosen := cfg.Chosen
	if chosen == nil {
		chosen = func(context.Context) (trace.SpanID, bool) { return trace.SpanID{}, false }
	}
	t.provider = sdk.NewTracerProvider(
		// Who passes a trace on without saying that it is sampled doesn't know: its id
		// decides, and so does every node alike.
		sdk.WithSampler(sdk.ParentBased(root, sdk.WithRemoteParentNotSampled(root))),
		sdk.WithIDGenerator(ids{chosen}),
		sdk.WithRawSpanLimits(sdk.SpanLimits{AttributeValueLengthLimit: 65, AttributeCountLimit: 16}),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "sealedge"), attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", cfg.Node),
		)),
	)
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	go t.run(ctx)
	return t
}

// Tracer makes spans. None of its spans' methods waits for the collector.
func (t *Traces) Tracer() trace.Tracer { return tracer{t.provider.Tracer("sealedge"), t} }

// Close sends what waits, as far as it can in a short time, and ends. Spans that end
// later are dropped.
func (t *Traces) Close() error {
	t.closing.Do(t.stop)
	<-t.ended
	return nil
}

// run sends batch after batch until ctx ends, and then, for flushTime, what is left.
func (t *Traces) run(ctx context.Context) {
	defer close(t.ended)
	defer t.client.close()
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // of requests
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushTime, end) })()
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	var batch []sdk.ReadOnlySpan
	for ctx.Err() == nil {
		select {
		case s := <-t.queue:
			if batch = t.take(batch, s); len(batch) < batchSpans {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			continue
		}
		batch = t.send(ctx, life, batch)
	}
	for {
		select {
		case s := <-t.queue:
			if batch = t.take(batch, s); len(batch) < batchSpans {
				continue
			}
		default:
			t.send(ctx, life, batch)
			return
		}
		batch = t.send(ctx, life, batch)
	}
}

func (t *Traces) take(batch []sdk.ReadOnlySpan, s sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	clean, ok := screen(s)
	if !ok {
		t.dropped[rejected].Add(1)
		return batch
	}
	return append(batch, clean)
}

// send tries to have a batch arrive, several times until ctx ends and at all until life
// does, and gives up in the end: what comes behind it waits. It returns the batch empty.
func (t *Traces) send(ctx, life context.Context, batch []sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	if len(batch) == 0 {
		return batch
	}
	var err error
	for try, wait := 1, backOff; ; try, wait = try+1, 2*wait {
		stopping := ctx.Err() != nil
		var later *tryAgain
		if err = t.once(life, batch); !errors.As(err, &later) || try == tries || stopping {
			break
		}
		pause(ctx, min(max(wait, later.after), longestOff)) // when the node stops, there is one more try
	}
	var part *rejectedPart
	switch n := uint64(len(batch)); {
	case err == nil:
		t.exported.Add(n)
	case errors.As(err, &part):
		refused := min(part.spans, n)
		t.dropped[rejected].Add(refused)
		t.exported.Add(n - refused)
	default:
		t.dropped[undelivered].Add(n)
	}
	switch failing := err != nil; {
	case failing && !t.failing:
		t.log.Warn("traces don't arrive at the collector; nothing else depends on it", "err", err)
		t.failing = true
	case !failing && t.failing:
		t.log.Info("traces arrive at the collector again")
		t.failing = false
	}
	clear(batch)
	return batch[:0]
}

func (t *Traces) once(ctx context.Context, batch []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return t.exporter.ExportSpans(ctx, batch)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// ids are random, unless a span's is chosen.
type ids struct {
	chosen func(context.Context) (trace.SpanID, bool)
}

// NewIDs implements sdk.IDGenerator.
func (g ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdk.IDGenerator.
func (g ids) NewSpanID(ctx context.Context, _ trace.TraceID) (id trace.SpanID) {
	if id, ok := g.chosen(ctx); ok && id.IsValid() {
		return id
	}
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// counted puts what became of spans.
func (t *Traces) counted(out sink) {
	out.put(tracesExported, float64(t.exported.Load()))
	for i, why := range drops {
		out.put(tracesDropped, float64(t.dropped[i].Load()), why)
	}
}
