package cluster

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// A node that was removed never joins again under its id. It asks to join only while its
// log never had it for a member. The log alone doesn't tell, because it is compacted, nor
// does keyJoined, which is set a moment later: keyBelonged is set before the log has the
// first configuration with this node in it.
//
// A node may then wait for ever whose admission was lost with the leader that let it in:
// it can't know that from its removal, and needs an empty data directory as well.

// keyBelonged is beside the log once that had this node for a member, committed or not.
var keyBelonged = []byte("sealedge/belonged")

const notAgain = "this node was a member and isn't any more: it was removed, or the leader that let it in was gone before a majority knew; stop it, and to have it back, start it with an empty data directory"

// memberLog is the log's store of a node that marks when it becomes a member.
type memberLog struct {
	*watchedStore
	id       raft.ServerID
	belonged atomic.Bool // the mark is set

	raft *atomic.Pointer[raft.Raft] // nil inside: it doesn't run yet
}

// open looks for the mark, and sets it if a snapshot has this node for a member: what
// the log was before that is gone.
func (m *memberLog) open(snapshots raft.SnapshotStore) error {
	mark, err := lookUp(m, keyBelonged)
	if err != nil {
		return fmt.Errorf("raft log: read %s beside: %w", keyBelonged, err)
	}
	m.belonged.Store(len(mark) > 0)
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	for _, s := range list {
		if has(s.Configuration, m.id) {
			return m.mark()
		}
	}
	return nil
}

func (m *memberLog) mark() error {
	if m.belonged.Load() {
		return nil
	}
	if err := m.Set(keyBelonged, []byte{1}); err != nil {
		return err
	}
	m.belonged.Store(true)
	return nil
}

// StoreLog implements raft.LogStore.
func (m *memberLog) StoreLog(l *raft.Log) error { return m.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (m *memberLog) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		if l.Type != raft.LogConfiguration || m.belonged.Load() {
			continue
		}
		r := m.raft.Load() // has the configuration of a snapshot that it was given
		if has(raft.DecodeConfiguration(l.Data), m.id) || r != nil && has(r.GetConfiguration().Configuration(), m.id) {
			if err := m.mark(); err != nil {
				return err
			}
		}
	}
	return m.watchedStore.StoreLogs(logs)
}

func has(c raft.Configuration, id raft.ServerID) bool {
	return slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return s.ID == id })
}
