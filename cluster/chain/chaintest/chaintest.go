// Package chaintest answers questions about an audit chain in memory, for tests of
// what asks a node.
package chaintest

import (
	"context"
	"fmt"
	"sync"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
	"github.com/sealedge/sealedge/cluster/state"
)

// Chain is an audit chain and the tree over it. Its zero value is empty.
type Chain struct {
	mu      sync.Mutex
	entries []*command.AuditEntry
	first   uint64 // sequence number of the first leaf; 0: none
	tree    merkle.Frontier
	nodes   []merkle.Hash
}

// Add adds the entry that m linked last.
func (c *Chain) Add(m *state.Machine, e *command.AuditEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, e)
	if c.first, _ = m.AuditTree(); c.first != 0 {
		c.nodes = append(c.nodes, c.tree.Grow(merkle.Hash(e.Hash))...)
	}
}

// AuditRange calls fn with the entries from a sequence number on.
func (c *Chain) AuditRange(_ context.Context, from uint64, fn func(*command.AuditEntry) error) error {
	c.mu.Lock()
	entries := c.entries[:len(c.entries):len(c.entries)]
	c.mu.Unlock()
	for _, e := range entries {
		if e.Sequence < from {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// AuditSearch finds entries.
func (c *Chain) AuditSearch(_ context.Context, s chain.Search) (chain.Found, error) {
	c.mu.Lock()
	entries := c.entries[:len(c.entries):len(c.entries)]
	c.mu.Unlock()
	return chain.Find(func(yield func(*command.AuditEntry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}, s)
}

// AuditInclusion proves an entry.
func (c *Chain) AuditInclusion(_ context.Context, sequence, upTo uint64) (chain.Proof, error) {
	return c.prove(sequence, upTo, func(size, leaf uint64, nodes merkle.Nodes) ([]merkle.Hash, error) {
		return merkle.ProveInclusion(size, leaf-1, nodes)
	})
}

// AuditConsistency proves that an older chain is the beginning of a newer one.
func (c *Chain) AuditConsistency(_ context.Context, sequence, upTo uint64) (chain.Proof, error) {
	return c.prove(sequence, upTo, merkle.ProveConsistency)
}

func (c *Chain) prove(sequence, upTo uint64, prove func(size, leaf uint64, nodes merkle.Nodes) ([]merkle.Hash, error)) (p chain.Proof, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.first + c.tree.Size() - 1
	if upTo == 0 {
		upTo = last
	}
	if c.first == 0 || sequence < c.first || sequence > upTo || upTo > last {
		return p, fmt.Errorf("%w: it has the entries %d to %d", chain.ErrNoTree, c.first, last)
	}
	p.First, p.Size = c.first, upTo-c.first+1
	if p.Root, err = merkle.Root(p.Size, nodes(c.nodes)); err == nil {
		p.Path, err = prove(p.Size, sequence-c.first+1, nodes(c.nodes))
	}
	return p, err
}

type nodes []merkle.Hash

// ReadNodes implements merkle.Nodes.
func (n nodes) ReadNodes(positions []int64) (out []merkle.Hash, _ error) {
	for _, p := range positions {
		out = append(out, n[p])
	}
	return out, nil
}
