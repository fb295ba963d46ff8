package setup_test

import (
	"crypto/tls"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/edge/setup"
)

// The Secret has what the nodes of the chart need, and neither the CA's key nor
// anybody else's.
func TestSecretOfTheChart(t *testing.T) {
	k, err := setup.ParseKubernetes("seals/seals-sealedge")
	if err != nil {
		t.Fatal(err)
	}
	dir, l := initialise(t, setup.Options{Nodes: 3, Kubernetes: k})
	if len(l.Nodes) > 0 {
		t.Errorf("configurations %v, which the chart writes", l.Nodes)
	}
	info, err := os.Stat(l.Secret)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	raw, err := os.ReadFile(l.Secret)
	if err != nil {
		t.Fatal(err)
	}
	var secret struct {
		Kind     string
		Metadata struct{ Name, Namespace string }
		Data     map[string]string
	}
	if err := yaml.Unmarshal(raw, &secret); err != nil {
		t.Fatal(err)
	}
	if secret.Kind != "Secret" || secret.Metadata.Name != "seals-sealedge-pki" || secret.Metadata.Namespace != "seals" {
		t.Errorf("%+v", secret.Metadata)
	}
	want := []string{"ca.pem", "grant-key.pem", "secrets.key"}
	pairs := []string{"gateway", "phone-api", "barrel-api"}
	for _, node := range []string{"seals-sealedge-0", "seals-sealedge-1", "seals-sealedge-2"} {
		pairs = append(pairs, node, node+"-admin", node+"-intranet", node+"-fallback")
	}
	for _, p := range pairs {
		want = append(want, p+".pem", p+"-key.pem")
	}
	if have := slices.Sorted(maps.Keys(secret.Data)); !slices.Equal(have, slices.Sorted(slices.Values(want))) {
		t.Errorf("the Secret has %q", have)
	}
	for name, data := range secret.Data {
		file, err := os.ReadFile(filepath.Join(dir, "pki", name))
		if err != nil || base64.StdEncoding.EncodeToString(file) != data {
			t.Errorf("%s isn't that of pki (%v)", name, err)
		}
	}

	node := certificate(t, dir, "seals-sealedge-1")
	if len(node.URIs) != 1 || node.URIs[0].String() != "sealedge://node/seals-sealedge-1" || len(node.IPAddresses) > 0 {
		t.Errorf("the node's certificate names %v %v", node.URIs, node.IPAddresses)
	}
	const host = "seals-sealedge-1.seals-sealedge-nodes.seals.svc.cluster.local"
	admin := certificate(t, dir, "seals-sealedge-1-admin")
	for _, name := range []string{host, "seals-sealedge-admin.seals.svc", "seals-sealedge-admin.seals.svc.cluster.local", "localhost"} {
		if err := admin.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if admin.VerifyHostname("seals-sealedge-intranet.seals.svc") == nil || certificate(t, dir, "seals-sealedge-1-intranet").VerifyHostname("seals-sealedge-intranet.seals.svc") != nil {
		t.Error("a certificate has the names of another listener")
	}
	context, err := os.ReadFile(l.Context)
	if err != nil || !strings.Contains(string(context), host+":7443") {
		t.Errorf("the operator's context: %s (%v)", context, err)
	}
}

// Who comes from outside of the cluster knows a listener by names of its own.
func TestFurtherNamesOfListeners(t *testing.T) {
	k, err := setup.ParseKubernetes("seals/seals-sealedge")
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := initialise(t, setup.Options{Nodes: 1, Kubernetes: k, Names: map[string][]string{
		"admin": {"gateway.example.com", "203.0.113.7"}, "fallback": {"connect.example.com"},
	}})
	for part, names := range map[string][]string{
		"-admin": {"gateway.example.com", "203.0.113.7", "localhost"}, "-fallback": {"connect.example.com"}, "-intranet": {"seals-sealedge-intranet.seals.svc"},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "pki", "seals-sealedge-0"+part+".pem"), filepath.Join(dir, "pki", "seals-sealedge-0"+part+"-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := pair.Leaf.VerifyHostname(name); err != nil {
				t.Errorf("%s: %v", part, err)
			}
		}
		if part != "-fallback" && pair.Leaf.VerifyHostname("connect.example.com") == nil {
			t.Errorf("%s has the name of the fallback listener", part)
		}
	}
	for _, wrong := range []map[string][]string{{"admin": {"https://a.example"}}, {"admin": {"a.example:443"}}, {"admin": {""}}, {"intranet": {"*.example.com"}}, {"phone": {"a.example"}}} {
		if _, err := setup.Init(filepath.Join(t.TempDir(), "x"), setup.Options{Names: wrong, Now: time.Now()}); err == nil {
			t.Errorf("%v is taken", wrong)
		}
	}
}

func TestParseKubernetes(t *testing.T) {
	for _, s := range []string{"", "seals", "/seals", "seals/", "Seals/x", "seals/a.b", "seals/a/b", "seals/-a", "seals/" + strings.Repeat("a", 41)} {
		if k, err := setup.ParseKubernetes(s); err == nil {
			t.Errorf("%q: %+v", s, k)
		}
	}
}
