package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// family is a metric that nodes export.
type family struct {
	kind   string // "gauge", "counter", "histogram" or "summary"
	labels []string
}

// readCatalogue reads docs/metrics.md, which tests hold against the definitions and
// against a running node.
func readCatalogue(root string) (map[string]family, error) {
	raw, err := os.ReadFile(filepath.Join(root, metricsFile))
	if err != nil {
		return nil, err
	}
	all := map[string]family{}
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		name := strings.Trim(strings.TrimPrefix(cells[0], "| "), "`")
		if len(cells) != 5 || !strings.HasPrefix(name, "sealedge_") {
			continue
		}
		f := family{kind: cells[1]}
		if labels := strings.TrimSpace(cells[2]); labels != "" {
			f.labels = strings.Split(labels, ", ")
		}
		all[name] = f
	}
	return all, nil
}

// ofTarget are the labels that Prometheus gives to what it scrapes. cluster is what
// many sites with several of them add.
var ofTarget = []string{"cluster", "namespace", "job", "instance", "pod"}

// ofPrometheus are series that Prometheus makes itself.
var ofPrometheus = map[string]family{
	"up":     {kind: "gauge"},
	"ALERTS": {kind: "gauge", labels: []string{"alertname", "alertstate", "severity", "gateway", "carrier", "certificate"}},
}

// find returns the family that a series belongs to, and the series' own kind: a
// histogram's parts are counters.
func find(all map[string]family, series string) (f family, kind string, ok bool) {
	if f, ok := ofPrometheus[series]; ok {
		return f, f.kind, true
	}
	if f, ok := all[series]; ok && f.kind != "histogram" {
		return f, f.kind, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, cut := strings.CutSuffix(series, suffix)
		f, ok := all[base]
		switch {
		case !cut || !ok || f.kind != "histogram" && f.kind != "summary" || f.kind == "summary" && suffix == "_bucket":
		case suffix == "_bucket":
			return family{f.kind, append(slices.Clone(f.labels), "le")}, "counter", true
		default:
			return f, "counter", true
		}
	}
	return family{}, "", false
}
