package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// unfinished marks a data directory that Restore or Recover has begun to change.
const unfinished = "unfinished"

// errUnfinished: nothing can be known of what such a directory holds.
var errUnfinished = errors.New("a restore or a forced recovery was broken off in this data directory")

// configurationIndex is the log index that Raft gives to a configuration that came
// by hand (raft.RecoverCluster does the same).
const configurationIndex = 1

// Restored tells what Restore and Recover have made.
type Restored struct {
	Manifest backup.Manifest // of the backup; zero after Recover
	Index    uint64          // of the entry that raised the epoch
	Term     uint64
	Epoch    uint64
}

// Restore makes the data directory of a cluster of one, this node, out of a
// backup. The directory must be missing or empty; it gets a node id of its own,
// and is no member of what the backup was taken from. The other nodes join it, as
// new ones, with empty directories.
//
// What was carried out since the backup is lost. The first entry after it
// therefore raises the cluster epoch (state.Machine.Epoch): it is in the restored
// state before the node first runs, so that nothing is granted before. Sessions
// were lost, too, and peers will be told by higher restart counters (TS 23.007
// 18).
func Restore(cfg Config, from io.Reader, ids []age.Identity) (_ Restored, err error) {
	n, err := offline(cfg)
	if err != nil {
		return Restored{}, err
	}
	if err := vacant(n.cfg.DataDir); err != nil {
		return Restored{}, err
	}
	if err := n.claimDataDir(); err != nil {
		return Restored{}, err
	}
	defer func() {
		if err = errors.Join(err, n.release()); err != nil {
			err = errors.Join(err, n.clear())
		}
	}()
	finish, err := n.begin(state.CauseRestore)
	if err != nil {
		return Restored{}, err
	}
	if n.audit, _, err = openAuditLog(filepath.Join(n.cfg.DataDir, "audit"), auditSegmentSize); err != nil {
		return Restored{}, fmt.Errorf("audit: %w", err)
	}
	manifest, m, err := backup.Read(from, ids, n.audit.append)
	if err != nil {
		return Restored{}, err
	}
	r := Restored{Manifest: manifest, Index: manifest.Index + 1, Term: manifest.Term + 1}
	_, entry, err := m.Apply(r.Index, r.Term, epochEntry(state.CauseRestore, true))
	if err != nil {
		return Restored{}, err
	}
	if err := errors.Join(n.audit.append(entry), n.audit.sync()); err != nil {
		return Restored{}, fmt.Errorf("audit: %w", err)
	}
	r.Epoch = m.Epoch().GetNumber()
	if err := n.openLog(r.Term); err != nil {
		return Restored{}, err
	}
	if err := n.writeSnapshot(m, r); err != nil {
		return Restored{}, err
	}
	return r, finish()
}

// offline is a node that takes no part in anything: it has a configuration.
func offline(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Node{cfg: cfg, log: cfg.Logger, machine: state.New(), auditGap: make(signal, 1)}, nil
}

// vacant refuses a directory that holds anything.
func vacant(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if f.Name() != "lost+found" { // of a file system of its own
			return fmt.Errorf("data directory %s is not empty: a restore never goes over one; move it away first", dir)
		}
	}
	return nil
}

// begin marks the directory, so that no node starts with the half of something;
// what it returns takes the mark away.
func (n *Node) begin(cause string) (finish func() error, err error) {
	path := filepath.Join(n.cfg.DataDir, unfinished)
	if err := os.WriteFile(path, []byte(cause+"\n"), 0o600); err != nil {
		return nil, err
	}
	return func() error {
		return errors.Join(syncDir(n.cfg.DataDir), os.Remove(path), syncDir(n.cfg.DataDir))
	}, syncDir(n.cfg.DataDir)
}

// checkFinished refuses a directory that is marked.
func checkFinished(dir string) error {
	switch cause := begun(dir); cause {
	case "":
		return nil
	case state.CauseRecovery:
		return fmt.Errorf("%w: run \"sealedge recover\" again", errUnfinished)
	default:
		return fmt.Errorf("%w: empty %s and restore again", errUnfinished, dir)
	}
}

// begun tells what a directory is marked for; "" if it isn't.
func begun(dir string) string {
	mark, err := os.ReadFile(filepath.Join(dir, unfinished))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ""
	case err == nil && strings.TrimSpace(string(mark)) == state.CauseRecovery:
		return state.CauseRecovery
	}
	return state.CauseRestore
}

// clear empties the directory again, after a restore that failed: it was empty.
func (n *Node) clear() error {
	files, err := os.ReadDir(n.cfg.DataDir)
	for _, f := range files {
		if f.Name() != "lost+found" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(n.cfg.DataDir, f.Name())))
		}
	}
	return err
}

// epochEntry is the entry that raises the cluster epoch.
func epochEntry(cause string, sessionsLost bool) []byte {
	c := command.New("", "", "node", &command.RaiseEpoch{Cause: cause, SessionsLost: sessionsLost})
	c.LeaderTime = time.Now().UnixNano() // the machine never goes back
	return command.Marshal(c)
}

// openLog opens the log, takes its id, and makes this node one that was in term
// already, and a member.
func (n *Node) openLog(term uint64) error {
	dir := filepath.Join(n.cfg.DataDir, "wal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	store, err := wal.Open(dir, wal.WithSegmentSize(walSegmentSize))
	if err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	n.store = store
	if n.id, err = claimID(store, n.cfg.DataDir, n.cfg.NodeName); err != nil {
		return err
	}
	if term == 0 {
		return nil
	}
	return errors.Join(store.SetUint64(keyTerm, term), store.Set(keyJoined, []byte{1}))
}

// keyTerm is what Raft calls the term in the stable store.
var keyTerm = []byte("CurrentTerm")

// alone is the configuration of a cluster that is this node.
func (n *Node) alone() raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: n.id, Address: raft.ServerAddress(n.id)}}}
}

func (n *Node) writeSnapshot(m *state.Machine, r Restored) error {
	logger := newRaftLogger(n.cfg.Logger, nil)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(n.cfg.DataDir, 2, logger)
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	_, trans := raft.NewInmemTransport("") // for the encoding of addresses
	sink, err := snapshots.Create(raft.SnapshotVersionMax, r.Index, r.Term, n.alone(), configurationIndex, trans)
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	if err := m.WriteSnapshot(sink); err != nil {
		return errors.Join(fmt.Errorf("snapshots: %w", err), sink.Cancel())
	}
	return sink.Close()
}
