package adminapi

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
	"github.com/sealedge/sealedge/cluster/state"
)

// AuditHead is what the audit chain was at one entry. Kept where the gateway's
// people can't change it, it pins all that came before.
type AuditHead struct {
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash"` // of that entry, hexadecimal
	// The tree over the chain (RFC 9162 2.1): the sequence number of the entry that is
	// its first leaf, and its root, hexadecimal. 0 and empty: it hasn't begun.
	TreeFirst uint64 `json:"tree_first"`
	Root      string `json:"root,omitempty"`
	// Since proves that an older head is the beginning of this one, where that was
	// asked for.
	Since *AuditSince `json:"since,omitempty"`
}

// AuditSince is a proof of consistency (RFC 9162 2.1.4).
type AuditSince struct {
	Sequence uint64   `json:"sequence"` // of the older head
	Path     []string `json:"path"`     // hashes, base64
}

// AuditProof proves that an entry is in the tree over the chain (RFC 9162 2.1.3).
type AuditProof struct {
	Head  AuditHead `json:"head"`
	Path  []string  `json:"path"` // hashes from the leaf to the root, base64
	Entry AuditLine `json:"entry"`
}

// ErrProof: a proof doesn't show what it should.
var ErrProof = errors.New("the proof does not hold")

// PathOf is a path as documents have it.
func PathOf(path []merkle.Hash) []string {
	out := make([]string, len(path))
	for i, h := range path {
		out[i] = base64.StdEncoding.EncodeToString(h[:])
	}
	return out
}

func pathIn(path []string) ([]merkle.Hash, error) {
	out := make([]merkle.Hash, len(path))
	for i, text := range path {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(b) != len(out[i]) {
			return nil, fmt.Errorf("%w: %q is no hash in base64", ErrProof, text)
		}
		out[i] = merkle.Hash(b)
	}
	return out, nil
}

// ParseHash reads a hash in hexadecimal.
func ParseHash(text string) (h merkle.Hash, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("%q is no SHA-256 in hexadecimal", text)
	}
	return merkle.Hash(b), nil
}

// TreeSize is the number of leaves up to the head.
func (h *AuditHead) TreeSize() uint64 {
	if h.TreeFirst == 0 || h.Sequence < h.TreeFirst {
		return 0
	}
	return h.Sequence - h.TreeFirst + 1
}

// tree returns the root and the size of the tree at a head.
func (h *AuditHead) tree() (root merkle.Hash, size uint64, err error) {
	if size = h.TreeSize(); size == 0 {
		return root, 0, fmt.Errorf("%w: the head of entry %d has no tree", ErrProof, h.Sequence)
	}
	if root, err = ParseHash(h.Root); err != nil {
		return root, 0, fmt.Errorf("%w: root: %w", ErrProof, err)
	}
	return root, size, nil
}

// Agrees tells whether two heads can be of one chain at all: whether they are the
// same where they are of the same entry, and their trees begin at the same one.
func (h *AuditHead) Agrees(other *AuditHead) error {
	switch {
	case h.TreeFirst != 0 && other.TreeFirst != 0 && h.TreeFirst != other.TreeFirst:
		return fmt.Errorf("%w: one tree begins at entry %d, the other at %d: they are of two chains", ErrProof, h.TreeFirst, other.TreeFirst)
	case h.Sequence == other.Sequence && h.Hash != other.Hash:
		return fmt.Errorf("%w: entry %d has the hash %s in one and %s in the other: they are of two chains", ErrProof, h.Sequence, h.Hash, other.Hash)
	case h.Sequence == other.Sequence && h.TreeFirst == other.TreeFirst && h.Root != other.Root:
		return fmt.Errorf("%w: at entry %d one tree has the root %s, the other %s", ErrProof, h.Sequence, h.Root, other.Root)
	}
	return nil
}

// CheckSince checks that the older head is the beginning of this one, by the proof
// that this one has. Of an entry that both are of it needs none.
func (h *AuditHead) CheckSince(older *AuditHead) error {
	if err := h.Agrees(older); err != nil {
		return err
	}
	if h.Sequence == older.Sequence {
		return nil
	}
	root, size, err := h.tree()
	if err != nil {
		return err
	}
	oldRoot, oldSize, err := older.tree()
	if err != nil {
		return err
	}
	if h.Since == nil || h.Since.Sequence != older.Sequence {
		return fmt.Errorf("%w: the head of entry %d comes without a proof since entry %d", ErrProof, h.Sequence, older.Sequence)
	}
	path, err := pathIn(h.Since.Path)
	if err != nil {
		return err
	}
	if err := merkle.CheckConsistency(path, size, root, oldSize, oldRoot); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// Check checks that the entry is what its hash covers, and that its tree holds it.
// Whether the head is the right one is for the caller to know: compare it with one
// that was kept (AuditHead.Agrees, and the same sequence number).
func (p *AuditProof) Check() (*command.AuditEntry, error) {
	line, err := json.Marshal(p.Entry)
	if err != nil {
		return nil, err
	}
	e, err := ParseAuditLine(line)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if len(e.PrevHash) != len(merkle.Hash{}) {
		return nil, fmt.Errorf("%w: the entry's prev_hash is no hash", ErrProof)
	}
	hash := state.AuditHash([32]byte(e.PrevHash), e.Index, e.Term, e.Command, e.Result)
	if hex.EncodeToString(hash[:]) != p.Entry.Hash {
		return nil, fmt.Errorf("%w: the entry's content was changed: its hash is %x, not %s", ErrProof, hash, p.Entry.Hash)
	}
	root, size, err := p.Head.tree()
	if err != nil {
		return nil, err
	}
	if e.Sequence < p.Head.TreeFirst {
		return nil, fmt.Errorf("%w: entry %d is older than the tree", ErrProof, e.Sequence)
	}
	path, err := pathIn(p.Path)
	if err != nil {
		return nil, err
	}
	if err := merkle.CheckInclusion(path, size, root, e.Sequence-p.Head.TreeFirst, hash); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return e, nil
}
