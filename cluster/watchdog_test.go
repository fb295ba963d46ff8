package cluster

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// sickStore is a log store whose writes take a time and end with an error.
type sickStore struct {
	*raft.InmemStore
	takes time.Duration
	fails error
	first uint64
}

func (s *sickStore) write() error { time.Sleep(s.takes); return s.fails }

func (s *sickStore) IsMonotonic() bool                  { return true }
func (s *sickStore) FirstIndex() (uint64, error)        { return s.first, nil }
func (s *sickStore) StoreLog(*raft.Log) error           { return s.write() }
func (s *sickStore) StoreLogs([]*raft.Log) error        { return s.write() }
func (s *sickStore) DeleteRange(_, _ uint64) error      { return s.write() }
func (s *sickStore) Set(_, _ []byte) error              { return s.write() }
func (s *sickStore) SetUint64(_ []byte, _ uint64) error { return s.write() }

func TestWatchdog(t *testing.T) {
	ioError := errors.New("input/output error")
	calls := map[string]func(*watchedStore) error{
		"StoreLog":    func(w *watchedStore) error { return w.StoreLog(new(raft.Log)) },
		"StoreLogs":   func(w *watchedStore) error { return w.StoreLogs(nil) },
		"DeleteRange": func(w *watchedStore) error { return w.DeleteRange(1, 2) },
		"Set":         func(w *watchedStore) error { return w.Set([]byte("k"), nil) },
		"SetUint64":   func(w *watchedStore) error { return w.SetUint64([]byte("k"), 1) },
	}
	for _, tc := range []struct {
		name  string
		takes time.Duration
		fails error
		fatal error
	}{
		{"healthy", 499 * time.Millisecond, nil, nil},
		{"hung", time.Hour, nil, ErrDiskStalled},
		{"failing", 0, ioError, ioError},
	} {
		for name, call := range calls {
			t.Run(tc.name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var fatal error
					var at time.Duration
					began := time.Now()
					w := &watchedStore{
						store: &sickStore{takes: tc.takes, fails: tc.fails}, limit: 500 * time.Millisecond,
						fatal: func(err error) { fatal, at = err, time.Since(began) },
					}
					if err := call(w); !errors.Is(err, tc.fails) {
						t.Errorf("returned %v", err)
					}
					synctest.Wait()
					if !errors.Is(fatal, tc.fatal) || (fatal != nil) != (tc.fatal != nil) {
						t.Errorf("fatal: %v", fatal)
					}
					if errors.Is(tc.fatal, ErrDiskStalled) && at > time.Second {
						t.Errorf("told only after %v", at)
					}
				})
			})
		}
	}
}

// TestWatchdogAfterAStop: the timer of a process that was stopped for longer than
// the limit goes off at once when it goes on, though its write is as good as done.
func TestWatchdogAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := guard("append", 500*time.Millisecond, func(err error) { t.Error(err) })
		time.Sleep(510 * time.Millisecond)
		end()
		time.Sleep(time.Second)
	})
}

func TestTruncatedEntriesAreGone(t *testing.T) {
	store := &sickStore{InmemStore: raft.NewInmemStore(), first: 5}
	if err := store.InmemStore.StoreLogs([]*raft.Log{{Index: 4}, {Index: 5}}); err != nil {
		t.Fatal(err)
	}
	w := &watchedStore{store: store, fatal: func(err error) { t.Error(err) }}
	for index, want := range map[uint64]error{4: raft.ErrLogNotFound, 5: nil, 6: raft.ErrLogNotFound} {
		if err := w.GetLog(index, new(raft.Log)); !errors.Is(err, want) {
			t.Errorf("entry %d: %v, want %v", index, err, want)
		}
	}
	if !w.IsMonotonic() {
		t.Error("Raft must know that the log can't have holes")
	}
}
