package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

func newIdentityPair(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func backupOf(t *testing.T, n *Node, to ...age.Recipient) []byte {
	t.Helper()
	if err := n.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := n.Backup(t.Context(), &b, to); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func epochOf(n *Node) (number uint64, frozen bool) {
	n.View(func(m *state.Machine) { number, frozen = m.Epoch().GetNumber(), m.Frozen() })
	return number, frozen
}

func putAddress(name, request string) *command.Command {
	return command.New("test", request, "tester", &command.AcquireAddress{Name: name, Node: "n1"})
}

// allVote waits until a cluster has so many voters, by the word of its leader.
func allVote(t *testing.T, n *Node, want int) {
	t.Helper()
	insist(t, func() error {
		voters := 0
		for _, p := range n.Status().Peers {
			if p.Voter {
				voters++
			}
		}
		if voters < want {
			return errors.Join(fmt.Errorf("%d vote", voters), n.Barrier(t.Context()))
		}
		return nil
	})
}

// moveAway gives a stopped node another data directory, which isn't there yet.
func (c *testCluster) moveAway(name string) {
	cfg := c.config[name]
	cfg.DataDir = filepath.Join(c.t.TempDir(), name)
	c.config[name] = cfg
}

// A backup is taken while the cluster works; everything is lost; one node is
// restored, the others join it. What was acknowledged before the backup is there,
// the audit chain verifies from its start, the epoch is raised before anything
// else, and peers are told that sessions were lost.
func TestRestoreFromABackup(t *testing.T) {
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.SnapshotThreshold = 20 })
	mustPropose(t, c.leader(), putAddress("gw", "address"))
	for range 50 {
		mustPropose(t, c.follower(), put("460010000000001", ""))
	}
	id := newIdentityPair(t)
	file := backupOf(t, c.follower(), id.Recipient())
	mustPropose(t, c.leader(), put("460010000000002", "after"))
	manifest, _, err := backup.Read(bytes.NewReader(file), []age.Identity{id}, nil)
	if err != nil || manifest.Counts.Subscribers != 1 || manifest.AuditSequence < 51 {
		t.Fatalf("%+v, %v", manifest, err)
	}
	for _, name := range c.names {
		c.stop(name)
	}
	if _, err := Restore(c.config["n1"], bytes.NewReader(file), []age.Identity{id}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("over a data directory: %v", err)
	}
	for _, name := range c.names {
		c.moveAway(name)
	}
	r, err := Restore(c.config["n1"], bytes.NewReader(file), []age.Identity{id})
	if err != nil || r.Epoch != 2 || r.Index != manifest.Index+1 {
		t.Fatalf("%+v, %v", r, err)
	}
	n1 := c.start("n1")
	if number, frozen := epochOf(n1); number != 2 || !frozen {
		t.Fatalf("epoch %d, frozen %v", number, frozen)
	}
	c.leader()
	mustPropose(t, n1, put("460010000000003", "new"))
	c.start("n2")
	c.start("n3")
	allVote(t, n1, 3)
	c.sameState()
	for _, n := range c.nodes {
		var counter uint32
		n.View(func(m *state.Machine) { counter = m.Address("gw").GetRestartCounter() })
		if times(n, "460010000000001") != 50 || times(n, "460010000000002") != 0 || times(n, "460010000000003") != 1 || counter != 65 {
			t.Errorf("%s: %d, %d, %d; restart counter %d", n.cfg.NodeName, times(n, "460010000000001"), times(n, "460010000000002"), times(n, "460010000000003"), counter)
		}
		expectAudit(t, n, 53)
	}
	// It comes back after a stop of its own, too.
	c.stop("n1")
	c.start("n1")
	mustPropose(t, c.follower(), put("460010000000003", "again"))
	c.sameState()
}

func TestRestoreOfWhatIsNoBackup(t *testing.T) {
	c := newTestCluster(t, 1)
	mustPropose(t, c.leader(), put("460010000000001", ""))
	id, other := newIdentityPair(t), newIdentityPair(t)
	good := backupOf(t, c.leader(), id.Recipient())
	changed := bytes.Clone(good)
	changed[len(changed)/2] ^= 1
	c.stop("n1")
	c.moveAway("n1")
	for name, f := range map[string]struct {
		file []byte
		id   age.Identity
		want error
	}{
		"changed":          {changed, id, nil},
		"cut off":          {good[:len(good)-1], id, nil},
		"nothing":          {nil, id, backup.ErrDamaged},
		"in clear":         {[]byte("state"), id, backup.ErrDamaged},
		"another identity": {good, other, backup.ErrIdentity},
	} {
		_, err := Restore(c.config["n1"], bytes.NewReader(f.file), []age.Identity{f.id})
		if err == nil || f.want != nil && !errors.Is(err, f.want) {
			t.Errorf("%s: %v", name, err)
		}
		if files, _ := os.ReadDir(c.config["n1"].DataDir); len(files) > 0 {
			t.Errorf("%s: it left %v", name, files)
		}
	}
	if _, err := Restore(c.config["n1"], bytes.NewReader(good), []age.Identity{id}); err != nil {
		t.Error(err)
	}
	mark := filepath.Join(c.config["n1"].DataDir, unfinished)
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Open(c.config["n1"]); !errors.Is(err, errUnfinished) {
		t.Errorf("it started out of half a restore: %v", err)
		_ = n.Close()
	}
}

// Two of three nodes are gone. The third keeps all that it had, leads alone, and
// new ones join it.
func TestRecoverALostQuorum(t *testing.T) {
	for name, threshold := range map[string]uint64{"from the log": 1000, "from a snapshot and the log": 20} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, 3, func(cfg *Config) { cfg.SnapshotThreshold = threshold })
			mustPropose(t, c.leader(), putAddress("gw", "address"))
			for range 50 {
				mustPropose(t, c.follower(), put("460010000000001", ""))
			}
			c.caughtUp()
			if _, err := Recover(c.config["n1"], false); err == nil || !strings.Contains(err.Error(), "in use") {
				t.Fatalf("a running node: %v", err)
			}
			for _, name := range c.names {
				c.stop(name)
			}
			r, err := Recover(c.config["n1"], false)
			if err != nil || r.Epoch != 2 {
				t.Fatalf("%+v, %v", r, err)
			}
			n1 := c.start("n1")
			c.leader()
			if number, frozen := epochOf(n1); number != 2 || !frozen {
				t.Fatalf("epoch %d, frozen %v", number, frozen)
			}
			mustPropose(t, n1, put("460010000000001", "alone"))
			c.moveAway("n2")
			c.moveAway("n3")
			c.start("n2")
			c.start("n3")
			allVote(t, n1, 3)
			c.sameState()
			for _, n := range c.nodes {
				var counter uint32
				n.View(func(m *state.Machine) { counter = m.Address("gw").GetRestartCounter() })
				if times(n, "460010000000001") != 51 || counter != 1 {
					t.Errorf("%s: %d, restart counter %d", n.cfg.NodeName, times(n, "460010000000001"), counter)
				}
				expectAudit(t, n, 53)
			}
		})
	}
}

// What was broken off is begun again, and a node doesn't start in between.
func TestRecoverTwice(t *testing.T) {
	c := newTestCluster(t, 1)
	mustPropose(t, c.leader(), put("460010000000001", ""))
	c.stop("n1")
	if _, err := Recover(c.config["n1"], true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.config["n1"].DataDir, unfinished), []byte(state.CauseRecovery), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Open(c.config["n1"]); !errors.Is(err, errUnfinished) {
		t.Errorf("it started out of half a recovery: %v", err)
		_ = n.Close()
	}
	if r, err := Recover(c.config["n1"], true); err != nil || r.Epoch != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	n := c.start("n1")
	mustPropose(t, c.leader(), put("460010000000001", "again"))
	if err := n.Barrier(context.Background()); err != nil || times(n, "460010000000001") != 2 {
		t.Errorf("%v, %d", err, times(n, "460010000000001"))
	}
	c.moveAway("n1")
	if _, err := Recover(c.config["n1"], true); err == nil || !strings.Contains(err.Error(), "no log") {
		t.Errorf("an empty directory: %v", err)
	}
}

// A node that quarantined itself is no source of anything: neither is a backup
// restored over its directory, nor is it the survivor of a lost quorum.
func TestQuarantinedDirectoryIsNoSurvivor(t *testing.T) {
	c := newTestCluster(t, 1)
	mustPropose(t, c.leader(), put("460010000000001", ""))
	id := newIdentityPair(t)
	file := backupOf(t, c.leader(), id.Recipient())
	c.stop("n1")
	dir := c.config["n1"].DataDir
	if err := markQuarantined(dir, "its state differed"); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(c.config["n1"], false); !errors.Is(err, ErrQuarantined) {
		t.Errorf("recovered: %v", err)
	}
	if begun(dir) != "" {
		t.Error("the refused recovery marked the directory")
	}
	if _, err := Restore(c.config["n1"], bytes.NewReader(file), []age.Identity{id}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored: %v", err)
	}
	// Nor when the mark is all that is left.
	for _, name := range []string{"wal", "snapshots", "audit", "node", "node-id", "lock"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Restore(c.config["n1"], bytes.NewReader(file), []age.Identity{id}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, quarantineFile)); err != nil {
		t.Errorf("the mark is gone: %v", err)
	}
}
