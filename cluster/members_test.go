package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
)

// wipe empties the directory of a node that doesn't run.
func (c *testCluster) wipe(name string) {
	c.t.Helper()
	if err := os.RemoveAll(c.config[name].DataDir); err != nil {
		c.t.Fatal(err)
	}
}

// membership is what a node takes for the members, as name:id and whether they vote.
func membership(n *Node) map[string]bool {
	m := map[string]bool{}
	for _, p := range n.Status().Peers {
		m[p.ID] = p.Voter
	}
	return m
}

// voters is how many members vote, as the leader sees it.
func (c *testCluster) voters() (n int) {
	for _, voter := range membership(c.leader()) {
		if voter {
			n++
		}
	}
	return n
}

// awaitMembers waits until every running node knows just these members.
func (c *testCluster) awaitMembers(what string, want map[string]bool) {
	c.t.Helper()
	insist(c.t, func() error {
		for _, n := range c.nodes {
			if got := membership(n); fmt.Sprint(got) != fmt.Sprint(want) {
				time.Sleep(time.Millisecond)
				return fmt.Errorf("%s: %s knows %v, not %v", what, n.cfg.NodeName, got, want)
			}
		}
		return nil
	})
}

// remove takes a member out, however often the leader changes meanwhile.
func (c *testCluster) remove(member string) {
	c.t.Helper()
	insist(c.t, func() error {
		_, err := c.leader().Remove(context.Background(), member)
		if errors.Is(err, ErrNoMember) && !strings.Contains(err.Error(), "several") {
			return nil // an attempt of uncertain outcome succeeded
		}
		return err
	})
}

// TestWipedNodeForgetsNothing: an entry is acknowledged by n1 and n2; then n1 is
// down, and n2 has lost its disk and comes back under its name. Together with n3,
// which never heard of the entry, it must not make a majority.
func TestWipedNodeForgetsNothing(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.ApplyTimeout = 3 * time.Second })
	mustPropose(t, c.leader(), put("001010000000001", "before"))
	c.caughtUp()
	c.awaitJoined()
	leader := c.leader()
	one := leader.cfg.NodeName
	rest := slices.DeleteFunc(slices.Clone(c.names), func(n string) bool { return n == one })
	two, three := rest[0], rest[1]
	old := map[string]string{one: string(leader.id), two: string(c.nodes[two].id), three: string(c.nodes[three].id)}
	c.stop(three)
	mustPropose(t, leader, put("001010000000002", "acknowledged"))
	c.stop(two)
	c.stop(one)

	c.wipe(two)
	wiped := c.start(two)
	behind := c.start(three)
	if string(wiped.id) == old[two] || memberName(wiped.id) != two {
		t.Fatalf("the wiped node came back as %s, it was %s", wiped.id, old[two])
	}
	// As long as it takes to be told no twice, with elections all the time.
	for i, n := range []*Node{behind, wiped} {
		if _, err := n.Propose(t.Context(), put("001010000000003", fmt.Sprint("in vain ", i))); !errors.Is(err, command.ErrNoQuorum) {
			t.Fatalf("%s carried something out without those that know what was acknowledged: %v", n.cfg.NodeName, err)
		}
	}
	if behind.IsLeader() || wiped.IsLeader() || len(membership(wiped)) != 0 {
		t.Fatalf("%+v, %+v", behind.Status(), wiped.Status())
	}

	c.start(one)
	for _, imsi := range []string{"001010000000001", "001010000000002"} {
		if times(c.barrier(one), imsi) != 1 || times(c.barrier(three), imsi) != 1 {
			t.Fatalf("%s was acknowledged and is lost", imsi)
		}
	}
	want := map[string]bool{old[one]: true, old[two]: true, old[three]: true, string(wiped.id): false}
	c.awaitMembers("the wiped node has no vote", want)
	mustPropose(t, c.nodes[one], put("001010000000004", "with two of three"))
	c.sameState()
	c.awaitMembers("nor is it given one, though it caught up", want)

	c.remove(two)
	delete(want, old[two])
	want[string(wiped.id)] = true
	c.awaitMembers("it has its vote when the dead voter is removed", want)
	c.stop(three)
	mustPropose(t, c.nodes[one], put("001010000000005", "with the vote of the new one"))
	if n := c.nodes[two]; times(c.barrier(two), "001010000000002") != 1 {
		t.Fatal(n.Status())
	}
}

// barrier returns a running node when it knows all that was carried out.
func (c *testCluster) barrier(name string) *Node {
	c.t.Helper()
	n := c.nodes[name]
	insist(c.t, func() error { return n.Barrier(context.Background()) })
	return n
}

// awaitJoined waits until every running node has it on disk that it is a member.
func (c *testCluster) awaitJoined() {
	c.t.Helper()
	insist(c.t, func() error {
		for _, n := range c.nodes {
			if v, err := lookUp(n.disk, keyJoined); err != nil || len(v) == 0 {
				time.Sleep(time.Millisecond)
				return fmt.Errorf("%s hasn't joined: %v", n.cfg.NodeName, err)
			}
		}
		return nil
	})
}

// TestLogLostAloneMakesANewID: the files beside the log don't keep an id alive.
func TestLogLostAloneMakesANewID(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	mustPropose(t, c.leader(), put("001010000000001", ""))
	f := c.follower()
	name, old := f.cfg.NodeName, f.id
	c.stop(name)
	if err := os.RemoveAll(filepath.Join(c.config[name].DataDir, "wal")); err != nil {
		t.Fatal(err)
	}
	if n := c.start(name); n.id == old {
		t.Errorf("the log is gone, the id is still %s", old)
	}
	c.stop(name)
	if err := os.MkdirAll(filepath.Join(c.config[name].DataDir, "snapshots", "2-9-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.config[name].DataDir, "wal")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.config[name]); err == nil || !strings.Contains(err.Error(), "has lost its log") {
		t.Errorf("snapshots without a log: %v", err)
	}
}

// TestOldDirectoryKeepsItsName: a log from before there were ids.
func TestOldDirectoryKeepsItsName(t *testing.T) {
	t.Parallel()
	ids := map[string]raft.ServerID{}
	for name, fill := range map[string]func(walStore) error{
		"voted":  func(s walStore) error { return s.SetUint64([]byte("CurrentTerm"), 3) },
		"log":    func(s walStore) error { return s.StoreLog(&raft.Log{Index: 1, Term: 1}) },
		"nobody": func(walStore) error { return nil },
	} {
		store := &plainStore{raft.NewInmemStore()}
		if err := fill(store); err != nil {
			t.Fatal(err)
		}
		for range 2 { // and again
			id, err := claimID(store, t.TempDir(), "n1")
			if err != nil {
				t.Fatal(err)
			}
			if ids[name] != "" && ids[name] != id {
				t.Errorf("%s: first %s, then %s", name, ids[name], id)
			}
			ids[name] = id
		}
		if _, err := claimID(store, t.TempDir(), "n2"); err == nil {
			t.Errorf("%s: another node took the log over", name)
		}
	}
	if ids["voted"] != "n1" || ids["log"] != "n1" || !validNewID(ids["nobody"], "n1") {
		t.Error(ids)
	}
}

type plainStore struct{ *raft.InmemStore }

func (plainStore) IsMonotonic() bool { return true }

func TestNodeID(t *testing.T) {
	id := newNodeID("site-1.n2")
	if memberName(id) != "site-1.n2" || !validNewID(id, "site-1.n2") || id == newNodeID("site-1.n2") {
		t.Error(id)
	}
	for _, bad := range []raft.ServerID{"", "n1", "n1_", "n1_00", "n2_" + id[10:], id + "00", "n1_" + raft.ServerID(strings.Repeat("z", 32))} {
		if validNewID(bad, "n1") {
			t.Errorf("%q is taken for an id of n1", bad)
		}
	}
}

// startLater makes a cluster of size nodes of which those in late are not started.
func startLater(t *testing.T, size int, late ...string) *testCluster {
	t.Helper()
	c := prepareTestCluster(t, size)
	for _, name := range c.names {
		if !slices.Contains(late, name) {
			c.start(name)
		}
	}
	return c
}

// TestClusterBeginsOnlyWithAllPeers: two of three are a majority, but the third
// may have a cluster.
func TestClusterBeginsOnlyWithAllPeers(t *testing.T) {
	t.Parallel()
	c := startLater(t, 3, "n3")
	for _, n := range c.nodes {
		for range 3 {
			if _, err := n.tryToEnter(); err == nil || !strings.Contains(err.Error(), "n3]") {
				t.Errorf("without n3: %v", err)
			}
		}
		if g := n.greeting(); !g.Empty {
			t.Errorf("%s has begun a cluster: %+v", n.cfg.NodeName, g)
		}
	}
	c.start("n3")
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.sameState()
	if c.voters() != 3 {
		t.Errorf("%v", membership(c.leader()))
	}
}

// TestNotAllEmpty: one peer has a cluster without the others, as its list of
// peers was shorter. They join it.
func TestNotAllEmpty(t *testing.T) {
	t.Parallel()
	c := prepareTestCluster(t, 3)
	alone := c.config["n1"]
	whole := alone
	whole.listener = nil // the first start takes it
	alone.Peers = alone.Peers[:1]
	c.config["n1"] = alone
	mustPropose(t, c.start("n1"), put("001010000000001", ""))
	c.stop("n1")
	c.config["n1"] = whole
	n1 := c.start("n1")
	n2, n3 := c.start("n2"), c.start("n3")
	c.awaitMembers("both join and get a vote", map[string]bool{string(n1.id): true, string(n2.id): true, string(n3.id): true})
	mustPropose(t, n3, put("001010000000002", ""))
	c.sameState()
	if times(n2, "001010000000001") != 1 {
		t.Error("the cluster that was there is not the one that goes on")
	}
	c.stop(c.leader().cfg.NodeName)
	mustPropose(t, c.leader(), put("001010000000003", ""))
}

// TestAgreementOnWhoBegins: a peer that saw another id in a node's place is not
// agreed with.
func TestAgreementOnWhoBegins(t *testing.T) {
	t.Parallel()
	c := prepareTestCluster(t, 2)
	for _, name := range c.names {
		cfg := c.config[name]
		cfg.Bootstrap = false
		c.config[name] = cfg
	}
	n1, n2 := c.start("n1"), c.start("n2")
	insist(t, func() error {
		state, err := n1.tryToEnter()
		if err == nil && !strings.Contains(state, "not to begin") {
			err = errors.New(state)
		}
		return err
	})
	if g := n1.greeting(); !g.Empty || g.Seen["n2"] != n2.id || g.Seen["n1"] != n1.id {
		t.Errorf("%+v", g)
	}
	// n2 loses its disk: what n1 saw of it is out of date.
	c.stop("n2")
	c.wipe("n2")
	n2 = c.start("n2")
	n1.entry.mu.Lock()
	stale := n1.entry.seen["n2"] != n2.id
	n1.entry.mu.Unlock()
	state, err := n2.tryToEnter()
	if stale && (err != nil || !strings.Contains(state, "agree")) && n1.greeting().Seen["n2"] != n2.id {
		t.Errorf("n2 doesn't mind that n1 takes it for another: %q, %v", state, err)
	}
	insist(t, func() error {
		if g := n1.greeting(); g.Seen["n2"] != n2.id {
			time.Sleep(time.Millisecond)
			return fmt.Errorf("%+v", g)
		}
		return nil
	})
}

func TestJoinPromotionAndRemoval(t *testing.T) {
	t.Parallel()
	c := prepareTestCluster(t, 4)
	all := c.config["n1"].Peers
	for _, name := range c.names[:3] { // the fourth comes later
		cfg := c.config[name]
		cfg.Peers = all[:3]
		c.config[name] = cfg
		c.start(name)
	}
	for i := range 50 {
		mustPropose(t, c.leader(), put(fmt.Sprintf("0010100000001%02d", i), ""))
	}
	c.awaitJoined()
	for _, name := range c.names[:3] { // the longer list, node by node
		c.stop(name)
		cfg := c.config[name]
		cfg.Peers = all
		c.config[name] = cfg
		c.start(name)
		c.caughtUp()
	}
	n4 := c.start("n4")
	want := map[string]bool{}
	for _, n := range c.nodes {
		want[string(n.id)] = true
	}
	c.awaitMembers("the fourth joined and votes", want)
	c.sameState()

	// With a vote of four, two down are too many; and none may go that is needed.
	leader := c.leader()
	others := slices.DeleteFunc(slices.Clone(c.names), func(n string) bool { return n == leader.cfg.NodeName })
	if _, err := leader.Remove(t.Context(), leader.cfg.NodeName); err != nil && !errors.Is(err, ErrUnsafe) && !errors.Is(err, ErrNotLeader) {
		t.Errorf("the leader removed itself: %v", err)
	}
	if _, err := leader.Remove(t.Context(), "n9"); !errors.Is(err, ErrNoMember) && !errors.Is(err, ErrNotLeader) {
		t.Errorf("nobody was removed: %v", err)
	}
	if _, err := c.nodes[others[0]].Remove(t.Context(), others[1]); !errors.Is(err, ErrNotLeader) && !c.nodes[others[0]].IsLeader() {
		t.Errorf("a follower removed a member: %v", err)
	}
	gone := n4.cfg.NodeName
	if c.leader() == n4 {
		gone = "n1"
	}
	id := string(c.nodes[gone].id)
	c.remove(gone)
	delete(want, id)
	c.stop(gone)
	c.awaitMembers("it is out", want)
	mustPropose(t, c.leader(), put("001010000000001", ""))

	// It comes back with what it had, and isn't let in again by itself.
	back := c.start(gone)
	mustPropose(t, c.leader(), put("001010000000002", ""))
	insist(t, func() error {
		if n := len(membership(c.leader())); n != 3 {
			return fmt.Errorf("%d members", n)
		}
		return nil
	})
	if string(back.id) != id {
		t.Errorf("its id was %s and is %s", id, back.id)
	}
	// Emptied, it is a new node.
	c.stop(gone)
	c.wipe(gone)
	want[string(c.start(gone).id)] = true
	c.awaitMembers("as a new node it is let in", want)
	c.sameState()
}

// TestRemovalThatWouldWedge: with one voter down, no other may be removed.
func TestRemovalThatWouldWedge(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	mustPropose(t, c.leader(), put("001010000000001", ""))
	down := c.follower().cfg.NodeName
	c.stop(down)
	var other string
	insist(t, func() error {
		leader := c.leader()
		for _, name := range c.names {
			if name != down && name != leader.cfg.NodeName {
				other = name
			}
		}
		if _, err := leader.Remove(t.Context(), other); !errors.Is(err, ErrUnsafe) {
			if err == nil {
				t.Fatal("the cluster has lost its majority")
			}
			return err
		}
		return nil
	})
	c.remove(down) // the dead one may
	mustPropose(t, c.leader(), put("001010000000002", ""))
	if v := c.voters(); v != 2 {
		t.Errorf("%d voters", v)
	}
	c.remove(other) // and then, with both up, one more
	mustPropose(t, c.leader(), put("001010000000003", ""))
	if v := c.voters(); v != 1 {
		t.Errorf("%d voters", v)
	}
}

// TestMembershipChangeDuringFailover: a dead voter is removed and its successor
// joins, while leaders are killed again and again. Nothing acknowledged is lost,
// and the cluster ends with its members, all voting.
func TestMembershipChangeDuringFailover(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 5)
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.awaitJoined()
	f := c.follower()
	lost, old := f.cfg.NodeName, f.id
	c.stop(lost)
	c.wipe(lost)
	fresh := c.start(lost)
	acknowledged := 0
	for round := range 3 {
		leader := c.leader()
		for leader.cfg.NodeName == lost {
			insist(t, func() error { return leader.StepDown(t.Context()) })
			leader = c.leader()
		}
		name := leader.cfg.NodeName
		done := make(chan error, 1)
		go func() {
			_, err := leader.Remove(context.Background(), string(old))
			done <- err
		}()
		c.stop(name)
		err := <-done
		t.Logf("round %d: the removal at the dying leader ended with %v", round, err)
		mustPropose(t, c.follower(), put(fmt.Sprintf("0010100000002%02d", round), fmt.Sprint("round ", round)))
		acknowledged++
		c.start(name)
		c.barrier(name)
	}
	c.remove(string(old))
	want := map[string]bool{}
	for _, n := range c.nodes {
		want[string(n.id)] = true
	}
	c.awaitMembers("five voters, the new one among them", want)
	c.sameState()
	for round := range acknowledged {
		if times(fresh, fmt.Sprintf("0010100000002%02d", round)) != 1 {
			t.Errorf("round %d was acknowledged and is lost", round)
		}
	}
}
