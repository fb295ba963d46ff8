package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/sealedge/sealedge/cluster/state"
)

// raftIO bounds one exchange between nodes; a snapshot gets as much per 256 KiB.
const raftIO = 2 * time.Second

// commitTimeout is how long a follower waits, at most twice, to hear that the last
// entry of a burst is committed.
const commitTimeout = 5 * time.Millisecond

// Node is one member of the cluster.
type Node struct {
	cfg  Config
	id   raft.ServerID // of this node's data directory
	log  *slog.Logger
	raft *raft.Raft

	machineMu sync.RWMutex
	machine   *state.Machine // written by Raft's FSM goroutine only
	position  position

	lease      *lease
	rounds     *rounds
	commits    commits
	logs       raft.LogStore // as Raft has it
	memberLog  *memberLog    // below that
	yielding   atomic.Int32  // not 0: the lease doesn't count, as a StepDown is under way, or the node in quarantine
	late       lateHandover  // nor does it in its term
	handovers  handovers
	leading    latest[bool]
	roleChange event // the leader changed, or this node's lease began

	audit    *auditLog
	auditGap signal        // a snapshot may have left a gap
	filling  chan struct{} // holds one: gaps are filled by one goroutine at a time
	proving  chan struct{} // holds one: who uses the file of the tree over the audit chain

	proposals chan *proposal
	pending   chan inFlight
	settled   chan struct{} // closed when every proposal that Raft took was answered
	forwards  *forwarder

	grants      grants
	renewals    *forwarder // of address leases: nothing else is in their way
	addressesMu sync.Mutex
	addresses   map[string]*AddressLease // guarded by addressesMu

	room        room
	entry       entry
	progress    progress
	checkpoints checkpoints
	census      census
	clocks      clocks
	accounts    accounts
	began       time.Time   // this process
	drained     atomic.Bool // see accounts
	told        atomic.Int64
	preferred   preferred
	changing    chan struct{} // holds one: this node changes the membership one step at a time

	port  *port
	trans *raft.NetworkTransport
	store *wal.WAL
	disk  *watchedStore // store, watched
	lock  *os.File

	ctx       context.Context // ends when the node begins to close
	stop      context.CancelFunc
	ready     chan struct{} // closed when all of the above is set: peers may ask
	shutdown  func() raft.Future
	failed    chan struct{} // closed when Config.Fatal was called and returned
	down      chan struct{} // closed when Raft has stopped: nothing is applied any more
	tasks     sync.WaitGroup
	fatalOnce sync.Once
	closeOnce sync.Once
	closeErr  error
}

// Open starts a node. It takes part in the cluster at once, but needn't have a
// leader, nor its last state, when Open returns.
func Open(cfg Config) (_ *Node, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	id, err := newIdentity(&cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger, machine: state.New(), auditGap: make(signal, 1), filling: make(chan struct{}, 1), proving: make(chan struct{}, 1),
		addresses: map[string]*AddressLease{}, began: time.Now(),
		proposals: make(chan *proposal), pending: make(chan inFlight, 4096),
		checkpoints: checkpoints{work: make(signal, 1)},
		changing:    make(chan struct{}, 1), settled: make(chan struct{}), ready: make(chan struct{}), failed: make(chan struct{}), down: make(chan struct{}),
	}
	n.clocks.init(len(n.cfg.Peers))
	if n.cfg.judge == nil {
		n.cfg.judge = n.clocks.judge
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.stop()
			err = errors.Join(err, n.release())
		}
	}()
	if err := n.claimDataDir(); err != nil {
		return nil, err
	}
	var cut string
	if n.audit, cut, err = openAuditLog(filepath.Join(cfg.DataDir, "audit"), auditSegmentSize); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if cut != "" {
		n.log.Warn("the end of the audit files was torn; it will be written again from the log or fetched", "kept in", cut)
	}
	logger := newRaftLogger(cfg.Logger, n.ctx.Done())
	if cfg.store == nil {
		walDir := filepath.Join(cfg.DataDir, "wal")
		if err := os.MkdirAll(walDir, 0o700); err != nil {
			return nil, err
		}
		if n.store, err = wal.Open(walDir, wal.WithLogger(logger.Named("wal")), wal.WithSegmentSize(walSegmentSize)); err != nil {
			return nil, fmt.Errorf("raft log: %w", err)
		}
	}
	store := n.cfg.store
	if store == nil {
		store = n.store
	}
	if n.cfg.disk != nil {
		store = n.cfg.disk(store)
	}
	n.disk = &watchedStore{store: store, limit: n.cfg.DiskStall, fatal: n.fatal, took: n.cfg.Timings.Append}
	if n.id, err = claimID(n.disk, cfg.DataDir, cfg.NodeName); err != nil {
		return nil, err
	}
	n.lease = newLease(cfg.LeaderLease, string(n.id), n.roleChange.fire)
	if n.port, err = newPort(&n.cfg, id, n.id, n.serveNode); err != nil {
		return nil, err
	}
	n.forwards, n.renewals = newForwarder(n.port), newForwarder(n.port)
	n.forwards.traces = cfg.Tracer != nil
	if err := n.startRaft(logger); err != nil {
		return nil, err
	}
	n.tasks.Go(n.propose)
	n.tasks.Go(n.put)
	go n.settle()
	n.tasks.Go(n.keepAudit)
	n.tasks.Go(n.enter)
	n.tasks.Go(n.tend)
	n.tasks.Go(n.survey)
	n.tasks.Go(n.openGrants)
	n.tasks.Go(n.compareStates)
	n.tasks.Go(n.watchClocks)
	close(n.ready)
	return n, nil
}

// walSegmentSize is preallocated twice by raft-wal.
const walSegmentSize = 16 << 20

// claimDataDir makes the data directory this process's and this node's own.
func (n *Node) claimDataDir() error {
	if err := os.MkdirAll(n.cfg.DataDir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(n.cfg.DataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	n.lock = f
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("data directory %s is in use by another process: stop that first (%w)", n.cfg.DataDir, err)
	}
	if err := checkFinished(n.cfg.DataDir); err != nil {
		return err
	}
	if err := checkQuarantine(n.cfg.DataDir); err != nil {
		return err
	}
	path := filepath.Join(n.cfg.DataDir, "node")
	owner, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return os.WriteFile(path, []byte(n.cfg.NodeName+"\n"), 0o600)
	case err != nil:
		return err
	case strings.TrimSpace(string(owner)) != n.cfg.NodeName:
		return fmt.Errorf("data directory %s belongs to node %q, not to %q: each node needs its own", n.cfg.DataDir, strings.TrimSpace(string(owner)), n.cfg.NodeName)
	}
	return nil
}

// startRaft begins or resumes Raft.
func (n *Node) startRaft(logger hclog.Logger) error {
	files, err := raft.NewFileSnapshotStoreWithLogger(n.cfg.DataDir, 2, logger)
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	var snapshots raft.SnapshotStore = files
	if n.cfg.snapshots != nil {
		snapshots = n.cfg.snapshots(files)
	}
	beats := &heartbeats{rpcs: make(chan raft.RPC), closed: n.down}
	n.memberLog = &memberLog{watchedStore: n.disk, id: n.id, raft: &beats.raft}
	if err := n.memberLog.open(snapshots); err != nil {
		return err
	}
	logs, err := raft.NewLogCache(1024, n.memberLog)
	if err != nil {
		return err
	}
	n.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.port, ServerAddressProvider: n.port, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: raftIO, Logger: logger,
	})
	n.logs, beats.logs = logs, logs
	n.rounds = newRounds(n.id, n.members)
	go beats.carry(n.trans.Consumer())
	trans := &transport{NetworkTransport: n.trans, lease: n.lease, progress: &n.progress, rounds: n.rounds, heartbeats: beats, handovers: &n.handovers}
	roles := make(chan bool, 8)
	rc := raft.DefaultConfig()
	rc.LocalID = n.id
	rc.HeartbeatTimeout = n.cfg.HeartbeatTimeout
	rc.ElectionTimeout = n.cfg.ElectionTimeout
	rc.LeaderLeaseTimeout = n.cfg.LeaderLease
	rc.CommitTimeout = n.cfg.quiet
	rc.BatchApplyCh = true
	rc.MaxAppendEntries = 256
	rc.SnapshotInterval = 10 * time.Second
	rc.SnapshotThreshold = n.cfg.SnapshotThreshold
	rc.TrailingLogs = n.cfg.SnapshotThreshold
	rc.ShutdownOnRemove = false
	rc.NotifyCh = roles
	rc.NoLegacyTelemetry = true
	rc.Logger = logger

	if err := finishTakeover(logs, snapshots); err != nil {
		return err
	}
	known, err := raft.HasExistingState(logs, n.disk, snapshots)
	if err != nil {
		return err
	}
	if known {
		// This node may have acknowledged the leader just before it stopped, and
		// thereby promised not to vote for another while the leader's lease lasts.
		time.Sleep(n.cfg.LeaderLease)
	}
	if n.raft, err = raft.NewRaft(rc, &fsm{node: n}, logs, n.disk, snapshots, trans); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	beats.raft.Store(n.raft)
	n.shutdown = sync.OnceValue(n.raft.Shutdown) // only the first call's future waits
	n.lease.attach(n.members)
	leaders := make(chan raft.Observation, 16)
	observer := raft.NewObserver(leaders, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(observer)
	n.tasks.Go(func() {
		defer n.raft.DeregisterObserver(observer)
		n.followRoles(roles, leaders)
	})
	return nil
}

// followRoles passes on who leads.
func (n *Node) followRoles(roles <-chan bool, leaders <-chan raft.Observation) {
	for {
		select {
		case lead := <-roles:
			if lead {
				n.log.Info("this node leads the cluster", "term", n.raft.CurrentTerm())
			} else {
				n.log.Info("this node leads no more", "term", n.raft.CurrentTerm())
			}
			n.leading.publish(lead)
		case o := <-leaders:
			if l := o.Data.(raft.LeaderObservation); l.LeaderID != "" && l.LeaderID != n.id {
				n.log.Info("following", "leader", l.LeaderID)
			}
		case <-n.failed:
			// Raft's main goroutine may hang in the disk while others go on
			// sending heartbeats: silence them.
			n.port.shut()
			n.shutdown()
			n.leading.publish(false)
			return
		case <-n.down:
			return
		}
		n.roleChange.fire()
	}
}

// fatal ends the node: see Config.Fatal.
func (n *Node) fatal(err error) {
	select {
	case <-n.ctx.Done():
		n.log.Warn("after the node was closed", "error", err)
		return
	default:
	}
	n.fatalOnce.Do(func() {
		n.cfg.Fatal(err)
		// Still here: at least neither lead nor apply any more. The callers are
		// Raft's own goroutines, so another one has to stop it.
		n.stop()
		close(n.failed)
	})
}

// Close stops the node. It doesn't hand leadership over: see StepDown. Proposals
// that Raft took are waited for as long as an election may take.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.stop()
		grace := time.NewTimer(2 * n.cfg.ElectionTimeout)
		defer grace.Stop()
		select {
		case <-n.settled:
		case <-grace.C:
		}
		n.port.shut() // exchanges with peers that hang would hold Raft up
		err := n.shutdown().Error()
		close(n.down)
		n.closeErr = errors.Join(err, n.release())
		n.tasks.Wait()
		n.leading.publish(false)
	})
	return n.closeErr
}

// release gives back what a node holds on to besides Raft.
func (n *Node) release() error {
	var errs []error
	if n.trans != nil {
		errs = append(errs, n.trans.Close())
	}
	if n.port != nil {
		errs = append(errs, n.port.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.audit != nil {
		errs = append(errs, n.audit.close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	return errors.Join(errs...)
}

// signal wakes one goroutine, which does all the work there is.
type signal chan struct{}

func (s signal) wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}
