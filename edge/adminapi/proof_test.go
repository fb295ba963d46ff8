package adminapi

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
	"github.com/sealedge/sealedge/cluster/state"
)

// proving is a chain with a tree from entry 4 on.
type proving struct {
	entries []*command.AuditEntry
	tree    merkle.Frontier
	nodes   []merkle.Hash
	roots   []merkle.Hash // by size
}

const treeFirst = 4

func newProving(t *testing.T, n int) *proving {
	t.Helper()
	p := &proving{roots: []merkle.Hash{{}}}
	var prev [32]byte
	for i := range n {
		e := entry(fmt.Sprint(i))
		e.Sequence, e.Index, e.PrevHash = uint64(i+1), uint64(i+1), slices.Clone(prev[:])
		prev = state.AuditHash(prev, e.Index, e.Term, e.Command, e.Result)
		e.Hash = slices.Clone(prev[:])
		p.entries = append(p.entries, e)
		if e.Sequence >= treeFirst {
			p.nodes = append(p.nodes, p.tree.Grow(prev)...)
			p.roots = append(p.roots, p.tree.Root())
		}
	}
	return p
}

func (p *proving) ReadNodes(at []int64) (out []merkle.Hash, _ error) {
	for _, i := range at {
		out = append(out, p.nodes[i])
	}
	return out, nil
}

func (p *proving) head(sequence uint64) AuditHead {
	root := p.roots[sequence-treeFirst+1]
	return AuditHead{Sequence: sequence, Hash: hex.EncodeToString(p.entries[sequence-1].Hash), TreeFirst: treeFirst, Root: hex.EncodeToString(root[:])}
}

func (p *proving) proof(t *testing.T, sequence, upTo uint64) AuditProof {
	t.Helper()
	path, err := merkle.ProveInclusion(upTo-treeFirst+1, sequence-treeFirst, p)
	if err != nil {
		t.Fatal(err)
	}
	line, err := AuditLineInWords(p.entries[sequence-1])
	if err != nil {
		t.Fatal(err)
	}
	return AuditProof{Head: p.head(upTo), Path: PathOf(path), Entry: line}
}

func (p *proving) since(t *testing.T, sequence, upTo uint64) AuditHead {
	t.Helper()
	path, err := merkle.ProveConsistency(upTo-treeFirst+1, sequence-treeFirst+1, p)
	if err != nil {
		t.Fatal(err)
	}
	h := p.head(upTo)
	h.Since = &AuditSince{Sequence: sequence, Path: PathOf(path)}
	return h
}

func TestAuditProof(t *testing.T) {
	p := newProving(t, 20)
	for upTo := uint64(treeFirst); upTo <= 20; upTo++ {
		for sequence := uint64(treeFirst); sequence <= upTo; sequence++ {
			proof := p.proof(t, sequence, upTo)
			var read AuditProof // as from a file
			if err := json.Unmarshal([]byte(marshal(t, proof)), &read); err != nil {
				t.Fatal(err)
			}
			e, err := read.Check()
			if err != nil || e.Sequence != sequence {
				t.Fatalf("entry %d up to %d: %v", sequence, upTo, err)
			}
		}
	}
	for name, alter := range map[string]func(*AuditProof){
		"another entry":       func(a *AuditProof) { a.Entry = p.proof(t, 9, 20).Entry },
		"another root":        func(a *AuditProof) { a.Head.Root = p.head(19).Root },
		"no root":             func(a *AuditProof) { a.Head.Root = "" },
		"no tree":             func(a *AuditProof) { a.Head.TreeFirst = 0 },
		"another first":       func(a *AuditProof) { a.Head.TreeFirst++ },
		"an older head":       func(a *AuditProof) { a.Head.Sequence = 9 },
		"a path of rubbish":   func(a *AuditProof) { a.Path[0] = "rubbish" },
		"a shorter path":      func(a *AuditProof) { a.Path = a.Path[1:] },
		"other words":         func(a *AuditProof) { a.Entry.Words = "operator:li did nothing" },
		"another actor":       func(a *AuditProof) { a.Entry.Actor = "operator:wu" },
		"another command":     func(a *AuditProof) { a.Entry.Command = p.proof(t, 9, 20).Entry.Command },
		"another result":      func(a *AuditProof) { a.Entry.Result = "" },
		"another hash before": func(a *AuditProof) { a.Entry.PrevHash = a.Entry.Hash },
		"a short hash before": func(a *AuditProof) { a.Entry.PrevHash = "00" },
		"another number":      func(a *AuditProof) { a.Entry.Sequence++ },
		"older than the tree": func(a *AuditProof) { a.Entry.Sequence = treeFirst - 1 },
	} {
		proof := p.proof(t, 10, 20)
		alter(&proof)
		if _, err := proof.Check(); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A proof in a tree of a million entries, without the entry, has about a kilobyte.
func TestProofIsSmall(t *testing.T) {
	path := make([]merkle.Hash, 20)
	b := marshal(t, struct {
		Head AuditHead `json:"head"`
		Path []string  `json:"path"`
	}{AuditHead{Sequence: 1_000_000, Hash: strings.Repeat("a", 64), TreeFirst: 2, Root: strings.Repeat("b", 64)}, PathOf(path)})
	if len(b) > 1200 {
		t.Errorf("%d bytes", len(b))
	}
}

func TestHeadsAreCompared(t *testing.T) {
	p := newProving(t, 20)
	for upTo := uint64(treeFirst); upTo <= 20; upTo++ {
		for sequence := uint64(treeFirst); sequence <= upTo; sequence++ {
			newer, older := p.since(t, sequence, upTo), p.head(sequence)
			if err := newer.CheckSince(&older); err != nil {
				t.Fatalf("%d since %d: %v", upTo, sequence, err)
			}
		}
	}
	for name, alter := range map[string]func(newer, older *AuditHead){
		"another old root":        func(_, older *AuditHead) { older.Root = p.head(8).Root },
		"another new root":        func(newer, _ *AuditHead) { newer.Root = p.head(19).Root },
		"another beginning":       func(_, older *AuditHead) { older.TreeFirst-- },
		"no proof":                func(newer, _ *AuditHead) { newer.Since = nil },
		"a proof since elsewhere": func(newer, _ *AuditHead) { newer.Since.Sequence-- },
		"rubbish":                 func(newer, _ *AuditHead) { newer.Since.Path[0] = "AAAA" },
		"no old tree":             func(_, older *AuditHead) { older.TreeFirst = 0 },
		"no new tree":             func(newer, _ *AuditHead) { newer.TreeFirst = 0 },
		"the newer is older":      func(newer, older *AuditHead) { *newer, *older = *older, *newer },
		"the same, but another hash": func(newer, older *AuditHead) {
			*newer = *older
			newer.Hash = p.head(9).Hash
		},
		"the same, but another root": func(newer, older *AuditHead) {
			*newer = *older
			newer.Root = p.head(9).Root
		},
	} {
		newer, older := p.since(t, 10, 20), p.head(10)
		alter(&newer, &older)
		if err := newer.CheckSince(&older); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
