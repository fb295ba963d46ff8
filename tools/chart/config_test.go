package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

// authority issues what the Secrets hold.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, certPEM, _ := a.issue(t, a.cert)
	a.key = key
	block, _ := pem.Decode(certPEM)
	var err error
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(t *testing.T, template *x509.Certificate) (key *ecdsa.PrivateKey, cert, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), private(t, key)
}

func private(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// secret is a Secret's data: as cert-manager would fill it, or as the README asks of
// the user.
func (a *authority) secret(t *testing.T, o *objects, name string, nodes []string) map[string][]byte {
	t.Helper()
	data := map[string][]byte{}
	put := func(file, keyFile string, template *x509.Certificate) {
		_, data[file], data[keyFile] = a.issue(t, template)
	}
	for _, c := range o.Certificates {
		if c.Spec.SecretName == name {
			put("tls.crt", "tls.key", requested(t, c))
			data["ca.crt"] = a.pem()
			return data
		}
	}
	if len(o.Certificates) == 0 && name == "sealedge-pki" {
		return initialised(t, o.Nodes.Name, len(nodes))
	}
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	inner := &x509.Certificate{ExtKeyUsage: server, IPAddresses: []net.IP{net.ParseIP("10.90.0.1")}}
	put("phone-api.pem", "phone-api-key.pem", inner)
	put("barrel-api.pem", "barrel-api-key.pem", inner)
	put("gateway.pem", "gateway-key.pem", &x509.Certificate{ExtKeyUsage: client})
	for _, n := range nodes {
		put(n+".pem", n+"-key.pem", &x509.Certificate{ExtKeyUsage: append(server, client...), URIs: []*url.URL{{Scheme: "sealedge", Host: "node", Path: "/" + n}}})
		for _, part := range []string{"-admin", "-intranet", "-fallback"} {
			put(n+part+".pem", n+part+"-key.pem", &x509.Certificate{ExtKeyUsage: server})
		}
	}
	put("tls.crt", "tls.key", &x509.Certificate{ExtKeyUsage: append(server, client...)}) // of the seal server's CA, or a public one
	_, grant, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data["grant-key.pem"] = private(t, grant)
	data["secrets.key"] = []byte(base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")))
	data["ca.pem"], data["ca.crt"] = a.pem(), a.pem()
	data["headers"], data["identity.txt"] = []byte("Authorization: Bearer abc\n"), []byte("AGE-SECRET-KEY-1\n")
	return data
}

// initialised is the Secret that "sealedge init" makes.
func initialised(t *testing.T, name string, nodes int) map[string][]byte {
	t.Helper()
	l, err := setup.Init(filepath.Join(t.TempDir(), "made"), setup.Options{Nodes: nodes, Kubernetes: setup.Kubernetes{Namespace: "seals", Name: name}, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(l.Secret)
	if err != nil {
		t.Fatal(err)
	}
	var secret corev1.Secret
	if err := yaml.UnmarshalStrict(raw, &secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data
}

// requested is the certificate that cert-manager is asked for.
func requested(t *testing.T, c *certificate) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{DNSNames: c.Spec.DNSNames, Subject: pkix.Name{CommonName: c.Spec.CommonName, OrganizationalUnit: c.Spec.Subject.OrganizationalUnits}}
	if c.Spec.PrivateKey.Algorithm != "ECDSA" || c.Spec.PrivateKey.Encoding != "PKCS8" {
		t.Errorf("%s: key %+v", c.Name, c.Spec.PrivateKey)
	}
	if len(c.Spec.CommonName) > 64 {
		t.Errorf("%s: its common name has %d characters, and X.509 has room for 64", c.Name, len(c.Spec.CommonName))
	}
	for _, u := range c.Spec.Usages {
		switch u {
		case "server auth":
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		case "client auth":
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		}
	}
	for _, s := range c.Spec.URIs {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	for _, s := range c.Spec.IPAddresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(s))
	}
	return template
}

// mount lays out below root the files that a container sees.
func mount(t *testing.T, a *authority, o *objects, pod *corev1.PodSpec, root string, nodes []string) {
	t.Helper()
	secrets := map[string]map[string][]byte{}
	of := func(name string) map[string][]byte {
		if secrets[name] == nil {
			secrets[name] = a.secret(t, o, name, nodes)
		}
		return secrets[name]
	}
	write := func(dir, file string, content []byte) {
		if content == nil {
			t.Fatalf("no Secret has what is mounted as %s/%s", dir, file)
		}
		path := filepath.Join(root, dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o440); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		for _, v := range pod.Volumes {
			switch {
			case v.Name != m.Name:
			case v.Secret != nil && len(v.Secret.Items) > 0:
				for _, item := range v.Secret.Items {
					write(m.MountPath, item.Path, of(v.Secret.SecretName)[item.Key])
				}
			case v.Secret != nil:
				for _, file := range []string{"ca.crt", "tls.crt", "tls.key"} {
					write(m.MountPath, file, of(v.Secret.SecretName)[file])
				}
			case v.Projected != nil:
				for _, s := range v.Projected.Sources {
					for _, item := range s.Secret.Items {
						write(m.MountPath, item.Path, of(s.Secret.Name)[item.Key])
					}
				}
			}
		}
	}
	text := strings.NewReplacer("/etc/sealedge", root+"/etc/sealedge", "/var/lib/sealedge", root+"/var/lib/sealedge").Replace(o.Config.Data["sealedge.yaml"])
	write("/etc/sealedge/config", "sealedge.yaml", []byte(text))
}

// environ sets a container's variables as the kubelet does.
func environ(t *testing.T, c corev1.Container, pod, root string) {
	t.Helper()
	for _, e := range c.Env {
		v := expanded(t, e, pod, "127.0.10.9", c.Env)
		t.Setenv(e.Name, strings.Replace(v, "/etc/sealedge", root+"/etc/sealedge", 1))
	}
}

// Every node starts with what the chart gives it, as "sealedge check-config" sees it,
// and advertises its DNS name.
func TestDaemonAcceptsTheConfiguration(t *testing.T) {
	a := newAuthority(t)
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		full, c := o.Nodes.Name, o.Nodes.Spec.Template.Spec.Containers[0]
		listed := int(*o.Nodes.Spec.Replicas)
		if name == "scaling" {
			listed = 5
		}
		var nodes []string
		for i := range listed {
			nodes = append(nodes, fmt.Sprintf("%s-%d", full, i))
		}
		root := t.TempDir()
		mount(t, a, o, &o.Nodes.Spec.Template.Spec, root, nodes)
		flags := map[string]string{}
		if strings.Contains(o.Config.Data["sealedge.yaml"], "address_driver: netlink") {
			flags["gateway.interface"] = "lo" // this machine may have no other
		}
		if _, err := os.Stat("/dev/net/tun"); err != nil {
			flags["inner.driver"] = "netstack"
		}
		file := filepath.Join(root, "etc/sealedge/config/sealedge.yaml")
		for _, node := range nodes {
			environ(t, c, node, root)
			if problems := config.Check(file, flags, time.Now()); len(problems) > 0 {
				t.Fatalf("%s: %v", node, problems)
			}
			cfg, err := config.Load(file, flags)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("%s.%s-nodes.seals.svc.cluster.local:7000", node, full); string(cfg.Cluster.Advertise) != want || string(cfg.Node.Name) != node || len(cfg.Cluster.Peers) != listed || string(cfg.Cluster.PreferredLeader) != nodes[0] {
				t.Errorf("%s of %d advertises %s, want %s of %d; %q is to lead", cfg.Node.Name, len(cfg.Cluster.Peers), cfg.Cluster.Advertise, want, listed, cfg.Cluster.PreferredLeader)
			}
		}
		// A pod that isn't among the nodes has no certificate.
		environ(t, c, full+"-9", root)
		if len(config.Check(file, flags, time.Now())) == 0 {
			t.Error("a node that nobody knows is accepted")
		}
	})
}

// The image is run as tools/image says that its command is, with the file where the
// ConfigMap is: as a directory, since a file that is mounted by its subPath never
// changes.
func TestCommandReadsTheConfigMap(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		pod := o.Nodes.Spec.Template.Spec
		c := pod.Containers[0]
		if len(c.Command) > 0 || len(c.Args) != 2 || c.Args[0] != "run" {
			t.Fatalf("%q %q", c.Command, c.Args)
		}
		for _, m := range c.VolumeMounts {
			if m.SubPath != "" || m.SubPathExpr != "" {
				t.Errorf("%s never changes", m.MountPath)
			}
			// The kubelet can't make a place for a volume within another that is read-only.
			for _, other := range c.VolumeMounts {
				if other.MountPath != m.MountPath && strings.HasPrefix(m.MountPath+"/", other.MountPath+"/") {
					t.Errorf("%s is inside of %s", m.MountPath, other.MountPath)
				}
			}
			if m.Name == "config" && filepath.Join(m.MountPath, "sealedge.yaml") != c.Args[1] {
				t.Errorf("it reads %s, and the ConfigMap is at %s", c.Args[1], m.MountPath)
			}
		}
		if o.Config.Data["sealedge.yaml"] == "" {
			t.Error("the ConfigMap has no sealedge.yaml")
		}
	})
}

// Before a pod's process is told to end it is drained, by the program that the image
// has, of the data that it runs on, and with time left.
func TestPodsAreDrained(t *testing.T) {
	each(t, func(t *testing.T, name, _ string) {
		o := decoded(t, name)
		pod := o.Nodes.Spec.Template.Spec
		c := pod.Containers[0]
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Exec == nil {
			t.Fatal("no preStop")
		}
		command := c.Lifecycle.PreStop.Exec.Command
		flags := map[string]string{}
		for _, f := range command[2:] {
			k, v, _ := strings.Cut(f, "=")
			flags[k] = v
		}
		takes, err := time.ParseDuration(flags["--timeout"])
		if err != nil || takes < 5*time.Second || takes > time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second/2 {
			t.Errorf("it takes %s of %d s: %v", takes, *pod.TerminationGracePeriodSeconds, err)
		}
		var file struct {
			Node struct {
				DataDir string `json:"data_dir"`
			} `json:"node"`
		}
		if err := yaml.Unmarshal([]byte(o.Config.Data["sealedge.yaml"]), &file); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(command[:2], []string{"/usr/bin/sealedge", "drain"}) || flags["--data-dir"] != file.Node.DataDir || len(flags) != 2 {
			t.Errorf("%q, and the data is in %s", command, file.Node.DataDir)
		}
	})
}
