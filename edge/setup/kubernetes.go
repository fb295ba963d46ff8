package setup

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kubernetes says that the nodes are the pods of the chart charts/sealedge, which
// writes their configurations itself.
type Kubernetes struct {
	Namespace string
	Name      string // of the StatefulSet: RELEASE-sealedge, or the chart's fullnameOverride
}

// clusterDomain is the DNS domain of a Kubernetes cluster, unless somebody changed it.
const clusterDomain = "cluster.local"

// A namespace is a DNS label; of the StatefulSet's name the chart makes longer ones.
var (
	namespaces = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	sets       = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)
)

// ParseKubernetes reads NAMESPACE/NAME.
func ParseKubernetes(s string) (Kubernetes, error) {
	namespace, name, _ := strings.Cut(s, "/")
	if !namespaces.MatchString(namespace) || !sets.MatchString(name) {
		return Kubernetes{}, fmt.Errorf("%q: write NAMESPACE/NAME, the namespace and the name of the StatefulSet, such as seals/seals-sealedge", s)
	}
	return Kubernetes{namespace, name}, nil
}

// used tells whether the nodes are pods.
func (k Kubernetes) used() bool { return k.Name != "" }

// place is where a node is, and how its certificates name it.
type place struct {
	name string
	host string
	ips  []netip.Addr
	dns  []string
	// services are further names of the listeners that any node answers at.
	services func(listener string) []string
}

func (p place) at(port int) string { return net.JoinHostPort(p.host, strconv.Itoa(port)) }

// places are those of the nodes.
func (o Options) places() (all []place) {
	for n, host := range o.Hosts {
		name := fmt.Sprintf("node%d", n+1)
		p := place{name: name, host: host.String(), ips: []netip.Addr{host}, dns: []string{name}, services: func(string) []string { return nil }}
		if k := o.Kubernetes; k.used() {
			name = fmt.Sprintf("%s-%d", k.Name, n)
			full := fmt.Sprintf("%s.%s-nodes.%s.svc.%s", name, k.Name, k.Namespace, clusterDomain)
			p = place{name: name, host: full, dns: []string{full}, services: k.services}
		}
		all = append(all, p)
	}
	return all
}

// services names the Service of a listener, within the cluster and at the end of
// "kubectl port-forward".
func (k Kubernetes) services(listener string) []string {
	short := fmt.Sprintf("%s-%s.%s.svc", k.Name, listener, k.Namespace)
	return []string{short, short + "." + clusterDomain, "localhost"}
}

// secret is a manifest of the Secret that the chart takes for pki.existingSecret: what
// nodes need, and nothing by which others could be made.
func (o Options) secret(files []file) file {
	shared := []string{"ca.pem", "grant-key.pem", "secrets.key"}
	for _, name := range []string{"gateway", "phone-api", "barrel-api"} {
		shared = append(shared, name+".pem", name+"-key.pem")
	}
	for _, p := range o.places() {
		for _, part := range []string{"", "-admin", "-intranet", "-fallback"} {
			shared = append(shared, p.name+part+".pem", p.name+part+"-key.pem")
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by \"sealedge init\", for pki.existingSecret of the chart.\n")
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s-pki\n  namespace: %s\ntype: Opaque\ndata:\n", o.Kubernetes.Name, o.Kubernetes.Namespace)
	for _, f := range files {
		if name := path.Base(f.name); slices.Contains(shared, name) {
			fmt.Fprintf(&b, "  %s: %s\n", name, base64.StdEncoding.EncodeToString(f.content))
		}
	}
	return file{name: "secret.yaml", content: []byte(b.String()), private: true}
}
