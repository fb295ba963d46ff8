package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/edge/admin"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

func TestMembersOf(t *testing.T) {
	got := membersOf(cluster.Status{LeaderID: "n1_a", Peers: []cluster.PeerStatus{
		{ID: "n1_a", Name: "n1", Address: "h1:7000", Voter: true, Heard: true},
		{ID: "n2_b", Name: "n2", Address: "h2:7000", Voter: true},
		{ID: "n2_c", Name: "n2", Address: "h2:7000", Heard: true, Drained: true},
		{ID: "n3_d", Name: "n3"},
	}})
	want := []adminapi.Member{
		{ID: "n1_a", Name: "n1", Address: "h1:7000", State: "voter", Leader: true, Answers: true},
		{ID: "n2_b", Name: "n2", Address: "h2:7000", State: "voter"},
		{ID: "n2_c", Name: "n2", Address: "h2:7000", State: "waiting", Answers: true, Drained: true},
		{ID: "n3_d", Name: "n3", State: "joining"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// TestRemovalIsRefusedForAReason: what a node says of a removal becomes what the
// admin API knows.
func TestRemovalIsRefusedForAReason(t *testing.T) {
	node := openAlone(t)
	m := membership{node}
	if _, err := m.Remove(t.Context(), "n9"); !errors.Is(err, admin.ErrNoMember) {
		t.Errorf("nobody was removed: %v", err)
	}
	if _, err := m.Remove(t.Context(), "node1"); err == nil || errors.Is(err, admin.ErrNoMember) {
		t.Errorf("the only node was removed: %v", err)
	}
	if got := m.Members(); len(got) != 1 || !got[0].Leader || !got[0].Answers || got[0].State != "voter" {
		t.Errorf("%+v", got)
	}
}

// openAlone runs a cluster of one node with a site that init makes.
func openAlone(t *testing.T) *cluster.Node {
	t.Helper()
	g := aloneConfig(t)
	nodeTLS, err := mutual(g.TLS.CA, g.TLS.Cert, g.TLS.Key)
	if err != nil {
		t.Fatal(err)
	}
	node, err := cluster.Open(cluster.Config{
		NodeName: "node1", DataDir: t.TempDir(), Listen: "127.0.0.1:0", Peers: []cluster.Peer{{Name: "node1", Address: "127.0.0.1:7"}},
		TLS: nodeTLS, Bootstrap: true, DiskStall: time.Minute, AdmissionStop: 100, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	for began := time.Now(); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := node.Barrier(ctx)
		cancel()
		if err == nil {
			return node
		}
		if time.Since(began) > time.Minute {
			t.Fatal(err)
		}
	}
}

// TestClusterCertificateIsReadAnew: what is written over the files is what the
// next connection shows.
func TestClusterCertificateIsReadAnew(t *testing.T) {
	cfg := aloneConfig(t)
	renew := renewed(cfg.TLS)
	leaf := func() []byte {
		t.Helper()
		c, err := renew()
		if err != nil {
			t.Fatal(err)
		}
		return c.Certificates[0].Certificate[0]
	}
	first := leaf()
	other := aloneConfig(t)
	for from, to := range map[config.Path]config.Path{other.TLS.Cert: cfg.TLS.Cert, other.TLS.Key: cfg.TLS.Key, other.TLS.CA: cfg.TLS.CA} {
		raw, err := os.ReadFile(string(from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(string(to), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Equal(leaf(), first) {
		t.Error("the old certificate is shown")
	}
	if err := os.WriteFile(string(cfg.TLS.Key), []byte("half a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := renew(); err == nil {
		t.Errorf("half a file was taken: %v", c)
	}
}

// aloneConfig is a site of one node, as init makes it.
func aloneConfig(t *testing.T) *config.Config {
	t.Helper()
	layout, err := setup.Init(t.TempDir()+"/site", setup.Options{Nodes: 1, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(layout.Nodes[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
