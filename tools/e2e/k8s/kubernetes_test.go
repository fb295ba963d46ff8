//go:build linux

package k8s

import (
	"net/netip"
	"os"
	"os/signal"
	"testing"

	"github.com/sealedge/sealedge/tools/e2e/k8s/lab"
)

// TestKubernetes is the life of a release, from its installation on.
func TestKubernetes(t *testing.T) {
	binaries, err := lab.Build(t.Context(), ".", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), lab.Config{Nodes: 3, Binaries: binaries, Outside: []netip.Addr{carrierAddress, otherCarrier, serverAddress}, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newSite(t, l)
	for _, scenario := range scenarios {
		if !t.Run(scenario.name, func(t *testing.T) { s.play(t, scenario.play) }) {
			break // those that follow stand on it
		}
	}
	if os.Getenv(stay) != "" {
		t.Logf("the cluster stays until an interrupt; from another shell:\n  %s get pods -A", l.Enter())
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		<-interrupted
	}
}
