package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
	"github.com/sealedge/sealedge/cluster/state"
)

// treeOf is the tree over a node's chain, once there is one.
func treeOf(t *testing.T, c *testCluster, n *Node) (first uint64, tree merkle.Frontier) {
	t.Helper()
	c.await("the tree has begun", func() bool {
		n.View(func(m *state.Machine) { first, tree = m.AuditTree() })
		return first != 0
	})
	return first, tree
}

// Every entry since the tree began can be proven, in the newest tree and in every
// older one, on every node, however it came to its state.
func TestAuditProofs(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.SnapshotThreshold = 16 })
	treeOf(t, c, c.leader())
	lagging := c.follower().cfg.NodeName
	c.stop(lagging)
	for i := range 100 {
		mustPropose(t, c.leader(), put(fmt.Sprintf("00102%010d", i), ""))
	}
	c.start(lagging) // it takes a snapshot over, and fetches the chain
	c.caughtUp()
	var roots []merkle.Hash
	for _, n := range c.nodes {
		first, tree := treeOf(t, c, n)
		entries := wholeAudit(t, n)
		proven := map[uint64]merkle.Hash{} // roots by the size of the tree
		for _, e := range entries[first-1:] {
			for _, upTo := range []uint64{0, e.Sequence, e.Sequence + 1} {
				if upTo >= first+tree.Size() {
					continue
				}
				p, err := n.AuditInclusion(t.Context(), e.Sequence, upTo)
				if err != nil {
					t.Fatal(err)
				}
				if err := merkle.CheckInclusion(p.Path, p.Size, p.Root, e.Sequence-p.First, merkle.Hash(e.Hash)); err != nil || p.First != first {
					t.Fatalf("entry %d: %v", e.Sequence, err)
				}
				if old, ok := proven[p.Size]; ok && old != p.Root {
					t.Fatalf("two trees of %d leaves", p.Size)
				}
				proven[p.Size] = p.Root
			}
		}
		var again merkle.Frontier
		for _, e := range entries[first-1:] {
			again.Append(merkle.Hash(e.Hash))
			if root, ok := proven[again.Size()]; ok && root != again.Root() {
				t.Fatalf("the tree of %d leaves has another root", again.Size())
			}
		}
		for size := range proven {
			p, err := n.AuditConsistency(t.Context(), first+size-1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := merkle.CheckConsistency(p.Path, p.Size, p.Root, size, proven[size]); err != nil {
				t.Fatal(err)
			}
		}
		roots = append(roots, proven[100])
	}
	if roots[0] != roots[1] || roots[1] != roots[2] {
		t.Errorf("the nodes' trees differ: %x", roots)
	}
	n := c.leader()
	first, tree := treeOf(t, c, n)
	for _, bad := range [][2]uint64{{first - 1, 0}, {first + tree.Size() + 100, 0}, {first + 2, first + 1}, {first, first + tree.Size() + 100}} {
		if _, err := n.AuditInclusion(t.Context(), bad[0], bad[1]); !errors.Is(err, chain.ErrNoTree) {
			t.Errorf("entry %d up to %d: %v", bad[0], bad[1], err)
		}
	}
}

// The file of the tree is made of the chain: one that is damaged, torn or gone is
// made anew.
func TestAuditTreeFileIsDerived(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	n := c.leader()
	first, _ := treeOf(t, c, n)
	file := filepath.Join(n.cfg.DataDir, "audit", "tree")
	proven := func() int64 {
		t.Helper()
		mustPropose(t, n, put("001010000000001", ""))
		p, err := n.AuditInclusion(t.Context(), first+1, 0)
		if err != nil {
			t.Fatal(err)
		}
		e := wholeAudit(t, n)[first]
		if err := merkle.CheckInclusion(p.Path, p.Size, p.Root, 1, merkle.Hash(e.Hash)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := merkle.Count(p.Size) * nodeSize; info.Size() != want {
			t.Fatalf("the file has %d bytes, want %d", info.Size(), want)
		}
		return info.Size()
	}
	for range 20 {
		proven()
	}
	size := proven()
	for name, damage := range map[string]func() error{
		"gone":    func() error { return os.Remove(file) },
		"torn":    func() error { return os.Truncate(file, size-7) },
		"changed": func() error { return flipByte(file, 40) },
		"another": func() error { return os.WriteFile(file, make([]byte, 4*size), 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		proven()
	}
}

func flipByte(file string, at int) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(file, b, 0o600)
}

// A node finds the entries of its own chain, page by page.
func TestAuditSearchOnANode(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	n := c.leader()
	for i := range 30 {
		mustPropose(t, n, put(fmt.Sprintf("00102%010d", i%3), ""))
	}
	q := chain.Search{Query: chain.Query{Device: "001020000000001", Type: command.Type_PUT_SUBSCRIBER}, Limit: 4, Newest: true}
	found := 0
	for {
		f, err := n.AuditSearch(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		found += len(f.Entries)
		if f.Next == 0 {
			break
		}
		q.To = f.Next
	}
	if found != 10 {
		t.Errorf("%d found of 10", found)
	}
	if f, err := n.AuditSearch(t.Context(), chain.Search{From: 1000, Limit: 1}); err != nil || len(f.Entries) > 0 {
		t.Errorf("beyond the head: %v, %v", f, err)
	}
}
