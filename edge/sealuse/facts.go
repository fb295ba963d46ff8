package sealuse

import (
	"math"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
)

// Gather reads the facts of a request by a terminal at an inner address. Only
// who is alive, and what was shown, is left to the caller.
func Gather(m *state.Machine, now time.Time, from netip.Addr, ask Ask) Facts {
	f := Facts{Now: Later(now, m.Clock()), Session: m.SessionByAddress(from)}
	if f.Session == nil {
		return f
	}
	f.Subscriber = m.Subscriber(f.Session.Imsi)
	f.Lease = m.FallbackLease(f.Session.Imsi)
	f.Earlier = m.UseByRequest(f.Session.Imsi, ask.RequestID)
	f.Barrel = m.Barrel(ask.Barrel.String())
	f.BarrelUse = m.OpenUseOfBarrel(ask.Barrel.String())
	f.BarrelLock = m.LockOfBarrel(ask.Barrel.String())
	f.Order = m.Order(ask.Order.String())
	f.Overdue = overdue(m, f.Order)
	f.Settled = settled(m, ask.Order.String())
	f.Frozen, f.Unaccounted = m.Frozen(), m.Unaccounted()
	return f
}

// settled is how many stampings the settled uses of an order had.
func settled(m *state.Machine, order string) uint32 {
	sum := uint64(0)
	for use := range m.UsesOfOrder(order) {
		if use.State == command.UseState_SETTLED {
			sum += uint64(use.Confirmed)
		}
	}
	return uint32(min(sum, math.MaxUint32))
}

// overdue tells whether a missing image is why the order is suspended. Once an
// administrator resumed the order it no longer counts.
func overdue(m *state.Machine, order *command.Order) bool {
	if order.GetState() != command.OrderState_SUSPENDED_ORDER {
		return false
	}
	for use := range m.UsesOfOrder(order.Number) {
		for _, s := range use.Stamps {
			if s.Overdue && len(s.EvidenceDigest) == 0 {
				return true
			}
		}
	}
	return false
}

// Later is the time to decide by: the node's clock, but never before the
// cluster's.
func Later(now, clock time.Time) time.Time {
	if clock.After(now) {
		return clock
	}
	return now
}

func (f Facts) ledger() policy.Ledger {
	if f.Order == nil && f.Unaccounted == 0 {
		return policy.Ledger{}
	}
	// What barrels counted and no use accounts for may be stampings of this order.
	confirmed := uint32(min(uint64(happened(f.Order))+f.Unaccounted, math.MaxUint32))
	if f.Order == nil {
		return policy.Ledger{Found: true, State: policy.StateActive, Confirmed: confirmed}
	}
	return policy.Ledger{
		Found: true, State: policy.State(f.Order.State), Reason: words(f.Order.Reason), EvidenceOverdue: f.Overdue,
		Reserved: f.Order.Reserved, Confirmed: confirmed,
	}
}

// happened is how many stampings of an order took place, permitted or not.
func happened(o *command.Order) uint32 {
	return uint32(min(uint64(o.GetConfirmed())+o.GetExcess(), math.MaxUint32))
}

// address reads a record's IPv4 address; none is the zero Addr.
func address(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}

// prefix reads a record's /64; anything else is the zero Prefix.
func prefix(b []byte) netip.Prefix {
	if len(b) != 16 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), 64)
}

// Holder is what a terminal is told from others by while it isn't known whose
// session an inner address is of: its IPv4 address, or the /64 that it makes its
// addresses of. What is bounded for a terminal is bounded for that: it would
// have 2^64 of everything else.
func Holder(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}

// at reads a record's time; 0 is the zero Time.
func at(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// stamp writes a time for people.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
