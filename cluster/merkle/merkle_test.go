package merkle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
)

// stored is a whole tree in memory.
type stored []Hash

func (s stored) ReadNodes(positions []int64) ([]Hash, error) {
	var out []Hash
	for _, p := range positions {
		out = append(out, s[p])
	}
	return out, nil
}

func entry(i int) Hash { return sha256.Sum256([]byte{byte(i), byte(i >> 8)}) }

// grow is the tree of n leaves.
func grow(t testing.TB, n int) (stored, []Hash) {
	t.Helper()
	var s stored
	var leaves []Hash
	var f Frontier
	for i := range n {
		if int64(len(s)) != Count(uint64(i)) {
			t.Fatalf("%d leaves have %d nodes", i, len(s))
		}
		s, leaves = append(s, f.Grow(entry(i))...), append(leaves, entry(i))
	}
	return s, leaves
}

// mth is the definition of RFC 9162 2.1.1, spelt out.
func mth(leaves []Hash) Hash {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0][:]...))
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, r := mth(leaves[:k]), mth(leaves[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
}

func TestRootsAreThoseOfTheRFC(t *testing.T) {
	s, leaves := grow(t, 130)
	var f Frontier
	for n := range leaves {
		want := mth(leaves[:n])
		if got := f.Root(); got != want {
			t.Fatalf("the frontier of %d leaves has another root", n)
		}
		if got, err := Root(uint64(n), s); err != nil || got != want {
			t.Fatalf("the stored tree of %d leaves has another root: %v", n, err)
		}
		read, err := FrontierOf(f.Size(), f.Subtrees())
		if err != nil || read != f {
			t.Fatalf("a frontier of %d leaves, written and read, is another: %v", n, err)
		}
		if read, err = ReadFrontier(f.Size(), s); err != nil || read != f {
			t.Fatalf("the frontier of %d leaves, read from the nodes, is another: %v", n, err)
		}
		before := f
		f.Append(leaves[n])
		if before != read {
			t.Fatal("a copy went on with the original")
		}
	}
}

func TestFrontierRefusesWhatIsNoTree(t *testing.T) {
	h := bytes.Repeat([]byte{1}, 32)
	for name, f := range map[string]struct {
		size uint64
		of   [][]byte
	}{
		"too few":   {3, [][]byte{h}},
		"too many":  {2, [][]byte{h, h}},
		"none":      {1, nil},
		"no size":   {0, [][]byte{h}},
		"short":     {1, [][]byte{h[1:]}},
		"too large": {1 << 63, [][]byte{h}},
	} {
		if _, err := FrontierOf(f.size, f.of); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Every proof of every leaf of every small tree holds, and no other.
func TestInclusion(t *testing.T) {
	const most = 40
	s, leaves := grow(t, most)
	for size := 1; size <= most; size++ {
		root := mth(leaves[:size])
		for i := range size {
			p, err := ProveInclusion(uint64(size), uint64(i), s)
			if err != nil {
				t.Fatal(err)
			}
			check := func(p []Hash, size int, root Hash, i int, e Hash) error {
				return CheckInclusion(p, uint64(size), root, uint64(i), e)
			}
			if err := check(p, size, root, i, leaves[i]); err != nil {
				t.Fatalf("leaf %d of %d: %v", i, size, err)
			}
			if check(p, size, root, i, entry(most+1)) == nil {
				t.Fatalf("leaf %d of %d: another entry is proven", i, size)
			}
			if size > 1 && check(p, size, root, (i+1)%size, leaves[i]) == nil {
				t.Fatalf("leaf %d of %d: another place is proven", i, size)
			}
			if check(p, size, entry(0), i, leaves[i]) == nil || check(append(slices.Clone(p), root), size, root, i, leaves[i]) == nil {
				t.Fatalf("leaf %d of %d: another root, or a hash too many", i, size)
			}
			for k := range p {
				bad := slices.Clone(p)
				bad[k][k%32] ^= 1
				if check(bad, size, root, i, leaves[i]) == nil || check(slices.Delete(slices.Clone(p), k, k+1), size, root, i, leaves[i]) == nil {
					t.Fatalf("leaf %d of %d: hash %d of the proof doesn't matter", i, size, k)
				}
			}
		}
	}
	if _, err := ProveInclusion(3, 3, s); !errors.Is(err, errSize) {
		t.Error(err)
	}
	if err := CheckInclusion(nil, 0, Hash{}, 0, Hash{}); !errors.Is(err, errSize) {
		t.Error(err)
	}
	if err := CheckInclusion(nil, 1<<63, Hash{}, 1<<62, Hash{}); !errors.Is(err, errSize) {
		t.Error(err)
	}
}

func TestConsistency(t *testing.T) {
	const most = 40
	s, leaves := grow(t, most)
	for size := 1; size <= most; size++ {
		root := mth(leaves[:size])
		for old := 1; old <= size; old++ {
			oldRoot := mth(leaves[:old])
			p, err := ProveConsistency(uint64(size), uint64(old), s)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckConsistency(p, uint64(size), root, uint64(old), oldRoot); err != nil {
				t.Fatalf("%d in %d: %v", old, size, err)
			}
			if CheckConsistency(p, uint64(size), root, uint64(old), entry(0)) == nil || CheckConsistency(p, uint64(size), entry(0), uint64(old), oldRoot) == nil {
				t.Fatalf("%d in %d: another root is proven", old, size)
			}
			for k := range p {
				bad := slices.Clone(p)
				bad[k][k%32] ^= 1
				if CheckConsistency(bad, uint64(size), root, uint64(old), oldRoot) == nil {
					t.Fatalf("%d in %d: hash %d doesn't matter", old, size, k)
				}
			}
		}
	}
	for _, sizes := range [][2]uint64{{3, 4}, {3, 0}, {1 << 63, 1}} {
		if _, err := ProveConsistency(sizes[0], sizes[1], s); !errors.Is(err, errSize) {
			t.Error(sizes, err)
		}
		if err := CheckConsistency(nil, sizes[0], Hash{}, sizes[1], Hash{}); !errors.Is(err, errSize) {
			t.Error(sizes, err)
		}
	}
}

func TestUnreadableNodes(t *testing.T) {
	lost := errors.New("the disk is gone")
	if _, err := ProveInclusion(4, 1, failing{lost}); !errors.Is(err, lost) {
		t.Error(err)
	}
	if _, err := Root(4, failing{lost}); !errors.Is(err, lost) {
		t.Error(err)
	}
	if _, err := ReadFrontier(3, failing{lost}); !errors.Is(err, lost) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) ReadNodes([]int64) ([]Hash, error) { return nil, f.err }

// What every log entry pays for the tree.
func BenchmarkAppend(b *testing.B) {
	var f Frontier
	for b.Loop() {
		f.Append(Hash{1})
	}
}
