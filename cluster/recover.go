package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/state"
)

// Recover makes this node, which is stopped, the only member of its cluster: for
// when the majority of the voters is gone for good. It keeps its log, and takes all
// of it for committed. What the others had acknowledged and it had not got is
// lost, so the last entry raises the cluster epoch (state.Machine.Epoch). The
// other nodes must never run again with the data that they have: they join as new
// ones, with empty directories.
//
// sessionsLost tells peers, by the restart counters, to drop their sessions. They
// needn't, mostly: the few that the log lacks end by Error Indications (TS 29.281
// 7.3.1), while a new counter ends all.
func Recover(cfg Config, sessionsLost bool) (_ Restored, err error) {
	n, err := offline(cfg)
	if err != nil {
		return Restored{}, err
	}
	dir := n.cfg.DataDir
	if _, err := os.Stat(filepath.Join(dir, "wal")); err != nil {
		return Restored{}, fmt.Errorf("data directory %s has no log to keep: restore a backup instead (%w)", dir, err)
	}
	if begun(dir) == state.CauseRecovery { // and broken off: all of it can be done again
		if err := os.Remove(filepath.Join(dir, unfinished)); err != nil {
			return Restored{}, err
		}
	}
	if err := n.claimDataDir(); err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, n.release()) }()
	var fatal error
	n.cfg.Fatal = func(err error) { fatal = err } // called by this goroutine, under RecoverCluster
	n.ctx, n.stop = context.WithCancel(context.Background())
	defer n.stop()
	n.failed = make(chan struct{})
	if n.audit, _, err = openAuditLog(filepath.Join(dir, "audit"), auditSegmentSize); err != nil {
		return Restored{}, fmt.Errorf("audit: %w", err)
	}
	if err := n.openLog(0); err != nil {
		return Restored{}, err
	}
	logger := newRaftLogger(n.cfg.Logger, nil)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, logger)
	if err != nil {
		return Restored{}, fmt.Errorf("snapshots: %w", err)
	}
	r, err := n.end(snapshots)
	if err != nil {
		return Restored{}, err
	}
	finish, err := n.begin(state.CauseRecovery)
	if err != nil {
		return Restored{}, err
	}
	if err := errors.Join(n.store.SetUint64(keyTerm, r.Term), n.store.Set(keyJoined, []byte{1})); err != nil {
		return Restored{}, fmt.Errorf("raft log: %w", err)
	}
	if err := n.store.StoreLog(&raft.Log{Index: r.Index, Term: r.Term, Type: raft.LogCommand, Data: epochEntry(state.CauseRecovery, sessionsLost)}); err != nil {
		return Restored{}, fmt.Errorf("raft log: %w", err)
	}
	rc := raft.DefaultConfig()
	rc.LocalID, rc.Logger, rc.NoLegacyTelemetry = n.id, logger, true
	_, trans := raft.NewInmemTransport("")
	if err := raft.RecoverCluster(rc, &fsm{node: n}, n.store, n.store, snapshots, trans, n.alone()); err != nil {
		return Restored{}, fmt.Errorf("recover: %w", err)
	}
	if fatal != nil {
		return Restored{}, fatal
	}
	r.Epoch = n.machine.Epoch().GetNumber()
	return r, finish()
}

// end tells where the next entry goes: after the last one, in a term of its own.
func (n *Node) end(snapshots raft.SnapshotStore) (Restored, error) {
	last, err := n.store.LastIndex()
	if err != nil {
		return Restored{}, fmt.Errorf("raft log: %w", err)
	}
	term, err := n.store.GetUint64(keyTerm)
	if err != nil && err.Error() != "not found" {
		return Restored{}, fmt.Errorf("raft log: %w", err)
	}
	list, err := snapshots.List()
	if err != nil {
		return Restored{}, fmt.Errorf("snapshots: %w", err)
	}
	for _, s := range list {
		last, term = max(last, s.Index), max(term, s.Term)
	}
	if last == 0 {
		return Restored{}, fmt.Errorf("data directory %s was never in a cluster: restore a backup instead", n.cfg.DataDir)
	}
	return Restored{Index: last + 1, Term: term + 1}, nil
}
