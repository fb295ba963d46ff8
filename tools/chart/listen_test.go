package main

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sealedge/sealedge/edge/config"
)

// daemon is the configuration that a node's process makes of the file and of its
// variables, in a pod with these addresses.
func (o *objects) daemon(t *testing.T, podIPs string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sealedge.yaml")
	for _, e := range o.Nodes.Spec.Template.Spec.Containers[0].Env {
		t.Setenv(e.Name, expanded(t, e, o.Nodes.Name+"-0", podIPs, o.Nodes.Spec.Template.Spec.Containers[0].Env))
	}
	cfg, err := config.Parse(file, []byte(o.Config.Data["sealedge.yaml"]), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// expanded is a variable's value as the kubelet makes it.
func expanded(t *testing.T, e corev1.EnvVar, pod, podIPs string, all []corev1.EnvVar) string {
	t.Helper()
	v := e.Value
	if e.ValueFrom != nil {
		first, _, _ := strings.Cut(podIPs, ",")
		known := map[string]string{"metadata.name": pod, "status.podIP": first, "status.podIPs": podIPs, "spec.nodeName": "worker-1"}
		if e.ValueFrom.FieldRef == nil || known[e.ValueFrom.FieldRef.FieldPath] == "" {
			t.Fatalf("%s comes from %+v", e.Name, e.ValueFrom)
		}
		v = known[e.ValueFrom.FieldRef.FieldPath]
	}
	for _, before := range all {
		if before.Name == e.Name {
			break
		}
		v = strings.ReplaceAll(v, "$("+before.Name+")", expanded(t, before, pod, podIPs, all))
	}
	return v
}

// tcpListeners are the daemon's listeners by the port that they have in the container;
// "" of one that there isn't.
func tcpListeners(cfg *config.Config) map[string]config.HostPort {
	return map[string]config.HostPort{
		"cluster": cfg.Cluster.Listen, "admin": cfg.Admin.Listen, "intranet": cfg.Intranet.Listen, "fallback": cfg.Fallback.Listen, "metrics": cfg.Telemetry.Listen,
	}
}

// Each port of a pod is of one listener, and no listener is at more than the pod's own
// addresses, of whatever family, and loopback: not at those that Multus brings. The
// sockets of GTP and WireGuard are at the gateway address, or where a load balancer
// sends what is sent to it.
func TestNodesListenAtTheirOwnAddresses(t *testing.T) {
	for _, podIPs := range []string{"10.244.1.7", "10.244.1.7,fd00:244::7", "fd00:244::7,10.244.1.7", "fd00:244::7"} {
		each(t, func(t *testing.T, name, _ string) {
			if name == "service" && strings.HasPrefix(podIPs, "fd00") {
				return // the pods' first address must be IPv4, as docs/addresses.md says
			}
			o := decoded(t, name)
			cfg := o.daemon(t, podIPs)
			var want []netip.Addr
			for ip := range strings.SplitSeq(podIPs+",127.0.0.1", ",") {
				want = append(want, netip.MustParseAddr(ip))
			}
			if !slices.Equal(cfg.Node.ListenAt, want) {
				t.Errorf("in a pod with %s listeners are at %v", podIPs, cfg.Node.ListenAt)
			}
			ports := map[string]int32{}
			for _, p := range o.Nodes.Spec.Template.Spec.Containers[0].Ports {
				ports[p.Name] = p.ContainerPort
			}
			for part, at := range tcpListeners(cfg) {
				port, there := ports[part]
				delete(ports, part)
				if there != (at != "") || there && string(at) != fmt.Sprintf(":%d", port) {
					t.Errorf("%s is at %q, and the container's port is %d", part, at, port)
				}
			}
			if host, _, _ := net.SplitHostPort(string(cfg.Telemetry.Profiles)); cfg.Telemetry.Profiles != "" && !netip.MustParseAddr(host).IsLoopback() {
				t.Errorf("profiles are at %s", cfg.Telemetry.Profiles)
			}
			for part, port := range map[string]uint16{"gtp-c": 2123, "gtp-u": 2152, "wireguard": cfg.Gateway.WireGuard.Port} {
				if p, there := ports[part]; there && uint16(p) != port {
					t.Errorf("%s is at %d, and the container's port is %d", part, port, p)
				}
				delete(ports, part)
			}
			for part, port := range ports {
				t.Errorf("nothing of the configuration is at port %d, %s", port, part)
			}
			at := cfg.Gateway.BoundTo(cfg.Gateway.All()[0])
			first, _, _ := strings.Cut(podIPs, ",")
			if want := map[bool]string{true: first, false: cfg.Gateway.Address.String()}[name == "service"]; at.String() != want {
				t.Errorf("GTP is taken at %s, want %s", at, want)
			}
		})
	}
}

// Terminals that come by an interface of Multus are a matter of the fallback listener
// alone.
func TestFallbackAtEveryInterface(t *testing.T) {
	cfg := over(t, "fallback: {enabled: true, everyInterface: true}\nconfig: {gateway: {wireguard: {enabled: true}}}").daemon(t, "10.244.1.7")
	for part, at := range tcpListeners(cfg) {
		if want := part == "fallback"; strings.HasPrefix(string(at), "0.0.0.0:") != want {
			t.Errorf("%s is at %s", part, at)
		}
	}
}
