package setup_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/policy/bundle"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func initialise(t *testing.T, o setup.Options) (string, *setup.Layout) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made")
	if o.Now.IsZero() {
		o.Now = now
	}
	l, err := setup.Init(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, l
}

// What Init makes runs as it is: every node's configuration passes the check,
// as long as the certificates are valid.
func TestRunsAsItIs(t *testing.T) {
	for _, o := range []setup.Options{{}, {Nodes: 3}, {
		Hosts:   []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("192.0.2.2")},
		Gateway: netip.MustParseAddr("192.0.2.10"), Inner: netip.MustParseAddr("172.16.0.1"), Pool: netip.MustParsePrefix("172.16.0.0/24"),
		Carriers:   []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.9/32")},
		SealServer: netip.MustParseAddrPort("[fd00::9]:9443"),
	}, dualStack} {
		_, l := initialise(t, o)
		if want := max(o.Nodes, len(o.Hosts), 1); len(l.Nodes) != want {
			t.Fatalf("%d nodes, want %d", len(l.Nodes), want)
		}
		for _, path := range l.Nodes {
			for _, at := range []time.Time{now.Add(-time.Minute), now, now.AddDate(0, 0, 824)} {
				for _, p := range config.Check(path, nil, at) {
					t.Errorf("at %s: %s", at.Format(time.DateOnly), p.Error())
				}
			}
			if ps := config.Check(path, nil, now.AddDate(0, 0, 826)); len(ps) != 7 {
				t.Errorf("after 826 days: %d problems, want 7 expired certificates:\n%v", len(ps), ps)
			}
		}
	}
}

var dualStack = setup.Options{Inner6: netip.MustParseAddr("fd00:90::1"), Pool6: netip.MustParsePrefix("fd00:90::/48")}

// With IPv6 inside the tunnel, the certificates name the address that phones
// dial, and node and policy agree on it.
func TestIPv6Inside(t *testing.T) {
	dir, l := initialise(t, dualStack)
	for _, name := range []string{"phone-api", "barrel-api"} {
		for _, address := range []string{"10.90.0.1", "fd00:90::1"} {
			if err := certificate(t, dir, name).VerifyHostname(address); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	cfg, err := config.Load(l.Nodes[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("10.90.0.1"), dualStack.Inner6}; !slices.Equal(cfg.Inner.Addresses, want) {
		t.Errorf("inner addresses %v, want %v", cfg.Inner.Addresses, want)
	}
	doc, err := os.ReadFile(l.Policy)
	if err != nil {
		t.Fatal(err)
	}
	rules, pools, err := bundle.Parse("policy.yaml", doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, apn := range rules.APNs {
		if apn.GatewayAddress6 != dualStack.Inner6 || !slices.Contains(apn.Pools, dualStack.Pool6) {
			t.Errorf("policy has %+v", apn)
		}
	}
	if len(pools) != 2 {
		t.Errorf("pools %v", pools)
	}
	for name, o := range map[string]setup.Options{
		"no range":             {Inner6: dualStack.Inner6},
		"no address":           {Pool6: dualStack.Pool6},
		"an IPv4 address":      {Inner6: netip.MustParseAddr("10.91.0.1"), Pool6: dualStack.Pool6},
		"a range too narrow":   {Inner6: dualStack.Inner6, Pool6: netip.MustParsePrefix("fd00:90::/65")},
		"a link-local address": {Inner6: netip.MustParseAddr("fe80::1"), Pool6: dualStack.Pool6},
	} {
		o.Now = now
		if _, err := setup.Init(filepath.Join(t.TempDir(), "made"), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Keys are for the owner only, and no key is among the other files.
func TestModes(t *testing.T) {
	dir, _ := initialise(t, setup.Options{Nodes: 3})
	keys := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		secret := strings.Contains(string(raw), "PRIVATE KEY") || strings.HasSuffix(path, ".key")
		want := fs.FileMode(0o644)
		if secret {
			keys++
			want = 0o600
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 6 + 3*4 + 2; keys != want {
		t.Errorf("%d keys, want %d", keys, want)
	}
}

func certificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "pki", name+".pem"), filepath.Join(dir, "pki", name+"-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// Each certificate says who its owner is, and serves for nothing else.
func TestCertificates(t *testing.T) {
	dir, _ := initialise(t, setup.Options{Nodes: 2})
	ca := certificate(t, dir, "ca")
	if !ca.IsCA || !ca.NotAfter.Equal(now.AddDate(0, 0, 3652)) || !ca.MaxPathLenZero {
		t.Errorf("CA: %v, valid until %s", ca.IsCA, ca.NotAfter)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	serverSide, clientSide := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, c := range []struct {
		name, host, uri string
		may, mayNot     []x509.ExtKeyUsage
	}{
		{"node2", "127.0.1.2", "sealedge://node/node2", []x509.ExtKeyUsage{serverSide, clientSide}, nil},
		{"node2-admin", "127.0.1.2", "", []x509.ExtKeyUsage{serverSide}, []x509.ExtKeyUsage{clientSide}},
		{"node1-intranet", "127.0.1.1", "", []x509.ExtKeyUsage{serverSide}, []x509.ExtKeyUsage{clientSide}},
		{"node1-fallback", "127.0.1.1", "", []x509.ExtKeyUsage{serverSide}, []x509.ExtKeyUsage{clientSide}},
		{"gateway", "", "sealedge://gateway/gw1", []x509.ExtKeyUsage{clientSide}, []x509.ExtKeyUsage{serverSide}},
		{"phone-api", "10.90.0.1", "", []x509.ExtKeyUsage{serverSide}, []x509.ExtKeyUsage{clientSide}},
		{"barrel-api", "gateway.seal.internal", "", []x509.ExtKeyUsage{serverSide}, []x509.ExtKeyUsage{clientSide}},
		{"seal-server", "127.0.2.1", "", []x509.ExtKeyUsage{serverSide}, []x509.ExtKeyUsage{clientSide}},
		{"seal-server-client", "", "sealedge://seal-server", []x509.ExtKeyUsage{clientSide}, []x509.ExtKeyUsage{serverSide}},
		{"operator", "", "sealedge://operator/operator", []x509.ExtKeyUsage{clientSide}, []x509.ExtKeyUsage{serverSide}},
	} {
		cert := certificate(t, dir, c.name)
		if !cert.NotAfter.Equal(now.AddDate(0, 0, 825)) || cert.IsCA {
			t.Errorf("%s: valid until %s", c.name, cert.NotAfter)
		}
		uri := ""
		if len(cert.URIs) == 1 {
			uri = cert.URIs[0].String()
		}
		if uri != c.uri || len(cert.URIs) > 1 {
			t.Errorf("%s: URI SAN %q, want %q", c.name, uri, c.uri)
		}
		verify := func(u x509.ExtKeyUsage) error {
			_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: c.host, KeyUsages: []x509.ExtKeyUsage{u}})
			return err
		}
		for _, u := range c.may {
			if err := verify(u); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		for _, u := range c.mayNot {
			if verify(u) == nil {
				t.Errorf("%s may be used for %v", c.name, u)
			}
		}
	}
	if units := certificate(t, dir, "operator").Subject.OrganizationalUnit; len(units) != 5 {
		t.Errorf("operator's roles: %v", units)
	}
}

// A further operator's directory is whole in itself, and the certificate says what
// its owner may do.
func TestAddOperator(t *testing.T) {
	dir, _ := initialise(t, setup.Options{})
	context, err := setup.AddOperator(dir, "li.wei", []string{"seal-administrator", "viewer"}, now)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(filepath.Dir(context), at); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(at, "cert.pem"), filepath.Join(at, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(at, "ca.pem"))
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if u, ou := pair.Leaf.URIs[0].String(), pair.Leaf.Subject.OrganizationalUnit; u != "sealedge://operator/li.wei" || len(ou) != 2 || !slices.Contains(ou, "seal-administrator") || !slices.Contains(ou, "viewer") {
		t.Errorf("%s, %v", u, ou)
	}
	text, err := os.ReadFile(filepath.Join(at, "sealctl.yaml"))
	if err != nil || !strings.Contains(string(text), "- 127.0.1.1:7443") || strings.Contains(string(text), dir) {
		t.Errorf("%s, %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(at, "key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// The halves of a key pair that go to different places belong together.
func TestSharedKeys(t *testing.T) {
	dir, l := initialise(t, setup.Options{})
	cfg, err := config.Load(l.Nodes[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := cfg.Grant.Ed25519()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(l.GrantKey)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !key.Public().(ed25519.PublicKey).Equal(public) {
		t.Errorf("grant key: %v", err)
	}
	if w := cfg.Gateway.WireGuard; !w.Enabled() || w.PrivateKeyFile != "" {
		t.Errorf("WireGuard: %+v; its key is the cluster's to make", w)
	}
	if secret, err := cfg.Secrets.Secret(); err != nil || len(secret) != 32 {
		t.Errorf("wrapping key: %v", err)
	}
	other, _ := initialise(t, setup.Options{})
	for _, name := range []string{"secrets.key", "grant-key.pem", "ca-key.pem"} {
		a, _ := os.ReadFile(filepath.Join(dir, "pki", name))
		b, _ := os.ReadFile(filepath.Join(other, "pki", name))
		if string(a) == string(b) {
			t.Errorf("%s is the same each time", name)
		}
	}
}

func TestOtherFiles(t *testing.T) {
	dir, l := initialise(t, setup.Options{Nodes: 2})
	raw, err := os.ReadFile(l.Policy)
	if err != nil {
		t.Fatal(err)
	}
	rules, _, err := bundle.Parse(l.Policy, raw)
	if err != nil || rules.Servers[0].String() != "127.0.2.1:8443" {
		t.Errorf("policy: %v", err)
	}
	for path, want := range map[string]map[string]any{
		l.SealServer: {
			"listen": "127.0.2.1:8443", "gateway_uri": "sealedge://gateway/gw1", "database": "data/sealserver.db", "evidence_dir": "data/evidence",
			"gateways": []any{"https://127.0.1.1:7444", "https://127.0.1.2:7444"},
			"ca":       "pki/ca.pem", "cert": "pki/seal-server.pem", "key": "pki/seal-server-key.pem",
			"client_cert": "pki/seal-server-client.pem", "client_key": "pki/seal-server-client-key.pem",
		},
		l.Context: {
			"addresses": []any{"127.0.1.1:7443", "127.0.1.2:7443"},
			"ca":        "pki/ca.pem", "cert": "pki/operator.pem", "key": "pki/operator-key.pem",
		},
	} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		if err := yaml.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
		for _, v := range got {
			if file, ok := v.(string); ok && strings.HasPrefix(file, "pki/") {
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := setup.Init(full, setup.Options{Now: now}); err == nil || !strings.Contains(err.Error(), "is not empty: it has mine") {
		t.Errorf("a directory with files: %v", err)
	}
	file := filepath.Join(full, "mine")
	if _, err := setup.Init(file, setup.Options{Now: now}); err == nil {
		t.Error("a file was taken for a directory")
	}
	host := netip.MustParseAddr("127.0.1.1")
	for name, o := range map[string]setup.Options{
		"no time":                {},
		"too many nodes":         {Now: now, Nodes: setup.MaxNodes + 1},
		"fewer than no nodes":    {Now: now, Nodes: -1},
		"hosts don't match":      {Now: now, Nodes: 3, Hosts: []netip.Addr{host}},
		"one host twice":         {Now: now, Hosts: []netip.Addr{host, host}},
		"gateway inside in IPv6": {Now: now, Inner: netip.MustParseAddr("fd00::1")},
		"pool too small":         {Now: now, Pool: netip.MustParsePrefix("10.90.0.0/31")},
	} {
		dir := filepath.Join(t.TempDir(), "made")
		if _, err := setup.Init(dir, o); err == nil {
			t.Errorf("%s: was accepted", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was made", name)
		}
	}
}
