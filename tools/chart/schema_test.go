package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/config"
)

// Each is laid over the minimal values.
var refused = []struct{ name, set, says string }{
	{"a key that there isn't", "replica=3", "replica"},
	{"a key below", "persistence.storageclass=fast", "storageclass"},
	{"a daemon's key that there isn't", "config.gateway.gtp.allowed_peer=x", "allowed_peer"},
	{"the chart's own key: the node's name", "config.node.name=n", "node"},
	{"the chart's own key: peers", "config.cluster.peers={a=b:1}", "peers"},
	{"the chart's own key: a certificate", "config.admin.cert=x", "cert"},
	{"an even number of nodes", "replicas=2", "replicas"},
	{"seven nodes", "replicas=7", "replicas"},
	{"a text for a number", "terminationGracePeriodSeconds=soon", "terminationGracePeriodSeconds"},
	{"a text for a truth", "networkPolicy.enabled=on", "networkPolicy"},
	{"the tag latest", "image.gateway.tag=latest", "tag"},
	{"a short digest", "image.gateway.digest=sha256:abc", "digest"},
	{"no registry", "image.registry=", "registry"},
	{"an anti-affinity that there isn't", "antiAffinity=soft", "antiAffinity"},
	{"an address driver that there isn't", "config.gateway.address_driver=arp", "address_driver"},
	{"the chart's own key: where sockets are", "config.gateway.bind=10.0.0.1", "bind"},
	{"the chart's own key: the EndpointSlice", "config.gateway.service.endpoint_slice=x", "service"},
	{"a load balancer's address that is none", "loadBalancer.loadBalancerIP=gw.example.com", "loadBalancerIP"},
	{"no port of the API server", "loadBalancer.apiServer.ports={}", "ports"},
	{"a time span without a unit", "config.gateway.gtp.t3=3", "t3"},
	{"a time span that is none", "config.gateway.gtp.t3=fast", "t3"},
	{"a retention policy that there isn't", "persistence.whenDeleted=Recycle", "whenDeleted"},
	{"a size that is none", "persistence.size=big", "size"},
	{"a recipient that is no age key", "backup.recipients={ssh-ed25519 AAAA}", "recipients"},
	{"a network without an interface", "multus.networks[0].name=n", "interface"},
	{"a peer of a NetworkPolicy with a typo", "networkPolicy.adminFrom[0].podSelektor.a=b", "podSelektor"},
	{"a toleration with a typo", "tolerations[0].kei=edge", "kei"},
	{"the chart's own key: the listener of metrics", "config.telemetry.listen=:1", "listen"},
	{"a relabeling with a typo", "metrics.serviceMonitor.relabelings[0].sourcelabels={a}", "sourcelabels"},
	{"a dashboard that nobody finds", "metrics.dashboards.labels.grafana_dashboard=null", "labels"},
	{"an IMSI that is none", "test.imsi=abc", "imsi"},
	{"an option of the test that is none", "test.options.IMEI=1", "options"},
	{"a file that the collector doesn't ask for", "tracing.secretKeys={ca.pem}", "secretKeys"},
	{"a variable without a name", "extraEnv[0].value=x", "extraEnv"},
	{"a port that machines don't have", "admin.service.nodePort=70000", "nodePort"},
	{"no memory limit", "resources.limits.memory=null", "memory"},
	{"a resource that there isn't", "resources.limits.ram=1Gi", "ram"},
}

func TestSchemaRefuses(t *testing.T) {
	render(t, "minimal") // it's the one value that is wrong
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, stderr, ok := overMinimal(t, c.set)
			if ok || !strings.Contains(stderr, "don't meet the specifications of the schema") || !strings.Contains(stderr, c.says) {
				t.Errorf("--set %s: accepted %v: %s", c.set, ok, stderr)
			}
		})
	}
}

// What the schema can't see, the templates refuse.
var contradictions = []struct{ name, set, says string }{
	{"no address", "config.gateway.address=", "config.gateway.address is missing"},
	{"no carriers", "config.gateway.gtp.allowed_peers=null", "allowed_peers is missing"},
	{"no inner address", "config.inner.addresses=null", "config.inner.addresses is missing"},
	{"no seal server", "config.upstream.url=", "config.upstream.url is missing"},
	{"netlink without an interface", "config.gateway.interface=", "config.gateway.interface is missing"},
	{"an interface that pods don't have", "config.gateway.interface=signal", "pods have only eth0: add it to multus.networks"},
	{"networks twice", `podAnnotations.k8s\.v1\.cni\.cncf\.io/networks=a,multus.networks[0].name=a,multus.networks[0].interface=a`, "in one of them"},
	{"an interface for external", "config.gateway.address_driver=external", "only for"},
	{"a load balancer for nothing", "loadBalancer.annotations.a=b", "loadBalancer is only for"},
	{"a load balancer for several addresses", "config.gateway.interface=,config.gateway.address_driver=service,config.gateway.addresses={b=192.0.2.2}", "takes one gateway address"},
	{"a Role for every pod", "config.gateway.interface=,config.gateway.address_driver=service,serviceAccount.create=false", "serviceAccount.name is missing"},
	{"more nodes than are listed", "replicas=5,peers=3", "raise peers first"},
	{"more addresses than nodes", "config.gateway.addresses={b=192.0.2.2,c=192.0.2.3,d=192.0.2.4}", "4 gateway addresses, but there are 3"},
	{"no certificates", "pki.existingSecret=", "pki.existingSecret is missing"},
	{"certificates twice", "pki.certManager.enabled=true", "exclude each other"},
	{"cert-manager without an issuer", "pki.existingSecret=,pki.certManager.enabled=true", "issuerRef.name is missing"},
	{"cert-manager without keys", "pki.existingSecret=,pki.certManager.enabled=true,pki.certManager.issuerRef.name=ca", "keys.existingSecret is missing"},
	{"a fallback certificate without a name", "pki.existingSecret=,pki.certManager.enabled=true,pki.certManager.issuerRef.name=ca,keys.existingSecret=k,fallback.enabled=true", "fallback.hostnames is missing"},
	{"a listener for a fallback path that there isn't", "fallback.enabled=true", "no fallback path"},
	{"a monitor of nothing", "metrics.enabled=false,metrics.serviceMonitor.enabled=true", "takes metrics.enabled"},
	{"a monitor that is kept out", "metrics.serviceMonitor.enabled=true", "networkPolicy.metricsFrom is missing"},
	{"a test without a terminal", "test.enabled=true", "test.imsi is missing"},
	{"a test without an access point", "test.enabled=true,test.imsi=460019999999999", "test.apn is missing"},
	{"a test from a network at no address", "test.enabled=true,test.imsi=460019999999999,test.apn=a,test.network.name=n", "name and address"},
	{"a test with a Secret of nothing", "test.enabled=true,test.imsi=460019999999999,test.apn=a,test.existingSecret=s", "test.secretKeys"},
	{"backups for nobody", "backup.enabled=true", "backup.recipients is missing"},
	{"backups by nobody", "backup.enabled=true,backup.recipients={age1abc}", "backup.existingSecret is missing"},
}

func TestContradictionsAreRefused(t *testing.T) {
	render(t, "minimal")
	for _, c := range contradictions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, stderr, ok := overMinimal(t, c.set); ok || !strings.Contains(stderr, c.says) {
				t.Errorf("--set %s: accepted %v: %s", c.set, ok, stderr)
			}
		})
	}
}

func overMinimal(t *testing.T, set string) (stdout, stderr string, ok bool) {
	args := []string{"template", "seals", chartDir, "--kube-version", kubernetes, "-f", valuesFile("minimal")}
	set, imsi, ok := strings.Cut(set, ",test.imsi=") // all digits, and a text
	if ok {
		imsi, rest, _ := strings.Cut(imsi, ",")
		args = append(args, "--set-string", "test.imsi="+imsi)
		set += "," + rest
	}
	return call(t, append(args, "--set", set)...)
}

// What is an object in the schema says what may be in it, and every key is
// explained.
func TestSchemaIsStrict(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s any
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	open := map[string]bool{ // what is others' to say
		"/properties/global": true, "/definitions/network/properties/config": true,
	}
	objects := 0
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(at+"/#", e)
			}
		case map[string]any:
			if v["type"] == "object" {
				objects++
				if _, said := v["additionalProperties"]; !said && !open[at] {
					t.Errorf("%s takes any key", at)
				}
			}
			if properties, ok := v["properties"].(map[string]any); ok {
				for name, p := range properties {
					_, refers := p.(map[string]any)["$ref"]
					if about, _ := p.(map[string]any)["description"].(string); about == "" && !refers {
						if p.(map[string]any)["properties"] == nil {
							t.Errorf("%s/properties/%s has no description", at, name)
						}
					}
				}
			}
			for name, e := range v {
				walk(at+"/"+name, e)
			}
		}
	}
	walk("", s)
	if objects < 30 {
		t.Errorf("only %d objects were looked at", objects)
	}
}

// Every key of the daemon is for the user to set or set by the chart, and none that
// the chart sets is forgotten by the daemon.
func TestManagedKeysAreTheDaemons(t *testing.T) {
	reference, err := parse(config.Reference())
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	words := map[string]bool{}
	reference.each(func(v value) {
		for _, m := range managed {
			if v.Path == m || strings.HasSuffix(m, ".") && strings.HasPrefix(v.Path, m) {
				used[m] = true
			}
		}
		words[v.Path] = true
	})
	for _, m := range managed {
		if !used[m] {
			t.Errorf("the daemon has no key %s", m)
		}
	}
	for path := range choices {
		if !words[path] {
			t.Errorf("the daemon has no key %s", path)
		}
	}
}
