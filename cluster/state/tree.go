package state

import (
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
)

// treeLevel is the command level from which there is a hash tree over the audit
// chain. The entry that first has it is the first leaf: from there on no node is of
// a version that keeps none, so that all have the same tree.
const treeLevel = 2

// BeginsTree tells whether the tree begins with this command's entry, if it hasn't
// begun before.
func BeginsTree(c *command.Command) bool { return c.GetLevel() >= treeLevel }

// growTree adds the last entry of the chain to the tree.
func (m *Machine) growTree() {
	if m.level < treeLevel {
		return
	}
	if m.treeFirst == 0 {
		m.treeFirst = m.auditSeq
	}
	m.tree.Append(m.auditHead)
}

// AuditTree returns the tree over the audit chain up to its head, and the sequence
// number of the entry that is its first leaf: 0 for a log in which it hasn't begun.
// What came before stands under it by the chain alone: the first leaf's hash covers
// the hash of the entry before.
func (m *Machine) AuditTree() (first uint64, tree merkle.Frontier) { return m.treeFirst, m.tree }

// restoreTree takes the tree out of a snapshot, the rest of whose header is read.
func (m *Machine) restoreTree(h *command.SnapshotHeader) error {
	size := uint64(0)
	switch first := h.AuditTreeFirst; {
	case first > m.auditSeq:
		return refused("the tree over the audit chain begins after its end")
	case first > 0:
		size = m.auditSeq - first + 1
	case m.level >= treeLevel:
		return refused("the tree over the audit chain is missing")
	}
	tree, err := merkle.FrontierOf(size, h.AuditTree)
	if err != nil {
		return refused("the tree over the audit chain: %v", err)
	}
	m.treeFirst, m.tree = h.AuditTreeFirst, tree
	return nil
}
