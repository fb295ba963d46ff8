package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// samples counts what a histogram observed, by the values of its labels.
func samples(f *dto.MetricFamily) map[string]uint64 {
	out := map[string]uint64{}
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.Label {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		out[strings.Join(labels, " ")] = m.GetHistogram().GetSampleCount()
	}
	return out
}

func TestDurations(t *testing.T) {
	d := NewDurations()
	d.Append(3 * time.Millisecond)
	d.Apply(time.Millisecond)
	for _, err := range []error{
		nil, nil, fmt.Errorf("x: %w", command.ErrNoQuorum), fmt.Errorf("x: %w", command.ErrUnknownOutcome), errors.New("other"),
	} {
		d.Propose(time.Second, err)
	}
	d.Procedure("create-session", "request accepted (16)", 20*time.Millisecond)
	d.Procedure("type-99", "none", time.Millisecond)
	d.Use("granted", 2*time.Second)
	all := gather(t, registry(quiet(), d, new(health)))
	for family, want := range map[string]string{
		"raft_append_duration_seconds":      "map[:1]",
		"raft_apply_duration_seconds":       "map[:1]",
		"propose_duration_seconds":          "map[outcome=done:2 outcome=no-quorum:1 outcome=refused:1 outcome=unknown:1]",
		"gtp_procedure_duration_seconds":    "map[cause=none procedure=other:1 cause=request accepted (16) procedure=create-session:1]",
		"seal_use_request_duration_seconds": "map[outcome=granted:1 outcome=internal:0 outcome=no-quorum:0 outcome=no-room:0 outcome=outcome-unknown:0 outcome=server-unreachable:0]",
	} {
		if got := fmt.Sprint(samples(all[prefix+family])); got != want {
			t.Errorf("%s: %s, want %s", family, got, want)
		}
	}
	if sum := all["sealedge_raft_append_duration_seconds"].Metric[0].Histogram.GetSampleSum(); sum != .003 {
		t.Errorf("an append of 3 ms is exported as %v seconds", sum)
	}
}

func TestSeriesOfDurationsAreBounded(t *testing.T) {
	d := NewDurations()
	for i := range 3 * maxPairs {
		d.Procedure("p-"+strings.Repeat("x", i%20), strings.Repeat("c", i/20), 0)
		d.Use(strings.Repeat("o", i%60)+fmt.Sprint(i%10), 0)
	}
	d.Procedure("create-session", "001010000000001", 0)
	d.Use("imsi-001010000000001", 0)
	all := gather(t, registry(quiet(), d, new(health)))
	series, total := 0, uint64(0)
	for _, family := range []string{"sealedge_gtp_procedure_duration_seconds", "sealedge_seal_use_request_duration_seconds"} {
		for labels, n := range samples(all[family]) {
			series++
			total += n
			if strings.Contains(labels, "00101") {
				t.Errorf("%s: %s", family, labels)
			}
		}
	}
	if series > maxPairs+2 || total != 6*maxPairs+2 {
		t.Errorf("%d series of %d requests", series, total)
	}
}

func TestProcedures(t *testing.T) {
	var all []adminapi.Procedure
	add := func(procedure, cause, peer string) {
		all = append(all, adminapi.Procedure{Protocol: "GTPv2", Procedure: procedure, Cause: cause, Peer: peer, Count: 2})
	}
	add("create-session", "request accepted (16)", "alpha")
	add("create-session", "request accepted (16)", "127.0.20.0/24")
	add("create-session", "request accepted (16)", "2001:db8::/64")
	add("create-session", "request accepted (16)", "192.0.2.7")
	add("create-session", "request accepted (16)", "")
	add("type-98", "none", "alpha")
	add("type-99", "none", "alpha")
	add("create-session", "imsi 001010000000001", "alpha")
	src := quiet()
	src.Procedures = func() []adminapi.Procedure { return all }
	r := registry(src, nil, new(health))
	got := map[string]float64{}
	for _, m := range gather(t, r)["sealedge_gtp_procedures_total"].GetMetric() {
		var labels []string
		for _, l := range m.Label { // by name
			labels = append(labels, l.GetValue())
		}
		got[strings.Join(labels, "|")] = m.Counter.GetValue()
	}
	want := map[string]float64{
		"alpha|request accepted (16)|create-session|GTPv2":   2,
		"unnamed|request accepted (16)|create-session|GTPv2": 8,
		"alpha|none|other|GTPv2":                             4,
		"other|other|other|GTPv2":                            2,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}

	for i := range 2 * maxEndings { // a policy with thousands of carriers
		add("create-session", "request accepted (16)", fmt.Sprint("carrier ", i))
	}
	sum, series := 0., gather(t, r)["sealedge_gtp_procedures_total"].GetMetric()
	for _, m := range series {
		sum += m.Counter.GetValue()
	}
	if len(series) > maxEndings+1 || sum != float64(2*len(all)) {
		t.Errorf("%d series that sum up to %v", len(series), sum)
	}
}

// Without durations nothing of them is exported, and all else is.
func TestScrape(t *testing.T) {
	for _, d := range []*Durations{nil, NewDurations()} {
		w := ask(New(Config{Source: quiet(), Durations: d, Logger: slog.New(slog.DiscardHandler)}), "GET", "/metrics")
		body := w.Body.String()
		if w.Code != 200 || !strings.Contains(body, "\nsealedge_build_info{") {
			t.Errorf("%d\n%s", w.Code, body)
		}
		if strings.Contains(body, "sealedge_raft_append_duration_seconds") != (d != nil) {
			t.Errorf("with durations %v:\n%s", d != nil, body)
		}
	}
}

func BenchmarkProcedure(b *testing.B) {
	d := NewDurations()
	b.ReportAllocs()
	for b.Loop() {
		d.Procedure("create-session", "request accepted (16)", time.Millisecond)
	}
}
