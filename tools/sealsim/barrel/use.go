package barrel

import (
	"fmt"
	"time"

	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
)

// Press is somebody pressing the seal down. What it returns lets the seal move
// only after the stamping is counted; the last one locks.
func (m *Machine) Press(now time.Time) (number uint32, acts []Action, err error) {
	acts = m.Tick(now)
	if m.phase != unlocked {
		return 0, acts, ErrLocked
	}
	use := *m.st.Use
	use.Stamped++
	m.st.Lifetime++
	m.st.Use = &use
	receipt, err := grant.SignReceipt(grant.Receipt{
		Barrel: m.id.ID.String(), Order: use.Order, UseID: use.ID, Counter: use.Counter,
		Number: use.Stamped, Lifetime: m.st.Lifetime, At: m.wall(now), Methods: use.Methods,
	}, m.id.Key)
	if err != nil {
		return 0, append(acts, m.end(now, "no receipt could be signed")...), fmt.Errorf("signing the receipt: %w", err)
	}
	m.st.enqueue(Item{Kind: ItemReceipt, Use: use.ID, Signed: receipt})
	m.st.keep(use.ID, receipt, nil)
	if use.Stamped < use.Count {
		return use.Stamped, append(acts, Persist{m.st}, Stamp{use.Stamped},
			m.say(fmt.Sprintf("Stamped %d of %d.", use.Stamped, use.Count))), nil
	}
	m.st.Use = nil
	m.settle(now, &use)
	m.phase = idle
	return use.Stamped, append(acts, Persist{m.st}, Stamp{use.Stamped}, Latch{Open: false},
		m.say("The last stamping is done. Locked.")), nil
}

// settle signs the statement that ends a use.
func (m *Machine) settle(now time.Time, use *Use) {
	statement, err := grant.SignStatement(grant.Statement{
		Barrel: m.id.ID.String(), Order: use.Order, UseID: use.ID, Counter: use.Counter,
		Stamped: use.Stamped, Lifetime: m.st.Lifetime, At: m.wall(now),
	}, m.id.Key)
	if err != nil {
		return // the key is no key: the use stays reserved until people release it
	}
	m.st.enqueue(Item{Kind: ItemStatement, Use: use.ID, Signed: statement})
	m.st.keep(use.ID, nil, statement)
}

// end locks, at once, and then writes down that the use is over.
func (m *Machine) end(now time.Time, why string) []Action {
	m.phase, m.awaiting = idle, nil
	acts := []Action{Latch{Open: false}}
	if m.st.Use == nil {
		return append(acts, Persist{m.st})
	}
	use := m.st.Use
	m.st.Use = nil
	m.settle(now, use)
	return append(acts, Persist{m.st}, m.say("Locked: "+why+"."))
}

// stop ends a use under way; without one it does nothing.
func (m *Machine) stop(now time.Time, why string) []Action {
	if m.st.Use == nil {
		return nil
	}
	return m.end(now, why)
}

// Lock carries out a lock order of the gateway. A grant of that use is void
// from now on, also if it hasn't reached the barrel yet.
func (m *Machine) Lock(now time.Time, order wire.LockOrder) []Action {
	var acts []Action
	m.st.void(order.Use)
	if order.Use != 0 && order.Counter > m.st.Counter && order.Order != "" {
		// The grant never arrived. Now it can't any more: its counter is used,
		// and the order gets its count back. A use under way has a lower counter,
		// and so is one that the gateway doesn't know: it ends first, so that this
		// statement's lifetime is the last word on it.
		acts = m.stop(now, "the gateway says: "+order.Reason)
		m.st.Counter = order.Counter
		m.settle(now, &Use{ID: order.Use, Order: order.Order, Counter: order.Counter})
	}
	if u := m.st.Use; u != nil && (order.Use == 0 || order.Use == u.ID) {
		m.st.void(u.ID)
		return append(acts, m.end(now, "the gateway says: "+order.Reason)...)
	}
	if m.st.Use != nil {
		return append(acts, Persist{m.st})
	}
	return append(acts, m.end(now, order.Reason)...)
}

// LocalLock is the terminal locking the barrel.
func (m *Machine) LocalLock(now time.Time, reason string) []Action {
	return m.stop(now, "the terminal says: "+reason)
}
