package config_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// place is a directory as "sealedge init" makes it, to be spoilt.
type place struct {
	t   *testing.T
	dir string
}

func (p place) path(name string) string { return filepath.Join(p.dir, name) }

func (p place) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p place) copy(from, to string) {
	p.t.Helper()
	b, err := os.ReadFile(p.path(from))
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(to, string(b))
}

func (p place) edit(from, to string) {
	p.t.Helper()
	b, err := os.ReadFile(p.path("node1.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	if strings.Count(string(b), from) != 1 {
		p.t.Fatalf("%q stands in node1.yaml %d times", from, strings.Count(string(b), from))
	}
	p.write("node1.yaml", strings.Replace(string(b), from, to, 1))
}

// selfSigned puts a certificate of nobody's CA, and its key, in the place of
// another.
func (p place) selfSigned(name string, key crypto.Signer, usages ...x509.ExtKeyUsage) {
	p.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtKeyUsage: usages}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("pki/"+name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	p.write("pki/"+name+"-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

func TestCheckFindsWhatIsWrongWithFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(place)
		want  []string // a part of each problem, in order
	}{
		{"nothing", func(place) {}, nil},
		{"a key is gone", func(p place) { os.Remove(p.path("pki/gateway-key.pem")) }, []string{"upstream.key: certificate"}},
		{"a certificate is gone", func(p place) { os.Remove(p.path("pki/gateway.pem")) }, []string{"upstream.cert: certificate"}},
		{"the CA is gone", func(p place) { os.Remove(p.path("pki/ca.pem")) }, []string{"tls.ca: open", "upstream.ca: open", "intranet.ca: open", "admin.ca: open"}},
		{"the CA is something else", func(p place) { p.copy("pki/grant-public.pem", "pki/ca.pem") }, []string{"tls.ca: ", "upstream.ca: ", "intranet.ca: ", "holds no certificate in PEM"}},
		{"another's key", func(p place) { p.copy("pki/node1-key.pem", "pki/node1-admin-key.pem") }, []string{"admin.cert: certificate"}},
		{"another node's certificate", func(p place) {
			p.copy("pki/node2.pem", "pki/node1.pem")
			p.copy("pki/node2-key.pem", "pki/node1-key.pem")
		}, []string{"tls.cert: the certificate lacks the URI SAN sealedge://node/node1; it has [sealedge://node/node2]; use the certificate of this node, or mend node.name"}},
		{"a stranger's certificate", func(p place) {
			key := ecdsaKey(p.t)
			p.selfSigned("node1", key, x509.ExtKeyUsageServerAuth)
		}, []string{"may not be used for client authentication", "the CA doesn't vouch for it", "lacks the URI SAN"}},
		{"an RSA certificate for barrels", func(p place) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				p.t.Fatal(err)
			}
			p.selfSigned("barrel-api", key, x509.ExtKeyUsageServerAuth)
		}, []string{"inner.barrel_api.cert: barrels' cipher suites need an ECDSA certificate, this one is RSA"}},
		{"an inner address that the certificate lacks", func(p place) { p.edit("[10.90.0.1]", "[10.90.0.1, 10.91.0.1]") }, []string{
			"inner.phone_api.cert: the certificate doesn't name inner address 10.91.0.1",
		}},
		{"an inner IPv6 address that the certificate lacks", func(p place) { p.edit("[10.90.0.1]", `[10.90.0.1, "fd00:90::1"]`) }, []string{
			"inner.phone_api.cert: the certificate doesn't name inner address fd00:90::1",
		}},
		{"a key that everyone can read", func(p place) {
			if err := os.Chmod(p.path("pki/grant-key.pem"), 0o644); err != nil {
				p.t.Fatal(err)
			}
		}, []string{"grant.key_file: everyone can read"}},
		{"a key that the group can read", func(p place) {
			if err := os.Chmod(p.path("pki/grant-key.pem"), 0o640); err != nil {
				p.t.Fatal(err)
			}
		}, nil},
		{"keys of the wrong kind", func(p place) {
			p.copy("pki/gateway-key.pem", "pki/grant-key.pem")
			p.write("pki/secrets.key", "c2hvcnQ=\n")
			p.write("pki/wireguard.key", strings.Repeat("A", 43)+"=\n")
			p.edit("    enabled: true # the key is the cluster's: sealctl fallback keys", "    private_key_file: pki/wireguard.key")
		}, []string{"gateway.wireguard.private_key_file: ", "want an Ed25519 key", "want 32 bytes in base64"}},
		{"nobody asks for the fallback path from outside", func(p place) {
			p.edit("  listen: \"127.0.1.1:7448\"\n  cert: pki/node1-fallback.pem\n  key: pki/node1-fallback-key.pem\n", "  listen: \"\"\n")
			os.Remove(p.path("pki/node1-fallback-key.pem"))
		}, nil},
		{"another's certificate where the fallback path is asked for", func(p place) {
			p.copy("pki/gateway.pem", "pki/node1-fallback.pem")
			p.copy("pki/gateway-key.pem", "pki/node1-fallback-key.pem")
		}, []string{"fallback.cert: "}},
		{"a collector's token that everyone can read", func(p place) {
			p.write("pki/headers", "Authorization: Bearer x\n")
			if err := os.Chmod(p.path("pki/headers"), 0o644); err != nil {
				p.t.Fatal(err)
			}
			p.edit("\ngrant:", "\ntelemetry:\n  traces:\n    endpoint: https://otel.example.com:4318\n    ca: pki/ca.pem\n    cert: pki/gateway.pem\n    key: pki/gateway-key.pem\n    headers_file: pki/headers\ngrant:")
		}, []string{"telemetry.traces.headers_file: everyone can read"}},
		{"nothing of what a collector asks for", func(p place) {
			p.edit("\ngrant:", "\ntelemetry:\n  traces:\n    endpoint: https://otel.example.com:4318\n    ca: pki/none.pem\n    cert: pki/gateway.pem\n    key: pki/grant-key.pem\n    headers_file: pki/none\ngrant:")
		}, []string{"telemetry.traces.ca: ", "telemetry.traces.cert: ", "telemetry.traces.headers_file: "}},
		{"no traces, so that their files don't matter", func(p place) {
			p.edit("\ngrant:", "\ntelemetry:\n  traces:\n    ca: pki/none.pem\n    headers_file: pki/none\ngrant:")
		}, nil},
		{"an address of another machine", func(p place) {
			p.edit("  address: 127.0.10.1", "  address: 127.0.10.1\n  bind: 192.0.2.1")
		}, []string{"gateway.bind: this machine can't open sockets at 192.0.2.1: "}},
		{"an address of this machine", func(p place) {
			p.edit("  address: 127.0.10.1", "  address: 192.0.2.1\n  bind: 127.0.10.2")
		}, nil},
		{"listeners at an address of another machine", func(p place) {
			p.edit("name: node1", "name: node1\n  listen_at: [127.0.0.1, 192.0.2.1]")
		}, []string{`node.listen_at: no interface of this machine has the address 192.0.2.1; name those that "ip address" lists`}},
		{"an interface of another machine", func(p place) {
			p.edit("  address: 127.0.10.1", "  address: 192.0.2.1\n  address_driver: netlink\n  interface: eth99")
		}, []string{`gateway.interface: this machine has no interface "eth99"; name one that "ip link" lists`}},
		{"a file where data should go", func(p place) { p.write("data/node1", "") }, []string{"node.data_dir: "}},
		{"a mistake in the file", func(p place) { p.edit("name: node1", "nam: node1") }, []string{"node.nam: unknown key", "node.name: is missing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := place{t, t.TempDir()}
			l, err := setup.Init(p.dir, setup.Options{Nodes: 2, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(p)
			got := config.Check(l.Nodes[0], nil, now)
			if len(got) != len(c.want) {
				t.Fatalf("got %d problems, want %d:\n%v", len(got), len(c.want), got)
			}
			for i, problem := range got {
				if !strings.Contains(problem.Error(), c.want[i]) || problem.Line == 0 {
					t.Errorf("got %s\nwant a line and %q", problem.Error(), c.want[i])
				}
			}
		})
	}
}

func ecdsaKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The clock matters: what is valid now may not have been, or not stay so.
func TestCheckMindsTheClock(t *testing.T) {
	dir := t.TempDir()
	l, err := setup.Init(dir, setup.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{now.AddDate(0, 0, -1), "is valid only from"},
		{now.AddDate(3, 0, 0), "expired on"},
	} {
		got := config.Check(l.Nodes[0], nil, c.at)
		if len(got) != 7 || !strings.Contains(got[0].Error(), c.want) {
			t.Errorf("at %s: %v", c.at, got)
		}
	}
}

func TestCheckWithoutAFile(t *testing.T) {
	if got := config.Check(filepath.Join(t.TempDir(), "none.yaml"), nil, now); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
