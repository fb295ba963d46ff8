package barrel

import (
	"slices"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// State is what survives a loss of power. Its slices are replaced, never
// changed in place.
type State struct {
	Counter  uint64 `json:"counter"`  // of the highest grant ever accepted
	Lifetime uint64 `json:"lifetime"` // stampings ever
	Boots    uint32 `json:"boots"`
	Sequence uint64 `json:"sequence"` // of the last outbox item
	Tampered bool   `json:"tampered,omitempty"`

	Use    *Use     `json:"use,omitempty"`  // under way
	Outbox []Item   `json:"outbox"`         // what the gateway has yet to acknowledge, oldest first
	Kept   []Record `json:"kept"`           // of the last uses, newest last
	Locked []uint64 `json:"locked"`         // uses that were locked, newest last: their grants are void
	Known  int64    `json:"known,omitzero"` // gateway's clock as last heard, ms of Unix time
}

// Use is a grant under way.
type Use struct {
	ID       uint64    `json:"id"`
	Order    string    `json:"order"`
	Counter  uint64    `json:"counter"`
	Count    uint32    `json:"count"`
	Stamped  uint32    `json:"stamped"`
	Methods  []string  `json:"methods"`
	User     string    `json:"user,omitempty"`
	NotAfter time.Time `json:"not_after"`
}

// Kinds of Item.
const (
	ItemReceipt   = "receipt"
	ItemStatement = "statement"
	ItemEvent     = "event"
)

// Item is a message to the gateway that waits for its acknowledgement.
type Item struct {
	Sequence uint64            `json:"sequence"`
	Kind     string            `json:"kind"`
	Use      uint64            `json:"use,omitempty"`
	Signed   []byte            `json:"signed,omitempty"` // COSE_Sign1 of receipts and statements
	Event    *wire.BarrelEvent `json:"event,omitempty"`
}

// Record is what the barrel signed for one use.
type Record struct {
	Use       uint64   `json:"use"`
	Receipts  [][]byte `json:"receipts"`
	Statement []byte   `json:"statement,omitempty"`
}

// Bounds of the memory. Receipts and statements are never dropped.
const (
	keptUses    = 16
	lockedUses  = 64
	maxEvents   = 32
	maxFailures = 3 // failed verifications before the use ends
)

// enqueue puts an item at the end of the outbox, dropping the oldest event if
// there are too many.
func (s *State) enqueue(i Item) {
	s.Sequence++
	i.Sequence = s.Sequence
	if i.Event != nil {
		i.Event.Sequence = i.Sequence
	}
	s.Outbox = append(slices.Clip(s.Outbox), i)
	isEvent := func(i Item) bool { return i.Kind == ItemEvent }
	events := 0
	for _, i := range s.Outbox {
		if isEvent(i) {
			events++
		}
	}
	if events > maxEvents {
		oldest := slices.IndexFunc(s.Outbox, isEvent)
		s.Outbox = slices.Concat(s.Outbox[:oldest], s.Outbox[oldest+1:])
	}
}

// keep notes a receipt or statement for the terminal to fetch.
func (s *State) keep(use uint64, receipt, statement []byte) {
	kept := slices.Clone(s.Kept)
	at := slices.IndexFunc(kept, func(r Record) bool { return r.Use == use })
	if at < 0 {
		kept = append(kept, Record{Use: use})
		if len(kept) > keptUses {
			kept = kept[1:]
		}
		at = len(kept) - 1
	}
	if receipt != nil {
		kept[at].Receipts = append(slices.Clip(kept[at].Receipts), receipt)
	}
	if statement != nil {
		kept[at].Statement = statement
	}
	s.Kept = kept
}

// void notes that grants of a use are not to be obeyed any more.
func (s *State) void(use uint64) {
	if use == 0 || slices.Contains(s.Locked, use) {
		return
	}
	s.Locked = append(slices.Clip(s.Locked), use)
	if len(s.Locked) > lockedUses {
		s.Locked = s.Locked[1:]
	}
}
