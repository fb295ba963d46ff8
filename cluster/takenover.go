package cluster

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// finishTakeover does what a node that took over its leader's snapshot had yet to do
// when it ended: Raft keeps the snapshot first, and removes the log that ends before
// it afterwards. With both, the log store, which has no gaps, could take no entry
// ever again, and the node would end with each attempt. The log goes only if the
// snapshot that stands for it can be read.
func finishTakeover(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	all, err := snapshots.List() // the newest first
	if err != nil || len(all) == 0 {
		return err
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil || last == 0 || last >= all[0].Index {
		return err
	}
	_, state, err := snapshots.Open(all[0].ID) // reads it all, for its checksum
	if err != nil {
		return nil // Raft takes an older one, to which the log belongs
	}
	if err := state.Close(); err != nil {
		return err
	}
	if err := logs.DeleteRange(first, last); err != nil {
		return fmt.Errorf("remove the log that ends before snapshot %s: %w", all[0].ID, err)
	}
	return nil
}
