package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp"
)

// literals are the words that the code of a package says, tests left out.
func literals(t *testing.T, dirs ...string) (all []string) {
	t.Helper()
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no code in %s (%v)", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						all = append(all, s)
					}
				}
				return true
			})
		}
	}
	return all
}

// known are the values that a label of a metric can have, as far as the program says
// them itself; nil: they are the site's.
func known(t *testing.T, series, label string) []string {
	t.Helper()
	if label == "event" {
		part := strings.TrimSuffix(strings.TrimPrefix(series, "sealedge_"), "_events_total")
		dirs := map[string][]string{
			"gtpc": {"apn/gtpc"}, "gtpu": {"apn/gtpu"}, "wireguard": {"edge/wireguard"}, "cluster": {"cluster"},
			"phoneapi": {"edge/wire"}, "restoration": {"edge/sealedge"}, "address": {"cluster/address"},
		}[part]
		if dirs == nil {
			t.Fatalf("say where the events of %s come from", part)
		}
		return literals(t, dirs...)
	}
	switch label {
	case "cause":
		all := []string{"none"} // gtpc.causeName
		if !slices.Contains(literals(t, "apn/gtpc"), "none") {
			t.Error(`apn/gtpc doesn't say "none" any more`)
		}
		for c := range 256 {
			if s := gtp.Cause(c).String(); !strings.HasPrefix(s, "cause ") {
				all = append(all, s)
			}
		}
		return all
	case "procedure":
		return literals(t, "apn/gtpc")
	case "outcome":
		return literals(t, "edge/wire", "edge/telemetry", "edge/phoneapi")
	case "state", "role", "path", "direction":
		return literals(t, "edge/telemetry")
	case "check":
		return literals(t, "edge/sealedge")
	case "quantile":
		return []string{"0", "0.25", "0.5", "0.75", "1"}
	}
	return nil
}

// alternatives takes a regular expression apart at its outermost bars.
func alternatives(re string) (all []string) {
	depth, from := 0, 0
	for i := 0; i < len(re); i++ {
		switch re[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth == 0 {
				all, from = append(all, re[from:i]), i+1
			}
		}
	}
	return append(all, re[from:])
}

// functions that take the growth of a counter, and that a gauge has nothing to do with.
var growth = []string{"rate", "increase", "irate"}

// judge tells what is wrong with an expression: metrics that aren't exported, labels that
// they don't have, values that no label has, a counter taken for a gauge or the other
// way round.
func judge(t *testing.T, catalogue map[string]family, expr string) (wrong []string) {
	t.Helper()
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	u, err := scan(expr)
	if err != nil {
		return []string{err.Error()}
	}
	labels := slices.Clone(ofTarget)
	for _, s := range u.selectors {
		f, kind, ok := find(catalogue, s.series)
		if !ok {
			complain("no node exports %s", s.series)
			continue
		}
		has := append(slices.Clone(ofTarget), f.labels...)
		labels = append(labels, has...)
		inner := ""
		if len(s.within) > 0 {
			inner = s.within[len(s.within)-1]
		}
		switch grows := slices.Contains(growth, inner); {
		case kind == "counter" && (!grows || !s.ranged):
			complain("%s is a counter: take its rate or increase", s.series)
		case kind != "counter" && grows:
			complain("%s is a %s, which has no %s", s.series, kind, inner)
		}
		if strings.HasSuffix(s.series, "_bucket") && !slices.Contains(u.labels, "le") {
			complain("%s is used without le", s.series)
		}
		for _, m := range s.matchers {
			if !slices.Contains(has, m.label) {
				complain("%s has no label %s", s.series, m.label)
				continue
			}
			if f.labels == nil || slices.Contains(ofTarget, m.label) || s.series == "ALERTS" {
				continue
			}
			values := known(t, s.series, m.label)
			one := []string{regexp.QuoteMeta(m.value)}
			if strings.HasSuffix(m.op, "~") {
				one = alternatives(m.value)
			}
			for _, a := range one {
				re, err := regexp.Compile("^(?:" + a + ")$")
				if err != nil {
					complain("%s: %v", m.label, err)
				} else if values != nil && !slices.ContainsFunc(values, re.MatchString) {
					complain("the label %s of %s is never %s", m.label, s.series, a)
				}
			}
		}
	}
	for _, l := range u.labels {
		if !slices.Contains(labels, l) {
			complain("nothing in it has the label %s", l)
		}
	}
	return wrong
}

func catalogue(t *testing.T) map[string]family {
	t.Helper()
	all, err := readCatalogue(root)
	if err != nil || len(all) < 50 {
		t.Fatalf("%d metrics (%v)", len(all), err)
	}
	return all
}

func TestAlertsUseWhatIsExported(t *testing.T) {
	all := catalogue(t)
	for name, a := range alerts(t) {
		for _, w := range judge(t, all, a.Expr) {
			t.Errorf("%s: %s", name, w)
		}
	}
}

// The test must be able to fail.
func TestWhatIsNotExportedIsSeen(t *testing.T) {
	all := catalogue(t)
	for _, wrong := range []string{
		"sealedge_sesions > 0",
		"sealedge_sessions_bucket",
		"sealedge_propose_duration_seconds > 1",
		"sealedge_gtpu_bytes_total > 0",
		"sum(sealedge_gtpu_bytes_total)",
		"rate(sealedge_sessions[5m])",
		`sealedge_sessions{carrier="a"}`,
		`sealedge_sessions{path="fibre"}`,
		`sealedge_ready{check="ready"}`,
		"sum by (gateway) (sealedge_sessions)",
		`rate(sealedge_gtpc_events_total{event="path-lost"}[5m])`,
		`rate(sealedge_cluster_events_total{event="path-failed"}[5m])`,
		`rate(sealedge_gtp_procedures_total{procedure="create-sessions"}[5m])`,
		`rate(sealedge_gtp_procedures_total{procedure=~"create-session|create-pdp"}[5m])`,
		`rate(sealedge_gtp_procedures_total{cause="system failure"}[5m])`,
		`increase(sealedge_seal_use_request_duration_seconds_count{outcome=~"granted|refused-by-nobody"}[5m])`,
		"histogram_quantile(0.9, sum by (job) (rate(sealedge_propose_duration_seconds_bucket[5m])))",
	} {
		if len(judge(t, all, wrong)) == 0 {
			t.Errorf("nothing is found wrong with %s", wrong)
		}
	}
}

// What dashboards ask is exported, and is an expression that Prometheus takes.
func TestDashboardsUseWhatIsExported(t *testing.T) {
	all := catalogue(t)
	type record struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var records []record
	for _, d := range shipped(t) {
		for where, expr := range d.expressions() {
			expr = filled.Replace(expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: %s: a variable is left in %s", d.Title, where, expr)
			}
			for _, w := range judge(t, all, expr) {
				t.Errorf("%s: %s: %s", d.Title, where, w)
			}
			records = append(records, record{fmt.Sprintf("panel:%d", len(records)), expr})
		}
	}
	file, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": records}}})
	if err != nil {
		t.Fatal(err)
	}
	name := writeTemp(t, "panels.yaml", file)
	if out, err := promtool(t, ".", "check", "rules", "--lint=none", name); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
