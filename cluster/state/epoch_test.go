package state

import (
	"fmt"

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
