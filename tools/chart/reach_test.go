package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// pods are all that a rendering makes, with their labels.
func (o *objects) pods() map[string]corev1.PodTemplateSpec {
	all := map[string]corev1.PodTemplateSpec{"node": o.Nodes.Spec.Template}
	if o.Backup != nil {
		all["backup"] = o.Backup.Spec.JobTemplate.Spec.Template
	}
	if o.Test != nil {
		all["test"] = corev1.PodTemplateSpec{ObjectMeta: o.Test.ObjectMeta, Spec: o.Test.Spec}
	}
	for name, j := range o.Jobs {
		all[name] = j.Spec.Template
	}
	return all
}

// way is that between a pod and a party, at a port.
type way struct{ port, party string }

// party names whom a rule is about.
func (o *objects) party(t *testing.T, p peer) string {
	t.Helper()
	if p.IPBlock != nil {
		return p.IPBlock.CIDR
	}
	for name, pod := range o.pods() {
		if p.NamespaceSelector == nil && selects(t, p.PodSelector, pod.Labels) && (name == "node" || name == "test") {
			return name
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (o *objects) ways(t *testing.T, parties []peer, ports []networkingv1.NetworkPolicyPort) map[way]bool {
	t.Helper()
	all := map[way]bool{}
	names := []string{"anywhere"}
	if len(parties) > 0 {
		names = nil
	}
	for _, p := range parties {
		names = append(names, o.party(t, p))
	}
	if len(ports) == 0 {
		t.Error("a rule for every port")
	}
	for _, p := range ports {
		for _, name := range names {
			all[way{fmt.Sprintf("%s %s", *p.Protocol, p.Port), name}] = true
		}
	}
	return all
}

// open is what policies let a pod reach. Each pod has one policy, of both directions.
func (o *objects) open(t *testing.T, name string) (egress, ingress map[way]bool) {
	t.Helper()
	egress, ingress = map[way]bool{}, map[way]bool{}
	n := 0
	for _, p := range o.Policies {
		if !selects(t, &p.Spec.PodSelector, o.pods()[name].Labels) {
			continue
		}
		n++
		if !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) {
			t.Errorf("%s: policy types %v", p.Name, p.Spec.PolicyTypes)
		}
		for _, rule := range p.Spec.Egress {
			maps.Copy(egress, o.ways(t, rule.To, rule.Ports))
		}
		for _, rule := range p.Spec.Ingress {
			maps.Copy(ingress, o.ways(t, rule.From, rule.Ports))
		}
	}
	if n != 1 {
		t.Errorf("%d policies are of the pod %s, labelled %v", n, name, o.pods()[name].Labels)
	}
	return egress, ingress
}

// The parties that policies describe by labels.
const (
	names      = `{"podSelector":{"matchLabels":{"k8s-app":"kube-dns"}},"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}}}`
	monitoring = `{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}`
)

// outside is where the values say that others are.
type outside struct{ sealServer, collector, apiServer string }

// needed is whom a pod's program calls, by what it is told.
func (o *objects) needed(t *testing.T, name string, there outside) map[way]bool {
	t.Helper()
	pod := o.pods()[name]
	c := pod.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	need := map[way]bool{}
	call := func(host, port, party string) {
		need[way{"TCP " + port, party}] = true
		if net.ParseIP(host) == nil {
			need[way{"UDP 53", names}], need[way{"TCP 53", names}] = true, true
		}
	}
	callAll := func(party string, all ...string) {
		for _, at := range all {
			host, port, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			call(host, port, party)
		}
	}
	gtp := func(party string) { need[way{"UDP 2123", party}], need[way{"UDP 2152", party}] = true, true }
	switch program := append(slices.Clone(c.Command), c.Args...); program[0] {
	case "/usr/bin/sealctl":
		callAll("node", strings.Split(env["SEALCTL_ADDRESSES"], ",")...)
	case "/usr/bin/sealsim":
		if pod.Annotations["k8s.v1.cni.cncf.io/networks"] == "" {
			gtp("node")
			gtp(env["SEALSIM_CHECK_GATEWAY"] + "/32")
		}
	case "/usr/bin/sealedge": // a repair, of files
	case "run":
		cfg := o.daemon(t, "10.244.1.7")
		for _, p := range cfg.Cluster.Peers {
			callAll("node", string(p.Address))
		}
		for _, p := range cfg.Gateway.GTP.AllowedPeers {
			gtp(p.String())
		}
		if o.Test != nil && o.Test.Annotations["k8s.v1.cni.cncf.io/networks"] == "" {
			gtp("test")
		}
		url := cfg.Upstream.URL
		call(url.Hostname(), cmp.Or(url.Port(), "443"), cmp.Or(there.sealServer, "anywhere"))
		if at := cfg.Telemetry.Traces.Endpoint; at.Host != "" {
			call(at.Hostname(), cmp.Or(at.Port(), map[string]string{"http": "80", "https": "443"}[at.Scheme]), cmp.Or(there.collector, "anywhere"))
		}
		if there.apiServer != "" {
			need[way{"TCP 6443", there.apiServer}] = true
		}
	default:
		t.Fatalf("%s runs %q", name, program)
	}
	return need
}

// reach judges the policies of one rendering.
func (o *objects) reach(t *testing.T, there outside) {
	t.Helper()
	_, toNodes := o.open(t, "node")
	for name, pod := range o.pods() {
		egress, from := o.open(t, name)
		need := o.needed(t, name, there)
		for w := range need {
			if !egress[w] {
				t.Errorf("%s needs %s to %s, and may not", name, w.port, w.party)
			}
		}
		for w := range egress {
			if !need[w] {
				t.Errorf("%s may send to %s of %s, and needs not", name, w.port, w.party)
			}
		}
		if name == "node" {
			continue
		}
		// What it calls at the nodes lets it in; nobody but the gateway calls it.
		for w := range need {
			if w.party == "node" && !slices.ContainsFunc(o.Policy.Spec.Ingress, func(rule ingress) bool {
				return slices.ContainsFunc(rule.From, func(p peer) bool { return p.NamespaceSelector == nil && selects(t, p.PodSelector, pod.Labels) }) && o.ways(t, nil, rule.Ports)[way{w.port, "anywhere"}]
			}) {
				t.Errorf("%s may call %s of the nodes, and they don't let it in: %v", name, w.port, toNodes)
			}
		}
		for w := range from {
			if !strings.HasPrefix(w.port, "UDP 21") || !need[w] {
				t.Errorf("%s lets in %s from %s", name, w.port, w.party)
			}
		}
	}
}

// Where a namespace denies everything by default, each pod of the chart gets what its
// program needs by what it is told, and nothing else.
func TestEveryPodHasAPolicyOfItsNeeds(t *testing.T) {
	there := map[string]outside{
		"full": {sealServer: "10.20.0.0/16", collector: monitoring}, "service": {apiServer: "10.0.0.10/32"},
	}
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		if name == "single" { // networkPolicy.enabled is false
			if len(o.Policies) > 0 {
				t.Errorf("%d policies", len(o.Policies))
			}
			return
		}
		o.reach(t, there[name])
	})
	for what, c := range map[string]struct {
		there found
		set   string
	}{
		"scaling down": {release(5, 5), "replicas=3,operator.existingSecret=op"},
		"restoring":    {release(3, 3), restoring},
		"recovering":   {release(3, 3), "recover.enabled=true"},
	} {
		o, refused := upgrade(t, c.there, "--set", c.set)
		if refused != "" {
			t.Fatal(refused)
		}
		if len(o.Jobs) != 1 {
			t.Errorf("%s: %d Jobs", what, len(o.Jobs))
		}
		o.reach(t, outside{})
	}
	// "helm test" is told another address of the gateway's.
	o := over(t, "test: {enabled: true, imsi: '460019999999999', apn: seal.corp, options: {gateway: 192.0.2.11}}")
	o.reach(t, outside{})
}

// The policy of the Job that scales down is there before the upgrade that makes it.
func TestScalingDownHasItsPolicyBefore(t *testing.T) {
	o, refused := upgrade(t, release(5, 5), "--set", "replicas=3,operator.existingSecret=op")
	if refused != "" {
		t.Fatal(refused)
	}
	labels := o.Jobs["seals-sealedge-scale-down"].Spec.Template.Labels
	if !slices.ContainsFunc(decoded(t, "minimal").Policies, func(p *networkingv1.NetworkPolicy) bool { return selects(t, &p.Spec.PodSelector, labels) }) {
		t.Error("a release that doesn't scale down has none")
	}
}
