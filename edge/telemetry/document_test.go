package telemetry

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

//go:generate go test -count=1 -run DocumentIsCurrent$ . -write

var write = flag.Bool("write", false, "write docs/metrics.md and docs/traces.md anew")

const documentFile = "../../docs/metrics.md"

// docs/metrics.md is made of the definitions. Another test holds it against what a
// running node exports.
func TestDocumentIsCurrent(t *testing.T) {
	want := document(t)
	if *write {
		if err := os.WriteFile(documentFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	have, wanted := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i := range max(len(have), len(wanted)) {
		if i >= len(have) || i >= len(wanted) || have[i] != wanted[i] {
			t.Fatalf("docs/metrics.md:%d is not what the definitions say: run 'go generate ./edge/telemetry'", i+1)
		}
	}
}

const documentHead = `# Metrics and health

This page is made of the definitions in ` + "`edge/telemetry`" + `, by ` + "`go generate ./edge/telemetry`" + `; a test holds it against what a
running node exports.

With ` + "`telemetry.listen`" + ` in its configuration a node answers, in the clear and to whoever reaches the address:

| path | answers |
|---|---|
| ` + "`/metrics`" + ` | the metrics below, as Prometheus reads them |
| ` + "`/livez`" + ` | 200 as long as the process can answer; ending it would mend nothing else |
| ` + "`/readyz`" + ` | 200 when the node is a voting member, has applied all that the leader had committed when it was asked, and isn't stopping or drained; otherwise 503 with each check and the reason |
| ` + "`/readyz?verbose`" + ` | the same, always with each check |

The checks of ` + "`/readyz`" + ` are ` + "`running`" + ` (the node isn't giving its addresses up, see ` + "`sealedge drain`" + `), ` + "`member`" + ` (it votes) and ` + "`caught-up`" + ` (a majority
confirmed the leader within a second, and the node has applied what that had committed; nothing is written to the log for
it). Without a quorum no node is ready, and all of them live. Lines with ` + "`[i]`" + ` are for people: that a change of the
configuration's file was refused, or takes a restart.

Nothing that is told names a subscriber, terminal, barrel, order, person or IP address: labels have values out of the
configuration, and what the program itself counts by. An event whose name could be more than that, and any beyond ` + "%d" + ` of
one part, is counted as ` + "`other`" + `. The state is walked through at most once in %s, whoever asks how often. Put the listener
where only monitoring and the platform reach it.

With ` + "`telemetry.pprof`" + ` profiles of the process are at ` + "`/debug/pprof/`" + `, on loopback only and asked for by a loopback name:

    go tool pprof http://127.0.0.1:6060/debug/pprof/profile?seconds=10

Alerts and dashboards that are made of these metrics, and what to do when one fires, are in [watching the gateway](monitoring.md).

A truth is 1 or 0. The replicated state is told by every node, as far as it is applied there: take one node's, or the
maximum, and don't sum them up. What is counted (` + "`_total`" + `) is of one node, since it started: sum it up over the nodes. An event
is exported once it happened, or always.

`

func document(t *testing.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, documentHead, maxEvents, walkEvery)
	b.WriteString("## Of the node, its cluster and the replicated state\n\n")
	table(&b)
	for _, m := range definitions {
		when := m.when
		if when == "" {
			when = "always"
		}
		row(&b, prefix+m.name, m.kind, m.labels, m.help, when)
	}
	b.WriteString("\n## Of the process\n\nThey are those of Prometheus's Go library, under the same prefix; which there are depends on the platform.\n\n")
	table(&b)
	library := prometheus.NewRegistry()
	library.MustRegister(processCollector())
	prometheus.WrapRegistererWithPrefix(prefix, library).MustRegister(goCollector())
	all := gather(t, library)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		labels := map[string]bool{}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				labels[l.GetName()] = true
			}
			if f.GetType() == dto.MetricType_SUMMARY && m.Summary.Quantile != nil {
				labels["quantile"] = true
			}
		}
		row(&b, name, strings.ToLower(f.GetType().String()), slices.Sorted(maps.Keys(labels)), f.GetHelp(), "Linux")
	}
	return b.String()
}

func table(b *strings.Builder) {
	b.WriteString("| name | type | labels | help | when |\n|---|---|---|---|---|\n")
}

func row(b *strings.Builder, name, kind string, labels []string, help, when string) {
	fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", name, kind, strings.Join(labels, ", "), strings.ReplaceAll(help, "|", `\|`), when)
}

// Names follow Prometheus's conventions, and labels are of those known to be bounded.
func TestDefinitions(t *testing.T) {
	bounded := []string{"version", "go_version", "role", "state", "gateway", "path", "event", "direction", "certificate", "outcome", "protocol", "procedure", "cause", "carrier", "check"}
	seen := map[string]bool{}
	for _, m := range definitions {
		if seen[m.name] {
			t.Errorf("%s is defined twice", m.name)
		}
		seen[m.name] = true
		if strings.HasSuffix(m.name, "_total") != (m.kind == "counter") {
			t.Errorf("%s: a counter, and nothing else, ends with _total", m.name)
		}
		if strings.Trim(m.name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%s is no name", m.name)
		}
		for _, unit := range []string{"_ms", "_millis", "_percent", "_kb", "_mb", "_minutes"} {
			if strings.Contains(m.name, unit) {
				t.Errorf("%s is not in base units", m.name)
			}
		}
		if !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: its help is no sentence: %q", m.name, m.help)
		}
		for _, l := range m.labels {
			if !slices.Contains(bounded, l) {
				t.Errorf("%s has the label %s, which is not known to be bounded", m.name, l)
			}
		}
	}
}
