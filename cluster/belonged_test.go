package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// forgetful is the store of a node that is always stopped before it has noted that it
// has joined.
type forgetful struct{ walStore }

func (f forgetful) Set(key, value []byte) error {
	if slices.Equal(key, keyJoined) {
		return nil
	}
	return f.walStore.Set(key, value)
}

// A member that is removed in the moment in which it became one doesn't join again under
// its old id, whenever it is stopped and started; with an empty data directory it does,
// under another.
func TestRemovedBeforeItHadJoined(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) {
		if cfg.NodeName == "n3" {
			cfg.disk = func(s walStore) walStore { return forgetful{s} }
		}
	})
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.caughtUp()
	id := c.nodes["n3"].id
	c.stop("n3")
	n3 := c.start("n3")
	want := map[string]bool{string(c.nodes["n1"].id): true, string(c.nodes["n2"].id): true}
	insist(t, func() error {
		if !n3.IsLeader() {
			_, err := c.leader().Remove(context.Background(), "n3")
			if errors.Is(err, ErrNoMember) {
				err = nil
			}
			return err
		}
		_ = n3.StepDown(context.Background())
		return errors.New("n3 leads")
	})
	refuses := func(n *Node) {
		t.Helper()
		// Raft tells who is removed as well as it can: he may not hear of it.
		if n.isMember(id) {
			t.Log("it wasn't told that it was removed")
			return
		}
		if says, err := n.tryToEnter(); err != nil || !strings.Contains(says, "start it with an empty data directory") {
			t.Errorf("it says %q, %v", says, err)
		}
	}
	for began := time.Now(); n3.isMember(id) && time.Since(began) < 2*time.Second; {
		time.Sleep(time.Millisecond)
	}
	refuses(n3)
	c.stop("n3")
	n3 = c.start("n3")
	if n3.id != id {
		t.Fatalf("its id was %s and is %s", id, n3.id)
	}
	refuses(n3)
	mustPropose(t, c.leader(), put("001010000000002", ""))
	if got := membership(c.leader()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("members are %v, not %v", got, want)
	}
	c.stop("n3")
	c.wipe("n3")
	want[string(c.start("n3").id)] = true
	c.awaitMembers("as a new node it is let in", want)
}

// The mark is there before the entry is, whichever way the membership comes; who isn't a
// member gets none.
func TestMarkOfAMember(t *testing.T) {
	const me, other = raft.ServerID("n1_01"), raft.ServerID("n2_02")
	of := func(ids ...raft.ServerID) (c raft.Configuration) {
		for _, id := range ids {
			c.Servers = append(c.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
		}
		return c
	}
	entry := func(index uint64, ids ...raft.ServerID) *raft.Log {
		return &raft.Log{Index: index, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(of(ids...))}
	}
	open := func(store walStore, snapshots raft.SnapshotStore) *memberLog {
		t.Helper()
		m := &memberLog{watchedStore: &watchedStore{store: store, limit: time.Minute, fatal: func(err error) { t.Log(err) }}, id: me, raft: new(atomic.Pointer[raft.Raft])}
		if err := m.open(snapshots); err != nil {
			t.Fatal(err)
		}
		return m
	}
	none := raft.NewInmemSnapshotStore()
	store := plainStore{raft.NewInmemStore()}
	m := open(store, none)
	for _, l := range []*raft.Log{entry(1, other), {Index: 2, Term: 1, Type: raft.LogCommand, Data: entry(1, me).Data}} {
		if err := m.StoreLog(l); err != nil || m.belonged.Load() {
			t.Fatalf("of entry %d it is marked, %v", l.Index, err)
		}
	}
	if open(store, none).belonged.Load() {
		t.Fatal("it is marked on disk")
	}
	sick := &sickAppends{plainStore: store}
	if err := open(sick, none).StoreLogs([]*raft.Log{entry(3, me, other)}); err == nil {
		t.Fatal("it was stored")
	}
	if last, _ := store.LastIndex(); last != 2 || !open(store, none).belonged.Load() {
		t.Errorf("the entry comes before the mark (%d)", last)
	}

	snapshots := raft.NewInmemSnapshotStore()
	_, trans := raft.NewInmemTransport("")
	sink, err := snapshots.Create(raft.SnapshotVersionMax, 7, 1, of(me), 1, trans)
	if err != nil {
		t.Fatal(err)
	}
	_ = sink.Close()
	if fresh := (plainStore{raft.NewInmemStore()}); !open(fresh, snapshots).belonged.Load() || !open(fresh, none).belonged.Load() {
		t.Error("a snapshot with it marks nothing")
	}
}

// sickAppends takes keys, and no entries.
type sickAppends struct{ plainStore }

func (s *sickAppends) StoreLogs([]*raft.Log) error { return errors.New("the disk is full") }
