package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// checkOptions are those that "sealsim check" knows, as variables, out of its source: a
// program's command line can't be imported.
func checkOptions(t *testing.T) map[string]bool {
	t.Helper()
	source, err := os.ReadFile("../sealsim/checkcommand.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`Flag\{Name: "([a-z0-9-]+)"`).FindAllStringSubmatch(string(source), -1) {
		known["SEALSIM_CHECK_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_"))] = true
	}
	if len(known) < 20 {
		t.Fatalf("only %d options were found", len(known))
	}
	return known
}

// checked are the pod's variables, by option.
func checked(o *objects) map[string]string {
	have := map[string]string{}
	for _, e := range o.Test.Spec.Containers[0].Env {
		have[e.Name] = e.Value
	}
	return have
}

func TestHelmTestAsksTheGateway(t *testing.T) {
	known := checkOptions(t)
	for name, want := range map[string]map[string]string{
		"full": {
			"GATEWAY": "192.0.2.10", "INNER": "10.90.0.1", "IMSI": "460019999999999", "IMEI": "35693803999999", "APN": "seal.corp", "LOCAL": "198.51.100.77",
			"SEAL_SERVER": "seals.example.com:443", "USER": "check", "PASSWORD_FILE": "/etc/sealsim/secret/password",
			"CA": "/etc/sealsim/ca/ca.pem", "CERT": "/etc/sealsim/secret/tls.crt", "KEY": "/etc/sealsim/secret/tls.key", "TIMEOUT": "60s",
		},
		"external": {
			"GATEWAY": "192.0.2.10", "INNER": "10.90.0.1", "IMSI": "460019999999999", "APN": "seal.corp", "SEAL_SERVER": "seals.example.com:443",
			"CA": "/etc/sealsim/ca/ca.pem", "TIMEOUT": "60s",
		},
	} {
		o := decoded(t, name)
		have := checked(o)
		for option, value := range want {
			if have["SEALSIM_CHECK_"+option] != value {
				t.Errorf("%s: %s is %q, want %q", name, option, have["SEALSIM_CHECK_"+option], value)
			}
		}
		if len(have) != len(want) {
			t.Errorf("%s: it has %v", name, have)
		}
		for option := range have {
			if !known[option] {
				t.Errorf("%s: sealsim check knows no %s", name, option)
			}
		}
		// What it is told to read is mounted.
		files := mounted(&o.Test.Spec)
		for option, value := range have {
			if strings.HasPrefix(value, "/") && !files[value] {
				t.Errorf("%s: %s is %s, and there is %v", name, option, value, files)
			}
		}
		if o.Test.Annotations["helm.sh/hook"] != "test" || *o.Test.Spec.ActiveDeadlineSeconds <= 60 {
			t.Errorf("%s: %+v", name, o.Test)
		}
	}
	if decoded(t, "minimal").Test != nil {
		t.Error("there is a test that nobody asked for")
	}
}

// mounted are the paths of what Secrets put into a pod's first container.
func mounted(pod *corev1.PodSpec) map[string]bool {
	files := map[string]bool{}
	for _, m := range pod.Containers[0].VolumeMounts {
		for _, v := range pod.Volumes {
			if v.Name == m.Name && v.Secret != nil {
				for _, item := range v.Secret.Items {
					files[m.MountPath+"/"+item.Path] = true
				}
			}
		}
	}
	return files
}

// Where it comes from the network of the pods, the policy lets it in as a carrier, and
// nowhere else; from a network of Multus it has the address that it says.
func TestHelmTestComesAsACarrier(t *testing.T) {
	for name, admitted := range map[string]bool{"full": false, "external": true} {
		o := decoded(t, name)
		for _, rule := range o.Policy.Spec.Ingress {
			open := false
			for _, p := range rule.From {
				open = open || selects(t, p.PodSelector, o.Test.Labels)
			}
			if gtp := rule.Ports[0].Port.IntValue() == 2123; open != (admitted && gtp) {
				t.Errorf("%s: port %s is open to the test: %v", name, rule.Ports[0].Port, open)
			}
		}
	}
	var networks []struct {
		Name, Namespace, Interface string
		IPs                        []string
	}
	if err := json.Unmarshal([]byte(decoded(t, "full").Test.Annotations["k8s.v1.cni.cncf.io/networks"]), &networks); err != nil {
		t.Fatal(err)
	}
	made := slices.ContainsFunc(decoded(t, "full").Networks, func(n *network) bool {
		return n.Name == "carriers" && strings.Contains(n.Spec.Config, `"type":"static"`)
	})
	if len(networks) != 1 || !made || networks[0].Name != "carriers" || networks[0].Namespace != "seals" || networks[0].IPs[0] != "198.51.100.77/24" || networks[0].Interface != "test" {
		t.Errorf("networks: %+v", networks)
	}
}

// An option goes over what the chart makes of other values.
func TestHelmTestTakesFurtherOptions(t *testing.T) {
	o, refused := renderOver(t, found{}, "--set", "test.enabled=true,test.apn=a,test.options.gtpv1=x,test.options.seal-server=other:1,config.inner.phone_api.port=8443", "--set-string", "test.imsi=460019999999999,test.options.gtpv1=true")
	if refused != "" {
		t.Fatal(refused)
	}
	have := checked(o)
	if have["SEALSIM_CHECK_GTPV1"] != "true" || have["SEALSIM_CHECK_SEAL_SERVER"] != "other:1" || have["SEALSIM_CHECK_INNER_PORT"] != "8443" {
		t.Errorf("%v", have)
	}
	for _, what := range o.offences() {
		t.Error(what)
	}
}
