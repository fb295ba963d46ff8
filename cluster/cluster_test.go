package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

func TestEveryNodeProposes(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	c.leader()
	for i := range 30 {
		n := c.nodes[c.names[i%3]]
		imsi := fmt.Sprintf("00101%010d", i)
		mustPropose(t, n, put(imsi, ""))
		if got := times(n, imsi); got != 1 {
			t.Fatalf("%s proposed %s and sees it carried out %d times", n.cfg.NodeName, imsi, got)
		}
	}
	c.sameState()
	for _, n := range c.nodes {
		expectAudit(t, n, 30)
	}
}

func TestBarrierMakesReadsLinearizable(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	leader, follower := c.leader(), c.follower()
	for i := range 50 {
		imsi := fmt.Sprintf("00101%010d", i)
		mustPropose(t, leader, put(imsi, ""))
		insist(t, func() error { return follower.Barrier(t.Context()) })
		if times(follower, imsi) != 1 {
			t.Fatalf("after a barrier the follower doesn't see write %d", i)
		}
	}
}

func TestLeaderDies(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	old := c.leader()
	mustPropose(t, old, put("001010000000001", ""))
	c.stop(old.cfg.NodeName)
	for _, n := range c.nodes {
		mustPropose(t, n, put("001010000000002", ""))
	}
	if got := c.leader(); got == old || times(got, "001010000000001") != 1 || times(got, "001010000000002") != 2 {
		t.Errorf("the new leader lacks something: %+v", got.Status())
	}
	c.start(old.cfg.NodeName)
	c.sameState()
}

func TestRequestIsCarriedOutOnceAcrossFailover(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	old := c.leader()
	request := put("001010000000001", "r1")
	first := mustPropose(t, old, request)
	c.stop(old.cfg.NodeName)
	for _, n := range c.nodes {
		again := mustPropose(t, n, request)
		if !bytes.Equal(command.Marshal(first), command.Marshal(again)) {
			t.Errorf("%s answers the repeat with %v, at first it was %v", n.cfg.NodeName, again, first)
		}
		if got := times(n, "001010000000001"); got != 1 {
			t.Errorf("%s: carried out %d times", n.cfg.NodeName, got)
		}
	}
}

func TestStepDown(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	old := c.leader()
	leadership := old.Leadership()
	awaitLeadership(t, leadership, true)
	mustPropose(t, old, put("001010000000001", ""))
	insist(t, func() error { return old.StepDown(t.Context()) })
	if old.IsLeader() || old.Holds() {
		t.Error("still leads after stepping down")
	}
	awaitLeadership(t, leadership, false)
	mustPropose(t, old, put("001010000000002", ""))
	f := c.follower()
	if err := f.StepDown(t.Context()); err != nil && !f.IsLeader() {
		t.Errorf("a follower that steps down does nothing, but said: %v", err)
	}
}

// A node that has nobody to hand over to must not stop serving for having been
// asked to.
func TestStepDownOfTheOnlyNode(t *testing.T) {
	t.Parallel()
	n := newTestCluster(t, 1).leader()
	if err := n.StepDown(t.Context()); err == nil {
		t.Error("handed over, to nobody")
	}
	if !n.Holds() {
		t.Error("the only node holds no more")
	}
}

func TestRestartFromDisk(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := newTestCluster(t, size, func(cfg *Config) { cfg.SnapshotThreshold = 16 })
			for i := range 60 {
				mustPropose(t, c.leader(), put(fmt.Sprintf("00101%010d", i), ""))
				if i == 40 { // so that a restart has a snapshot and a log to read
					if err := c.leader().raft.Snapshot().Error(); err != nil {
						t.Fatal(err)
					}
				}
			}
			before := writtenTo(c.leader())
			for _, name := range c.names {
				c.stop(name)
			}
			for _, name := range c.names {
				c.start(name)
			}
			if err := c.leader().Barrier(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.nodes {
				if err := n.Barrier(t.Context()); err != nil {
					t.Fatal(err)
				}
				if writtenTo(n) != before {
					t.Errorf("%s has another state than before the restart", n.cfg.NodeName)
				}
				expectAudit(t, n, 60)
			}
			mustPropose(t, c.leader(), put("001019999999999", ""))
		})
	}
}

// written is what tests put into a state: nodes put there, whenever they come to
// it, who the members are and which commands they know.
func written(m *state.Machine) (subscribers string) {
	for s := range m.Subscribers() {
		subscribers += s.String() + "\n"
	}
	return subscribers
}

func writtenTo(n *Node) (subscribers string) {
	n.View(func(m *state.Machine) { subscribers = written(m) })
	return subscribers
}

func TestSnapshotForANodeThatLags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		wipe bool
	}{{"lagging", false}, {"wiped", true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newTestCluster(t, 3, func(cfg *Config) { cfg.SnapshotThreshold = 16 })
			lagging := c.follower().cfg.NodeName
			for i := range 20 {
				mustPropose(t, c.leader(), put(fmt.Sprintf("00101%010d", i), ""))
			}
			c.caughtUp()
			c.stop(lagging)
			for i := range 100 {
				mustPropose(t, c.leader(), put(fmt.Sprintf("00102%010d", i), ""))
			}
			c.caughtUp()
			for _, n := range c.nodes {
				if err := n.raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
			if tc.wipe {
				if err := os.RemoveAll(c.config[lagging].DataDir); err != nil {
					t.Fatal(err)
				}
				cfg := c.config[lagging]
				cfg.Bootstrap = false
				c.config[lagging] = cfg
			}
			n := c.start(lagging)
			mustPropose(t, c.leader(), put("001039999999999", ""))
			c.sameState()
			if first, _ := n.store.FirstIndex(); first < 80 {
				t.Fatalf("the log begins at %d: it came whole, without a snapshot", first)
			}
			expectAudit(t, n, 121)
			if gaps := n.Status().AuditGaps; gaps != 0 {
				t.Errorf("%d gaps after the audit was read", gaps)
			}
			// What was fetched stays.
			c.stop(lagging)
			expectAudit(t, c.start(lagging), 121)
		})
	}
}

func TestAuditGapThatNobodyCanFill(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.SnapshotThreshold = 16 })
	for i := range 100 {
		mustPropose(t, c.leader(), put(fmt.Sprintf("00102%010d", i), ""))
	}
	lost := c.follower()
	c.caughtUp()
	if err := lost.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	c.stop(lost.cfg.NodeName)
	if err := os.RemoveAll(filepath.Join(lost.cfg.DataDir, "audit")); err != nil {
		t.Fatal(err)
	}
	c.net.isolate(lost.cfg.NodeName, c.names...)
	n := c.start(lost.cfg.NodeName)
	called := false
	err := n.AuditRange(t.Context(), 1, func(*command.AuditEntry) error { called = true; return nil })
	if !errors.Is(err, ErrAuditGap) || called {
		t.Errorf("error %v, called %v", err, called)
	}
	c.net.heal()
	expectAudit(t, n, 100)
}

func TestNoQuorumIsACertainNo(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.ApplyTimeout = 500 * time.Millisecond })
	survivor := c.leader()
	mustPropose(t, survivor, put("001010000000001", ""))
	var dead []string
	for name, n := range c.nodes {
		if n != survivor {
			dead = append(dead, name)
		}
	}
	for _, name := range dead {
		c.stop(name)
	}
	c.await("the leader steps down", func() bool { return !survivor.IsLeader() })
	for _, requestID := range []string{"", "r1"} {
		_, err := survivor.Propose(t.Context(), put("001010000000002", requestID))
		if !errors.Is(err, command.ErrNoQuorum) || errors.Is(err, command.ErrUnknownOutcome) {
			t.Fatalf("request id %q: %v", requestID, err)
		}
	}
	if err := survivor.Barrier(t.Context()); !errors.Is(err, command.ErrNoQuorum) {
		t.Errorf("barrier: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := survivor.Propose(ctx, put("001010000000002", "")); !errors.Is(err, command.ErrNoQuorum) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, name := range dead {
		c.start(name)
	}
	mustPropose(t, survivor, put("001010000000003", ""))
	c.sameState()
	if got := times(survivor, "001010000000002"); got != 0 {
		t.Errorf("what was certainly not carried out was, %d times", got)
	}
}

// TestOutcomesAreTrue proposes from every node while leaders are cut off and
// killed, and compares what was said with what was done.
func TestOutcomesAreTrue(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.ApplyTimeout = 700 * time.Millisecond })
	c.leader()
	type said struct {
		imsi       string
		repeatable bool
		err        error
	}
	var mu sync.Mutex
	var all []said
	var proposers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	// A node that the test kills stays in the map of its proposer: a closed node
	// has to tell the truth as well.
	proposeFrom := func(n *Node, tag string) {
		for worker := range 4 {
			proposers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					s := said{imsi: fmt.Sprintf("%s-%d-%d", tag, worker, i), repeatable: i%2 == 0}
					request := ""
					if s.repeatable {
						request = s.imsi
					}
					_, s.err = n.Propose(context.Background(), put(s.imsi, request))
					mu.Lock()
					all = append(all, s)
					mu.Unlock()
					if errors.Is(s.err, errClosed) {
						return
					}
				}
			})
		}
	}
	for name, n := range c.nodes {
		proposeFrom(n, name)
	}
	progress := func(what string) {
		t.Helper()
		at := c.leader().position.index.Load()
		c.await(what, func() bool { return c.leader().position.index.Load() > at+200 })
	}
	for round := range 2 {
		old := c.leader()
		progress("work before the cut")
		c.net.isolate(old.cfg.NodeName, c.names...)
		c.await("the isolated leader gives up", func() bool { return !old.IsLeader() })
		progress("work without the isolated leader")
		c.net.heal()
		progress("work after healing")

		old = c.leader()
		c.stop(old.cfg.NodeName)
		progress("work without the dead leader")
		proposeFrom(c.start(old.cfg.NodeName), fmt.Sprintf("%s-%d", old.cfg.NodeName, round))
		progress("work with all")

		if err := c.leader().StepDown(t.Context()); err != nil {
			t.Log(err) // another fault may have been faster
		}
	}
	stop()
	proposers.Wait()
	c.sameState()
	n := c.leader()
	count := map[string]int{}
	for _, s := range all {
		done := times(n, s.imsi)
		var kind string
		switch {
		case s.err == nil && done == 1:
			kind = "carried out"
		case errors.Is(s.err, command.ErrNoQuorum) && !errors.Is(s.err, command.ErrUnknownOutcome) && done == 0:
			kind = "not carried out"
		case errors.Is(s.err, command.ErrUnknownOutcome) && !errors.Is(s.err, command.ErrNoQuorum) && done <= 1:
			kind = "unknown"
		default:
			t.Errorf("%+v, but it was carried out %d times", s, done)
		}
		count[kind]++
	}
	t.Log(count)
	if count["carried out"] < 1000 {
		t.Errorf("hardly anything was carried out: %v", count)
	}
	for _, n := range c.nodes {
		wholeAudit(t, n)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	var last time.Time
	for i := range 20 {
		n := c.leader()
		mustPropose(t, n, put("001010000000001", ""))
		var now time.Time
		n.View(func(m *state.Machine) { now = m.Clock() })
		if now.Before(last) {
			t.Fatalf("the clock went from %v back to %v", last, now)
		}
		last = now
		if i%5 == 4 {
			_ = n.StepDown(t.Context())
		}
	}
	var stamp int64
	for _, e := range wholeAudit(t, c.leader()) {
		cmd := new(command.Command)
		if err := proto.Unmarshal(e.Command, cmd); err != nil {
			t.Fatal(err)
		}
		if cmd.LeaderTime < stamp || cmd.LeaderTime == 0 {
			t.Fatalf("entry %d is stamped %d after %d", e.Sequence, cmd.LeaderTime, stamp)
		}
		stamp = cmd.LeaderTime
	}
}
