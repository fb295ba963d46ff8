package chain

import (
	"errors"
	"iter"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
)

// ErrGap: entries of the audit chain are not on this node, because it took over a
// snapshot instead of applying them, and no peer gave them yet.
var ErrGap = errors.New("part of the audit chain is not on this node")

// ErrNoTree: what is asked for isn't in the tree over the audit chain.
var ErrNoTree = errors.New("that isn't in the tree over the audit chain")

// Search asks for a part of the chain.
type Search struct {
	Query
	From, To uint64 // sequence numbers, both included; To 0: the newest
	Newest   bool   // begin with the newest
	Limit    int    // of entries
}

// Found answers a Search.
type Found struct {
	Entries []*command.AuditEntry // in the order that was asked for
	// Next is where to go on: From, or To when the newest come first. 0: that was all.
	// It may be said with fewer entries than the limit, when looking took long.
	Next uint64
}

// Find searches entries that are at hand, which come in the order of the chain.
func Find(entries iter.Seq2[*command.AuditEntry, error], s Search) (found Found, err error) {
	var list []*command.AuditEntry
	for e, err := range entries {
		if err != nil {
			return Found{}, err
		}
		if e.Sequence < s.From || s.To > 0 && e.Sequence > s.To {
			continue
		}
		if s.Filters() {
			read, err := Read(e)
			if err != nil {
				return Found{}, err
			}
			if !s.Matches(read) {
				continue
			}
		}
		if list = append(list, e); len(list) > s.Limit {
			if !s.Newest {
				break
			}
			list = slices.Delete(list, 0, max(0, len(list)-s.Limit-1))
		}
	}
	if s.Newest {
		slices.Reverse(list)
	}
	if len(list) > s.Limit {
		return Found{list[:s.Limit], list[s.Limit].Sequence}, nil
	}
	return Found{Entries: list}, nil
}

// Proof shows that the tree over the chain holds something.
type Proof struct {
	First uint64 // sequence number of the entry that is the first leaf
	Size  uint64 // leaves
	Root  merkle.Hash
	Path  []merkle.Hash
}
