package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// A node ended after it had taken over a snapshot and before the log that ends before
// it was removed (schedule 2644). What comes next can be appended again.
func TestTakeoverIsFinished(t *testing.T) {
	for _, c := range []struct {
		name           string
		snapshot, last uint64
		damaged        bool
		next           uint64 // entry that can be appended afterwards
	}{
		{"the log ends before the snapshot", 113, 61, false, 114},
		{"it goes on to it", 61, 61, false, 62},
		{"it goes on after it", 40, 61, false, 62},
		{"the snapshot can't be read", 113, 61, true, 62},
		{"no snapshot", 0, 61, false, 62},
		{"no log", 113, 0, false, 114},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			logs, err := wal.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer logs.Close()
			for i := uint64(1); i <= c.last; i++ {
				if err := logs.StoreLog(&raft.Log{Index: i, Term: 1}); err != nil {
					t.Fatal(err)
				}
			}
			snapshots, err := raft.NewFileSnapshotStore(dir, 2, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.snapshot > 0 {
				_, trans := raft.NewInmemTransport("")
				sink, err := snapshots.Create(raft.SnapshotVersionMax, c.snapshot, 2, raft.Configuration{}, 1, trans)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := sink.Write([]byte("state")); err != nil {
					t.Fatal(err)
				}
				if err := sink.Close(); err != nil {
					t.Fatal(err)
				}
				if c.damaged {
					if err := os.WriteFile(filepath.Join(dir, "snapshots", sink.ID(), "state.bin"), []byte("stale"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := finishTakeover(logs, snapshots); err != nil {
				t.Fatal(err)
			}
			if err := logs.StoreLog(&raft.Log{Index: c.next, Term: 2}); err != nil {
				t.Error(err)
			}
		})
	}
}
