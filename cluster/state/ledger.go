package state

import (
	"math"

	"github.com/sealedge/sealedge/cluster/command"
)

// MaxCount bounds the uses of one grant. It keeps a use's record, with a stamp
// for each stamping, to a size that a log entry can carry.
const MaxCount = 1000

// The account of an order. Stampings that barrels signed for are facts: they
// are always counted, in confirmed as far as permitted allows, otherwise in
// excess. So confirmed + reserved <= permitted at all times, and nothing is
// reserved while there is any excess.

// happened returns how many stampings of an order took place for certain.
func happened(o *command.Order) uint64 { return uint64(o.Confirmed) + o.Excess }

// recount moves stampings between confirmed and excess so that confirmed is as
// high as it can be.
func recount(o *command.Order, happened uint64) {
	room := uint64(o.Permitted) - uint64(o.Reserved)
	o.Confirmed = uint32(min(happened, room))
	o.Excess = happened - uint64(o.Confirmed)
}

// confirm counts stampings that were reserved.
func confirm(o *command.Order, n uint32) {
	o.Reserved -= n
	recount(o, happened(o)+uint64(n))
}

// refund gives reserved uses back.
func refund(o *command.Order, n uint32) {
	o.Reserved -= n
	recount(o, happened(o))
}

// closed tells whether an order's account is at its end: every use is settled,
// and nothing can be had.
func (m *Machine) closed(o *command.Order) bool {
	for k := range m.openOfOrder.from(numbered{o.Number, 0}) {
		if k.name == o.Number {
			return false
		}
		break
	}
	return o.State == command.OrderState_ENDED_ORDER || o.Confirmed >= o.Permitted
}

// scopeOf returns the scope that results about an order are remembered in.
func (m *Machine) scopeOf(order string) string {
	o := m.orders.get(order)
	if o == nil || m.closed(o) {
		return ""
	}
	return orderScope(order)
}

// suspend stops new reservations; an order that is suspended or ended already
// keeps its reason.
func suspend(o *command.Order, reason string) {
	if o.State == command.OrderState_OPEN {
		o.State, o.Reason = command.OrderState_SUSPENDED_ORDER, reason
	}
}

// account returns a copy of an order to be changed and put.
func (m *Machine) account(number string) *command.Order {
	o := m.orders.get(number)
	if o == nil {
		return &command.Order{Number: number, State: command.OrderState_OPEN}
	}
	return shallow(o)
}

func (m *Machine) putOrder(o *command.Order) {
	o.Version++
	m.orders.set(o.Number, o)
	if m.closed(o) {
		m.forgetScope(orderScope(o.Number))
	}
}

// reserveUses takes uses out of an order for one grant. A terminal's request
// id makes one use, for ever.
func (m *Machine) reserveUses(p *command.ReserveUses, requestID string) outcome {
	switch {
	case p.Order == "" || p.Barrel == "" || p.Imsi == "":
		return invalid("a use needs an order, a barrel and a terminal")
	case p.Count == 0 || p.Count > MaxCount:
		return invalid("%d uses in one grant; 1 to %d can be had", p.Count, MaxCount)
	case p.GrantNotAfter == 0:
		return invalid("a grant without an expiry")
	}
	if u := m.UseByRequest(p.Imsi, requestID); u != nil {
		if u.Order != p.Order || u.Barrel != p.Barrel || u.User != p.User {
			return invalid("this request id was used for another use; take a new one")
		}
		return done(use(u), m.scopeOf(u.Order))
	}
	if o := m.frozen(); o.refused() {
		return o
	}
	if o := m.mayReserve(p); o.refused() {
		return o
	}
	order := m.account(p.Order)
	switch {
	case order.State == command.OrderState_ENDED_ORDER:
		return refuse(command.Code_ENDED, "the order is ended: %s", order.Reason)
	case order.State == command.OrderState_SUSPENDED_ORDER:
		return refuse(command.Code_SUSPENDED, "the order is suspended: %s", order.Reason)
	}
	taken := happened(order) + uint64(order.Reserved)
	if lost := m.unaccounted; lost > 0 && taken+lost+uint64(p.Count) > uint64(p.Permitted) {
		return refuse(command.Code_EXHAUSTED, "of %d uses permitted, %d are used or reserved, and %d stampings that barrels counted are in no account since the %s and may be of this order; %d more cannot be had", p.Permitted, taken, lost, m.epoch.Cause, p.Count)
	}
	if taken+uint64(p.Count) > uint64(p.Permitted) {
		return refuse(command.Code_EXHAUSTED, "of %d uses permitted, %d are used or reserved; %d more cannot be had", p.Permitted, taken, p.Count)
	}

	barrel := shallow(m.barrels.get(p.Barrel))
	barrel.GrantCounter++
	m.setBarrel(barrel)

	order.Permitted, order.NotBefore, order.NotAfter, order.SealType = p.Permitted, p.NotBefore, p.NotAfter, p.SealType
	order.Reserved += p.Count
	recount(order, happened(order))

	m.nextUse++
	u := &command.Use{
		Id: m.nextUse, RequestId: requestID, Order: order.Number, Barrel: barrel.Id, Imsi: p.Imsi, User: p.User,
		SealType: p.SealType, Level: p.Level, Methods: p.Methods, Count: p.Count, GrantCounter: barrel.GrantCounter,
		ReservedAt: m.clock, NotAfter: p.GrantNotAfter, State: command.UseState_RESERVED,
		EvidenceSeconds: p.EvidenceSeconds, DocumentDigest: p.DocumentDigest, PolicyRevision: p.PolicyRevision,
	}
	m.indexUse(u)
	m.putOrder(order)
	return done(u, m.scopeOf(order.Number))
}

// mayReserve checks what the decision to grant was based on, apart from the
// order's account.
func (m *Machine) mayReserve(p *command.ReserveUses) outcome {
	if _, o := m.decidedOn(p.Imsi, p.PolicyRevision, p.SubscriberVersion); o.refused() {
		return o
	}
	b, s := m.barrels.get(p.Barrel), m.sessions.get(p.Session)
	switch {
	case b == nil:
		return refuse(command.Code_NOT_FOUND, "no such barrel")
	case b.State == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the barrel is revoked")
	case b.State != command.DeviceState_ACTIVE:
		return refuse(command.Code_CONFLICT, "the barrel is suspended")
	case b.Version != p.BarrelVersion:
		return refuse(command.Code_CONFLICT, "the barrel is at version %d, not %d", b.Version, p.BarrelVersion)
	case b.CheckedOutTo != p.Imsi:
		return refuse(command.Code_CONFLICT, "the barrel is not checked out to this terminal")
	case b.GrantCounter == math.MaxUint64:
		return invalid("the barrel's grant counter is at its end")
	case s == nil || s.Imsi != p.Imsi:
		return refuse(command.Code_CONFLICT, "the terminal's session has ended")
	case m.openOfBarrel.has(p.Barrel):
		return refuse(command.Code_BUSY, "the barrel has an unsettled use")
	case m.LockOfBarrel(p.Barrel) != nil:
		return refuse(command.Code_BUSY, "the barrel has not carried out a lock yet")
	case p.GrantNotAfter <= m.clock || p.NotAfter != 0 && p.NotAfter <= m.clock:
		return refuse(command.Code_CONFLICT, "the time for this use is over")
	}
	return outcome{code: command.Code_OK}
}

// suspendOrder stops new reservations, also of an order that the ledger has
// not met yet.
func (m *Machine) suspendOrder(p *command.SuspendOrder) outcome {
	if p.Order == "" {
		return invalid("an order has a number")
	}
	o := m.account(p.Order)
	suspend(o, p.Reason)
	m.putOrder(o)
	return done(o, m.scopeOf(o.Number))
}

// resumeOrder takes a suspension back. An ended order stays ended.
func (m *Machine) resumeOrder(p *command.ResumeOrder) outcome {
	old := m.orders.get(p.Order)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "the ledger has no such order")
	case old.State == command.OrderState_ENDED_ORDER:
		return refuse(command.Code_ENDED, "the order is ended: %s", old.Reason)
	}
	o := shallow(old)
	o.State, o.Reason = command.OrderState_OPEN, ""
	m.putOrder(o)
	return done(o, m.scopeOf(o.Number))
}
