package adminapi

import (
	"iter"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// Epoch is a life of the cluster without a loss of what was acknowledged.
type Epoch struct {
	Number      uint64      `json:"number"`
	Frozen      bool        `json:"frozen"` // orders give nothing until it is closed
	Cause       string      `json:"cause,omitempty"`
	Raised      time.Time   `json:"raised,omitzero"`
	Closed      time.Time   `json:"closed,omitzero"`
	ClosedBy    string      `json:"closed_by,omitempty"`
	Unaccounted uint64      `json:"unaccounted"` // stampings that may be any order's
	Uncounted   []Uncounted `json:"uncounted"`   // barrels that have yet to report their counters
}

// Uncounted is a barrel that has yet to report its counters.
type Uncounted struct {
	Barrel      string `json:"barrel"`
	ProposedBy  string `json:"proposed_by,omitempty"` // of an excuse that waits for another administrator
	Unaccounted uint64 `json:"unaccounted,omitempty"` // as proposed
	Reason      string `json:"reason,omitempty"`
}

// EpochOf shows the cluster epoch, nil being the first, with the barrels that have
// yet to report.
func EpochOf(e *command.Epoch, unaccounted uint64, uncounted iter.Seq[*command.Barrel]) Epoch {
	v := Epoch{
		Number: max(e.GetNumber(), 1), Frozen: e != nil && e.Closed == 0, Cause: e.GetCause(), Raised: timeOf(e.GetRaised()),
		Closed: timeOf(e.GetClosed()), ClosedBy: e.GetClosedBy(), Unaccounted: unaccounted, Uncounted: []Uncounted{},
	}
	for b := range uncounted {
		v.Uncounted = append(v.Uncounted, UncountedOf(b))
	}
	return v
}

// UncountedOf shows what was said of a barrel that doesn't report.
func UncountedOf(b *command.Barrel) Uncounted {
	x := b.GetExcuse()
	return Uncounted{Barrel: b.Id, ProposedBy: x.GetProposedBy(), Unaccounted: x.GetUnaccounted(), Reason: x.GetReason()}
}

// CloseEpoch opens the orders again.
type CloseEpoch struct {
	Epoch uint64 `json:"epoch"` // as it was shown
}

// ExcuseBarrel is one administrator's word for a barrel that won't report.
type ExcuseBarrel struct {
	Unaccounted uint64 `json:"unaccounted"` // its stampings that no use accounts for
	Reason      string `json:"reason"`
}

// Backup asks for a backup.
type Backup struct {
	Recipients []string `json:"recipients"` // of age, such as age1...
}
