package cluster

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// fsm applies committed entries to the node's machine. Its methods are called by
// Raft's one FSM goroutine, which owns the machine's writing side.
type fsm struct {
	node   *Node
	failed error // set once; nothing is applied after it
}

// applied is what Raft hands back to the proposer of an entry.
type applied struct {
	index  uint64
	result *command.Result
	during *interval // nil: nobody traces
}

// Apply implements raft.FSM; Raft calls ApplyBatch instead.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM: readers wait once, and watchers wake
// once, for all entries that were committed together.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	n := f.node
	if took := n.cfg.Timings.Apply; took != nil {
		defer func(begun time.Time) { took(time.Since(begun)) }(time.Now())
	}
	out := make([]any, len(logs))
	if n.cfg.Tracer != nil {
		defer func(begun time.Time) { during(out, begun) }(time.Now())
	}
	// The audit files are written on the way: a disk that hangs here would leave
	// a leader that commits and never answers.
	defer guard("apply entries and write their audit", n.cfg.DiskStall, n.fatal)()
	if f.failed == nil {
		f.failed = n.checkpoints.inQuarantine()
	}
	n.machineMu.Lock()
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		if f.failed == nil {
			out[i], f.failed = f.applyOne(l)
		}
		if f.failed != nil {
			out[i] = f.failed
		}
	}
	index, clock := n.machine.Index(), n.machine.Clock()
	n.machineMu.Unlock()
	if err := n.audit.flush(); err != nil && f.failed == nil {
		f.failed = fmt.Errorf("audit: %w", err)
	}
	if f.failed != nil {
		// What was applied here is not to be seen: another node carries it out.
		n.fatal(f.failed)
		return out
	}
	n.advance(index, clock.UnixNano())
	n.checkpoints.reached(index, n.cfg.checkpoint, false)
	return out
}

func (f *fsm) applyOne(l *raft.Log) (any, error) {
	result, entry, err := f.node.machine.Apply(l.Index, l.Term, l.Data)
	if err != nil {
		return nil, fmt.Errorf("apply entry %d: %w", l.Index, err)
	}
	f.node.checkpoints.note(l.Index, l.Data, f.node.machine)
	f.node.census.note(l.Data)
	if entry != nil {
		if err := f.node.audit.append(entry); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	return applied{index: l.Index, result: result}, nil
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.failed != nil {
		return nil, f.failed
	}
	// The lock keeps readers out for the moment of cloning: see state.Machine.
	f.node.machineMu.Lock()
	defer f.node.machineMu.Unlock()
	return &fsmSnapshot{machine: f.node.machine.Clone(), audit: f.node.audit}, nil
}

// Restore implements raft.FSM. A snapshot that can't be read leaves the machine
// as it was.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	m, err := state.ReadSnapshot(r)
	if err != nil {
		return err
	}
	n := f.node
	sequence, hash := m.AuditHead()
	if err := n.audit.restored(auditHead{sequence, hash[:]}); err != nil {
		n.fatal(fmt.Errorf("audit: %w", err))
		return err
	}
	n.machineMu.Lock()
	n.machine = m
	n.machineMu.Unlock()
	n.advance(m.Index(), m.Clock().UnixNano())
	n.checkpoints.reached(m.Index(), n.cfg.checkpoint, true)
	n.census.forget()
	n.auditGap.wake()
	return nil
}

// fsmSnapshot is the state at one entry, written while others are applied.
type fsmSnapshot struct {
	machine *state.Machine
	audit   *auditLog
}

// Persist implements raft.FSMSnapshot. The audit entries that the snapshot stands
// for become durable before it does, because Raft then forgets the log that they
// could be made from.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	err := s.audit.sync()
	if err == nil {
		err = s.machine.WriteSnapshot(sink)
	}
	if err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (*fsmSnapshot) Release() {}

// position is how far this node applied the log.
type position struct {
	index   atomic.Uint64 // of the last command
	clock   atomic.Int64  // of the machine, Unix nanoseconds
	changed event         // fires when index rose
}

func (n *Node) advance(index uint64, clock int64) {
	n.position.clock.Store(clock)
	if n.position.index.Swap(index) != index {
		n.position.changed.fire()
	}
}
