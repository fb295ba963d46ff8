package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

func TestConfig(t *testing.T) {
	good := Config{NodeName: "n1", DataDir: "d", Peers: []Peer{{"n1", "127.0.0.1:1"}, {"n2", "127.0.0.1:2"}}}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		err    string
	}{
		{"good", func(*Config) {}, ""},
		{"own address given", func(c *Config) { c.Advertise = "127.0.0.1:1" }, ""},
		{"another address given", func(c *Config) { c.Advertise = "127.0.0.1:9" }, "make them equal"},
		{"not a peer", func(c *Config) { c.NodeName = "n9" }, "not among the peers"},
		{"bad name", func(c *Config) { c.Peers[1].Name = "N/2" }, "peer name"},
		{"bad address", func(c *Config) { c.Peers[1].Address = "127.0.0.1" }, "address of peer"},
		{"twice the name", func(c *Config) { c.Peers[1].Name = "n1" }, "listed twice"},
		{"twice the address", func(c *Config) { c.Peers[1].Address = "127.0.0.1:1" }, "listed twice"},
		{"no directory", func(c *Config) { c.DataDir = "" }, "no data directory"},
		{"a lease as long as the heartbeat", func(c *Config) { c.LeaderLease, c.HeartbeatTimeout = time.Second, time.Second }, "shorter than the heartbeat"},
		{"a short heartbeat shortens the lease", func(c *Config) { c.HeartbeatTimeout = 50 * time.Millisecond }, ""},
	} {
		c := good
		c.Peers = append([]Peer(nil), good.Peers...)
		tc.change(&c)
		got, err := c.withDefaults()
		if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil && (got.LeaderLease >= got.HeartbeatTimeout || got.ElectionTimeout < got.HeartbeatTimeout || got.Fatal == nil || got.Advertise == "") {
			t.Errorf("%s: defaults %+v", tc.name, got)
		}
	}
}

func TestDataDirIsOneNodesOwn(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	cfg := c.config["n1"]
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("opened twice: %v", err)
	}
	c.leader()
	c.stop("n1")
	if err := os.WriteFile(filepath.Join(cfg.DataDir, "node"), []byte("n7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), `belongs to node "n7"`) {
		t.Errorf("another node's directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(cfg.DataDir, "node"), []byte("n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustPropose(t, c.start("n1"), put("001010000000001", ""))
}

// TestUnknownCommandIsRefused: what no node could apply doesn't get into the log.
func TestUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	leader, follower := c.leader(), c.follower()
	for _, n := range []*Node{leader, follower} {
		for name, cmd := range map[string]*command.Command{
			"type":    {Level: 1, Type: 9999},
			"level":   {Level: command.Level + 1, Type: command.Type_RECORD_DECISION},
			"payload": {Level: 1, Type: command.Type_RECORD_DECISION, Payload: []byte{0xff}},
		} {
			if _, err := n.Propose(t.Context(), cmd); !errors.Is(err, command.ErrUnknownCommand) {
				t.Errorf("%s of another %s: %v", n.cfg.NodeName, name, err)
			}
		}
		if _, err := n.Propose(t.Context(), put(strings.Repeat("9", MaxCommandSize), "")); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s, too large: %v", n.cfg.NodeName, err)
		}
		mustPropose(t, n, put("001010000000001", ""))
	}
	c.sameState()
}

// TestEntryThatCannotBeAppliedStopsTheNode puts one into the log behind Propose's
// back, as a newer leader would.
func TestEntryThatCannotBeAppliedStopsTheNode(t *testing.T) {
	t.Parallel()
	fatal := make(chan error, 10)
	c := newTestCluster(t, 1, func(cfg *Config) {
		cfg.Fatal = func(err error) { fatal <- err }
		cfg.ApplyTimeout = 300 * time.Millisecond
	})
	n := c.leader()
	leadership := n.Leadership()
	awaitLeadership(t, leadership, true)
	mustPropose(t, n, put("001010000000001", ""))
	before := writtenTo(n)
	if err := n.raft.Apply(command.Marshal(&command.Command{Level: 1, Type: 9999}), 0).Error(); err != nil {
		t.Fatal(err)
	}
	if err := <-fatal; !errors.Is(err, command.ErrUnknownCommand) {
		t.Errorf("fatal: %v", err)
	}
	awaitLeadership(t, leadership, false)
	if _, err := n.Propose(t.Context(), put("001010000000002", "")); !errors.Is(err, command.ErrNoQuorum) {
		t.Errorf("propose: %v", err)
	}
	if writtenTo(n) != before {
		t.Error("the state changed")
	}
	c.stop("n1")
	if len(fatal) > 0 {
		t.Errorf("told twice: %v", <-fatal)
	}
}

func TestTornAuditTailOfANode(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	for range 20 {
		mustPropose(t, c.leader(), put("001010000000001", ""))
	}
	path := c.leader().audit.open.path
	c.stop("n1")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-100); err != nil { // in the last entry
		t.Fatal(err)
	}
	n := c.start("n1")
	mustPropose(t, n, put("001010000000001", "")) // after the log was replayed
	expectAudit(t, n, 21)
}

func TestLeadershipKeepsTheLatest(t *testing.T) {
	var l latest[bool]
	l.publish(true)
	a, b := l.subscribe(), l.subscribe()
	if !<-a {
		t.Error("a subscriber isn't told how things stand")
	}
	l.publish(false)
	l.publish(true)
	if !<-a || !<-b {
		t.Error("a slow subscriber isn't told the latest")
	}
	select {
	case <-a:
		t.Error("told twice")
	default:
	}
}

func TestRaftLogIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		closing := make(chan struct{})
		l := newRaftLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})), closing)
		l.Info("inner life")
		for range 100 {
			l.Error("failed to heartbeat to", "peer", hclog.Fmt("%s!", "n2"))
		}
		time.Sleep(repeatAfter)
		l.Named("wal").Error("failed to heartbeat to", "peer", "n2")
		close(closing)
		l.Error("another thing")
		if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "peer=n2!") {
			t.Errorf("logged:\n%s", got)
		}
	})
}

// gate is a log store whose writes wait while it is shut.
type gate struct {
	walStore
	open *atomic.Pointer[chan struct{}] // wait for it to close; nil: open
}

func (g gate) StoreLogs(logs []*raft.Log) error {
	if c := g.open.Load(); c != nil {
		<-*c
	}
	return g.walStore.StoreLogs(logs)
}

// TestHungDiskOfTheLeader: without the watchdog the leader would go on sending
// heartbeats, and nobody could commit or be elected.
func TestHungDiskOfTheLeader(t *testing.T) {
	t.Parallel()
	fatal := make(chan error, 10)
	gates := map[string]*atomic.Pointer[chan struct{}]{}
	c := newTestCluster(t, 3, func(cfg *Config) {
		gates[cfg.NodeName] = new(atomic.Pointer[chan struct{}])
		cfg.disk = func(s walStore) walStore { return gate{s, gates[cfg.NodeName]} }
		cfg.DiskStall = 10 * time.Second // the disk is shared with other tests, which may hold it up for long
		cfg.Fatal = func(err error) { fatal <- err }
	})
	old := c.leader()
	mustPropose(t, old, put("001010000000001", ""))
	thaw := make(chan struct{})
	gates[old.cfg.NodeName].Store(&thaw)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := old.Propose(ctx, put("001010000000002", "")); err != nil && !errors.Is(err, command.ErrUnknownOutcome) {
		t.Errorf("a write that hangs: %v", err)
	}
	if err := <-fatal; !errors.Is(err, ErrDiskStalled) {
		t.Errorf("fatal: %v", err)
	}
	c.await("another leader", func() bool {
		for _, n := range c.nodes {
			if n != old && n.Holds() {
				return true
			}
		}
		return false
	})
	for _, n := range c.nodes {
		if n != old {
			mustPropose(t, n, put("001010000000003", ""))
		}
	}
	close(thaw)
	c.stop(old.cfg.NodeName)
}

// memorySink takes a snapshot.
type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

// TestApplyGoesOnDuringASnapshot: a snapshot that was begun shows the state at its
// beginning, whatever is applied before it is written.
func TestApplyGoesOnDuringASnapshot(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	n := c.leader()
	for i := range 50 {
		mustPropose(t, n, put(fmt.Sprintf("00101%010d", i), ""))
	}
	before := writtenTo(n)
	snapshot, err := (&fsm{node: n}).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		mustPropose(t, n, put(fmt.Sprintf("00101%010d", i+25), ""))
	}
	var sink memorySink
	if err := snapshot.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	m, err := state.ReadSnapshot(&sink)
	if err != nil {
		t.Fatal(err)
	}
	if written(m) != before {
		t.Error("the snapshot isn't the state at its beginning")
	}
	if writtenTo(n) == before {
		t.Error("nothing was applied meanwhile")
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.caughtUp()
	var seen string
	c.await("statuses that fit each other", func() bool {
		leader := c.leader()
		follower := c.follower()
		name, address := leader.Leader()
		s, f := leader.Status(), follower.Status()
		seen = fmt.Sprintf("leader %+v, follower %+v", s, f)
		ok := s.Node == name && s.Leader == name && s.Role == "Leader" && s.Holds && s.Term > 0 &&
			s.Applied > 0 && s.Applied <= s.Commit && s.Commit <= s.LastLog && s.Audit >= 1 && s.LastContact.IsZero() && len(s.Peers) == 3
		for _, p := range s.Peers {
			q, _ := leader.cfg.peer(p.Name)
			ok = ok && q.Address == p.Address && p.Voter && (p.Name != name || (p.Heard && p.Address == address))
		}
		return ok && f.Node == follower.cfg.NodeName && f.Role == "Follower" && !f.Holds && f.Leader == name &&
			f.Applied == s.Applied && f.Audit == s.Audit && !f.LastContact.IsZero()
	})
	t.Log(seen)
}
