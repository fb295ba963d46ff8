package barrel

import (
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// Status is what gateway and terminal may ask.
func (m *Machine) Status(now time.Time) wire.BarrelStatus {
	s := wire.BarrelStatus{
		Barrel: m.id.ID.String(), State: m.stateName(), Locked: m.phase != unlocked, Battery: m.battery,
		Counter: m.st.Counter, Lifetime: m.st.Lifetime, Prompt: m.prompt, Awaiting: m.awaiting,
		LeaseMs: max(0, m.lease.Sub(now).Milliseconds()),
	}
	if m.lease.IsZero() {
		s.LeaseMs = 0
	}
	if u := m.st.Use; u != nil {
		s.Use, s.Count, s.Stamped = u.ID, u.Count, u.Stamped
	}
	return s
}

// Receipts is what the barrel still keeps of a use.
func (m *Machine) Receipts(use uint64) wire.LocalReceipts {
	for _, r := range m.st.Kept {
		if r.Use == use {
			return wire.LocalReceipts{Use: use, Receipts: r.Receipts, Statement: r.Statement}
		}
	}
	return wire.LocalReceipts{Use: use}
}

func (m *Machine) stateName() string {
	switch {
	case m.st.Tampered:
		return wire.BarrelTampered
	case m.phase == verifying:
		return wire.BarrelVerifying
	case m.phase == unlocked:
		return wire.BarrelUnlocked
	}
	return wire.BarrelIdle
}
