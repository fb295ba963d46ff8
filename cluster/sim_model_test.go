package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/sealedge/sealedge/cluster/command"
)

// ledgerOp is one thing asked of an order, as the history of a schedule has it.
type ledgerOp struct {
	order  string
	kind   ledgerKind
	use    string // the request id that reserved it
	number uint32 // uses to reserve, the receipt's number, or what the barrel counted
}

type ledgerKind byte

const (
	opReserve ledgerKind = iota
	opReceipt
	opSettle
	opEnd
	opRead
)

func (k ledgerKind) String() string {
	return [...]string{"reserve", "receipt", "settle", "end", "read"}[k]
}

// ledgerOut is what was answered.
type ledgerOut struct {
	unknown             bool // nobody knows whether it was carried out
	code                command.Code
	reserved, confirmed uint32 // of a read
	ended               bool
}

// modelUse is one use in the model's ledger.
type modelUse struct {
	id        string
	count     uint32
	receipts  uint64 // bit n for receipt n
	confirmed uint32
	settled   bool
}

// modelOrder is one order in the model's ledger: what the state machine has to
// look like to everybody, worked out in another way.
type modelOrder struct {
	uses  []modelUse
	ended bool
}

func (o modelOrder) sums() (reserved, confirmed uint32) {
	for _, u := range o.uses {
		confirmed += u.confirmed
		if !u.settled {
			reserved += u.count - u.confirmed
		}
	}
	return reserved, confirmed
}

// with returns the order after a change to one of its uses.
func (o modelOrder) with(id string, change func(*modelUse)) (bool, modelOrder) {
	i := slices.IndexFunc(o.uses, func(u modelUse) bool { return u.id == id })
	if i < 0 {
		return false, o
	}
	o.uses = slices.Clone(o.uses)
	change(&o.uses[i])
	return true, o
}

// ledgerModel is what the history of an order must be explained by. permitted is
// the same for all orders of a schedule.
func ledgerModel(permitted uint32) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byOrder := map[string][]porcupine.Operation{}
			for _, op := range history {
				order := op.Input.(ledgerOp).order
				byOrder[order] = append(byOrder[order], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byOrder {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return modelOrder{} },
		Step: func(state, input, output any) (bool, any) {
			ok, next := state.(modelOrder).step(input.(ledgerOp), output.(ledgerOut), permitted)
			return ok, next
		},
		Equal: func(a, b any) bool {
			x, y := a.(modelOrder), b.(modelOrder)
			return x.ended == y.ended && slices.Equal(x.uses, y.uses)
		},
		DescribeOperation: func(input, output any) string {
			return fmt.Sprintf("%v %+v", input, output)
		},
		DescribeState: func(state any) string { return strings.ReplaceAll(fmt.Sprintf("%+v", state), "} {", "}\n{") },
	}
}

func (o modelOrder) step(in ledgerOp, out ledgerOut, permitted uint32) (bool, modelOrder) {
	reserved, confirmed := o.sums()
	switch in.kind {
	case opReserve:
		room := reserved+confirmed+in.number <= permitted
		switch {
		case out.unknown && (o.ended || !room):
			return true, o
		case out.unknown, out.code == command.Code_OK:
			if o.ended || !room {
				return false, o
			}
			o.uses = append(slices.Clip(o.uses), modelUse{id: in.use, count: in.number})
			// The order in which they were reserved makes no difference.
			slices.SortFunc(o.uses, func(a, b modelUse) int { return strings.Compare(a.id, b.id) })
			return true, o
		case out.code == command.Code_EXHAUSTED:
			return !room && !o.ended, o
		case out.code == command.Code_ENDED:
			return o.ended, o
		}
		return true, o // refused for what has nothing to do with the order
	case opReceipt:
		if !out.unknown && out.code != command.Code_OK {
			return false, o
		}
		ok, next := o.with(in.use, func(u *modelUse) {
			if bit := uint64(1) << in.number; u.receipts&bit == 0 {
				u.receipts |= bit
				if !u.settled {
					u.confirmed++
				}
			}
		})
		return ok || out.unknown, next
	case opSettle:
		if !out.unknown && out.code != command.Code_OK {
			return false, o
		}
		ok, next := o.with(in.use, func(u *modelUse) { u.settled, u.confirmed = true, in.number })
		return ok || out.unknown, next
	case opEnd:
		if !out.unknown && out.code != command.Code_OK {
			return false, o
		}
		o.ended = true
		return true, o
	}
	return out.unknown || out.reserved == reserved && out.confirmed == confirmed && out.ended == o.ended, o
}
