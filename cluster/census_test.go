package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
)

// told is what a node's audit chain says of the members: the newest list, and all
// changes in their order.
func told(t testing.TB, n *Node) (members []string, changes []string) {
	t.Helper()
	for _, e := range wholeAudit(t, n) {
		_, payload, err := command.Decode(e.Command)
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := payload.(*command.RecordDecision); ok && d.Kind == kindMembers {
			members, changes = strings.Split(d.Subject, ", "), append(changes, d.Reasons...)
		}
	}
	return members, changes
}

// awaitTold waits until every node's audit chain says who the members are.
func (c *testCluster) awaitTold() {
	c.t.Helper()
	insist(c.t, func() error {
		want := roll(c.leader().members())
		for name, n := range c.nodes {
			if err := n.Barrier(context.Background()); err != nil {
				return err
			}
			if got, _ := told(c.t, n); !slices.Equal(got, want) {
				return fmt.Errorf("the chain of %s says %v, the members are %v", name, got, want)
			}
		}
		return nil
	})
}

// TestAuditChainKnowsTheMembers: a cluster begins, a node loses its disk and joins
// anew, the voter that it was is removed, it gets its vote. All of that is in the
// audit chain of every node, that of the new one included.
func TestAuditChainKnowsTheMembers(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.SnapshotThreshold = 20 })
	c.awaitTold()
	leader := c.leader()
	name := slices.DeleteFunc(slices.Clone(c.names), func(n string) bool { return n == leader.cfg.NodeName })[0]
	old := c.nodes[name].id
	c.awaitJoined()
	c.stop(name)
	c.wipe(name)
	fresh := c.start(name).id
	c.awaitTold()
	for range 60 { // a snapshot of the state that the entry made
		mustPropose(t, c.leader(), put("460010000000001", ""))
	}
	c.remove(name)
	insist(t, func() error {
		if n := c.voters(); n < 3 {
			return fmt.Errorf("%d vote", n)
		}
		return nil
	})
	c.awaitTold()
	for _, n := range c.nodes {
		members, all := told(t, n)
		if len(members) != 3 || all[0] != "found by the leader" {
			t.Errorf("%s: %q, %q", n.cfg.NodeName, members, all)
		}
		if slices.Contains(all[1:], all[0]) {
			continue // a node leads that began with a snapshot, on a busy machine
		}
		for _, want := range []string{"new: " + string(fresh) + rollWaits, "removed: " + string(old), "now: " + string(fresh) + rollVotes} {
			if !slices.Contains(all, want) {
				t.Errorf("%s: %q is not among %q", n.cfg.NodeName, want, all)
			}
		}
	}
}

func TestMembersAreToldOnce(t *testing.T) {
	t.Parallel()
	servers := []raft.Server{{ID: "n2_b", Suffrage: raft.Nonvoter}, {ID: "n1_a"}}
	var c census
	d := c.begin(roll(servers))
	if d.GetSubject() != "n1_a votes, n2_b waits" || len(d.Reasons) != 1 {
		t.Fatal(d)
	}
	if again := c.begin(roll(servers)); again != nil {
		t.Errorf("told again while it is under way: %v", again)
	}
	c.end()
	if again := c.begin(roll(servers)); again == nil {
		t.Error("what didn't get into the log is not told again")
	}
	c.end()
	raw := command.Marshal(command.New("node:n1", "", "node:n1", d))
	c.note(raw)
	if again := c.begin(roll(servers)); again != nil {
		t.Errorf("told though the chain has it: %v", again)
	}
	// Of another kind, whatever it speaks of.
	c.note(command.Marshal(command.New("x", "", "x", &command.RecordDecision{Kind: "use", Subject: kindMembers})))
	servers = []raft.Server{{ID: "n2_b"}, {ID: "n3_c", Suffrage: raft.Nonvoter}}
	d = c.begin(roll(servers))
	if want := []string{"now: n2_b votes", "new: n3_c waits", "removed: n1_a"}; !slices.Equal(d.GetReasons(), want) {
		t.Errorf("%q, not %q", d.GetReasons(), want)
	}
	c.end()
	c.forget()
	if d := c.begin(roll(servers)); d == nil || len(d.Reasons) != 1 {
		t.Errorf("after a snapshot: %v", d)
	}
}
