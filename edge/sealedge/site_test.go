package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/config"
)

// A cluster on machines of its own: configurations and certificates name them.
func TestInitForMachines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{
		"sealedge", "init", "--host", "192.0.2.11", "--host", "192.0.2.12", "--host", "192.0.2.13", "--gateway", "192.0.2.10",
		"--carrier", "198.51.100.0/24", "--carrier", "203.0.113.7/32", "--apn", "seals.example", "--inner", "10.91.0.1", "--pool", "10.91.0.0/16",
		"--seal-server", "192.0.2.20:443", dir,
	}, &out, &errs)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	// The seal server is somewhere else, and no node runs here.
	if !strings.Contains(out.String(), "\n  192.0.2.12: sealedge run node2.yaml\n") || strings.Contains(out.String(), "sealserver") {
		t.Errorf("it says:\n%s", &out)
	}
	for n := 1; n <= 3; n++ {
		host := fmt.Sprintf("192.0.2.1%d", n)
		cfg, err := config.Load(filepath.Join(dir, fmt.Sprintf("node%d.yaml", n)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(cfg.Cluster.Listen) != host+":7000" || len(cfg.Cluster.Peers) != 3 || cfg.Gateway.Address.String() != "192.0.2.10" ||
			len(cfg.Gateway.GTP.AllowedPeers) != 2 || cfg.Upstream.URL.String() != "https://192.0.2.20:443" {
			t.Errorf("node %d: %+v", n, cfg)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "pki", fmt.Sprintf("node%d-admin.pem", n)))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(raw)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(cert.IPAddresses, net.ParseIP(host).Equal) {
			t.Errorf("node %d has a certificate for %v", n, cert.IPAddresses)
		}
	}
	policy, err := os.ReadFile(filepath.Join(dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"seals.example", "10.91.0.1", "10.91.0.0/16", "192.0.2.20:443"} {
		if !bytes.Contains(policy, []byte(want)) {
			t.Errorf("the policy has no %s", want)
		}
	}
}

// All mistakes are told at once, and nothing is made.
func TestInitForMachinesMistakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"sealedge", "init", "--host", "gw.example", "--carrier", "198.51.100.1", "--pool", "x", "--seal-server", "192.0.2.20", dir}, &out, &errs)
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, flag := range []string{"--host", "--carrier", "--pool", "--seal-server"} {
		if !strings.Contains(errs.String(), flag) {
			t.Errorf("nothing about %s in %s", flag, &errs)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was made")
	}
	code = run(t.Context(), []string{"sealedge", "init", "--nodes", "3", "--host", "192.0.2.11", dir}, &out, &errs)
	if code != exitUsage {
		t.Errorf("one host for three nodes: exit code %d", code)
	}
}
