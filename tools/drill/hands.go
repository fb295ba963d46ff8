package drill

import "context"

// Action is something that is done to a node from outside.
type Action string

// The actions. Those in the right column take back what is left of them.
const (
	Kill   Action = "kill"   // Start
	Freeze Action = "freeze" // Thaw
	Cut    Action = "cut"    // Heal: off from the other nodes; carriers reach it on
	Slow   Action = "slow"   // Cure: each write to the disk takes SlowDisk longer
	Hang   Action = "hang"   // Cure: no write to the disk comes back
	Start  Action = "start"
	Thaw   Action = "thaw"
	Heal   Action = "heal"
	Cure   Action = "cure" // and start the node if it ended
)

// Hands do what no API can: they belong to somebody with power over the nodes'
// machines.
type Hands interface {
	// Can explains why an action can't be carried out here; nil: it can.
	Can(a Action) error
	// Do carries an action out on a node, by name, and returns when it is done.
	Do(ctx context.Context, a Action, node string) error
}
