package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
	"github.com/sealedge/sealedge/cluster/state"
)

// errTreeDiverged: this node's files and its state disagree about the chain.
var errTreeDiverged = errors.New("the tree over the audit files has another root than the state: compare the nodes' audit heads, and verify an export")

// AuditInclusion proves that an entry is in the tree over the chain up to another
// one, both by their sequence numbers; upTo 0 is the newest.
func (n *Node) AuditInclusion(ctx context.Context, sequence, upTo uint64) (chain.Proof, error) {
	return n.auditProof(ctx, sequence, upTo, func(size, leaf uint64, nodes merkle.Nodes) ([]merkle.Hash, error) {
		return merkle.ProveInclusion(size, leaf-1, nodes)
	})
}

// AuditConsistency proves that the chain up to an entry is the beginning of the
// chain up to another one, both by their sequence numbers; upTo 0 is the newest.
func (n *Node) AuditConsistency(ctx context.Context, sequence, upTo uint64) (chain.Proof, error) {
	return n.auditProof(ctx, sequence, upTo, merkle.ProveConsistency)
}

// auditProof has prove make a path for the leaf of an entry, counted from 1.
func (n *Node) auditProof(ctx context.Context, sequence, upTo uint64, prove func(size, leaf uint64, nodes merkle.Nodes) ([]merkle.Hash, error)) (p chain.Proof, err error) {
	var whole merkle.Frontier
	n.View(func(m *state.Machine) { p.First, whole = m.AuditTree() })
	last := p.First + whole.Size() - 1
	if upTo == 0 {
		upTo = last
	}
	switch {
	case p.First == 0:
		return p, fmt.Errorf("%w: it begins when every node is of a version that keeps it", chain.ErrNoTree)
	case sequence < p.First || upTo > last || sequence > upTo:
		return p, fmt.Errorf("%w: it has the entries %d to %d, and entry %d is to be proven in those up to %d", chain.ErrNoTree, p.First, last, sequence, upTo)
	}
	p.Size = upTo - p.First + 1
	select {
	case n.proving <- struct{}{}:
		defer func() { <-n.proving }()
	case <-ctx.Done():
		return p, context.Cause(ctx)
	}
	nodes, err := n.auditNodes(ctx, p.First, whole)
	if err != nil {
		return p, err
	}
	defer nodes.Close()
	if p.Root, err = merkle.Root(p.Size, nodes); err != nil {
		return p, err
	}
	p.Path, err = prove(p.Size, sequence-p.First+1, nodes)
	return p, err
}

// auditNodes opens the file with the nodes of the tree, after adding what it lacks.
// The file is made of the chain, and made anew when its root is not that of the
// state: it is never synced, and somebody may have put another in its place. The
// caller holds proving.
func (n *Node) auditNodes(ctx context.Context, first uint64, whole merkle.Frontier) (*nodeFile, error) {
	file, err := os.OpenFile(filepath.Join(n.cfg.DataDir, "audit", "tree"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	nodes := &nodeFile{file}
	for again := false; ; again = true {
		err = n.growNodes(ctx, nodes, first, whole.Size())
		if err == nil {
			var root merkle.Hash
			if root, err = merkle.Root(whole.Size(), nodes); err == nil && root == whole.Root() {
				return nodes, nil
			}
		}
		if err == nil && again {
			err = errTreeDiverged
		}
		if err == nil {
			err = nodes.Truncate(0)
		}
		if err != nil {
			return nil, errors.Join(err, nodes.Close())
		}
	}
}

// growNodes appends the nodes of the leaves that the file lacks, out of the chain.
func (n *Node) growNodes(ctx context.Context, nodes *nodeFile, first, size uint64) error {
	had, err := nodes.leaves()
	if err != nil || had >= size {
		return err
	}
	tree, err := merkle.ReadFrontier(had, nodes)
	if err != nil {
		return err
	}
	if err := nodes.Truncate(merkle.Count(had) * nodeSize); err != nil { // half of a leaf's
		return err
	}
	if _, err := nodes.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	w := bufio.NewWriterSize(nodes, 256<<10)
	err = n.AuditRange(ctx, first+had, func(e *command.AuditEntry) error {
		if tree.Size() == size {
			return errGrown
		}
		for _, h := range tree.Grow(merkle.Hash(e.Hash)) {
			if _, err := w.Write(h[:]); err != nil {
				return err
			}
		}
		return nil
	})
	// What was written stays, also of a call that ran out of time: the next goes on
	// from there.
	if errors.Is(err, errGrown) {
		err = nil
	}
	if err := errors.Join(err, w.Flush()); err != nil {
		return err
	}
	if tree.Size() != size {
		return fmt.Errorf("%w: entries from %d on", ErrAuditGap, first+tree.Size())
	}
	return nil
}

// errGrown ends the reading of the chain.
var errGrown = errors.New("the tree is complete")

// nodeSize is what a node takes in the file.
const nodeSize = int64(len(merkle.Hash{}))

// nodeFile has the nodes of a tree by their positions.
type nodeFile struct{ *os.File }

// leaves is how many leaves the file has all nodes of.
func (f *nodeFile) leaves() (uint64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	have := info.Size() / nodeSize
	n := uint64(have / 2) // there are never more than two nodes for a leaf
	for merkle.Count(n+1) <= have {
		n++
	}
	return n, nil
}

// ReadNodes implements merkle.Nodes.
func (f *nodeFile) ReadNodes(positions []int64) ([]merkle.Hash, error) {
	out := make([]merkle.Hash, len(positions))
	for i, p := range positions {
		if _, err := f.ReadAt(out[i][:], p*nodeSize); err != nil {
			return nil, fmt.Errorf("%s: node %d: %w", f.Name(), p, err)
		}
	}
	return out, nil
}
