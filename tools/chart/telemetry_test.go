package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// serviceMonitor is what the chart says to the Prometheus operator of its targets.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector          metav1.LabelSelector `json:"selector"`
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		JobLabel  string `json:"jobLabel"`
		Endpoints []struct {
			Port, Path, Scheme, Interval, ScrapeTimeout string
			Relabelings, MetricRelabelings              []map[string]any
		} `json:"endpoints"`
	} `json:"spec"`
}

// prometheusRule is what it says of alerts.
type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              rules `json:"spec"`
}

// rules is also what a file of Prometheus's rules holds.
type rules struct {
	Groups []struct {
		Name     string `json:"name"`
		Interval string `json:"interval,omitempty"`
		Rules    []struct {
			Alert       string            `json:"alert,omitempty"`
			Record      string            `json:"record,omitempty"`
			Expr        string            `json:"expr"`
			For         string            `json:"for,omitempty"`
			KeepFiring  string            `json:"keep_firing_for,omitempty"`
			Labels      map[string]string `json:"labels,omitempty"`
			Annotations map[string]string `json:"annotations,omitempty"`
		} `json:"rules"`
	} `json:"groups"`
}

// The monitor leads to the port of the nodes' own Service, by which each of them is a
// target, and to no other Service, by which they would be targets twice.
func TestEveryNodeIsATarget(t *testing.T) {
	o := decoded(t, "full")
	if o.Monitor == nil {
		t.Fatal("there is no ServiceMonitor")
	}
	spec := o.Monitor.Spec
	if len(spec.Endpoints) != 1 || spec.Endpoints[0].Path != "/metrics" || !slices.Equal(spec.NamespaceSelector.MatchNames, []string{"seals"}) {
		t.Fatalf("%+v", spec)
	}
	if o.Monitor.Labels["release"] != "prometheus" || spec.Endpoints[0].Interval != "15s" || len(spec.Endpoints[0].MetricRelabelings) != 1 {
		t.Errorf("what the values say isn't there: %+v", o.Monitor)
	}
	var found []string
	for _, s := range o.Services {
		if !within(spec.Selector.MatchLabels, s.Labels) {
			continue
		}
		for _, p := range s.Spec.Ports {
			if p.Name == spec.Endpoints[0].Port {
				found = append(found, s.Name)
			}
		}
		if s.Labels[spec.JobLabel] == "" {
			t.Errorf("%s has no label %s, which names the job", s.Name, spec.JobLabel)
		}
	}
	if !slices.Equal(found, []string{o.Nodes.Spec.ServiceName}) {
		t.Errorf("Services with the port: %q, want the nodes' own alone", found)
	}
}

func TestMetricsCanBeLeftOut(t *testing.T) {
	if text := render(t, "single"); strings.Contains(text, "9090") || strings.Contains(text, "telemetry:") {
		t.Error("metrics.enabled is false, and something is left of it")
	}
}

// copied is a copy of the chart with other files in it.
func copied(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "sealedge")
	if err := os.CopyFS(dir, os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withFiles renders a copy of the chart that has these files, and no other alerts and
// dashboards.
func withFiles(t *testing.T, files map[string]string) *objects {
	t.Helper()
	dir := copied(t, files)
	for _, kind := range []string{"alerts", "dashboards"} {
		all, err := os.ReadDir(filepath.Join(dir, kind))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, f := range all {
			if name := filepath.Join(kind, f.Name()); files[name] == "" {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stdout, stderr, ok := call(t, "template", "seals", dir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile("full"))
	if !ok {
		t.Fatal(stderr)
	}
	o, err := decode(stdout)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// What Prometheus and Grafana put into braces isn't helm's to fill in.
func TestAlertsAndDashboardsAreTheFiles(t *testing.T) {
	const alerts = `groups:
  - name: sealedge-NAME
    rules:
      - alert: NAME
        expr: sealedge_raft_leader_known{pod=~"a|b"} == 0
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: '{{ $labels.pod }} has {{ $value | humanize }} "leaders": none'
`
	one, two := strings.ReplaceAll(alerts, "NAME", "one"), strings.ReplaceAll(alerts, "NAME", "two")
	const board = "{\n  \"title\": \"{{instance}}\",\n\n  \"panels\": [{\"expr\": \"sum by (node) (rate(x[$__rate_interval]))\"}]\n}\n"
	o := withFiles(t, map[string]string{"alerts/one.yaml": one, "alerts/two.yaml": two, "dashboards/overview.json": board, "dashboards/carriers.json": "{}"})
	if o.Rule == nil || len(o.Rule.Spec.Groups) != 2 || o.Rule.Labels["release"] != "prometheus" {
		t.Fatalf("rule: %+v", o.Rule)
	}
	for i, text := range []string{one, two} {
		var want rules
		if err := yaml.UnmarshalStrict([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		have, _ := json.Marshal(o.Rule.Spec.Groups[i])
		if file, _ := json.Marshal(want.Groups[0]); string(have) != string(file) {
			t.Errorf("group %d is %s, and its file says %s", i, have, file)
		}
	}
	if len(o.Dashboards) != 2 {
		t.Fatalf("%d dashboards", len(o.Dashboards))
	}
	have := o.Dashboards[1]
	if have.Name != "seals-sealedge-dashboard-overview" || have.Data["overview.json"] != strings.TrimSuffix(board, "\n") || have.Annotations["grafana_folder"] != "Seals" {
		t.Errorf("dashboard: %+v", have)
	}
}

func TestNoAlertsAndDashboardsAreFine(t *testing.T) {
	if o := withFiles(t, nil); o.Rule != nil || len(o.Dashboards) > 0 {
		t.Errorf("%+v %+v", o.Rule, o.Dashboards)
	}
}

// The files that the chart ships make whole objects: no two groups of a name, which
// Prometheus refuses, and nothing too large for a ConfigMap.
func TestShippedAlertsAndDashboards(t *testing.T) {
	o := decoded(t, "full")
	files := func(pattern string) []string {
		all, err := filepath.Glob(filepath.Join(chartDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if (o.Rule != nil) != (len(files("alerts/*.yaml")) > 0) || len(o.Dashboards) != len(files("dashboards/*.json")) {
		t.Errorf("rule: %v, dashboards: %d, of %q and %q", o.Rule != nil, len(o.Dashboards), files("alerts/*.yaml"), files("dashboards/*.json"))
	}
	seen := map[string]bool{}
	if o.Rule != nil {
		for _, g := range o.Rule.Spec.Groups {
			if seen[g.Name] || len(g.Rules) == 0 {
				t.Errorf("group %q is there twice, or empty", g.Name)
			}
			seen[g.Name] = true
		}
	}
	for _, d := range o.Dashboards {
		for name, text := range d.Data {
			if !json.Valid([]byte(text)) || len(text) > 900<<10 {
				t.Errorf("%s: %d bytes, which are JSON: %v", name, len(text), json.Valid([]byte(text)))
			}
		}
	}
}
