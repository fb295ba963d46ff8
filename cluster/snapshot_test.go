package cluster

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/state"
)

// heldSnapshots are snapshots whose writing can be held.
type heldSnapshots struct {
	raft.SnapshotStore
	begun chan struct{} // gets one for each that waits
	held  chan struct{} // closed when they may go on
}

type heldSink struct {
	raft.SnapshotSink
	store *heldSnapshots
	once  sync.Once
}

func (s *heldSnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, ci, t)
	return &heldSink{SnapshotSink: sink, store: s}, err
}

func (s *heldSink) Write(b []byte) (int, error) {
	s.once.Do(func() {
		select {
		case s.store.begun <- struct{}{}:
		default:
		}
		<-s.store.held
	})
	return s.SnapshotSink.Write(b)
}

// TestSnapshotsNeverStopApply: while the snapshots of all nodes hang in a disk that
// doesn't take them, commands are carried out on all nodes, the audit chain grows
// and reads are served. What is written in the end is the state at the moment at
// which the snapshot was begun, and a node starts with it.
func TestSnapshotsNeverStopApply(t *testing.T) {
	t.Parallel()
	stores := map[string]*heldSnapshots{}
	c := newTestCluster(t, 3, func(cfg *Config) {
		held := &heldSnapshots{begun: make(chan struct{}, 1), held: make(chan struct{})}
		stores[cfg.NodeName] = held
		cfg.snapshots = func(s raft.SnapshotStore) raft.SnapshotStore {
			held.SnapshotStore = s
			return held
		}
	})
	release := sync.OnceFunc(func() {
		for _, s := range stores {
			close(s.held)
		}
	})
	t.Cleanup(release) // or nothing could be closed
	const imsi, before, during = "460010000000001", 20, 300
	for range before {
		mustPropose(t, c.leader(), put(imsi, ""))
	}
	c.caughtUp()

	taken := map[string]raft.SnapshotFuture{}
	for name, n := range c.nodes {
		taken[name] = n.raft.Snapshot()
		select {
		case <-stores[name].begun:
		case <-time.After(patience):
			t.Fatal("no snapshot begins")
		}
	}
	for i := range during {
		n := c.nodes[c.names[i%len(c.names)]]
		mustPropose(t, n, put(imsi, ""))
	}
	c.sameState()
	for name, n := range c.nodes {
		if got := times(n, imsi); got != before+during {
			t.Errorf("%s has applied %d commands of %d while its snapshot hangs", name, got, before+during)
		}
		expectAudit(t, n, before+during)
	}

	release()
	for name, f := range taken {
		if err := f.Error(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		meta, r, err := f.Open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m, err := state.ReadSnapshot(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if v := m.Subscriber(imsi).GetVersion(); v != before || m.Index() > meta.Index {
			t.Errorf("%s: the snapshot of entry %d has the state of %d, after %d commands instead of %d", name, meta.Index, m.Index(), v, before)
		}
	}
	for _, name := range c.names {
		c.stop(name)
		c.start(name)
	}
	c.sameState()
	for name, n := range c.nodes {
		if got := times(n, imsi); got != before+during {
			t.Errorf("%s has %d commands of %d after a start with the snapshot", name, got, before+during)
		}
	}
}
