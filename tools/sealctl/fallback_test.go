package main

import (
	"encoding/base64"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// replace OLD NEW FILE: the file has the one, and then the other.
func replaceIn(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[2])
	if !strings.Contains(text, args[0]) {
		ts.Fatalf("%s has no %q", args[2], args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ReplaceAll(text, args[0], args[1])), 0o600))
}

// keys: those of the gateway, as CURRENT and BEFORE.
func serverKeys(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Value("node").(*node).View(func(m *state.Machine) {
		for i, k := range m.ServerKeys() {
			ts.Setenv([]string{"CURRENT", "BEFORE"}[i], base64.StdEncoding.EncodeToString(k.PublicKey))
		}
	})
}

// overwireguard IMSI: it comes over the fallback path, by the lease that it has.
func overWireGuard(ts *testscript.TestScript, _ bool, args []string) {
	n := ts.Value("node").(*node)
	var p *command.AttachWireGuard
	n.View(func(m *state.Machine) {
		s := m.Subscriber(args[0])
		p = &command.AttachWireGuard{
			Imsi: args[0], Apn: s.GetApns()[0], PublicKey: s.GetWireguardPublicKey(), PolicyRevision: m.PolicyRevision(), SubscriberVersion: s.GetVersion(), GatewayAddress: "gw1",
			Lease: m.FallbackLease(args[0]).GetNumber(), Endpoint: []byte{203, 0, 113, 9}, EndpointPort: 40000,
		}
	})
	ts.Check(n.propose(p))
}

// The command lines of docs/fallback.md are understood.
func TestFallbackDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/fallback.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for l := range strings.Lines(string(doc)) {
		if words, ok := commandLine(strings.TrimSpace(l)); ok && strings.HasPrefix(l, "sealctl ") {
			lines++
			if _, err := arrange(newApp(io.Discard, io.Discard), words); err != nil {
				t.Errorf("%s: %v", l, err)
			}
		}
	}
	if lines < 5 {
		t.Errorf("%d lines begin with sealctl", lines)
	}
}
