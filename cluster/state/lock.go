package state

import (
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// disconnect carries out all of what it names that is there: the use stops,
// its order ends with every other use of it, the barrels lock. It fails only
// when nothing is there.
func (m *Machine) disconnect(p *command.Disconnect) outcome {
	if l := m.LockBySource(p.SourceId); l != nil && p.SourceId != "" && m.repeats(p, l) {
		return done(l, "")
	}
	u, barrel := m.uses.get(p.Use), m.barrels.get(p.Barrel)
	if u == nil && barrel == nil && p.Order == "" {
		return refuse(command.Code_NOT_FOUND, "no such use, order or barrel")
	}
	var first *command.Lock
	locked := map[string]bool{}
	note := func(l *command.Lock) {
		locked[l.Barrel] = true
		if first == nil {
			first = l
		}
	}
	if u != nil {
		m.stopUse(u, p.Reason)
		note(m.lockUse(u, p.Reason, p.SourceId))
		// A verdict may come when the barrel is in another use: it locks all the
		// same, so that use is stopped as well and its terminal told.
		if now := m.OpenUseOfBarrel(u.Barrel); now != nil && now.Id != u.Id {
			note(m.lockBarrel(m.barrels.get(u.Barrel), p.Reason, p.SourceId))
		}
		m.endOrder(u.Order, p, note)
	}
	if p.Order != "" && p.Order != u.GetOrder() {
		m.endOrder(p.Order, p, note)
	}
	if barrel != nil && !locked[barrel.Id] {
		note(m.lockBarrel(barrel, p.Reason, p.SourceId))
	}
	if first == nil { // the order ended before any use of it: no barrel to lock
		first = &command.Lock{Order: p.Order, Reason: p.Reason, SourceId: p.SourceId, Created: m.clock}
	}
	return done(first, "")
}

// repeats tells whether a disconnect is the one that made a lock. A source that
// lost its memory may give an id once more: what it names then locks all the
// same, because a lock too many does no harm.
func (m *Machine) repeats(p *command.Disconnect, l *command.Lock) bool {
	u := m.uses.get(p.Use)
	switch {
	case p.Order != "" && m.orders.get(p.Order).GetState() != command.OrderState_ENDED_ORDER:
		return false
	case u != nil:
		return l.Use == u.Id
	case p.Order == "":
		return l.Barrel == p.Barrel
	}
	return true
}

// endOrder ends an order, also one that the ledger has not met yet, and stops
// its uses.
func (m *Machine) endOrder(number string, p *command.Disconnect, note func(*command.Lock)) {
	o := m.account(number)
	if o.State != command.OrderState_ENDED_ORDER {
		o.State, o.Reason = command.OrderState_ENDED_ORDER, p.Reason
		m.putOrder(o)
	}
	for _, u := range slices.Collect(m.UsesOfOrder(number)) {
		if u.State == command.UseState_RESERVED {
			m.stopUse(u, p.Reason)
			note(m.lockUse(u, p.Reason, p.SourceId))
		}
	}
}

// stopUse ends what can be granted on a use; its reservation stays until the
// barrel's count is known.
func (m *Machine) stopUse(old *command.Use, reason string) {
	if old.State != command.UseState_RESERVED {
		return
	}
	u := shallow(old)
	u.State, u.Reason = command.UseState_STOPPED, reason
	m.setUse(u)
}

// lockUse asks for a lock of the barrel of a use, and that the terminal be
// told.
func (m *Machine) lockUse(u *command.Use, reason, source string) *command.Lock {
	return m.newLock(&command.Lock{Barrel: u.Barrel, Imsi: u.Imsi, Use: u.Id, Order: u.Order, GrantCounter: u.GrantCounter, Reason: reason, SourceId: source})
}

// expired is why a use is stopped whose grant ran out.
const expired = "the grant has expired"

// expireUse stops a use whose grant ran out without a word from the barrel. The
// order stays open: nothing went wrong, as far as is known. Only the barrel is
// told, because the terminal has nothing to disconnect from.
func (m *Machine) expireUse(p *command.ExpireUse) outcome {
	u := m.uses.get(p.Use)
	switch {
	case u == nil:
		return refuse(command.Code_NOT_FOUND, "no such use")
	case u.State != command.UseState_RESERVED:
		return done(use(u), m.scopeOf(u.Order))
	case m.clock <= u.NotAfter:
		return refuse(command.Code_CONFLICT, "the grant has not expired yet")
	}
	m.expire(u)
	return done(use(m.uses.get(u.Id)), m.scopeOf(u.Order))
}

func (m *Machine) expire(u *command.Use) {
	m.stopUse(u, expired)
	m.newLock(&command.Lock{Barrel: u.Barrel, Use: u.Id, Order: u.Order, GrantCounter: u.GrantCounter, Reason: expired})
}

// lockBarrel asks for a lock of a barrel, and stops its use if it has one.
func (m *Machine) lockBarrel(b *command.Barrel, reason, source string) *command.Lock {
	if u := m.OpenUseOfBarrel(b.Id); u != nil {
		m.stopUse(u, reason)
		return m.lockUse(u, reason, source)
	}
	return m.newLock(&command.Lock{Barrel: b.Id, Imsi: b.CheckedOutTo, Reason: reason, SourceId: source})
}

func (m *Machine) newLock(l *command.Lock) *command.Lock {
	m.nextLock++
	l.Id, l.Created = m.nextLock, m.clock
	m.indexLock(l)
	return l
}

// indexLock puts a lock in all tables. It is pending until the barrel has
// acknowledged it, and the terminal if there is one to tell that lives.
func (m *Machine) indexLock(l *command.Lock) {
	m.locks.set(l.Id, l)
	if l.SourceId != "" && !m.bySource.has(l.SourceId) {
		m.bySource.set(l.SourceId, l.Id)
	}
	if l.BarrelAcked {
		m.locksOfBarrel.delete(numbered{l.Barrel, l.Id})
	} else {
		m.locksOfBarrel.set(numbered{l.Barrel, l.Id}, struct{}{})
	}
	told := l.TerminalAcked || l.Imsi == "" || m.subscribers.get(l.Imsi).GetState() == command.DeviceState_REVOKED_DEVICE
	if l.BarrelAcked && told {
		m.pendingLocks.delete(l.Id)
	} else {
		m.pendingLocks.set(l.Id, l)
	}
}

// ackLock notes who carried a lock out.
func (m *Machine) ackLock(p *command.AckLock) outcome {
	old := m.locks.get(p.Lock)
	if old == nil {
		return refuse(command.Code_NOT_FOUND, "no such lock")
	}
	l := shallow(old)
	l.BarrelAcked = old.BarrelAcked || p.Barrel
	l.TerminalAcked = old.TerminalAcked || p.Terminal
	m.indexLock(l)
	return done(l, "")
}
