package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// Equal logs must give equal states. Memory that flips a bit, a build that was
// changed by mistake, a bug in Apply: all of them make one node answer otherwise
// than the others, without a sign. So the nodes compare.
//
// About every checkpointEvery entries the leader puts a Checkpoint into the log.
// Its place in the log is what every node's state is compared at: each takes a
// clone when it applies the entry, which is cheap, works the digest out while it
// goes on applying, and puts it into the log, too. So all nodes judge by the same
// evidence, in the same order, however late one is, and the audit chain keeps it.
// A clone takes microseconds; the digest of 100,000 sessions and their subscribers
// 0.4 s of one core (BenchmarkDigest, two busy cores, load average 7; 1.3 s when it
// was the first of a cold process), and 29 MB that are garbage at once.
// The leader asks again only when it has its own digest, so that with much state
// and many commands checkpoints become rarer instead of piling up.
//
// A digest that a majority of the voters has is right. A node with another one
// quarantines itself, the leader like any other: of three nodes, the two that
// agree stay and elect. When no digest has a majority (two of three answer and
// differ, or all do) nobody can tell who is right: every node says so and goes on,
// and a third that answers later decides. A node's first digest of an index counts,
// and memberships change one node at a time, so that no two digests can both have
// a majority.

// checkpointEvery is how many log entries pass between comparisons, at least.
const checkpointEvery = 1000

// Bounds of what is kept for comparing, of the newest: states to be digested, and
// comparisons to be judged.
const (
	maxDue         = 4
	maxComparisons = 16
)

// ErrQuarantined: this node's state is another than that of the majority.
var ErrQuarantined = errors.New("this node's state is not that of the cluster")

// quarantineFile marks the data directory of a node that quarantined itself.
const quarantineFile = "quarantined"

// checkpoints is what a node knows of the nodes' digests.
type checkpoints struct {
	work signal // there may be something to do

	mu          sync.Mutex
	last        uint64 // index of the last Checkpoint that asked, or of a snapshot
	applied     uint64
	due         []*state.Machine       // clones, by index
	comparisons map[uint64]*comparison // by the index that asked
	proposing   bool
	quarantined error // why nothing is to be applied any more

	differences atomic.Uint64 // findings that nodes' states differ, as this node came to them
}

// comparison is what is known of the states at one index.
type comparison struct {
	own     []byte // this node's digest; nil: not worked out
	answers map[raft.ServerID][]byte
	said    bool // that they differ
}

// at returns the comparison at an index, nil for one that is too old.
func (c *checkpoints) at(index uint64) *comparison {
	if c.comparisons == nil {
		c.comparisons = map[uint64]*comparison{}
	}
	k := c.comparisons[index]
	if k == nil {
		k = &comparison{answers: map[raft.ServerID][]byte{}}
		c.comparisons[index] = k
		if len(c.comparisons) > maxComparisons {
			oldest := index
			for i := range c.comparisons {
				oldest = min(oldest, i)
			}
			delete(c.comparisons, oldest)
			if oldest == index {
				return nil
			}
		}
	}
	return k
}

// note takes in a Checkpoint that was just applied to m. The caller owns m.
func (c *checkpoints) note(index uint64, raw []byte, m *state.Machine) {
	if !isCheckpoint(raw) {
		return
	}
	_, payload, err := command.Decode(raw)
	p, ok := payload.(*command.Checkpoint)
	if err != nil || !ok {
		return // Apply has decoded it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.work.wake()
	if len(p.Digest) == 0 {
		c.last = index
		if c.due = append(c.due, m.Clone()); len(c.due) > maxDue {
			c.due = slices.Delete(c.due, 0, 1)
		}
		return
	}
	if k := c.at(p.Index); k != nil && k.answers[raft.ServerID(p.Node)] == nil {
		k.answers[raft.ServerID(p.Node)] = p.Digest
	}
}

// isCheckpoint looks at the type alone: every entry is asked.
func isCheckpoint(raw []byte) bool { return entryType(raw) == command.Type_CHECKPOINT }

// entryType reads the type of a command without decoding the rest; unspecified if
// it has none.
func entryType(raw []byte) command.Type {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 || number > 2 {
			break
		}
		raw = raw[n:]
		if number == 2 {
			if v, n := protowire.ConsumeVarint(raw); kind == protowire.VarintType && n > 0 {
				return command.Type(v)
			}
			break
		}
		if n = protowire.ConsumeFieldValue(number, kind, raw); n < 0 {
			break
		}
		raw = raw[n:]
	}
	return command.Type_TYPE_UNSPECIFIED
}

// reached tells how far entries are applied, and by a snapshot without them.
func (c *checkpoints) reached(index, every uint64, snapshot bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = index
	if snapshot {
		c.last = index
	}
	if index-c.last >= every {
		c.work.wake()
	}
}

// next takes the oldest state that is to be digested, nil if there is none.
func (c *checkpoints) next() *state.Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.due) == 0 {
		return nil
	}
	m := c.due[0]
	c.due = slices.Delete(c.due, 0, 1)
	return m
}

func (c *checkpoints) digested(index uint64, digest [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.at(index); k != nil {
		k.own = digest[:]
	}
}

// finding is what a comparison shows.
type finding struct {
	index          uint64
	own, majority  []byte // majority nil: no digest has one
	agree, differ  []raft.ServerID
	majorityDiffer bool // from this node's
}

// judge returns the comparisons in which digests differ and that were not spoken
// of yet, or that show this node to be wrong.
func (c *checkpoints) judge(self raft.ServerID, members []raft.Server) []finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []finding
	for index, k := range c.comparisons {
		f := k.judge(self, members)
		f.index = index
		if f.majorityDiffer || len(f.differ) > 0 && !k.said {
			k.said = true
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b finding) int { return cmp.Compare(a.index, b.index) })
	return out
}

func (k *comparison) judge(self raft.ServerID, members []raft.Server) finding {
	f := finding{own: k.own}
	count, voters := map[string]int{}, 0
	for _, s := range members {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if d := k.answers[s.ID]; d != nil {
			count[string(d)]++
		}
	}
	for d, n := range count {
		if 2*n > voters {
			f.majority = []byte(d)
		}
	}
	if k.own == nil {
		return f
	}
	f.majorityDiffer = f.majority != nil && string(f.majority) != string(k.own)
	for id, d := range k.answers {
		switch {
		case id == self:
		case string(d) == string(k.own):
			f.agree = append(f.agree, id)
		default:
			f.differ = append(f.differ, id)
		}
	}
	slices.Sort(f.agree)
	slices.Sort(f.differ)
	return f
}

// begin returns what this node is to say next, nil if nothing: a digest that it
// hasn't told, or, when it leads, that states are to be compared. It must end
// what it began.
func (c *checkpoints) begin(self raft.ServerID, leads bool, every uint64) *command.Checkpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proposing || c.quarantined != nil {
		return nil
	}
	newest := uint64(0)
	for index, k := range c.comparisons {
		if k.own != nil && k.answers[self] == nil {
			newest = max(newest, index)
		}
	}
	switch {
	case newest > 0:
		c.proposing = true
		return &command.Checkpoint{Index: newest, Digest: c.comparisons[newest].own, Node: string(self)}
	case leads && len(c.due) == 0 && c.applied-c.last >= every:
		c.proposing = true
		return new(command.Checkpoint)
	}
	return nil
}

func (c *checkpoints) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proposing = false
	c.work.wake()
}

// compareStates works digests out, tells them and judges them.
func (n *Node) compareStates() {
	c := &n.checkpoints
	for {
		select {
		case <-c.work:
		case <-n.failed:
			return
		case <-n.ctx.Done():
			return
		}
		for m := c.next(); m != nil; m = c.next() {
			c.digested(m.Index(), m.Digest())
		}
		for _, f := range c.judge(n.id, n.members()) {
			c.differences.Add(1)
			if f.majorityDiffer {
				n.quarantine(f)
				return
			}
			n.log.Error("the nodes' states differ", "at", f.index, "other than this node's", f.differ, "the same", f.agree, "majority", f.majority != nil)
		}
		if p := c.begin(n.id, n.Holds() && !n.lease.sole.Load(), n.cfg.checkpoint); p != nil {
			n.tasks.Go(func() {
				defer c.end()
				_, err := n.Propose(n.ctx, command.New("node:"+n.cfg.NodeName, "", "node:"+n.cfg.NodeName, p))
				if err == nil {
					return
				}
				select { // what was not told is told again
				case <-time.After(n.cfg.HeartbeatTimeout):
				case <-n.ctx.Done():
				}
			})
		}
	}
}

// quarantine ends this node for good: it holds nothing, applies nothing, and its
// data directory opens no more.
func (n *Node) quarantine(f finding) {
	n.yielding.Add(1)
	err := fmt.Errorf("%w: after log entry %d its digest is %x, that of the majority is %x. %s", ErrQuarantined, f.index, f.own, f.majority, quarantineHint(n.cfg.DataDir))
	if werr := markQuarantined(n.cfg.DataDir, err.Error()); werr != nil {
		err = fmt.Errorf("%w (the directory could not be marked: %w)", err, werr)
	}
	n.log.Error("this node quarantines itself", "entry", f.index, "differs from", f.differ)
	n.checkpoints.mu.Lock()
	n.checkpoints.quarantined = err
	n.checkpoints.mu.Unlock()
	n.fatal(err)
}

// inQuarantine is the error that entries are refused with, nil if they aren't.
func (c *checkpoints) inQuarantine() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quarantined
}

func quarantineHint(dataDir string) string {
	return fmt.Sprintf("Move its data directory %s away, remove the old member with 'sealctl cluster remove', and start the node: it joins anew with an empty one", dataDir)
}

func markQuarantined(dataDir, why string) error {
	f, err := os.OpenFile(filepath.Join(dataDir, quarantineFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, why)
	return errors.Join(err, f.Sync(), f.Close())
}

// checkQuarantine refuses a data directory whose state can't be trusted: its
// snapshots may hold what was wrong in memory.
func checkQuarantine(dataDir string) error {
	switch _, err := os.Stat(filepath.Join(dataDir, quarantineFile)); {
	case err == nil:
		return fmt.Errorf("%w (see %s). %s", ErrQuarantined, filepath.Join(dataDir, quarantineFile), quarantineHint(dataDir))
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	return nil
}
