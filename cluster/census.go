package cluster

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
)

// Raft's own entries change the membership, and those are no commands: the audit
// chain doesn't have them. So the leader puts the members into it whenever those
// that are committed aren't those that the chain has last: soon after each join,
// vote and removal, whoever made it, and once after a start, a restore or a
// recovery. A leader that fails in between leaves it to the next one, which tells
// what changed all the same; of a node that came and went meanwhile nothing is
// told. It is a RecordDecision, which every build knows.

// kindMembers is the decision that tells the members.
const kindMembers = "members"

// Suffixes of an id in the list of members.
const (
	rollVotes = " votes"
	rollWaits = " waits" // it has no vote yet
)

// census is what the audit chain says of the membership.
type census struct {
	mu     sync.Mutex
	told   []string // as the newest entry has it; nil: none since this node's snapshot
	asking bool
}

// roll lists members, sorted.
func roll(servers []raft.Server) []string {
	var out []string
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			out = append(out, string(s.ID)+rollVotes)
		} else {
			out = append(out, string(s.ID)+rollWaits)
		}
	}
	slices.Sort(out)
	return out
}

// changes tells what became of the members told to make them the members now.
func changes(told, now []string) (out []string) {
	id := func(member string) string { return member[:strings.LastIndexByte(member, ' ')] }
	knew := map[string]string{}
	for _, m := range told {
		knew[id(m)] = m
	}
	for _, m := range now {
		switch old, known := knew[id(m)]; {
		case !known:
			out = append(out, "new: "+m)
		case old != m:
			out = append(out, "now: "+m)
		}
		delete(knew, id(m))
	}
	for _, m := range told {
		if _, gone := knew[id(m)]; gone {
			out = append(out, "removed: "+id(m))
		}
	}
	return out
}

// note takes in an entry that was just applied.
func (c *census) note(raw []byte) {
	if entryType(raw) != command.Type_RECORD_DECISION || !bytes.Contains(raw, []byte(kindMembers)) {
		return
	}
	_, payload, err := command.Decode(raw)
	d, ok := payload.(*command.RecordDecision)
	if err != nil || !ok || d.Kind != kindMembers || len(d.Subject) == 0 {
		return // Apply has decoded it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = strings.Split(d.Subject, ", ")
}

// forget is for a state that came as a snapshot: what the chain says last isn't
// known here.
func (c *census) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = nil
}

// begin returns what is to be told, nil if nothing. Whoever calls it must end what
// it began.
func (c *census) begin(now []string) *command.RecordDecision {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking || len(now) == 0 || slices.Equal(c.told, now) {
		return nil
	}
	c.asking = true
	reasons := []string{"found by the leader"}
	if c.told != nil {
		reasons = changes(c.told, now)
	}
	return &command.RecordDecision{Kind: kindMembers, Subject: strings.Join(now, ", "), Allowed: true, Reasons: reasons}
}

func (c *census) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking = false
}

// tellMembers has the audit chain say who the members are, unless it does. For
// the leader.
func (n *Node) tellMembers() {
	f := n.raft.GetConfiguration()
	commit := n.raft.CommitIndex()
	if f.Error() != nil || f.Index() > commit || n.raft.AppliedIndex() < commit || !n.Holds() {
		return // at the next look
	}
	d := n.census.begin(roll(f.Configuration().Servers))
	if d == nil {
		return
	}
	n.tasks.Go(func() {
		defer n.census.end()
		who := "node:" + n.cfg.NodeName
		if _, err := n.Propose(n.ctx, command.New(who, "", who, d)); err != nil {
			n.log.Info("the members are not in the audit chain yet", "error", fmt.Errorf("%w; it is tried again", err))
		}
	})
}
