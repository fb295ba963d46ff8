package state

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// recordReceipt confirms one stamping. Receipts come in any order, through the
// terminal and from the barrel, and also after the settlement; each number
// counts once.
func (m *Machine) recordReceipt(p *command.RecordReceipt) outcome {
	u := m.uses.get(p.Use)
	switch {
	case u == nil:
		return refuse(command.Code_NOT_FOUND, "no such use")
	case p.Number == 0 || p.Number > u.Count:
		return invalid("stamping %d of a use of %d", p.Number, u.Count)
	case len(p.Receipt) == 0:
		return invalid("a receipt without content")
	}
	stamp := &command.Stamp{Number: p.Number}
	if old := stampOf(u, p.Number); old != nil {
		switch {
		case bytes.Equal(old.Receipt, p.Receipt):
			return done(use(u), m.scopeOf(u.Order))
		case len(old.Receipt) > 0:
			return refuse(command.Code_DUPLICATE, "stamping %d has another receipt", p.Number)
		}
		stamp = shallow(old)
	}
	stamp.Receipt = p.Receipt
	m.happen(u, stamp)

	u = m.putStamp(u, stamp)
	order := m.account(u.Order)
	switch {
	case u.State != command.UseState_SETTLED:
		u.Confirmed++
		confirm(order, 1)
		m.putOrder(order)
	case p.Number > u.Confirmed:
		m.countMore(u, order, p.Number)
	}
	return done(use(u), m.scopeOf(u.Order))
}

// recordEvidence notes that the server stored the image of a stamping. It may
// come before the receipt.
func (m *Machine) recordEvidence(p *command.RecordEvidence) outcome {
	u := m.uses.get(p.Use)
	switch {
	case u == nil:
		return refuse(command.Code_NOT_FOUND, "no such use")
	case p.Number == 0 || p.Number > max(u.Count, u.Confirmed):
		return invalid("stamping %d of a use of %d", p.Number, u.Count)
	case len(p.Digest) != sha256.Size:
		return invalid("a digest of %d bytes, SHA-256 has 32", len(p.Digest))
	}
	stamp := &command.Stamp{Number: p.Number}
	if old := stampOf(u, p.Number); old != nil {
		switch {
		case bytes.Equal(old.EvidenceDigest, p.Digest) && old.EvidenceSize == p.Size:
			return done(use(u), m.scopeOf(u.Order))
		case len(old.EvidenceDigest) > 0:
			return refuse(command.Code_DUPLICATE, "stamping %d has another image", p.Number)
		}
		stamp = shallow(old)
	}
	stamp.EvidenceDigest, stamp.EvidenceSize, stamp.EvidenceRecorded = p.Digest, p.Size, m.clock
	u = m.putStamp(u, stamp)
	return done(use(u), m.scopeOf(u.Order))
}

// settleUse closes a use by the count that the barrel signed. The count is a
// fact, also when it contradicts the grant or the receipts: the higher number
// is counted, and a contradiction suspends the order.
func (m *Machine) settleUse(p *command.SettleUse) outcome {
	old := m.uses.get(p.Use)
	if old == nil {
		return m.recoverUse(p)
	}
	order := m.account(old.Order)
	if old.State == command.UseState_SETTLED {
		switch {
		case p.Stamped < old.Confirmed && released(old):
			// People counted more than the barrel, which turned up after all. What
			// they counted stays counted.
		case p.Stamped < old.Confirmed:
			return refuse(command.Code_DUPLICATE, "the use was settled with %d stampings, not %d", old.Confirmed, p.Stamped)
		case p.Stamped > old.Confirmed:
			u := shallow(old)
			m.setUse(u)
			m.countMore(u, order, p.Stamped)
			return done(use(u), m.scopeOf(u.Order))
		}
		return done(use(old), m.scopeOf(old.Order))
	}

	signed := highestReceipt(old)
	total := max(p.Stamped, signed)
	// Every stamping owes its image, also one whose receipt has not come.
	u := old
	for n := uint32(1); n <= min(total, u.Count); n++ {
		stamp := stampOf(u, n)
		if stamp.GetRecorded() != 0 {
			continue
		} else if stamp == nil {
			stamp = &command.Stamp{Number: n}
		} else {
			stamp = shallow(stamp)
		}
		m.happen(u, stamp)
		u = m.putStamp(u, stamp)
	}
	u = shallow(u)
	m.closeUse(u, order, min(total, u.Count))
	switch {
	case total > u.Count:
		m.countMore(u, order, total)
	case signed > p.Stamped:
		m.contradiction(u, order, fmt.Sprintf("use %d: the barrel counted %d stampings, but signed receipt %d", u.Id, p.Stamped, signed))
	default:
		m.putOrder(order)
	}
	m.startOfLife(u.Barrel, p.Lifetime)
	return done(use(u), m.scopeOf(u.Order))
}

// closeUse settles an open use with a part of its count, no less than is confirmed:
// u and order are the caller's copies.
func (m *Machine) closeUse(u *command.Use, order *command.Order, stamped uint32) {
	out := u.Count - u.Confirmed // still reserved
	within := stamped - u.Confirmed
	confirm(order, within)
	refund(order, out-within)
	u.Confirmed, u.Refunded = stamped, out-within
	u.State, u.SettledAt = command.UseState_SETTLED, m.clock
	m.indexUse(u)
}

// countMore counts stampings of a settled use beyond those settled, and says
// so: u and order are the caller's copies, u already in its place.
func (m *Machine) countMore(u *command.Use, order *command.Order, total uint32) {
	recount(order, happened(order)+uint64(total-u.Confirmed))
	reason := fmt.Sprintf("use %d: the barrel signed for %d stampings, %d were settled", u.Id, total, u.Confirmed)
	if total > u.Count {
		reason = fmt.Sprintf("use %d: the barrel signed for %d stampings, %d were granted", u.Id, total, u.Count)
	}
	u.Confirmed, u.Refunded = total, u.Count-min(total, u.Count)
	m.contradiction(u, order, reason)
}

// contradiction suspends the order of a use whose numbers don't agree.
func (m *Machine) contradiction(u *command.Use, order *command.Order, reason string) {
	u.Reason = reason
	suspend(order, reason)
	m.putOrder(order)
}

// markOverdue suspends the order of a stamping whose image is due and missing.
func (m *Machine) markOverdue(p *command.MarkOverdue) outcome {
	u := m.uses.get(p.Use)
	stamp := stampOf(u, p.Number)
	switch {
	case u == nil || stamp == nil:
		return refuse(command.Code_NOT_FOUND, "no such stamping")
	case stamp.Overdue:
		return done(m.orders.get(u.Order), m.scopeOf(u.Order))
	case len(stamp.EvidenceDigest) > 0:
		return refuse(command.Code_CONFLICT, "the image has come")
	case stamp.EvidenceDue == 0 || stamp.EvidenceDue > m.clock:
		return refuse(command.Code_CONFLICT, "the image is not due yet")
	}
	stamp = shallow(stamp)
	stamp.Overdue = true
	m.putStamp(u, stamp)
	order := m.account(u.Order)
	suspend(order, fmt.Sprintf("use %d: the image of stamping %d is overdue", u.Id, p.Number))
	m.putOrder(order)
	return done(order, m.scopeOf(order.Number))
}

// happen notes when a stamping became known, and when its image is due.
func (m *Machine) happen(u *command.Use, stamp *command.Stamp) {
	if stamp.Recorded != 0 {
		return
	}
	stamp.Recorded = m.clock
	if u.EvidenceSeconds > 0 {
		stamp.EvidenceDue = m.clock + int64(u.EvidenceSeconds)*int64(time.Second)
	}
}

func byNumber(s *command.Stamp, n uint32) int { return cmp.Compare(s.Number, n) }

// stampOf finds a stamping of a use, nil if nothing is known of it.
func stampOf(u *command.Use, n uint32) *command.Stamp {
	i, ok := slices.BinarySearchFunc(u.GetStamps(), n, byNumber)
	if !ok {
		return nil
	}
	return u.Stamps[i]
}

// highestReceipt returns the highest number that a receipt was signed for.
func highestReceipt(u *command.Use) uint32 {
	for _, s := range slices.Backward(u.Stamps) {
		if len(s.Receipt) > 0 {
			return s.Number
		}
	}
	return 0
}

// putStamp adds or replaces a stamping, and returns the use's new record,
// which the caller may go on changing within this command.
func (m *Machine) putStamp(old *command.Use, stamp *command.Stamp) *command.Use {
	u := shallow(old)
	i, ok := slices.BinarySearchFunc(old.Stamps, stamp.Number, byNumber)
	if ok {
		m.evidenceDue.delete(dueKey{old.Stamps[i].EvidenceDue, u.Id, stamp.Number})
		u.Stamps = slices.Clone(old.Stamps)
		u.Stamps[i] = stamp
	} else {
		u.Stamps = slices.Insert(slices.Clone(old.Stamps), i, stamp)
	}
	m.indexStamp(u, stamp)
	m.setUse(u)
	return u
}

func (m *Machine) indexStamp(u *command.Use, s *command.Stamp) {
	if s.EvidenceDue != 0 && !s.Overdue && len(s.EvidenceDigest) == 0 {
		m.evidenceDue.set(dueKey{s.EvidenceDue, u.Id, s.Number}, struct{}{})
	}
}

// indexUse puts a use in all tables but that of the evidence due.
func (m *Machine) indexUse(u *command.Use) {
	m.setUse(u)
	m.usesOfOrder.set(numbered{u.Order, u.Id}, struct{}{})
	if u.RequestId != "" {
		m.byRequest.set(pair{u.Imsi, u.RequestId}, u.Id)
	}
	if u.State == command.UseState_SETTLED {
		if m.openOfBarrel.get(u.Barrel) == u.Id { // a use that was recovered may be older than the open one, and have a higher number
			m.openOfBarrel.delete(u.Barrel)
		}
		m.openOfIMSI.delete(numbered{u.Imsi, u.Id})
		m.openOfOrder.delete(numbered{u.Order, u.Id})
	} else {
		m.openOfBarrel.set(u.Barrel, u.Id)
		m.openOfIMSI.set(numbered{u.Imsi, u.Id}, struct{}{})
		m.openOfOrder.set(numbered{u.Order, u.Id}, struct{}{})
	}
}

// use is the record as results carry it: without the receipts' bytes, which
// would make the audit chain grow with the square of the count.
func use(u *command.Use) *command.Use {
	u = shallow(u)
	u.Stamps = slices.Clone(u.Stamps)
	for i, s := range u.Stamps {
		u.Stamps[i] = shallow(s)
		u.Stamps[i].Receipt = nil
	}
	return u
}
