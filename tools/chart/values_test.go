package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// examples are the values that the README shows.
func examples(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$").FindAllStringSubmatch(string(page), -1) {
		all = append(all, regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], ""))
	}
	if len(all) < 4 {
		t.Fatalf("the README has only %d examples", len(all))
	}
	return all
}

// over renders the minimal values with others over them.
func over(t *testing.T, values string) *objects {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, ok := call(t, "template", "seals", chartDir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile("minimal"), "-f", file)
	if !ok {
		t.Fatalf("%s\n%s", values, stderr)
	}
	o, err := decode(stdout)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestExamplesOfTheReadme(t *testing.T) {
	for _, values := range examples(t) {
		if offences := over(t, values).offences(); len(offences) > 0 {
			t.Errorf("%s\n%q", values, offences)
		}
	}
}

// The example of sysctls makes a network whose CNI configuration has the plugin
// tuning last, as it changes what the plugins before it made, and of this interface
// alone.
func TestSysctlsAreTheNetworks(t *testing.T) {
	for _, values := range examples(t) {
		if !strings.Contains(values, "tuning") {
			continue
		}
		o := over(t, values)
		var config struct {
			CNIVersion string `json:"cniVersion"`
			Name       string `json:"name"`
			Plugins    []struct {
				Type   string            `json:"type"`
				Sysctl map[string]string `json:"sysctl"`
			} `json:"plugins"`
		}
		if len(o.Networks) == 0 {
			t.Fatal("no network is made")
		}
		if err := json.Unmarshal([]byte(o.Networks[0].Spec.Config), &config); err != nil {
			t.Fatal(err)
		}
		last := config.Plugins[len(config.Plugins)-1]
		if config.CNIVersion == "" || config.Name == "" || len(config.Plugins) != 2 || last.Type != "tuning" || len(last.Sysctl) == 0 {
			t.Errorf("%+v", config)
		}
		for key := range last.Sysctl {
			if !strings.HasPrefix(key, "net.") || !strings.Contains(key, ".IFNAME.") {
				t.Errorf("%s isn't of this interface", key)
			}
		}
		// The pods have the network, and the gateway address goes onto it.
		networks := o.Nodes.Spec.Template.Annotations["k8s.v1.cni.cncf.io/networks"]
		if !strings.Contains(networks, `"name":"`+o.Networks[0].Name+`"`) || !strings.Contains(o.Config.Data["sealedge.yaml"], "interface: signal") {
			t.Errorf("networks %s", networks)
		}
		return
	}
	t.Error("the README has no example of sysctls")
}

func TestServicesAreAsTheSiteHasThem(t *testing.T) {
	service := func(o *objects, name string) *corev1.Service {
		for _, s := range o.Services {
			if strings.HasSuffix(s.Name, name) {
				return s
			}
		}
		t.Fatalf("no Service %s", name)
		return nil
	}
	o := over(t, `
admin: {service: {type: LoadBalancer, loadBalancerClass: example.com/lb, nodePort: 30443}}
intranet: {service: {type: NodePort, nodePort: 30444, loadBalancerClass: example.com/lb}}
`)
	if s := service(o, "-admin").Spec; s.LoadBalancerClass == nil || *s.LoadBalancerClass != "example.com/lb" || s.Ports[0].NodePort != 30443 {
		t.Errorf("%+v", s)
	}
	if s := service(o, "-intranet").Spec; s.LoadBalancerClass != nil || s.Ports[0].NodePort != 30444 {
		t.Errorf("%+v", s)
	}
	o = over(t, "admin: {service: {nodePort: 30443}}")
	if s := service(o, "-admin").Spec; s.Type != corev1.ServiceTypeClusterIP || s.Ports[0].NodePort != 0 {
		t.Errorf("%+v", s)
	}
}

func TestFurtherVariables(t *testing.T) {
	env := over(t, `
extraEnv:
  - {name: GOMEMLIMIT, value: 1800MiB}
  - {name: SEALEDGE_LOG_LEVEL, valueFrom: {configMapKeyRef: {name: levels, key: sealedge}}}
`).Nodes.Spec.Template.Spec.Containers[0].Env
	last := env[len(env)-2:]
	if last[0].Name != "GOMEMLIMIT" || last[0].Value != "1800MiB" || last[1].ValueFrom.ConfigMapKeyRef.Key != "sealedge" || env[0].Name != "SEALEDGE_NODE_NAME" {
		t.Errorf("%+v", env)
	}
}

// What the API server would refuse without a word of what to do.
func TestVolumesAreNotChanged(t *testing.T) {
	there := release(3, 3)
	claim := func(size string) {
		there["StatefulSet/seals-sealedge"].(map[string]any)["spec"] = map[string]any{
			"replicas":             3,
			"volumeClaimTemplates": []any{map[string]any{"spec": map[string]any{"storageClassName": "fast", "resources": map[string]any{"requests": map[string]any{"storage": size}}}}},
		}
	}
	claim("10Gi")
	if _, refused := upgrade(t, there, "--set", "persistence.storageClass=fast"); refused != "" {
		t.Error(refused)
	}
	_, refused := upgrade(t, there, "--set", "persistence.storageClass=faster")
	if !strings.Contains(refused, `"faster"`) || !strings.Contains(refused, "can't change its class") {
		t.Error(refused)
	}
	// The API server writes sizes its own way.
	for asked, stored := range map[string]string{"1.5Gi": "1536Mi", "1024Gi": "1Ti", "1500M": "1500M", "0.5Ti": "512Gi", "1.3Gi": "1395864371200m", "2000M": "2G"} {
		claim(stored)
		if _, refused := upgrade(t, there, "--set", "persistence.storageClass=fast,persistence.size="+asked); refused != "" {
			t.Errorf("%s, which is stored as %s: %s", asked, stored, refused)
		}
	}
	claim("10Gi")
	_, refused = upgrade(t, there, "--set", "persistence.storageClass=fast,persistence.annotations.team=seals")
	if !strings.Contains(refused, "persistence.annotations") || !strings.Contains(refused, "delete statefulset seals-sealedge --cascade=orphan") {
		t.Error(refused)
	}
	_, refused = upgrade(t, there, "--set", "persistence.storageClass=fast,persistence.size=10G")
	if !strings.Contains(refused, "persistence.size is 10G") {
		t.Error(refused)
	}
	_, refused = upgrade(t, there, "--set", "persistence.storageClass=fast,persistence.size=20Gi")
	for _, says := range []string{`patch pvc data-seals-sealedge-0 -p '{"spec":{"resources":{"requests":{"storage":"20Gi"}}}}'`, "delete statefulset seals-sealedge --cascade=orphan"} {
		if !strings.Contains(refused, says) {
			t.Errorf("%q isn't in %s", says, refused)
		}
	}
}

// notes is what an installation says at its end. "helm template" doesn't say it, and
// "helm install" asks a cluster, so that it becomes a manifest.
func notes(t *testing.T, there found, args ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "templates/NOTES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := copied(t, map[string]string{
		"templates/_lookup.tpl": answering(t, there),
		"templates/_said.tpl":   `{{- define "said" -}}` + string(text) + `{{- end -}}`,
		"templates/said.yaml":   `said: {{ include "said" . | toJson }}`,
	})
	args = append([]string{"template", "seals", dir, "-n", "seals", "--kube-version", kubernetes, "--show-only", "templates/said.yaml", "-f", valuesFile("minimal")}, args...)
	stdout, stderr, ok := call(t, args...)
	if !ok {
		t.Fatal(stderr)
	}
	var manifest struct{ Said string }
	if err := yaml.Unmarshal([]byte(stdout), &manifest); err != nil {
		t.Fatal(err)
	}
	return manifest.Said
}

func TestNotes(t *testing.T) {
	secrets := func(names ...string) found {
		f := found{"ServiceAccount/default": map[string]any{"kind": "ServiceAccount"}}
		for _, n := range names {
			f["Secret/"+n] = map[string]any{"kind": "Secret", "data": initialised(t, "seals-sealedge", 3)}
		}
		return f
	}
	const missing = "Pods wait for Secrets that aren't there"
	backup := []string{"--set", "backup.enabled=true,backup.recipients={age1abc},backup.existingSecret=operator"}
	for name, c := range map[string]struct {
		there    found
		args     []string
		says     []string
		saysNone []string
	}{
		"as little as possible": {secrets("sealedge-pki"), nil, []string{
			"3 nodes of sealedge: seals-sealedge-0 to seals-sealedge-2.", "192.0.2.10, UDP 2123 and 2152.", "sealctl policy apply", "No backups are taken",
		}, []string{missing, "helm test", "NetworkPolicy"}},
		"a Secret is missing":   {secrets("other"), backup, []string{missing + ": sealedge-pki, operator."}, []string{"No backups"}},
		"there is no cluster":   {found{}, nil, nil, []string{missing}},
		"all Secrets are there": {secrets("sealedge-pki", "operator"), backup, nil, []string{missing}},
		"one node, and open":    {found{}, []string{"--set", "replicas=1,networkPolicy.enabled=false"}, []string{"1 nodes of sealedge: seals-sealedge-0.", "Every pod of the Kubernetes cluster can reach"}, nil},
		"with a test":           {found{}, []string{"--set", "test.enabled=true,test.apn=a", "--set-string", "test.imsi=460019999999999"}, []string{"helm test seals -n seals --logs"}, nil},
		"a restoration":         {found{}, []string{"--set", restoring}, []string{"All nodes are stopped", "logs job/seals-sealedge-restore"}, []string{"rollout status"}},
	} {
		said := notes(t, c.there, c.args...)
		for _, want := range c.says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q isn't in\n%s", name, want, said)
			}
		}
		for _, no := range c.saysNone {
			if strings.Contains(said, no) {
				t.Errorf("%s: %q is in\n%s", name, no, said)
			}
		}
	}
}

// A Secret that lacks the certificates of the nodes that come is noticed before a pod
// waits for them.
func TestSecretsAreLookedInto(t *testing.T) {
	there := release(3, 3)
	files := initialised(t, "seals-sealedge", 3)
	there["Secret/sealedge-pki"] = map[string]any{"data": files}
	if _, refused := upgrade(t, there); refused != "" {
		t.Error(refused)
	}
	_, refused := upgrade(t, there, "--set", "peers=5")
	for _, says := range []string{"the Secret sealedge-pki in seals lacks seals-sealedge-3.pem, seals-sealedge-3-key.pem, ", "and 9 more. It takes the certificates of all 5"} {
		if !strings.Contains(refused, says) {
			t.Errorf("%q isn't in %q", says, refused)
		}
	}
	there["Secret/sealedge-pki"] = map[string]any{"data": initialised(t, "seals-sealedge", 5)}
	if _, refused := upgrade(t, there, "--set", "peers=5"); refused != "" {
		t.Error(refused)
	}
	// Another Secret has the keys.
	there["Secret/k"] = map[string]any{"data": map[string]any{"secrets.key": ""}}
	if _, refused := upgrade(t, there, "--set", "keys.existingSecret=k"); !strings.Contains(refused, "the Secret k in seals lacks grant-key.pem.") {
		t.Error(refused)
	}
}
