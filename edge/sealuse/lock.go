package sealuse

import (
	"fmt"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

// Disconnect is the command that carries out a disconnect of the seal server
// (step 10): its use stops, the order ends with every other use of it, and
// their barrels lock. What the ledger hasn't met is no reason to refuse: an
// order may be ended before its first use. A repeat gives the same lock.
func Disconnect(d wire.Disconnect) (*command.Command, *wire.Problem) {
	if d.ID == "" || len(d.ID) > 128 || d.ID != words(d.ID) {
		return nil, bad("id: want 1 to 128 characters.")
	}
	if _, err := ident.ParseOrderNo(d.Order); err != nil {
		return nil, bad(fmt.Sprintf("order: %v.", err))
	}
	return command.New("seal-server", "", "seal-server", &command.Disconnect{
		SourceId: d.ID, Use: d.Use, Order: d.Order, Reason: words(d.Reason),
	}), nil
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
