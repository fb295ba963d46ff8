package state

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// A restore from a backup, and a forced recovery, forget. What they may have
// forgotten is what was granted, stamped, settled and acknowledged since; and
// the barrels no longer hold what was acknowledged to them. Left as it is, the
// ledger would grant a second time what was stamped already.
//
// Either therefore raises the cluster epoch. With it every grant that is out is
// stopped, no order gives anything (FROZEN), and every barrel is asked for its
// counters, by a lock of a use and a counter that were never given before. A
// barrel that carries it out ends the use under way, takes the counter as used,
// so that no grant of the time before can unlock it any more, and signs a
// statement after all that it has signed before. The statement has the number of
// stampings of its life. What of it no use of the ledger accounts for happened in
// the time that was lost, under some order, nobody knows which: it is counted
// against every order alike.
//
// When all barrels have been counted, an administrator says that no barrel is
// missing from the list, and that closes the matter: orders give again. For a
// barrel that will never be heard of again two administrators give the number.
//
// So for every order, stamped <= known of it + unaccounted, and nothing is
// reserved beyond permitted minus that.

// Causes of an epoch.
const (
	CauseRestore  = "restore"
	CauseRecovery = "recovery"
)

// lostCounterSteps is how far a restart counter rises when sessions were lost
// with the memory of how often it had risen: half of what peers take for newer
// (TS 23.007 18; a counter has eight bits). So it is newer than any that peers
// may know, unless it had risen that often since the backup.
const lostCounterSteps = 64

// EpochOrder is the order that a barrel's statement names when it was asked for
// its counters in an epoch.
func EpochOrder(epoch uint64) string { return fmt.Sprintf("epoch/%d", epoch) }

// Epoch returns the cluster epoch: nil is the first, in which nothing was lost.
func (m *Machine) Epoch() *command.Epoch { return m.epoch }

// Frozen tells whether orders give nothing, because barrels have yet to be
// counted.
func (m *Machine) Frozen() bool { return m.epoch != nil && m.epoch.Closed == 0 }

// Unaccounted is how many stampings barrels counted that no use accounts for.
// They may be any order's.
func (m *Machine) Unaccounted() uint64 { return m.unaccounted }

// Uncounted goes through the barrels that have yet to report their counters, by
// serial number.
func (m *Machine) Uncounted() iter.Seq[*command.Barrel] {
	return func(yield func(*command.Barrel) bool) {
		for b := range m.barrels.values() {
			if !m.counted(b) && !yield(b) {
				return
			}
		}
	}
}

func (m *Machine) counted(b *command.Barrel) bool { return b.Epoch == m.epoch.GetNumber() }

// fresh is a number beyond any that was given in a life of the cluster that was
// lost, whether or not the same backup was restored before: numbers are given
// less often than a million times a second.
func (m *Machine) fresh() uint64 { return uint64(max(m.clock, 0)) / uint64(time.Second) << 20 }

// raiseEpoch asks for nothing: raising it once too often does no harm but work.
// Barrels that were revoked before can't have had a grant since.
func (m *Machine) raiseEpoch(p *command.RaiseEpoch) outcome {
	if p.Cause != CauseRestore && p.Cause != CauseRecovery {
		return invalid("an epoch begins with a %s or a %s", CauseRestore, CauseRecovery)
	}
	m.epoch = &command.Epoch{Number: max(m.epoch.GetNumber(), 1) + 1, Cause: p.Cause, Raised: m.clock}
	m.nextUse, m.nextLock = max(m.nextUse, m.fresh()), max(m.nextLock, m.fresh())
	// That a token was revoked may be among what was lost.
	m.tokens = newOrdered[string, *command.Token]()
	if p.SessionsLost {
		for a := range m.addresses.clone().values() {
			raised := shallow(a)
			raised.RestartCounter += lostCounterSteps
			m.addresses.set(raised.Name, raised)
		}
	}
	for old := range m.barrels.clone().values() {
		b := shallow(old)
		b.Excuse = nil
		if b.State == command.DeviceState_REVOKED_DEVICE {
			b.Epoch = m.epoch.Number
		} else {
			m.askForCounters(b)
		}
		m.indexBarrel(old, b)
	}
	return done(m.epoch, "")
}

// askForCounters makes a barrel void every grant that it hasn't seen, and sign
// how often it stamped: b is the caller's copy.
func (m *Machine) askForCounters(b *command.Barrel) {
	reason := fmt.Sprintf("the cluster's memory was lost in part (%s): the barrel is counted", m.epoch.Cause)
	if u := m.OpenUseOfBarrel(b.Id); u != nil {
		m.stopUse(u, reason)
		m.lockUse(u, reason, "")
	}
	m.nextUse++
	b.GrantCounter = max(b.GrantCounter+1, m.fresh())
	b.AskedUse, b.AskedCounter = m.nextUse, b.GrantCounter
	m.newLock(&command.Lock{Barrel: b.Id, Use: b.AskedUse, Order: EpochOrder(m.epoch.Number), GrantCounter: b.AskedCounter, Reason: reason})
}

// enlist fits a barrel that is put on the list into the epoch: while orders are
// frozen it may be one that the ledger forgot; afterwards somebody has said that
// none is missing.
func (m *Machine) enlist(old, b *command.Barrel) {
	b.Epoch, b.Lifetime, b.Unaccounted = old.GetEpoch(), old.GetLifetime(), old.GetUnaccounted()
	b.Foreign, b.ForeignKnown = old.GetForeign(), old.GetForeignKnown()
	b.AskedUse, b.AskedCounter, b.Excuse = old.GetAskedUse(), old.GetAskedCounter(), old.GetExcuse()
	switch {
	case old != nil:
	case m.Frozen() && b.State != command.DeviceState_REVOKED_DEVICE:
		m.askForCounters(b)
	default:
		b.Epoch = m.epoch.GetNumber()
	}
}

// reconcileBarrel takes a barrel's answer in. All that it had signed before came
// before it; what of its life's stampings isn't accounted for now is lost. The
// barrel's use, if the ledger has one open, was settled in the time that was lost:
// of it as much is counted as may have happened.
func (m *Machine) reconcileBarrel(p *command.ReconcileBarrel) outcome {
	old := m.barrels.get(p.Barrel)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such barrel")
	case p.Use == 0 || p.Use != old.AskedUse:
		return refuse(command.Code_CONFLICT, "the barrel was not asked by this use")
	case len(p.Statement) == 0:
		return invalid("a statement without content")
	}
	answer := &command.Use{Id: p.Use, Barrel: old.Id, State: command.UseState_SETTLED}
	if m.counted(old) && old.Lifetime >= p.Lifetime && old.Excuse == nil && old.Lifetime > 0 {
		return done(answer, "") // again
	}
	known := m.accounted(old.Id)
	missing := less(p.Lifetime, known+old.Foreign)
	b := shallow(old)
	if m.counted(old) { // by people, in the meantime: the higher count counts
		b.Unaccounted = max(old.Unaccounted, missing)
	} else {
		b.Unaccounted += missing
	}
	if u := m.OpenUseOfBarrel(b.Id); u != nil && u.GrantCounter < old.AskedCounter {
		u = shallow(u)
		order := m.account(u.Order)
		m.closeUse(u, order, max(highestReceipt(u), u.Confirmed+uint32(min(missing, uint64(u.Count-u.Confirmed)))))
		m.putOrder(order)
		known = m.accounted(b.Id)
	}
	b.Epoch, b.Lifetime, b.Excuse = m.epoch.GetNumber(), p.Lifetime, nil
	b.Foreign, b.ForeignKnown = less(p.Lifetime, known), true
	m.indexBarrel(old, b)
	return done(answer, "")
}

// accounted is how many stampings of a barrel its uses have. Of a use that was
// released only what was signed is known to have happened.
func (m *Machine) accounted(barrel string) (n uint64) {
	for u := range m.uses.values() {
		switch {
		case u.Barrel != barrel:
		case released(u):
			n += uint64(receipts(u))
		default:
			n += uint64(u.Confirmed)
		}
	}
	return n
}

func receipts(u *command.Use) (n uint32) {
	for _, s := range u.Stamps {
		if len(s.Receipt) > 0 {
			n++
		}
	}
	return n
}

func less(a, b uint64) uint64 { return a - min(a, b) }

// startOfLife notes, at a barrel's first settlement, how many stampings of its
// life were before this ledger.
func (m *Machine) startOfLife(barrel string, lifetime uint64) {
	old := m.barrels.get(barrel)
	if old == nil || old.ForeignKnown || lifetime == 0 || !m.counted(old) {
		return
	}
	b := shallow(old)
	b.Foreign, b.ForeignKnown = less(lifetime, m.accounted(barrel)), true
	m.setBarrel(b)
}

// recoverUse takes up a use that was granted in a time that was lost, by what its
// barrel signed: nobody else remembers it.
func (m *Machine) recoverUse(p *command.SettleUse) outcome {
	old := m.barrels.get(p.Barrel)
	if m.epoch == nil || old == nil || p.Order == "" || p.Use == 0 || p.Use > m.nextUse || p.Use == old.AskedUse || p.Counter == 0 || p.Counter >= old.AskedCounter {
		return refuse(command.Code_NOT_FOUND, "no such use")
	}
	u := &command.Use{
		Id: p.Use, Order: p.Order, Barrel: p.Barrel, Count: p.Stamped, Confirmed: p.Stamped, GrantCounter: p.Counter,
		State: command.UseState_SETTLED, SettledAt: m.clock, Recovered: true,
		Reason: "granted in a time that was lost; the barrel signed for it",
	}
	b := shallow(old)
	if m.counted(b) { // it was among what no use accounted for
		b.Unaccounted = less(b.Unaccounted, uint64(p.Stamped))
		b.Foreign = less(b.Foreign, uint64(p.Stamped))
	}
	m.indexBarrel(old, b)
	m.setUse(u)
	m.usesOfOrder.set(numbered{u.Order, u.Id}, struct{}{})
	order := m.account(u.Order)
	recount(order, happened(order)+uint64(p.Stamped))
	m.putOrder(order)
	return done(use(u), m.scopeOf(u.Order))
}

// excuseBarrel counts a barrel by the word of two administrators.
func (m *Machine) excuseBarrel(p *command.ExcuseBarrel, actor string) outcome {
	old := m.barrels.get(p.Barrel)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such barrel")
	case m.epoch == nil:
		return invalid("nothing was lost: there is nothing to excuse")
	case actor == "" || p.Reason == "":
		return invalid("an excuse has an author and a reason")
	}
	b, first := shallow(old), old.Excuse
	switch {
	case first != nil && first.ProposedBy != actor && first.Unaccounted == p.Unaccounted && m.clock-first.Proposed < int64(excuseFor):
		b.Epoch, b.Unaccounted, b.Excuse = m.epoch.Number, p.Unaccounted, nil
	default:
		b.Excuse = &command.Excuse{ProposedBy: actor, Proposed: m.clock, Unaccounted: p.Unaccounted, Reason: p.Reason}
	}
	m.indexBarrel(old, b)
	return done(b, "")
}

// excuseFor is how long the second administrator has to agree, cluster clock.
const excuseFor = 24 * time.Hour

// closeEpoch opens the orders again.
func (m *Machine) closeEpoch(p *command.CloseEpoch, actor string) outcome {
	switch {
	case m.epoch.GetNumber() != p.Epoch:
		return refuse(command.Code_CONFLICT, "the cluster is in epoch %d", max(m.epoch.GetNumber(), 1))
	case m.epoch == nil:
		return invalid("nothing was lost: there is nothing to close")
	case !m.Frozen():
		return done(m.epoch, "")
	}
	if waiting := m.waitingFor(); waiting != "" {
		return refuse(command.Code_FROZEN, "barrels have yet to report their counters: %s", waiting)
	}
	e := shallow(m.epoch)
	e.Closed, e.ClosedBy = m.clock, actor
	m.epoch = e
	return done(e, "")
}

// frozen refuses while orders give nothing.
func (m *Machine) frozen() outcome {
	if !m.Frozen() {
		return outcome{code: command.Code_OK}
	}
	if waiting := m.waitingFor(); waiting != "" {
		return refuse(command.Code_FROZEN, "orders are frozen since the %s: barrels have yet to report their counters: %s", m.epoch.Cause, waiting)
	}
	return refuse(command.Code_FROZEN, "orders are frozen since the %s: every barrel was counted, and an administrator has to open them", m.epoch.Cause)
}

// waitingFor names barrels that have yet to be counted, "" if there is none.
func (m *Machine) waitingFor() string {
	const most = 5
	var names []string
	n := 0
	for b := range m.Uncounted() {
		if n++; n <= most {
			names = append(names, b.Id)
		}
	}
	text := strings.Join(names, ", ")
	if n > most {
		text += fmt.Sprintf(" and %d more", n-most)
	}
	return text
}
