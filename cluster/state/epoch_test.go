package state

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// epochHolds: while orders are frozen no grant is out; the sum of what is
// unaccounted is right; a barrel that is counted was asked or needn't be, and its
// life has room for what its uses have.
func epochHolds(m *Machine) error {
	var unaccounted uint64
	for b := range m.Barrels() {
		unaccounted += b.Unaccounted
		switch {
		case b.Epoch > m.epoch.GetNumber():
			return fmt.Errorf("barrel %s was counted in epoch %d, this is %v", b.Id, b.Epoch, m.epoch)
		case b.Epoch < m.epoch.GetNumber() && !m.Frozen():
			return fmt.Errorf("barrel %s was not counted, and orders are open", b.Id)
		case b.Epoch < m.epoch.GetNumber() && b.AskedUse == 0:
			return fmt.Errorf("barrel %s was not asked for its counters", b.Id)
		case b.AskedCounter > b.GrantCounter || m.Use(b.AskedUse) != nil:
			return fmt.Errorf("barrel %v: a grant like the question", b)
		case m.epoch == nil && (b.AskedUse != 0 || b.Unaccounted != 0 || b.Excuse != nil):
			return fmt.Errorf("barrel %v: nothing was lost", b)
		}
	}
	if unaccounted != m.Unaccounted() {
		return fmt.Errorf("%d stampings are unaccounted, the sum says %d", unaccounted, m.Unaccounted())
	}
	if m.Frozen() {
		for u := range m.Uses() {
			if u.State == command.UseState_RESERVED {
				return fmt.Errorf("use %d goes on though orders are frozen", u.Id)
			}
		}
	}
	return nil
}

// lose raises the epoch, seldom, and does what ends it.
func (w *world) lose() proto.Message {
	m := w.log.m
	switch n := w.choose(16); {
	case n == 0 && !m.Frozen(), w.log.index > 250 && m.epoch == nil:
		return &command.RaiseEpoch{Cause: pick(w, CauseRestore, CauseRecovery), SessionsLost: w.choose(2) == 0}
	case n < 8:
		for b := range m.Uncounted() {
			if w.choose(2) == 0 {
				return w.report(b)
			}
		}
		return w.report(m.Barrel(w.barrel()))
	case n < 10:
		p := &command.ExcuseBarrel{Barrel: w.barrel(), Unaccounted: w.id(2), Reason: w.text()}
		for b := range m.Barrels() {
			if b.Excuse != nil && w.choose(2) == 0 {
				p.Barrel, p.Unaccounted, p.Reason = b.Id, b.Excuse.Unaccounted, "so it is"
			}
		}
		return p
	}
	return &command.CloseEpoch{Epoch: m.epoch.GetNumber()}
}

// report is a barrel's answer to being asked for its counters: it voids what it
// was granted before.
func (w *world) report(b *command.Barrel) proto.Message {
	p := &command.ReconcileBarrel{Barrel: b.GetId(), Use: b.GetAskedUse(), Lifetime: w.id(20), Statement: []byte("s")}
	if w.honest && b != nil && b.AskedUse != 0 {
		s := w.seals[b.Id]
		s.counter, s.left = max(s.counter, b.AskedCounter), 0
		p.Lifetime = 0
		for _, n := range s.total {
			p.Lifetime += n
		}
	}
	return p
}
