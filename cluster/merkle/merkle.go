// Package merkle keeps the hash tree over the audit chain (RFC 9162 2.1): its
// root stands for all entries, a proof that one of them is below it takes a hash
// for each level, and a proof that an older tree is the beginning of a newer one
// about as many.
//
// The leaves are the hashes of the chain's entries, in their order. The tree's
// arithmetic is that of golang.org/x/mod/sumdb/tlog.
package merkle

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is one of a leaf, a node or a root: a SHA-256.
type Hash = [32]byte

// maxSize bounds trees, so that the positions of their nodes are numbers.
const maxSize = 1 << 61

// errSize: no tree has this size or this leaf.
var errSize = errors.New("there is no such leaf in a tree of that size")

// Frontier is a tree as far as it is needed to go on with it: the roots of its
// complete subtrees. The zero value is the empty tree; a copy is a tree of its own.
type Frontier struct {
	size  uint64
	nodes [64]tlog.Hash // the root of 2^k leaves, for each bit k of size
}

// Append adds a leaf: the hash of an entry.
func (f *Frontier) Append(entry Hash) { f.grow(entry, func(tlog.Hash) {}) }

// Grow is Append, and returns the nodes that come with the leaf: they stand at
// position Count(f.Size()), as it was before, and on.
func (f *Frontier) Grow(entry Hash) []Hash {
	var nodes []Hash
	f.grow(entry, func(h tlog.Hash) { nodes = append(nodes, Hash(h)) })
	return nodes
}

func (f *Frontier) grow(entry Hash, made func(tlog.Hash)) {
	h := tlog.RecordHash(entry[:])
	made(h)
	k := bits.TrailingZeros64(^f.size)
	for i := range k {
		h = tlog.NodeHash(f.nodes[i], h)
		f.nodes[i] = tlog.Hash{}
		made(h)
	}
	f.nodes[k] = h
	f.size++
}

// Size is the number of leaves.
func (f *Frontier) Size() uint64 { return f.size }

// Root is the root of the tree (RFC 9162 2.1.1).
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads nothing
		return Hash(h)
	}
	k := bits.TrailingZeros64(f.size)
	h := f.nodes[k]
	for k++; f.size>>k != 0; k++ {
		if f.size>>k&1 == 1 {
			h = tlog.NodeHash(f.nodes[k], h)
		}
	}
	return Hash(h)
}

// Subtrees lists the roots of the complete subtrees, the largest first. Frontiers
// with equal leaves have equal ones.
func (f *Frontier) Subtrees() [][]byte {
	var list [][]byte
	for k := bits.Len64(f.size) - 1; k >= 0; k-- {
		if f.size>>k&1 == 1 {
			list = append(list, append([]byte(nil), f.nodes[k][:]...))
		}
	}
	return list
}

// FrontierOf is the tree with so many leaves and these complete subtrees.
func FrontierOf(size uint64, subtrees [][]byte) (Frontier, error) {
	if size > maxSize || len(subtrees) != bits.OnesCount64(size) {
		return Frontier{}, fmt.Errorf("%d subtrees are no tree of %d leaves", len(subtrees), size)
	}
	f := Frontier{size: size}
	for k := bits.Len64(size) - 1; k >= 0; k-- {
		if size>>k&1 == 0 {
			continue
		}
		if len(subtrees[0]) != len(Hash{}) {
			return Frontier{}, fmt.Errorf("the root of a subtree of %d bytes", len(subtrees[0]))
		}
		f.nodes[k], subtrees = tlog.Hash(subtrees[0]), subtrees[1:]
	}
	return f, nil
}

// Nodes reads nodes of a tree by their positions, which come in rising order: a
// leaf's is followed by those of the subtrees that it completes.
type Nodes interface {
	ReadNodes(positions []int64) ([]Hash, error)
}

// reader is Nodes as tlog wants them.
type reader struct{ Nodes }

func (r reader) ReadHashes(positions []int64) ([]tlog.Hash, error) {
	if len(positions) == 0 {
		return nil, nil
	}
	nodes, err := r.ReadNodes(positions)
	if err != nil {
		return nil, err
	}
	out := make([]tlog.Hash, len(nodes))
	for i, n := range nodes {
		out[i] = tlog.Hash(n)
	}
	return out, nil
}

// Count is how many nodes a tree of so many leaves has.
func Count(size uint64) int64 { return tlog.StoredHashCount(int64(size)) }

// ReadFrontier is the tree of the first size leaves.
func ReadFrontier(size uint64, of Nodes) (Frontier, error) {
	f := Frontier{size: size}
	from := uint64(0)
	for k := bits.Len64(size) - 1; k >= 0; k-- {
		if size>>k&1 == 0 {
			continue
		}
		nodes, err := of.ReadNodes([]int64{tlog.StoredHashIndex(k, int64(from>>k))})
		if err != nil {
			return Frontier{}, err
		}
		f.nodes[k] = tlog.Hash(nodes[0])
		from += 1 << k
	}
	return f, nil
}

// Root is the root of the first size leaves of a tree.
func Root(size uint64, of Nodes) (Hash, error) {
	h, err := tlog.TreeHash(int64(size), reader{of})
	return Hash(h), err
}

// ProveInclusion proves that leaf number index (0 is the first) is in the tree of
// so many leaves (RFC 9162 2.1.3).
func ProveInclusion(size, index uint64, of Nodes) ([]Hash, error) {
	if size > maxSize || index >= size {
		return nil, errSize
	}
	p, err := tlog.ProveRecord(int64(size), int64(index), reader{of})
	return hashes(p), err
}

// CheckInclusion checks a proof that an entry is leaf number index of the tree with
// this size and root.
func CheckInclusion(proof []Hash, size uint64, root Hash, index uint64, entry Hash) error {
	if size > maxSize || index >= size {
		return errSize
	}
	if err := tlog.CheckRecord(tlogHashes(proof), int64(size), tlog.Hash(root), int64(index), tlog.RecordHash(entry[:])); err != nil {
		return fmt.Errorf("the proof doesn't lead from entry %x to the root %x", entry, root)
	}
	return nil
}

// ProveConsistency proves that the tree of old leaves is the beginning of that of
// size leaves (RFC 9162 2.1.4). Both have at least one.
func ProveConsistency(size, old uint64, of Nodes) ([]Hash, error) {
	if size > maxSize || old > size || old == 0 {
		return nil, errSize
	}
	p, err := tlog.ProveTree(int64(size), int64(old), reader{of})
	return hashes(p), err
}

// CheckConsistency checks a proof that the tree of old leaves with the root oldRoot
// is the beginning of the one with this size and root.
func CheckConsistency(proof []Hash, size uint64, root Hash, old uint64, oldRoot Hash) error {
	if size > maxSize || old > size || old == 0 {
		return errSize
	}
	if err := tlog.CheckTree(tlogHashes(proof), int64(size), tlog.Hash(root), int64(old), tlog.Hash(oldRoot)); err != nil {
		return fmt.Errorf("the tree of %d leaves with root %x is not the beginning of that of %d with root %x", old, oldRoot, size, root)
	}
	return nil
}

func hashes(list []tlog.Hash) []Hash {
	out := make([]Hash, len(list))
	for i, h := range list {
		out[i] = Hash(h)
	}
	return out
}

func tlogHashes(list []Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(list))
	for i, h := range list {
		out[i] = tlog.Hash(h)
	}
	return out
}
