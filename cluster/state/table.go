package state

import (
	"cmp"
	"iter"

	"github.com/google/btree"
)

// degree of the trees: nodes of 31 to 63 entries, which keeps a tree of
// 100,000 records three or four nodes deep.
const degree = 32

// A table is an ordered map whose clone costs nothing: trees share their nodes
// until one of them writes. The machine is made of tables, so a snapshot never
// holds Apply up, and nothing in it ever depends on Go's map order.
type table[K, V any] struct {
	tree *btree.BTreeG[entry[K, V]]
}

type entry[K, V any] struct {
	key   K
	value V
}

func newTable[K, V any](compare func(a, b K) int) table[K, V] {
	return table[K, V]{btree.NewG(degree, func(a, b entry[K, V]) bool { return compare(a.key, b.key) < 0 })}
}

func newOrdered[K cmp.Ordered, V any]() table[K, V] { return newTable[K, V](cmp.Compare[K]) }

func (t table[K, V]) clone() table[K, V] { return table[K, V]{t.tree.Clone()} }

func (t table[K, V]) len() int { return t.tree.Len() }

// get returns the zero value, a nil record, for a key that is not there.
func (t table[K, V]) get(k K) V {
	e, _ := t.tree.Get(entry[K, V]{key: k})
	return e.value
}

func (t table[K, V]) has(k K) bool { return t.tree.Has(entry[K, V]{key: k}) }

func (t table[K, V]) set(k K, v V) { t.tree.ReplaceOrInsert(entry[K, V]{k, v}) }

func (t table[K, V]) delete(k K) { t.tree.Delete(entry[K, V]{key: k}) }

// from visits entries in order, starting at the first key not below k.
func (t table[K, V]) from(k K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t.tree.AscendGreaterOrEqual(entry[K, V]{key: k}, func(e entry[K, V]) bool { return yield(e.key, e.value) })
	}
}

// back visits entries in falling order, starting at the last key not above k.
func (t table[K, V]) back(k K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t.tree.DescendLessOrEqual(entry[K, V]{key: k}, func(e entry[K, V]) bool { return yield(e.key, e.value) })
	}
}

// values visits all values in the order of their keys.
func (t table[K, V]) values() iter.Seq[V] {
	return func(yield func(V) bool) {
		t.tree.Ascend(func(e entry[K, V]) bool { return yield(e.value) })
	}
}

// Keys of more than one part.
type (
	// pair orders by a name, then by another: (IMSI, APN), (client, request).
	pair struct{ first, second string }
	// numbered orders by a name, then by a number: (order, use id).
	numbered struct {
		name string
		n    uint64
	}
)

func comparePairs(a, b pair) int {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second))
}

func compareNumbered(a, b numbered) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.n, b.n))
}
