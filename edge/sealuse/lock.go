package sealuse

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

// Disconnect gives the commands that carry out a disconnect of the seal server
// (step 10): for the use that it names, or for every open use of the order.
// With neither, the order alone is ended. A repeat gives the same commands for
// the same locks.
func Disconnect(m *state.Machine, d wire.Disconnect) ([]*command.Command, *wire.Problem) {
	if d.ID == "" || len(d.ID) > 128 || d.ID != words(d.ID) {
		return nil, bad("id: want 1 to 128 characters.")
	}
	if _, err := ident.ParseOrderNo(d.Order); err != nil {
		return nil, bad(fmt.Sprintf("order: %v.", err))
	}
	lockOf := func(source string, use *command.Use) *command.Command {
		return command.New("seal-server", "", "seal-server", &command.Disconnect{
			SourceId: source, Use: use.GetId(), Order: d.Order, Barrel: use.GetBarrel(), Reason: words(d.Reason),
		})
	}
	if d.Use != 0 {
		use := m.Use(d.Use)
		if use == nil || use.Order != d.Order {
			return nil, wire.NewProblem(wire.CodeUseUnknown, fmt.Sprintf("Order %s has no use %d.", d.Order, d.Use))
		}
		return []*command.Command{lockOf(d.ID, use)}, nil
	}
	var out []*command.Command
	for use := range m.UsesOfOrder(d.Order) {
		if use.State != command.UseState_SETTLED {
			out = append(out, lockOf(d.ID+"/"+strconv.FormatUint(use.Id, 10), use))
		}
	}
	if out == nil {
		out = append(out, lockOf(d.ID, nil))
	}
	return out, nil
}

// LocksFor are the pending locks that a terminal has yet to acknowledge, the
// oldest first.
func LocksFor(m *state.Machine, imsi string) []*command.Lock {
	return slices.DeleteFunc(slices.Clone(m.PendingLocks()), func(l *command.Lock) bool {
		return l.Imsi != imsi || l.TerminalAcked
	})
}

// Acknowledge proposes to note that a terminal has carried out a lock.
func Acknowledge(m *state.Machine, imsi string, lock uint64) (*command.Command, *wire.Problem) {
	l := m.Lock(lock)
	if l == nil || l.Imsi != imsi || imsi == "" {
		return nil, wire.NewProblem(wire.CodeLockUnknown, "")
	}
	return command.New(ClientID(imsi), "", ClientID(imsi), &command.AckLock{Lock: lock, Terminal: true}), nil
}

// LockEvent is a lock as the terminal is told of it.
func LockEvent(l *command.Lock) wire.LockEvent {
	return wire.LockEvent{Lock: l.Id, Barrel: l.Barrel, Use: l.Use, Order: l.Order, Reason: l.Reason, Created: at(l.Created)}
}
