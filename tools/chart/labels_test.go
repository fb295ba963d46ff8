package main

import (
	"strings"
	"testing"
)

// What the chart finds its own objects by isn't the user's to say, and no label or
// annotation is there twice, which Kubernetes refuses.
func TestLabelsDontCollide(t *testing.T) {
	const values = `
commonLabels: {app.kubernetes.io/name: x, app.kubernetes.io/instance: x, app.kubernetes.io/component: x, helm.sh/chart: x, app.kubernetes.io/version: x, team: seals, tier: x}
podLabels: {app.kubernetes.io/component: other, team: edge}
podAnnotations: {checksum/config: "1", kubectl.kubernetes.io/default-container: x, note: it's}
backup: {enabled: true, existingSecret: b, recipients: [age1abc]}
test:
  enabled: true
  imsi: "460019999999999"
  apn: seal.corp
  network: {name: carriers, address: 198.51.100.77/24, config: {name: carriers, description: "a carrier's"}}
metrics:
  serviceMonitor: {enabled: true, labels: {app.kubernetes.io/instance: prometheus, team: monitoring}}
  prometheusRule: {enabled: true, labels: {app.kubernetes.io/instance: prometheus}}
  dashboards: {enabled: true, labels: {team: monitoring, grafana_dashboard: "1"}}
networkPolicy: {metricsFrom: [{podSelector: {}}]}
`
	o := over(t, values)
	for name, pod := range o.pods() {
		l := pod.Labels
		want := map[string]string{"node": "gateway", "backup": "backup", "test": "test"}[name]
		if l["app.kubernetes.io/name"] != "sealedge" || l["app.kubernetes.io/instance"] != "seals" || l["app.kubernetes.io/component"] != want || l["tier"] != "x" {
			t.Errorf("%s: %v", name, l)
		}
		if team := l["team"]; team != map[bool]string{true: "edge", false: "seals"}[name == "node"] {
			t.Errorf("%s is of the team %s", name, team)
		}
	}
	if !within(o.Nodes.Spec.Selector.MatchLabels, o.Nodes.Spec.Template.Labels) {
		t.Errorf("the nodes are selected by %v", o.Nodes.Spec.Selector.MatchLabels)
	}
	if a := o.Nodes.Spec.Template.Annotations; len(a["checksum/config"]) != 64 || a["kubectl.kubernetes.io/default-container"] != "sealedge" || a["note"] != "it's" {
		t.Errorf("annotations %v", a)
	}
	// These are found by others, and by their labels.
	if o.Monitor.Labels["app.kubernetes.io/instance"] != "prometheus" || o.Monitor.Labels["team"] != "monitoring" || o.Rule.Labels["app.kubernetes.io/instance"] != "prometheus" {
		t.Errorf("monitor %v, rule %v", o.Monitor.Labels, o.Rule.Labels)
	}
	for _, d := range o.Dashboards {
		if d.Labels["team"] != "monitoring" {
			t.Errorf("dashboard %v", d.Labels)
		}
	}
	if text := o.Networks[0].Spec.Config; !strings.Contains(text, `"description":"a carrier's"`) {
		t.Errorf("network %s", text)
	}
}

// What a StatefulSet can't change is the same in every version of the chart.
func TestWhatCantBeChangedHasNoVersion(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		fixed := []map[string]string{o.Nodes.Spec.Selector.MatchLabels, o.Nodes.Spec.VolumeClaimTemplates[0].Labels}
		for _, s := range o.Services {
			fixed = append(fixed, s.Spec.Selector)
		}
		for _, labels := range fixed {
			if len(labels) != 3 || labels["app.kubernetes.io/component"] != "gateway" {
				t.Errorf("%v", labels)
			}
		}
		// A new version of the chart alone replaces no pod.
		for key := range o.Nodes.Spec.Template.Labels {
			if strings.HasPrefix(key, "helm.sh/") || strings.HasSuffix(key, "/version") {
				t.Errorf("pods are labelled with %s", key)
			}
		}
	})
}

// Services are called by names that begin with a letter (RFC 1035).
func TestNamesAreThoseOfServices(t *testing.T) {
	for _, set := range []string{"fullnameOverride=1edge", "nameOverride=Edge", "fullnameOverride=edge-"} {
		if _, refused := renderOver(t, found{}, "--set", set); !strings.Contains(refused, "verride") {
			t.Errorf("%s: %q", set, refused)
		}
	}
}
