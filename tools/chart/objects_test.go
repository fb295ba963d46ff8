package main

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// objects are the manifests of one rendering, as Kubernetes understands them.
type objects struct {
	Nodes        *appsv1.StatefulSet
	Backup       *batchv1.CronJob
	Budget       *policyv1.PodDisruptionBudget
	Policy       *networkingv1.NetworkPolicy // of the nodes
	Policies     []*networkingv1.NetworkPolicy
	Account      *corev1.ServiceAccount
	Config       *corev1.ConfigMap
	Claim        *corev1.PersistentVolumeClaim
	Test         *corev1.Pod
	Jobs         map[string]*batchv1.Job
	Monitor      *serviceMonitor
	Rule         *prometheusRule
	Dashboards   []*corev1.ConfigMap
	Services     []*corev1.Service
	Outer        *corev1.Service // of the gateway address
	Slice        *discoveryv1.EndpointSlice
	Role         *rbacv1.Role
	Binding      *rbacv1.RoleBinding
	Certificates []*certificate
	Networks     []*network
}

// certificate is what the chart says to cert-manager (v1.14 and later).
type certificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		SecretName string `json:"secretName"`
		IssuerRef  struct {
			Name, Kind, Group string
		} `json:"issuerRef"`
		Duration, RenewBefore metav1.Duration
		PrivateKey            struct {
			Algorithm, Encoding, RotationPolicy string
			Size                                int
		} `json:"privateKey"`
		Subject struct {
			Organizations, OrganizationalUnits []string
		} `json:"subject"`
		CommonName  string   `json:"commonName"`
		Usages      []string `json:"usages"`
		URIs        []string `json:"uris"`
		DNSNames    []string `json:"dnsNames"`
		IPAddresses []string `json:"ipAddresses"`
	} `json:"spec"`
}

// network is a NetworkAttachmentDefinition of Multus.
type network struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Config string `json:"config"`
	} `json:"spec"`
}

// decode reads manifests strictly: a field that its type hasn't, or that is there
// twice, is an error, and so is a second object of a name.
func decode(manifests string) (*objects, error) {
	o := &objects{Jobs: map[string]*batchv1.Job{}}
	seen := map[string]bool{}
	for doc := range strings.SplitSeq(manifests, "\n---\n") {
		var meta struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			return nil, err
		}
		if meta.Kind == "" {
			continue
		}
		var into any
		switch kind := meta.APIVersion + " " + meta.Kind; kind {
		case "apps/v1 StatefulSet":
			o.Nodes = new(appsv1.StatefulSet)
			into = o.Nodes
		case "batch/v1 CronJob":
			o.Backup = new(batchv1.CronJob)
			into = o.Backup
		case "v1 Pod":
			o.Test = new(corev1.Pod)
			into = o.Test
		case "batch/v1 Job":
			j := new(batchv1.Job)
			o.Jobs[meta.Name], into = j, j
		case "policy/v1 PodDisruptionBudget":
			o.Budget = new(policyv1.PodDisruptionBudget)
			into = o.Budget
		case "networking.k8s.io/v1 NetworkPolicy":
			p := new(networkingv1.NetworkPolicy)
			o.Policies, into = append(o.Policies, p), p
		case "v1 ServiceAccount":
			o.Account = new(corev1.ServiceAccount)
			into = o.Account
		case "v1 ConfigMap":
			c := new(corev1.ConfigMap)
			if into = c; meta.Labels["grafana_dashboard"] != "" {
				o.Dashboards = append(o.Dashboards, c)
			} else {
				o.Config = c
			}
		case "monitoring.coreos.com/v1 ServiceMonitor":
			o.Monitor = new(serviceMonitor)
			into = o.Monitor
		case "monitoring.coreos.com/v1 PrometheusRule":
			o.Rule = new(prometheusRule)
			into = o.Rule
		case "v1 PersistentVolumeClaim":
			o.Claim = new(corev1.PersistentVolumeClaim)
			into = o.Claim
		case "v1 Service":
			s := new(corev1.Service)
			if into = s; strings.HasSuffix(meta.Name, "-gateway") {
				o.Outer = s
			} else {
				o.Services = append(o.Services, s)
			}
		case "discovery.k8s.io/v1 EndpointSlice":
			o.Slice = new(discoveryv1.EndpointSlice)
			into = o.Slice
		case "rbac.authorization.k8s.io/v1 Role":
			o.Role = new(rbacv1.Role)
			into = o.Role
		case "rbac.authorization.k8s.io/v1 RoleBinding":
			o.Binding = new(rbacv1.RoleBinding)
			into = o.Binding
		case "cert-manager.io/v1 Certificate":
			c := new(certificate)
			o.Certificates, into = append(o.Certificates, c), c
		case "k8s.cni.cncf.io/v1 NetworkAttachmentDefinition":
			n := new(network)
			o.Networks, into = append(o.Networks, n), n
		default:
			return nil, fmt.Errorf("an object of a kind that the chart doesn't make: %s", kind)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			return nil, fmt.Errorf("%s %s: %w", meta.Kind, meta.Name, err)
		}
		id := meta.Kind + " " + meta.Name
		switch {
		case seen[id]:
			return nil, fmt.Errorf("%s is there twice", id)
		case meta.Namespace == "" || meta.Labels["app.kubernetes.io/name"] == "" || meta.Labels["helm.sh/chart"] == "":
			return nil, fmt.Errorf("%s lacks its namespace or its labels", id)
		}
		seen[id] = true
	}
	for _, p := range o.Policies {
		if p.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"] == "gateway" {
			o.Policy = p
		}
	}
	return o, nil
}

func decoded(t *testing.T, name string) *objects {
	t.Helper()
	o, err := decode(render(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestObjectsAreWhatKubernetesKnows(t *testing.T) {
	each(t, func(t *testing.T, _, manifests string) {
		o, err := decode(manifests)
		if err != nil {
			t.Fatal(err)
		}
		if o.Nodes == nil || o.Config == nil || len(o.Services) < 3 {
			t.Errorf("something is missing: %+v", o)
		}
		for at, broken := range map[string]string{
			"a field that there isn't":    strings.Replace(manifests, "podManagementPolicy:", "podManagmentPolicy:", 1),
			"a field of another type":     strings.Replace(manifests, "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: soon", 1),
			"a field that is there twice": strings.Replace(manifests, "  podManagementPolicy: Parallel", "  podManagementPolicy: Parallel\n  podManagementPolicy: Parallel", 1),
		} {
			if _, err := decode(broken); err == nil || broken == manifests {
				t.Errorf("%s is taken", at)
			}
		}
	})
}
