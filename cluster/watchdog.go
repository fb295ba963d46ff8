package cluster

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ErrDiskStalled: a write took longer than Config.DiskStall.
var ErrDiskStalled = errors.New("the disk hangs")

// walStore is what raft-wal offers and this package uses.
type walStore interface {
	raft.LogStore
	raft.StableStore
	raft.MonotonicLogStore
}

// watchedStore ends the node when its log store fails or hangs. Raft itself would
// log an error and go on leading with a log that it can't write, or block with
// its heartbeats still running; either way the others would never elect.
type watchedStore struct {
	store walStore
	limit time.Duration
	fatal func(error)
	took  func(time.Duration) // hears of appends; nil: nobody does
	since atomic.Int64        // when the append under way began, Unix nanoseconds; 0: there is none
}

// guard calls fatal if what was begun isn't ended, by calling the function
// returned, within limit. A process that was stopped and goes on gets a little
// longer: the clock ran meanwhile, the disk perhaps didn't need it.
func guard(what string, limit time.Duration, fatal func(error)) (end func()) {
	ended := make(chan struct{})
	timer := time.AfterFunc(limit, func() {
		select {
		case <-ended:
		case <-time.After(limit / 10):
			fatal(fmt.Errorf("%w: to %s has taken more than %v", ErrDiskStalled, what, limit))
		}
	})
	return func() {
		close(ended)
		timer.Stop()
	}
}

// stands tells whether an append has been under way for longer than a time.
func (w *watchedStore) stands(d time.Duration) bool {
	since := w.since.Load()
	return since != 0 && time.Now().UnixNano()-since > int64(d)
}

// write runs a call that changes the store.
func (w *watchedStore) write(what string, call func() error) error {
	end := guard(what+" the log", w.limit, w.fatal)
	err := call()
	end()
	if err != nil {
		err = fmt.Errorf("raft log: %s: %w", what, err)
		w.fatal(err)
	}
	return err
}

func (w *watchedStore) FirstIndex() (uint64, error) { return w.store.FirstIndex() }
func (w *watchedStore) LastIndex() (uint64, error)  { return w.store.LastIndex() }

// IsMonotonic implements raft.MonotonicLogStore. Without it Raft would leave a
// gap in the log after a snapshot was installed, which raft-wal can't hold.
func (w *watchedStore) IsMonotonic() bool { return w.store.IsMonotonic() }

// GetLog implements raft.LogStore. raft-wal goes on serving truncated entries for
// as long as they share a segment with later ones; Raft learns from their absence
// that a follower needs a snapshot.
func (w *watchedStore) GetLog(index uint64, log *raft.Log) error {
	first, err := w.store.FirstIndex()
	if err == nil && index < first {
		return raft.ErrLogNotFound
	}
	if err == nil {
		err = w.store.GetLog(index, log)
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		w.fatal(fmt.Errorf("raft log: read entry %d: %w", index, err))
	}
	return err
}

func (w *watchedStore) StoreLog(log *raft.Log) error {
	return w.append(func() error { return w.store.StoreLog(log) })
}

func (w *watchedStore) StoreLogs(logs []*raft.Log) error {
	return w.append(func() error { return w.store.StoreLogs(logs) })
}

// append is a write of Raft's loop. There is one at a time.
func (w *watchedStore) append(call func() error) error {
	begun := time.Now()
	w.since.Store(begun.UnixNano())
	defer w.since.Store(0)
	err := w.write("append", call)
	if w.took != nil && err == nil {
		w.took(time.Since(begun))
	}
	return err
}

func (w *watchedStore) DeleteRange(from, to uint64) error {
	return w.write("truncate", func() error { return w.store.DeleteRange(from, to) })
}

func (w *watchedStore) Set(key, val []byte) error {
	return w.write("write "+string(key)+" beside", func() error { return w.store.Set(key, val) })
}

func (w *watchedStore) SetUint64(key []byte, val uint64) error {
	return w.write("write "+string(key)+" beside", func() error { return w.store.SetUint64(key, val) })
}

func (w *watchedStore) Get(key []byte) ([]byte, error)       { return w.store.Get(key) }
func (w *watchedStore) GetUint64(key []byte) (uint64, error) { return w.store.GetUint64(key) }
