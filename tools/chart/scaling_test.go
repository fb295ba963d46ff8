package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// found stands in for what a Kubernetes cluster answers the chart's look-ups, by
// kind and name.
type found map[string]any

// release is a release of so many nodes that run, and know of so many.
func release(nodes, listed int) found {
	var peers []string
	for i := range listed {
		peers = append(peers, fmt.Sprintf("seals-sealedge-%d=host:7000", i))
	}
	f := found{
		"ServiceAccount/default":             map[string]any{"kind": "ServiceAccount"},
		"Secret/op":                          map[string]any{"kind": "Secret"},
		"Secret/seals-sealedge-operator-tls": map[string]any{"kind": "Secret"},
		"Secret/identity":                    map[string]any{"kind": "Secret"},
		"PersistentVolumeClaim/backups":      map[string]any{"kind": "PersistentVolumeClaim"},
		"StatefulSet/seals-sealedge": map[string]any{
			"spec":   map[string]any{"replicas": nodes},
			"status": map[string]any{"currentRevision": "a", "updateRevision": "a"},
		},
		"ConfigMap/seals-sealedge": map[string]any{
			"data": map[string]any{"sealedge.yaml": "cluster:\n  peers: [" + strings.Join(peers, ", ") + "]\n"},
		},
	}
	for i := range nodes {
		f.claim(i)
	}
	return f
}

func (f found) claim(node int) found {
	name := fmt.Sprintf("data-seals-sealedge-%d", node)
	f["PersistentVolumeClaim/"+name] = map[string]any{"metadata": map[string]any{"name": name}}
	return f
}

// upgrade renders an upgrade of what there is with the minimal values and more.
func upgrade(t *testing.T, there found, args ...string) (o *objects, refused string) {
	t.Helper()
	return renderOver(t, there, append([]string{"--is-upgrade"}, args...)...)
}

// answering is the chart's template that asks a cluster, with the answers in it.
func answering(t *testing.T, there found) string {
	t.Helper()
	raw, err := json.Marshal(there)
	if err != nil {
		t.Fatal(err)
	}
	return `{{- define "sealedge.found" -}}{{- get (fromJson ` + "`" + string(raw) + "`" + `) (printf "%s/%s" .kind .name) | default dict | toJson -}}{{- end -}}`
}

func renderOver(t *testing.T, there found, args ...string) (o *objects, refused string) {
	t.Helper()
	dir := copied(t, map[string]string{"templates/_lookup.tpl": answering(t, there)})
	args = append([]string{"template", "seals", dir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile("minimal")}, args...)
	stdout, stderr, ok := call(t, args...)
	if !ok {
		return nil, stderr
	}
	o, err := decode(stdout)
	if err != nil {
		t.Fatal(err)
	}
	return o, ""
}

// The nodes that go are removed by a Job that is done before anything else is
// changed, and calls those that stay, too.
func TestScalingDownRemovesTheNodesThatGo(t *testing.T) {
	for _, c := range []struct {
		was, is int
		going   []string
	}{
		{5, 3, []string{"seals-sealedge-3", "seals-sealedge-4"}},
		{3, 1, []string{"seals-sealedge-1", "seals-sealedge-2"}},
	} {
		o, refused := upgrade(t, release(c.was, c.was), "--set", fmt.Sprintf("operator.existingSecret=op,replicas=%d", c.is))
		if refused != "" {
			t.Fatal(refused)
		}
		job := o.Jobs["seals-sealedge-scale-down"]
		if job == nil {
			t.Fatalf("%d to %d: no Job", c.was, c.is)
		}
		if job.Annotations["helm.sh/hook"] != "pre-upgrade" {
			t.Errorf("it is done %q", job.Annotations["helm.sh/hook"])
		}
		pod := job.Spec.Template
		args := pod.Spec.Containers[0].Args
		if i := slices.Index(args, "retire"); i < 0 || args[i-1] != "cluster" || !slices.Equal(args[i+3:], c.going) {
			t.Errorf("%d to %d: sealctl %q, want %q to go", c.was, c.is, args, c.going)
		}
		addresses := ""
		for _, e := range pod.Spec.Containers[0].Env {
			if e.Name == "SEALCTL_ADDRESSES" {
				addresses = e.Value
			}
		}
		if strings.Count(addresses, ":7443") != c.was {
			t.Errorf("it asks %s", addresses)
		}
		if pod.Spec.Volumes[0].Secret.SecretName != "op" {
			t.Errorf("it calls with %s", pod.Spec.Volumes[0].Secret.SecretName)
		}
		// The release that runs already admits it.
		admitted := slices.ContainsFunc(decoded(t, "minimal").Policy.Spec.Ingress, func(rule ingress) bool {
			return rule.Ports[0].Port.IntValue() == 7443 && slices.ContainsFunc(rule.From, func(p peer) bool { return selects(t, p.PodSelector, pod.Labels) })
		})
		if !admitted {
			t.Errorf("no NetworkPolicy admits pods labelled %v to the admin API", pod.Labels)
		}
		if all := o.offences(); len(all) > 0 {
			t.Errorf("%q", all)
		}
	}
}

func TestNothingIsRemovedOtherwise(t *testing.T) {
	for name, c := range map[string]struct {
		there found
		set   string
	}{
		"the same":            {release(3, 3), "replicas=3"},
		"one step of scaling": {release(3, 3), "replicas=3,peers=5"},
		"more":                {release(3, 5), "replicas=5"},
		"all are stopped":     {release(0, 3).claim(0), "replicas=1"},
		"there is nothing":    {found{}, "replicas=1"},
	} {
		o, refused := upgrade(t, c.there, "--set", "operator.existingSecret=op,"+c.set)
		if refused != "" || len(o.Jobs) > 0 {
			t.Errorf("%s: %d Jobs, %s", name, len(o.Jobs), refused)
		}
	}
	// An installation asks nobody, whatever another release left.
	if o, refused := renderOver(t, release(5, 5), "--set", "replicas=1"); refused != "" || len(o.Jobs) > 0 {
		t.Errorf("an installation: %s", refused)
	}
}

func TestScalingIsRefused(t *testing.T) {
	restarting := release(3, 5)
	restarting["StatefulSet/seals-sealedge"].(map[string]any)["status"] = map[string]any{"currentRevision": "a", "updateRevision": "b"}
	for name, c := range map[string]struct {
		there found
		set   string
		says  []string
	}{
		"down, without an operator": {release(5, 5), "replicas=3", []string{
			"operator.existingSecret is missing", "sealctl cluster retire seals-sealedge-3 seals-sealedge-4 --reason",
			"kubectl -n seals scale statefulset/seals-sealedge --replicas 3",
		}},
		"down, with an operator who isn't there": {release(5, 5), "replicas=3,operator.existingSecret=nobody", []string{"the Secret nobody isn't there"}},
		"up at once":                             {release(3, 3), "replicas=5", []string{"know of 3", "upgrade with replicas=3 and peers=5"}},
		"up while nodes restart":                 {restarting, "replicas=5", []string{"rollout status statefulset/seals-sealedge"}},
		"up, onto a removed node's data":         {release(3, 5).claim(4), "replicas=5", []string{"kubectl -n seals delete pvc data-seals-sealedge-4", "If it is a member"}},
	} {
		_, refused := upgrade(t, c.there, "--set", c.set)
		for _, says := range c.says {
			if !strings.Contains(refused, says) {
				t.Errorf("%s: %q isn't in %q", name, says, refused)
			}
		}
	}
}

// A new cluster begins when all that it lists are there, so that no more are listed. Where
// no cluster is asked nobody knows whether it is new: Argo CD takes this step of scaling, too.
func TestANewClusterListsWhoIsThere(t *testing.T) {
	larger := []string{"--set", "replicas=3,peers=5"}
	if _, refused := renderOver(t, found{"ServiceAccount/default": map[string]any{"kind": "ServiceAccount"}}, larger...); !strings.Contains(refused, "leave peers 0") {
		t.Errorf("an installation: %s", refused)
	}
	if _, refused := renderOver(t, found{}, larger...); refused != "" {
		t.Errorf("without a cluster: %s", refused)
	}
}

// cert-manager issues the operator, with the names that the Job mounts.
func TestTheOperatorIsIssued(t *testing.T) {
	set := "operator.certManager=true,replicas=3,pki.existingSecret=,pki.certManager.enabled=true,pki.certManager.issuerRef.name=ca,keys.existingSecret=k"
	o, refused := upgrade(t, release(5, 5), "--set", set)
	if refused != "" {
		t.Fatal(refused)
	}
	secret := o.Jobs["seals-sealedge-scale-down"].Spec.Template.Spec.Volumes[0].Secret
	if secret.Items[0].Key != "ca.crt" {
		t.Errorf("it mounts %v", secret.Items)
	}
	for _, c := range o.Certificates {
		if c.Spec.SecretName == secret.SecretName {
			if !slices.Equal(c.Spec.Subject.OrganizationalUnits, []string{"operator"}) || !slices.Contains(c.Spec.Usages, "client auth") {
				t.Errorf("%+v", c.Spec)
			}
			return
		}
	}
	t.Errorf("nobody makes %s", secret.SecretName)
}
