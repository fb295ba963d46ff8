package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// The Service is of the holder alone, and the program finds its slice by the name that
// the chart gives it.
func TestLoadBalancerLeadsToTheHolder(t *testing.T) {
	o := decoded(t, "service")
	s := o.Outer
	if s == nil || o.Slice == nil || o.Role == nil || o.Binding == nil || o.Account == nil {
		t.Fatalf("something is missing: %+v", o)
	}
	if len(s.Spec.Selector) > 0 {
		t.Errorf("the Service selects %v, and so every node", s.Spec.Selector)
	}
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || s.Spec.LoadBalancerIP != "192.0.2.10" ||
		*s.Spec.LoadBalancerClass != "metallb.io/speaker" || s.Annotations["metallb.io/address-pool"] != "carriers" || len(s.Spec.LoadBalancerSourceRanges) != 2 {
		t.Errorf("%+v", s)
	}
	if o.Slice.Labels[discoveryv1.LabelServiceName] != s.Name || o.Slice.Labels[discoveryv1.LabelManagedBy] != "sealedge" || o.Slice.AddressType != discoveryv1.AddressTypeIPv4 {
		t.Errorf("the slice: %+v", o.Slice)
	}
	var ports []string
	for _, p := range s.Spec.Ports {
		ports = append(ports, fmt.Sprintf("%s %s %d to %s", p.Name, p.Protocol, p.Port, p.TargetPort.String()))
	}
	if want := []string{"gtp-c UDP 2123 to 2123", "gtp-u UDP 2152 to 2152", "wireguard UDP 51820 to 51820"}; !slices.Equal(ports, want) {
		t.Errorf("ports %q", ports)
	}
	var file struct {
		Gateway struct {
			Service struct{ Endpoint_slice string }
		}
	}
	if err := yaml.Unmarshal([]byte(o.Config.Data["sealedge.yaml"]), &file); err != nil || file.Gateway.Service.Endpoint_slice != o.Slice.Name {
		t.Errorf("%v: the program looks for %q, the slice is %q", err, file.Gateway.Service.Endpoint_slice, o.Slice.Name)
	}
}

// The token permits what the holder does, with this slice, and nothing else.
func TestTokenIsForTheSliceAlone(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		has := *o.Nodes.Spec.Template.Spec.AutomountServiceAccountToken
		if name != "service" {
			if has || o.Role != nil || o.Binding != nil || o.Outer != nil || o.Slice != nil {
				t.Error("there is something of a load balancer, or a token")
			}
			return
		}
		if !has || *o.Account.AutomountServiceAccountToken {
			t.Error("the nodes have no token, or other pods do, too")
		}
		want := []rbacv1.PolicyRule{{Verbs: []string{"get", "update"}, APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, ResourceNames: []string{o.Slice.Name}}}
		if len(o.Role.Rules) != 1 || o.Role.Rules[0].String() != want[0].String() {
			t.Errorf("the Role permits %+v", o.Role.Rules)
		}
		if b := o.Binding; b.RoleRef != (rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: o.Role.Name}) || len(b.Subjects) != 1 ||
			b.Subjects[0] != (rbacv1.Subject{Kind: "ServiceAccount", Name: o.Nodes.Spec.Template.Spec.ServiceAccountName, Namespace: "seals"}) {
			t.Errorf("it is bound to %+v", b)
		}
		open := false
		for _, rule := range o.Policy.Spec.Egress {
			open = open || len(rule.To) == 1 && rule.To[0].IPBlock != nil && rule.To[0].IPBlock.CIDR == "10.0.0.10/32" && len(rule.Ports) == 1 && rule.Ports[0].Port.IntValue() == 6443
		}
		if !open {
			t.Errorf("the policy keeps the nodes from the API server: %+v", o.Policy.Spec.Egress)
		}
	})
}

func TestLoadBalancersAddress(t *testing.T) {
	for set, want := range map[string]string{"": "192.0.2.10", "10.7.7.7": "10.7.7.7", "-": ""} {
		stdout, stderr, ok := call(t, "template", "seals", chartDir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile("service"), "--set", "loadBalancer.loadBalancerIP="+set)
		if !ok {
			t.Fatal(stderr)
		}
		o, err := decode(stdout)
		if err != nil || o.Outer.Spec.LoadBalancerIP != want {
			t.Errorf("%q: %v, %q", set, err, o.Outer.Spec.LoadBalancerIP)
		}
	}
}

// What the holder wrote outlives upgrades and rollbacks: helm merges the manifest
// before, the one that is new, and what there is, so that fields of which neither
// manifest says a word stay as they are. An empty list would be one.
func TestUpgradeKeepsTheHolder(t *testing.T) {
	for doc := range strings.SplitSeq(render(t, "service"), "\n---\n") {
		if !strings.Contains(doc, "kind: EndpointSlice") {
			continue
		}
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if keys := slices.Sorted(maps.Keys(o)); !slices.Equal(keys, []string{"addressType", "apiVersion", "kind", "metadata"}) {
			t.Errorf("the chart says %q of the slice", keys)
		}
		if keys := slices.Sorted(maps.Keys(o["metadata"].(map[string]any))); !slices.Equal(keys, []string{"labels", "name", "namespace"}) {
			t.Errorf("the chart says %q of the slice's metadata", keys)
		}
		return
	}
	t.Error("there is no slice")
}
