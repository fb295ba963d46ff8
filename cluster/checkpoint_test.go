package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// fatalities collects what nodes ended with.
type fatalities struct {
	mu  sync.Mutex
	why map[string]error
}

func (f *fatalities) of(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why[name]
}

// newComparing is a cluster of three that compares often.
func newComparing(t *testing.T) (*testCluster, *fatalities) {
	t.Helper()
	f := &fatalities{why: map[string]error{}}
	c := newTestCluster(t, 3, func(cfg *Config) {
		cfg.checkpoint = 20
		name := cfg.NodeName
		cfg.Fatal = func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.why[name] = err
		}
	})
	return c, f
}

// corrupt flips a bit in a node's memory.
func corrupt(t *testing.T, n *Node, imsi string) {
	t.Helper()
	n.machineMu.Lock()
	defer n.machineMu.Unlock()
	s := n.machine.Subscriber(imsi)
	if s == nil {
		t.Fatalf("%s has no %s", n.cfg.NodeName, imsi)
	}
	s.Label += "x"
}

// sameAtLast is sameState while the nodes go on talking: it waits until all of them
// stand at one entry.
func (c *testCluster) sameAtLast() {
	c.t.Helper()
	insist(c.t, func() error {
		digests := map[uint64]map[[32]byte]bool{}
		for _, n := range c.nodes {
			n.View(func(m *state.Machine) {
				if digests[m.Index()] == nil {
					digests[m.Index()] = map[[32]byte]bool{}
				}
				digests[m.Index()][m.Digest()] = true
			})
		}
		for index, d := range digests {
			if len(d) != 1 {
				c.t.Fatalf("the nodes' states differ at %d", index)
			}
		}
		if len(digests) != 1 {
			time.Sleep(time.Millisecond)
			return fmt.Errorf("the nodes stand at %d entries", len(digests))
		}
		return nil
	})
}

// answersIn reads the digests that nodes told, by index and node, from an audit
// chain.
func answersIn(t *testing.T, n *Node) map[uint64]map[string][]byte {
	t.Helper()
	out := map[uint64]map[string][]byte{}
	if err := n.AuditRange(context.Background(), 1, func(e *command.AuditEntry) error {
		_, payload, err := command.Decode(e.Command)
		if err != nil {
			return err
		}
		if p, ok := payload.(*command.Checkpoint); ok && len(p.Digest) > 0 {
			if out[p.Index] == nil {
				out[p.Index] = map[string][]byte{}
			}
			out[p.Index][memberName(raft.ServerID(p.Node))] = p.Digest
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCheckpoints: nodes that agree tell so, all of them of the same index, also
// over a restart and a snapshot; and nobody is blamed.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	c, f := newComparing(t)
	whole := func() (n int) {
		for index, by := range answersIn(t, c.leader()) {
			if len(by) != 3 {
				continue
			}
			n++
			if !bytes.Equal(by["n1"], by["n2"]) || !bytes.Equal(by["n2"], by["n3"]) {
				t.Fatalf("at %d the nodes tell %x", index, by)
			}
		}
		return n
	}
	work := func(want int) {
		for i := 0; whole() < want; i++ {
			if i > 2000 {
				t.Fatalf("%d comparisons of three, want %d", whole(), want)
			}
			mustPropose(t, c.follower(), put("460010000000001", ""))
		}
	}
	work(2)
	last := c.follower().cfg.NodeName
	c.stop(last)
	for range 50 {
		mustPropose(t, c.leader(), put("460010000000001", ""))
	}
	if err := c.leader().raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	c.start(last)
	work(whole() + 2)
	c.sameAtLast()
	for _, name := range c.names {
		if err := f.of(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestQuarantine: a node whose memory changed is found at the next checkpoint,
// leader or not, and stops for good; the others go on.
func TestQuarantine(t *testing.T) {
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			c, f := newComparing(t)
			mustPropose(t, c.leader(), put("460010000000001", ""))
			c.caughtUp()
			bad := c.leader()
			if who == "follower" {
				bad = c.follower()
			}
			name := bad.cfg.NodeName
			corrupt(t, bad, "460010000000001")

			var asked int // entries until it was found
			for ; f.of(name) == nil; asked++ {
				if asked > 2000 {
					t.Fatal("it was not found")
				}
				for _, n := range c.nodes {
					if n != bad {
						mustPropose(t, n, put("460010000000002", ""))
						break
					}
				}
			}
			if err := f.of(name); !errors.Is(err, ErrQuarantined) || !strings.Contains(err.Error(), "joins anew") {
				t.Fatalf("it ended with %v", err)
			}
			t.Logf("%d entries after it was corrupted", asked)
			select {
			case <-bad.failed:
			case <-t.Context().Done():
			}
			if bad.Holds() {
				t.Error("it takes itself for the leader")
			}
			if r, err := bad.Propose(context.Background(), put("460010000000003", "late")); err == nil {
				t.Errorf("it took a command: %v", r)
			}
			c.stop(name)

			// It doesn't come back with what it has.
			if _, err := Open(c.config[name]); !errors.Is(err, ErrQuarantined) || !strings.Contains(err.Error(), "Move its data directory "+c.config[name].DataDir) {
				t.Fatalf("it opened: %v", err)
			}
			if _, err := os.Stat(filepath.Join(c.config[name].DataDir, quarantineFile)); err != nil {
				t.Error(err)
			}
			// The others are as if nothing had been, and take it back when it has forgotten.
			for range 50 {
				mustPropose(t, c.leader(), put("460010000000003", ""))
			}
			c.sameAtLast()
			// Whoever was the first to compare; the others' digests may have come too late.
			counted := bad.Counters()["states-differ"]
			for _, n := range c.nodes {
				counted += n.Counters()["states-differ"]
				if err := f.of(n.cfg.NodeName); err != nil {
					t.Errorf("%s: %v", n.cfg.NodeName, err)
				}
			}
			if counted == 0 {
				t.Error("nobody counts the difference")
			}
			c.wipe(name)
			c.remove(string(bad.id))
			c.start(name)
			insist(t, func() error {
				if n := c.voters(); n != 3 {
					return fmt.Errorf("%d voters", n)
				}
				return nil
			})
			c.sameAtLast()
		})
	}
}

// TestJudgement: who is wrong is decided by a majority of those who vote, or not.
func TestJudgement(t *testing.T) {
	const a, b, z = "a", "b", "z"
	for name, tc := range map[string]struct {
		voters  int
		answers string // of n1, n2, ...: '-' for none; what comes after the voters has no vote
		own     string // of n1; "" if it isn't worked out
		wrong   bool
		differ  int
	}{
		"all agree":                     {3, "aaa", a, false, 0},
		"another is wrong":              {3, "aab", a, false, 1},
		"this one is wrong":             {3, "baa", b, true, 2},
		"this one hasn't told":          {3, "-aa", b, true, 2},
		"this one hasn't worked it out": {3, "-aa", "", false, 0},
		"it told otherwise before":      {3, "aaa", b, true, 2},
		"one is away":                   {3, "ba-", b, false, 1},
		"all differ":                    {3, "abz", a, false, 2},
		"nobody told":                   {3, "---", a, false, 0},
		"two of five":                   {5, "baa--", b, false, 2},
		"three of five":                 {5, "baaa-", b, true, 3},
		"two and two of four":           {4, "bbaa", b, false, 2},
		"who has no vote has no say":    {3, "b-aaa", b, false, 3},
		"who has no vote is judged":     {0, "baaa", b, false, 3},
		"of two":                        {2, "ab", a, false, 1},
	} {
		k := &comparison{answers: map[raft.ServerID][]byte{}}
		if tc.own != "" {
			k.own = []byte(tc.own)
		}
		var members []raft.Server
		for i, d := range tc.answers {
			s := raft.Server{ID: raft.ServerID(fmt.Sprint("n", i+1)), Suffrage: raft.Voter}
			if i >= tc.voters {
				s.Suffrage = raft.Nonvoter
			}
			members = append(members, s)
			if d != '-' {
				k.answers[s.ID] = []byte(string(d))
			}
		}
		f := k.judge("n1", members)
		if f.majorityDiffer != tc.wrong || len(f.differ) != tc.differ {
			t.Errorf("%s: wrong %v, %v differ", name, f.majorityDiffer, f.differ)
		}
	}
	// A node without a vote, beside two voters who agree.
	k := &comparison{own: []byte(z), answers: map[raft.ServerID][]byte{"n2": []byte(a), "n3": []byte(a)}}
	if f := k.judge("n1", []raft.Server{{ID: "n1", Suffrage: raft.Nonvoter}, {ID: "n2"}, {ID: "n3"}}); !f.majorityDiffer {
		t.Error("a node without a vote that differs from all is not judged")
	}
}

// TestComparisonsAreBounded: what is old goes, and doesn't come back.
func TestComparisonsAreBounded(t *testing.T) {
	c := &checkpoints{work: make(signal, 1)}
	m := state.New()
	envelope := func(p proto.Message) []byte { return command.Marshal(command.New("node:n1", "", "", p)) }
	for i := range uint64(100) {
		c.note(i+1, envelope(new(command.Checkpoint)), m)
		c.note(1000+i, envelope(&command.Checkpoint{Index: i + 1, Digest: []byte{1}, Node: "n1"}), m)
	}
	c.note(2000, envelope(&command.Checkpoint{Index: 1, Digest: []byte{2}, Node: "n2"}), m)
	c.note(2001, envelope(&command.RecordDecision{}), m)
	if len(c.due) != maxDue || len(c.comparisons) != maxComparisons || c.comparisons[1] != nil || c.comparisons[100] == nil {
		t.Errorf("%d states, %d comparisons", len(c.due), len(c.comparisons))
	}
	// A node's first word counts.
	c.note(2002, envelope(&command.Checkpoint{Index: 100, Digest: []byte{9}, Node: "n1"}), m)
	if got := c.comparisons[100].answers["n1"]; !bytes.Equal(got, []byte{1}) {
		t.Errorf("n1 said %x", got)
	}
}

func TestIsCheckpoint(t *testing.T) {
	for raw, want := range map[string]bool{
		string(command.Marshal(command.New("c", "r", "a", &command.Checkpoint{Index: 1}))): true,
		string(command.Marshal(command.New("c", "r", "a", new(command.RecordDecision)))):   false,
		"": false, "\x08": false, "\x10": false, "\x10\x32": true, "\x12\x32": false, "\xff": false,
	} {
		if isCheckpoint([]byte(raw)) != want {
			t.Errorf("%x: not %v", raw, want)
		}
	}
}
