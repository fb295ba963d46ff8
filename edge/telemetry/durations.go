package telemetry

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// Durations measures what takes time. Its methods may be called at once.
type Durations struct {
	append, apply           prometheus.Histogram
	propose, procedure, use *prometheus.HistogramVec

	mu   sync.Mutex
	seen map[[2]string]bool // the pairs of labels that are told apart; guarded by mu
}

// NewDurations returns Durations of nothing yet.
func NewDurations() *Durations {
	one := func(m *metric) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + m.name, Help: m.help, Buckets: m.buckets})
	}
	several := func(m *metric) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + m.name, Help: m.help, Buckets: m.buckets}, m.labels)
	}
	d := &Durations{
		append: one(appendTime), apply: one(applyTime),
		propose: several(proposeTime), procedure: several(procedureTime), use: several(useTime),
		seen: map[[2]string]bool{},
	}
	// An increase from nothing at all is none to Prometheus, and alerts wait for these.
	for _, outcome := range []string{"done", "no-quorum", "unknown", "refused"} {
		d.propose.WithLabelValues(outcome)
	}
	for _, outcome := range watchedUses {
		_, outcome = d.pair("", outcome)
		d.use.WithLabelValues(outcome)
	}
	return d
}

// watchedUses are the outcomes of requests for a use that are no verdict on the
// request, and success.
var watchedUses = []string{"granted", "server-unreachable", "no-quorum", "no-room", "outcome-unknown", "internal"}

// Append took this long to make log entries durable.
func (d *Durations) Append(took time.Duration) { d.append.Observe(took.Seconds()) }

// Apply took this long for entries that were committed together.
func (d *Durations) Apply(took time.Duration) { d.apply.Observe(took.Seconds()) }

// Propose took this long for a command, and ended with err.
func (d *Durations) Propose(took time.Duration, err error) {
	outcome := "refused"
	switch {
	case err == nil:
		outcome = "done"
	case errors.Is(err, command.ErrUnknownOutcome):
		outcome = "unknown"
	case errors.Is(err, command.ErrNoQuorum):
		outcome = "no-quorum"
	}
	d.propose.WithLabelValues(outcome).Observe(took.Seconds())
}

// Procedure took this long from a carrier's request to the answer with a cause.
func (d *Durations) Procedure(procedure, cause string, took time.Duration) {
	procedure, cause = d.pair(known(procedure), cause)
	d.procedure.WithLabelValues(procedure, cause).Observe(took.Seconds())
}

// Use took this long for a request to use a seal. outcome is "granted" or a problem's
// code.
func (d *Durations) Use(outcome string, took time.Duration) {
	_, outcome = d.pair("", outcome)
	d.use.WithLabelValues(outcome).Observe(took.Seconds())
}

// maxPairs bounds the series of the histograms that have labels; what goes beyond is
// merged.
const maxPairs = 256

func (d *Durations) pair(a, b string) (string, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := [2]string{a, b}
	if !d.seen[k] {
		if len(d.seen) == maxPairs || !words(b) {
			return merged, merged
		}
		d.seen[k] = true
	}
	return a, b
}

// known is a procedure's name, or that of all without one: a peer can send any type of
// message.
func known(procedure string) string {
	if strings.HasPrefix(procedure, "type-") {
		return merged
	}
	return procedure
}

// words tells whether a text of the program's own may be a label: it has no number in
// it that could be somebody's.
func words(s string) bool {
	digits := 0
	for _, c := range s {
		if c >= '0' && c <= '9' {
			digits++
		}
	}
	return len(s) <= 64 && digits <= 3
}

// unnamed is a carrier without a name in the policy: a range of allowed peers stands
// for it elsewhere.
const unnamed = "unnamed"

func carrierName(peer string) string {
	if _, err := netip.ParsePrefix(peer); err == nil || peer == "" {
		return unnamed
	}
	if _, err := netip.ParseAddr(peer); err == nil || len(peer) > 64 {
		return unnamed
	}
	return peer
}

// ending is a way for a procedure to end: its labels.
type ending struct{ protocol, procedure, cause, carrier string }

// maxEndings bounds the ways that are told apart.
const maxEndings = 1024

// procedures puts how procedures ended. It must be called with mu.
func (c *collector) procedures(out sink, all []adminapi.Procedure) {
	sums := map[ending]uint64{}
	for _, p := range all {
		k := ending{p.Protocol, known(p.Procedure), p.Cause, carrierName(p.Peer)}
		if !words(p.Cause) || !c.ended[k] && len(c.ended) == maxEndings {
			k = ending{p.Protocol, merged, merged, merged}
		} else {
			c.ended[k] = true
		}
		sums[k] += p.Count
	}
	for k, n := range sums {
		out.put(procedures, float64(n), k.protocol, k.procedure, k.cause, k.carrier)
	}
}
