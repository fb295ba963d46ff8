package state

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
)

// raise puts the log to the level that the tree begins with.
func raise(l *testLog) *command.AuditEntry {
	c := command.New("node:n1", "", "node:n1", &command.RaiseLevel{Level: treeLevel, Nodes: []string{"n1"}})
	c.Level = treeLevel
	l.apply(c)
	return l.chain[len(l.chain)-1]
}

// The tree begins with the entry that raised the level, and its leaves are the
// hashes of the entries since.
func TestTreeBeginsWithItsLevel(t *testing.T) {
	l := demo(t)
	if first, tree := l.m.AuditTree(); first != 0 || tree.Size() != 0 {
		t.Fatalf("a log of level 1 has a tree: %d, %d", first, tree.Size())
	}
	first := raise(l)
	raise(l) // once more changes nothing
	for range 5 {
		l.put(&command.RecordDecision{})
	}
	var want merkle.Frontier
	for _, e := range l.chain {
		if e.Sequence >= first.Sequence {
			want.Append([32]byte(e.Hash))
		}
	}
	got, tree := l.m.AuditTree()
	if got != first.Sequence || tree != want || tree.Size() != 7 {
		t.Errorf("the tree begins at %d and has %d leaves, root %x; want %d, %d, %x", got, tree.Size(), tree.Root(), first.Sequence, want.Size(), want.Root())
	}
}

// However a node came to its state, by the log from its beginning or by a snapshot
// of before or after the tree began, which an older version wrote or this one, it
// has the same tree.
func TestTreeIsTheSameOnEveryNode(t *testing.T) {
	l := demo(t)
	var nodes []*Machine
	before := 0 // nodes with a snapshot from before the tree
	join := func() {
		if first, _ := l.m.AuditTree(); first == 0 {
			before++
		}
		m, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, l.m)))
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, m)
	}
	for i := range 200 {
		at := len(l.chain)
		switch {
		case i == 60:
			raise(l)
		case i%7 == 0:
			l.put(&command.SuspendOrder{Order: "WO-1", Reason: "x"})
		default:
			l.put(&command.RecordDecision{Kind: "admit"})
		}
		for _, e := range l.chain[at:] {
			for _, m := range nodes {
				if _, _, err := m.Apply(e.Index, e.Term, e.Command); err != nil {
					t.Fatal(err)
				}
			}
		}
		if i%20 == 3 {
			join()
		}
	}
	nodes = append(nodes, New()) // and one that has the whole log
	for _, e := range l.chain {
		if _, _, err := nodes[len(nodes)-1].Apply(e.Index, e.Term, e.Command); err != nil {
			t.Fatal(err)
		}
	}
	first, tree := l.m.AuditTree()
	if before == 0 || before >= len(nodes)-1 {
		t.Fatalf("%d of %d snapshots are from before the tree", before, len(nodes)-1)
	}
	for i, m := range nodes {
		if f, other := m.AuditTree(); f != first || other != tree || m.Digest() != l.m.Digest() {
			t.Errorf("node %d has another tree: from %d, root %x; want %d, %x", i, f, other.Root(), first, tree.Root())
		}
	}
}

// A snapshot of a log of level 1 has the bytes that the version before wrote.
func TestTreeIsNotInOldSnapshots(t *testing.T) {
	m := demo(t).m
	if m.Level() != 1 {
		t.Fatal(m.Level())
	}
	b := snapshotOf(t, m)
	h := new(command.SnapshotHeader)
	in := &frameReader{r: bufio.NewReader(bytes.NewReader(b))}
	if err := in.read(h); err != nil || h.AuditTreeFirst != 0 || h.AuditTree != nil {
		t.Error(h, err)
	}
}

func TestTreeOfASnapshotIsRefused(t *testing.T) {
	hash := bytes.Repeat([]byte{7}, 32)
	for name, h := range map[string]*command.SnapshotHeader{
		"missing":            {Level: 2, AuditSequence: 3},
		"beyond the head":    {Level: 2, AuditSequence: 3, AuditTreeFirst: 4},
		"too small":          {Level: 2, AuditSequence: 3, AuditTreeFirst: 1, AuditTree: [][]byte{hash}},
		"too large":          {Level: 2, AuditSequence: 3, AuditTreeFirst: 3, AuditTree: [][]byte{hash, hash}},
		"a root of 31 bytes": {Level: 2, AuditSequence: 3, AuditTreeFirst: 3, AuditTree: [][]byte{hash[1:]}},
		"without a first":    {Level: 1, AuditSequence: 3, AuditTree: [][]byte{hash}},
	} {
		h.Version = snapshotVersion
		if _, err := ReadSnapshot(bytes.NewReader(forge(t, h))); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := &command.SnapshotHeader{Version: snapshotVersion, Level: 2, AuditSequence: 3, AuditTreeFirst: 2, AuditTree: [][]byte{hash}}
	if _, err := ReadSnapshot(bytes.NewReader(forge(t, good))); err != nil {
		t.Error(err)
	}
}
