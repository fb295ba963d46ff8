package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// populate makes a machine with n subscribers, all attached. audit, unless it is
// nil, gets the entries of the audit chain.
func populate(policyFile string, n int, audit func(*command.AuditEntry)) (*state.Machine, error) {
	m, index := state.New(), uint64(0)
	now := time.Now()
	apply := func(c *command.Command) error {
		index++
		result, entry, err := m.Apply(index, 1, stamped(c, now))
		if audit != nil && entry != nil {
			audit(entry)
		}
		if err == nil && result.Code != command.Code_OK {
			err = fmt.Errorf("%v: %v: %s", c.Type, result.Code, result.Message)
		}
		return err
	}
	policy, err := policyCommand(policyFile)
	if err != nil {
		return nil, err
	}
	if err := apply(policy); err != nil {
		return nil, err
	}
	for i := range n {
		if err := apply(subscriberCommand(i)); err != nil {
			return nil, err
		}
	}
	for i := range n {
		if err := apply(sessionCommand(i)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// heap is the memory that lives on after a collection, in bytes.
func heap() float64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers let go of
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// machine measures the replicated state by itself, with n sessions: what it
// weighs, and how long snapshots take.
func (b *bench) machine(n int) error {
	s, err := newSite(filepath.Join(b.dir, "machine"), b.bin, 1)
	if err != nil {
		return err
	}
	before := heap()
	begin := time.Now()
	m, err := populate(s.layout.Policy, n, nil)
	if err != nil {
		return err
	}
	filled := time.Since(begin)
	weight := heap() - before
	file := filepath.Join(s.dir, "snapshot")
	var runs [][]sample
	for range b.runs {
		run, err := snapshotAndRestore(m, file)
		if err != nil {
			return err
		}
		runs = append(runs, append([]sample{
			{"heap", "B/session", weight / float64(n)},
			{"applied", "commands/s", float64(2*n) / filled.Seconds()},
		}, run...))
	}
	runtime.KeepAlive(m)
	b.report(figure("memory", 0, fmt.Sprintf("state machine, %s sessions", grouped(int64(n))), runs))
	return nil
}

// snapshotAndRestore writes a snapshot to a file with an fsync, and reads it
// back.
func snapshotAndRestore(m *state.Machine, file string) ([]sample, error) {
	begin := time.Now()
	c := m.Clone()
	cloned := time.Since(begin)
	begin = time.Now()
	size, err := writeFile(file, c.WriteSnapshot)
	if err != nil {
		return nil, err
	}
	written := time.Since(begin)
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	begin = time.Now()
	back, err := state.ReadSnapshot(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	read := time.Since(begin)
	if back.Index() != m.Index() {
		return nil, fmt.Errorf("the snapshot of entry %d is of entry %d", m.Index(), back.Index())
	}
	return []sample{
		{"Apply held up", "µs", microseconds(cloned)},
		{"snapshot", "MB", float64(size) / 1e6},
		{"write", "s", written.Seconds()},
		{"restore", "s", read.Seconds()},
	}, nil
}

func writeFile(name string, write func(io.Writer) error) (size int64, err error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := write(f); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
