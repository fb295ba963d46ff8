package state

import (
	"github.com/sealedge/sealedge/cluster/command"
)

// putBarrel adds or replaces a barrel. Custody and the grant counter are the
// machine's: the counter only ever rises, also when an import brings a higher
// one. A barrel that becomes suspended is locked.
func (m *Machine) putBarrel(p *command.PutBarrel) outcome {
	b := p.Barrel
	if b.GetId() == "" {
		return invalid("a barrel without a serial number")
	}
	old := m.barrels.get(b.Id)
	switch {
	case old.GetState() == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the barrel is revoked, for ever")
	case !p.AnyVersion && old.GetVersion() != p.BaseVersion:
		return refuse(command.Code_CONFLICT, "the barrel is at version %d, not %d", old.GetVersion(), p.BaseVersion)
	case old != nil && b.State == command.DeviceState_REVOKED_DEVICE:
		return invalid("revoking is a command of its own: it stops the use and locks")
	case b.State < command.DeviceState_ACTIVE || b.State > command.DeviceState_REVOKED_DEVICE:
		return invalid("the state of a barrel is active, suspended or revoked")
	case len(b.ReceiptPublicKey) != 0 && len(b.ReceiptPublicKey) != 32:
		return invalid("a receipt key has 32 bytes")
	case len(b.DtlsCertSha256) != 0 && len(b.DtlsCertSha256) != 32:
		return invalid("the SHA-256 of a certificate has 32 bytes")
	}
	for what, other := range m.claimsOf(b) {
		if other != nil && other.Id != b.Id {
			return invalid("another barrel has this %s", what)
		}
	}
	b.Version, b.CheckedOutTo = old.GetVersion()+1, old.GetCheckedOutTo()
	b.State, b.SuspendReason = keptState(old.GetState(), old.GetSuspendReason(), b.State), old.GetSuspendReason()
	b.GrantCounter = max(b.GrantCounter, old.GetGrantCounter())
	m.enlist(old, b)
	m.indexBarrel(old, b)
	if b.State == command.DeviceState_SUSPENDED_DEVICE && old.GetState() == command.DeviceState_ACTIVE {
		m.lockBarrel(b, "the barrel was suspended", "")
	}
	return done(b, "")
}

// claimsOf goes through the identities that no two barrels may share, with the
// barrel that has each now.
func (m *Machine) claimsOf(b *command.Barrel) func(func(string, *command.Barrel) bool) {
	return func(yield func(string, *command.Barrel) bool) {
		_ = yield("MAC address", m.BarrelByMAC(b.Mac)) &&
			yield("PSK identity", m.BarrelByPSKIdentity(b.PskIdentity)) &&
			yield("DTLS certificate", m.BarrelByCert(b.DtlsCertSha256))
	}
}

func (m *Machine) indexBarrel(old, b *command.Barrel) {
	swap := func(t table[string, string], from, to string) {
		if from != "" && from != to {
			t.delete(from)
		}
		if to != "" {
			t.set(to, b.Id)
		}
	}
	swap(m.byMAC, old.GetMac(), b.Mac)
	swap(m.byPSKIdentity, old.GetPskIdentity(), b.PskIdentity)
	swap(m.byCert, string(old.GetDtlsCertSha256()), string(b.DtlsCertSha256))
	if old.GetCheckedOutTo() != b.CheckedOutTo {
		m.checkouts.delete(pair{old.GetCheckedOutTo(), b.Id})
	}
	if b.CheckedOutTo != "" {
		m.checkouts.set(pair{b.CheckedOutTo, b.Id}, struct{}{})
	}
	m.unaccounted += b.Unaccounted - old.GetUnaccounted()
	m.setBarrel(b)
}

// revokeBarrel asks for nothing but the barrel: its use stops and it locks.
// What it stamped meanwhile it can still sign for.
func (m *Machine) revokeBarrel(p *command.RevokeBarrel) outcome {
	old := m.barrels.get(p.Id)
	if old == nil {
		return refuse(command.Code_NOT_FOUND, "no such barrel")
	}
	answer := new(command.Revocation)
	if old.State == command.DeviceState_REVOKED_DEVICE {
		return done(answer, "") // it was locked then
	}
	b := shallow(old)
	b.State, b.RevokeReason, b.Version = command.DeviceState_REVOKED_DEVICE, p.Reason, old.Version+1
	m.indexBarrel(old, b)
	l := m.lockBarrel(b, p.Reason, "")
	answer.Locks = []uint64{l.Id}
	if l.Use != 0 {
		answer.Uses = []uint64{l.Use}
	}
	return done(answer, "")
}

// checkOut gives a barrel into a terminal's custody.
func (m *Machine) checkOut(p *command.CheckOut) outcome {
	old, s := m.barrels.get(p.Barrel), m.subscribers.get(p.Imsi)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such barrel")
	case s == nil:
		return refuse(command.Code_NOT_FOUND, "no such subscriber")
	case old.State == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the barrel is revoked")
	case s.State == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the subscriber is revoked")
	case old.CheckedOutTo == p.Imsi:
		return done(old, "")
	case old.CheckedOutTo != "":
		return refuse(command.Code_CONFLICT, "the barrel is checked out to another terminal; check it in first")
	}
	return done(m.handOver(old, p.Imsi), "")
}

// checkIn takes a barrel back, also a revoked one and from a revoked terminal.
func (m *Machine) checkIn(p *command.CheckIn) outcome {
	old := m.barrels.get(p.Barrel)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such barrel")
	case m.openOfBarrel.has(p.Barrel):
		return refuse(command.Code_BUSY, "the barrel has an unsettled use; let it report its count first")
	case old.CheckedOutTo == "":
		return done(old, "")
	}
	return done(m.handOver(old, ""), "")
}

func (m *Machine) handOver(old *command.Barrel, imsi string) *command.Barrel {
	b := shallow(old)
	b.CheckedOutTo, b.Version = imsi, old.Version+1
	m.indexBarrel(old, b)
	return b
}
