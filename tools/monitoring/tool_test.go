package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

// promtool runs Prometheus's own judge.
func promtool(t *testing.T, dir string, args ...string) (out string, err error) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("promtool is missing: install the package prometheus")
		}
		t.Skip("promtool is missing: install the package prometheus")
	}
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Dir = dir
	raw, err := cmd.CombinedOutput()
	return string(raw), err
}

func rules(t *testing.T) []group {
	t.Helper()
	groups, err := readRules(root)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

// alerts are all rules, by name.
func alerts(t *testing.T) map[string]alert {
	t.Helper()
	all := map[string]alert{}
	for _, g := range rules(t) {
		for _, a := range g.Rules {
			if _, twice := all[a.Alert]; twice {
				t.Errorf("there are two alerts %s", a.Alert)
			}
			all[a.Alert] = a
		}
	}
	return all
}

func TestRulesPassTheLinter(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, alertFiles))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if out, err := promtool(t, ".", "check", "rules", "--lint=all", "--lint-fatal", f); err != nil {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
	}
}

// scenarios is a file of promtool's tests, as far as it matters here.
type scenarios struct {
	Tests []struct {
		Name        string `json:"name"`
		InputSeries []struct {
			Series string `json:"series"`
		} `json:"input_series"`
		AlertRuleTest []struct {
			AlertName string `json:"alertname"`
			ExpAlerts []struct {
				ExpLabels map[string]string `json:"exp_labels"`
			} `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

func readScenarios(t *testing.T, file string) (s scenarios) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s
}

// Each alert fires for the cluster with the fault, not before its time, and not for the
// neighbour that comes near to it.
func TestAlertsFire(t *testing.T) {
	dir := t.TempDir()
	groups := rules(t)
	for i := range groups {
		for j := range groups[i].Rules {
			groups[i].Rules[j].Annotations = nil // promtool would have each text in each test; TestWhatAlertsSay has them
		}
	}
	bare, err := yaml.Marshal(map[string]any{"groups": groups})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), bare, 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fires, waits := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(f)
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := promtool(t, dir, "test", "rules", name); err != nil {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
		for _, test := range readScenarios(t, f).Tests {
			for _, a := range test.AlertRuleTest {
				if len(a.ExpAlerts) == 0 {
					waits[a.AlertName] = true
					continue
				}
				fires[a.AlertName] = true
				neighbours := 0
				for _, s := range test.InputSeries {
					if strings.Contains(s.Series, `namespace="good"`) {
						neighbours++
					}
				}
				for _, x := range a.ExpAlerts {
					if x.ExpLabels["namespace"] == "good" {
						t.Errorf("%s: the neighbour is the one with the fault", test.Name)
					}
				}
				if neighbours == 0 {
					t.Errorf("%s has no neighbour without the fault", test.Name)
				}
			}
		}
	}
	for name := range alerts(t) {
		if !fires[name] || !waits[name] {
			t.Errorf("%s: a test in which it fires: %t; one before its time, or after it: %t; want both", name, fires[name], waits[name])
		}
		delete(fires, name)
	}
	for name := range fires {
		t.Errorf("there is a test for %s, and no such alert", name)
	}
}
