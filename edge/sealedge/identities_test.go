package main

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

// Both sides show a renewed certificate at the next handshake.
func TestRenewedCertificatesAreShown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	if _, err := setup.Init(dir, setup.Options{Nodes: 2, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	pki := func(name string) config.Path { return config.Path(filepath.Join(dir, "pki", name)) }
	c, err := renewing(pki("ca.pem"), pki("node1.pem"), pki("node1-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	c.ServerName = "node1"
	// shown says whom each side saw.
	shown := func() (server, client string) {
		t.Helper()
		near, far := net.Pipe()
		listener, caller := tls.Server(near, c), tls.Client(far, c)
		done := make(chan error, 1)
		go func() { done <- listener.Handshake() }()
		if err := caller.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return caller.ConnectionState().PeerCertificates[0].Subject.CommonName, listener.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if server, client := shown(); server != "node1" || client != "node1" {
		t.Fatalf("%s, %s", server, client)
	}
	for _, part := range []string{".pem", "-key.pem"} {
		if err := os.Rename(string(pki("node2"+part)), string(pki("node1"+part))); err != nil {
			t.Fatal(err)
		}
	}
	c.ServerName = "node2"
	if server, client := shown(); server != "node2" || client != "node2" {
		t.Errorf("after the files were replaced: %s, %s", server, client)
	}
	// A key that isn't the certificate's, and then no certificate: what was there before is shown.
	for part, name := range map[string]string{"-key.pem": "grant-key.pem", ".pem": "secrets.key"} {
		if err := os.Rename(string(pki(name)), string(pki("node1"+part))); err != nil {
			t.Fatal(err)
		}
		if server, client := shown(); server != "node2" || client != "node2" {
			t.Errorf("%s is broken: %s, %s", part, server, client)
		}
	}
}
