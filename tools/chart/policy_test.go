package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// offences are what a security review would say of the pods.
func (o *objects) offences() (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	pods := map[string]*corev1.PodSpec{"gateway": &o.Nodes.Spec.Template.Spec}
	if o.Backup != nil {
		pods["backup"] = &o.Backup.Spec.JobTemplate.Spec.Template.Spec
	}
	if o.Test != nil {
		pods["test"] = &o.Test.Spec
	}
	for name, j := range o.Jobs {
		pods[name] = &j.Spec.Template.Spec
	}
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		pod := pods[name]
		if pod.HostNetwork || pod.HostPID || pod.HostIPC {
			say("%s: it is in the host's namespaces", name)
		}
		if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken && (o.Role == nil || pod != &o.Nodes.Spec.Template.Spec) {
			say("%s: it has a token of the API server", name)
		}
		sc := pod.SecurityContext
		if sc == nil || sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			say("%s: no seccomp profile", name)
		}
		for _, v := range pod.Volumes {
			if v.HostPath != nil && v.HostPath.Path != "/dev/net/tun" {
				say("%s: it sees %s of the host", name, v.HostPath.Path)
			}
			mode := int32(0)
			switch {
			case v.Secret != nil && v.Secret.DefaultMode != nil:
				mode = *v.Secret.DefaultMode
			case v.Projected != nil && v.Projected.DefaultMode != nil:
				mode = *v.Projected.DefaultMode
			case v.Secret != nil || v.Projected != nil:
				mode = 0o644
			}
			if mode&0o007 != 0 {
				say("%s: everybody can read the secrets of volume %s (%04o)", name, v.Name, mode)
			}
		}
		for _, c := range pod.Containers {
			all = append(all, containerOffences(name, pod, &c)...)
		}
	}
	return all
}

func containerOffences(name string, pod *corev1.PodSpec, c *corev1.Container) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	sc := c.SecurityContext
	if sc == nil || sc.Capabilities == nil || pod.SecurityContext == nil {
		return []string{name + ": no security context"}
	}
	if sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
		say("%s: its root can be written", name)
	}
	if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation || sc.Privileged != nil && *sc.Privileged {
		say("%s: it can get privileges", name)
	}
	if !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		say("%s: it keeps capabilities", name)
	}
	for _, a := range sc.Capabilities.Add {
		if a != "NET_ADMIN" && a != "NET_RAW" {
			say("%s: it has the capability %s", name, a)
		}
	}
	if user := pod.SecurityContext; user.RunAsNonRoot == nil || !*user.RunAsNonRoot || user.RunAsUser == nil || *user.RunAsUser == 0 || sc.RunAsUser != nil || sc.RunAsNonRoot != nil {
		say("%s: it may run as root", name)
	}
	for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
		if list.Memory().IsZero() {
			say("%s: its memory isn't bounded", name)
		}
	}
	if c.Resources.Requests.Cpu().IsZero() {
		say("%s: it requests no CPU", name)
	}
	if c.Image == "" || strings.HasSuffix(c.Image, ":latest") || !strings.Contains(c.Image[strings.LastIndex(c.Image, "/")+1:], ":") {
		say("%s: the image %q may be any", name, c.Image)
	}
	return all
}

func TestPodsAreRestricted(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		for _, what := range decoded(t, name).offences() {
			t.Error(what)
		}
	})
}

// The capabilities are those that the configuration needs.
func TestCapabilitiesFollowTheDrivers(t *testing.T) {
	want := map[string][]corev1.Capability{
		"minimal": {"NET_ADMIN", "NET_RAW"}, "full": {"NET_ADMIN", "NET_RAW"}, "scaling": {"NET_ADMIN", "NET_RAW"},
		"external": {"NET_ADMIN"}, // for the TUN device
		"single":   nil, "service": nil,
	}
	each(t, func(t *testing.T, name, _ string) {
		if have := decoded(t, name).Nodes.Spec.Template.Spec.Containers[0].SecurityContext.Capabilities.Add; !slices.Equal(have, want[name]) {
			t.Errorf("capabilities %v, want %v", have, want[name])
		}
	})
}

// Who pays for a pod, and whose it is, is said of every one.
func TestEveryPodHasTheCommonLabels(t *testing.T) {
	o, refused := upgrade(t, release(5, 5), "-f", valuesFile("full"), "--set", "replicas=3,operator.existingSecret=op,pki.existingSecret=")
	if refused != "" {
		t.Fatal(refused)
	}
	pods := map[string]map[string]string{
		"node": o.Nodes.Spec.Template.Labels, "backup": o.Backup.Spec.JobTemplate.Spec.Template.Labels, "test": o.Test.Labels,
		"scaling": o.Jobs["seals-sealedge-scale-down"].Spec.Template.Labels,
	}
	components := map[string]bool{}
	for name, labels := range pods {
		if labels["example.com/team"] != "seals" || labels["app.kubernetes.io/instance"] != "seals" {
			t.Errorf("%s: %v", name, labels)
		}
		components[labels["app.kubernetes.io/component"]] = true
	}
	if len(components) != len(pods) || components[""] {
		t.Errorf("components %v", components)
	}
}

// What the review is for, it notices.
func TestOffencesAreNoticed(t *testing.T) {
	truth, lie, mode := true, false, int32(0o644)
	for what, spoil := range map[string]func(p *corev1.PodSpec){
		"host network": func(p *corev1.PodSpec) { p.HostNetwork = true },
		"token":        func(p *corev1.PodSpec) { p.AutomountServiceAccountToken = &truth },
		"seccomp":      func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile = nil },
		"root":         func(p *corev1.PodSpec) { p.SecurityContext.RunAsNonRoot = &lie },
		"capability": func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
		},
		"kept capabilities": func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Capabilities.Drop = nil },
		"root file system":  func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.ReadOnlyRootFilesystem = nil },
		"escalation":        func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
		"no limit":          func(p *corev1.PodSpec) { p.Containers[0].Resources.Limits = nil },
		"no request":        func(p *corev1.PodSpec) { delete(p.Containers[0].Resources.Requests, "cpu") },
		"latest":            func(p *corev1.PodSpec) { p.Containers[0].Image = "registry:5000/sealedge:latest" },
		"no tag":            func(p *corev1.PodSpec) { p.Containers[0].Image = "registry:5000/sealedge" },
		"host path": func(p *corev1.PodSpec) {
			p.Volumes[0].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		},
		"everybody's secrets": func(p *corev1.PodSpec) { p.Volumes[1].Projected.DefaultMode = &mode },
	} {
		o := decoded(t, "single")
		spoil(&o.Nodes.Spec.Template.Spec)
		if all := o.offences(); len(all) != 1 {
			t.Errorf("%s: %q", what, all)
		}
	}
}

func within(part, whole map[string]string) bool {
	for k, v := range part {
		if whole[k] != v {
			return false
		}
	}
	return len(part) > 0
}

func TestNodesAreKeptApart(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		labels, affinity := o.Nodes.Spec.Template.Labels, o.Nodes.Spec.Template.Spec.Affinity.PodAntiAffinity
		if name == "single" {
			if o.Budget != nil || len(affinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
				t.Error("a trial is bound to several machines")
			}
			return
		}
		if o.Budget.Spec.MaxUnavailable.IntValue() != 1 || !within(o.Budget.Spec.Selector.MatchLabels, labels) {
			t.Errorf("the budget is %+v, for pods labelled %v", o.Budget.Spec, labels)
		}
		apart := affinity.RequiredDuringSchedulingIgnoredDuringExecution
		if len(apart) != 1 || apart[0].TopologyKey != corev1.LabelHostname || !within(apart[0].LabelSelector.MatchLabels, labels) {
			t.Errorf("the anti-affinity is %+v", apart)
		}
		spread := o.Nodes.Spec.Template.Spec.TopologySpreadConstraints
		if len(spread) != 1 || spread[0].TopologyKey != corev1.LabelTopologyZone || spread[0].MaxSkew != 1 || !within(spread[0].LabelSelector.MatchLabels, labels) {
			t.Errorf("zones: %+v", spread)
		}
	})
}

func TestProbes(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		c := decoded(t, name).Nodes.Spec.Template.Spec.Containers[0]
		for what, p := range map[string]struct {
			probe *corev1.Probe
			path  string
		}{"startup": {c.StartupProbe, "/livez"}, "liveness": {c.LivenessProbe, "/livez"}, "readiness": {c.ReadinessProbe, "/readyz"}} {
			if p.probe == nil || p.probe.HTTPGet == nil || p.probe.HTTPGet.Path != p.path || p.probe.HTTPGet.Scheme != corev1.URISchemeHTTPS ||
				p.probe.HTTPGet.Port != intstr.FromString("admin") || !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == "admin" }) {
				t.Errorf("%s probe: %+v", what, p.probe)
			}
		}
		// The daemon takes up to a second to know whether it is ready.
		if c.ReadinessProbe.TimeoutSeconds < 2 {
			t.Errorf("the readiness probe waits %d s", c.ReadinessProbe.TimeoutSeconds)
		}
	})
}

func TestServicesSelectTheNodes(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		headless := 0
		for _, s := range o.Services {
			if !within(s.Spec.Selector, o.Nodes.Spec.Template.Labels) {
				t.Errorf("%s selects %v", s.Name, s.Spec.Selector)
			}
			if o.Backup != nil && within(s.Spec.Selector, o.Backup.Spec.JobTemplate.Spec.Template.Labels) {
				t.Errorf("%s selects the backup", s.Name)
			}
			for _, p := range s.Spec.Ports {
				if !slices.ContainsFunc(o.Nodes.Spec.Template.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool { return c.Name == p.TargetPort.StrVal }) {
					t.Errorf("%s leads to port %s, which there isn't", s.Name, p.TargetPort.StrVal)
				}
			}
			if s.Name == o.Nodes.Spec.ServiceName {
				headless++
				if s.Spec.ClusterIP != corev1.ClusterIPNone || !s.Spec.PublishNotReadyAddresses {
					t.Errorf("the nodes' service: %+v", s.Spec)
				}
			}
		}
		if headless != 1 || o.Nodes.Spec.PodManagementPolicy != "Parallel" {
			t.Errorf("%d services for the nodes' names, pods are managed %s", headless, o.Nodes.Spec.PodManagementPolicy)
		}
	})
}

type (
	ingress = networkingv1.NetworkPolicyIngressRule
	peer    = networkingv1.NetworkPolicyPeer
)

// selects tells whether a selector is of pods with these labels.
func selects(t *testing.T, s *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	if s == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(of))
}

// Ingress is open for every port that somebody uses, to those who use it, and for no
// other.
func TestNetworkPolicyFitsThePorts(t *testing.T) {
	closed := map[string][]string{ // nobody was said to use them
		"minimal": {"metrics", "intranet"}, "scaling": {"metrics", "intranet"}, "full": nil, "external": {"metrics", "intranet"}, "service": {"metrics", "intranet"},
	}
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		if name == "single" {
			if o.Policy != nil {
				t.Error("there is a policy")
			}
			return
		}
		spec := o.Policy.Spec
		if !within(spec.PodSelector.MatchLabels, o.Nodes.Spec.Template.Labels) || !slices.Equal(spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) {
			t.Fatalf("policy %+v", spec)
		}
		open := map[string]bool{}
		for _, rule := range spec.Ingress {
			if len(rule.From) == 0 || len(rule.Ports) == 0 {
				t.Errorf("a rule for everybody or for every port: %+v", rule)
			}
			for _, p := range rule.Ports {
				open[fmt.Sprintf("%s/%d", *p.Protocol, p.Port.IntValue())] = true
			}
		}
		for _, p := range o.Nodes.Spec.Template.Spec.Containers[0].Ports {
			at := fmt.Sprintf("%s/%d", p.Protocol, p.ContainerPort)
			if open[at] == slices.Contains(closed[name], p.Name) {
				t.Errorf("port %s, %s, is open: %v", p.Name, at, open[at])
			}
			delete(open, at)
		}
		for at := range open {
			t.Errorf("%s is open, and nothing is there", at)
		}
		for _, rule := range spec.Egress {
			if len(rule.Ports) == 0 {
				t.Errorf("a rule for every port: %+v", rule)
			}
		}
	})
}

// Every Secret is made by a certificate of the chart, or named in the values.
func TestSecretsComeFromSomewhere(t *testing.T) {
	named := map[string][]string{
		"minimal": {"sealedge-pki"}, "scaling": {"sealedge-pki"}, "single": {"sealedge-pki"}, "service": {"sealedge-pki"},
		"full":     {"sealedge-keys", "seal-server", "collector", "test-terminal"},
		"external": {"edge-pki", "edge-keys", "edge-fallback", "edge-backup"},
	}
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		known := map[string]bool{}
		for _, n := range named[name] {
			known[n] = true
		}
		for _, c := range o.Certificates {
			known[c.Spec.SecretName] = true
		}
		used := map[string]bool{}
		volumes := o.Nodes.Spec.Template.Spec.Volumes
		if o.Backup != nil {
			volumes = append(volumes, o.Backup.Spec.JobTemplate.Spec.Template.Spec.Volumes...)
		}
		if o.Test != nil {
			volumes = append(volumes, o.Test.Spec.Volumes...)
		}
		for _, v := range volumes {
			if v.Secret != nil {
				used[v.Secret.SecretName] = true
			}
			if v.Projected != nil {
				for _, s := range v.Projected.Sources {
					used[s.Secret.Name] = true
				}
			}
		}
		if !maps.Equal(known, used) {
			t.Errorf("Secrets that are used: %v; that there are: %v", slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(known)))
		}
	})
}
