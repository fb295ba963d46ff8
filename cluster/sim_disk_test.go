package cluster

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

var (
	errSimDisk    = errors.New("input/output error")
	errSimCrashed = errors.New("the process is gone")
)

// simDisk is what one node's log store leaves behind: it outlives processes. A
// write that returned is durable. Of one that a crash interrupts, any number of
// entries from its start may be there afterwards. What remains of a process that
// has crashed believes that its writes succeed; they leave nothing.
type simDisk struct {
	mu    sync.Mutex
	rng   *rand.Rand
	logs  map[uint64]simEntry
	first uint64
	last  uint64
	kv    map[string][]byte

	latency time.Duration // of a write, about
	fails   bool
	hangs   bool
	thaw    chan struct{} // closed when hangs ends
	hurt    time.Time     // when latency, fails or hangs were last other than normal
	lies    bool          // mutant: what was acknowledged within lieTime goes with a crash
}

type simEntry struct {
	log    raft.Log
	stored time.Time
}

// lieTime is how long a lying disk keeps what it said was durable in its cache.
const lieTime = 300 * time.Millisecond

const normalLatency = 300 * time.Microsecond

func newSimDisk(seed, number uint64) *simDisk {
	return &simDisk{
		rng: rand.New(rand.NewPCG(seed, 0xd15c<<8|number)), logs: map[uint64]simEntry{}, kv: map[string][]byte{},
		thaw: make(chan struct{}), // no latency yet: a cluster is begun under a mutex, which would stop the bubble's time
	}
}

// set changes how the disk behaves from now on.
func (d *simDisk) set(latency time.Duration, fails, hangs bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latency, d.fails, d.hangs = latency, fails, hangs
	d.hurt = time.Now()
	close(d.thaw)
	d.thaw = make(chan struct{})
}

// crashed is what a crash of its machine does to the disk.
func (d *simDisk) crashed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.lies {
		return
	}
	for i := d.last; i >= d.first && i > 0 && time.Since(d.logs[i].stored) < lieTime; i-- {
		delete(d.logs, i)
		d.last = i - 1
	}
	d.bounds()
}

// bounds works first and last out anew. The caller holds mu.
func (d *simDisk) bounds() {
	d.first, d.last = 0, 0
	for i := range d.logs {
		if d.first == 0 || i < d.first {
			d.first = i
		}
		d.last = max(d.last, i)
	}
}

// simStore is the disk as one process sees it.
type simStore struct {
	*simDisk
	gone chan struct{} // closed when the process has crashed
	once sync.Once
	over bool // the write that the crash interrupted has been seen
	// exit ends the process. Raft panics when it can't save its vote, which in the
	// product the watchdog forestalls: Config.Fatal doesn't return there.
	exit func(error)
	// cut ends the process's connections, after a loss of power without a word.
	cut func(power bool)
}

func (d *simDisk) open(exit func(error), cut func(power bool)) *simStore {
	return &simStore{simDisk: d, gone: make(chan struct{}), exit: exit, cut: cut}
}

// crash ends the process, which is mute before its writes leave nothing: else it
// could acknowledge what it didn't keep.
func (s *simStore) crash(power bool) {
	s.once.Do(func() {
		s.cut(power)
		close(s.gone)
	})
}

// wait takes as long as a write does. It returns with mu held.
func (s *simStore) wait() error {
	s.mu.Lock()
	for {
		select {
		case <-s.gone:
			return errSimCrashed
		default:
		}
		if s.hangs {
			thaw := s.thaw
			s.mu.Unlock()
			select {
			case <-thaw:
			case <-s.gone:
			}
			s.mu.Lock()
			continue
		}
		if s.latency == 0 {
			return nil
		}
		timer := time.NewTimer(s.latency/2 + time.Duration(s.rng.Int64N(int64(s.latency))))
		s.mu.Unlock()
		select {
		case <-timer.C:
		case <-s.gone:
			timer.Stop()
		}
		s.mu.Lock()
		select {
		case <-s.gone:
			return errSimCrashed
		default:
		}
		if s.fails {
			return errSimDisk
		}
		return nil
	}
}

// IsMonotonic implements raft.MonotonicLogStore, as raft-wal does.
func (s *simStore) IsMonotonic() bool { return true }

func (s *simStore) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, nil
}

func (s *simStore) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

func (s *simStore) GetLog(index uint64, log *raft.Log) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.logs[index]
	if !ok {
		if crashed(s) {
			// What remains of the process believes to have written it, and Raft would
			// panic. Its goroutine ends here, as that of a process would have before.
			runtime.Goexit()
		}
		return raft.ErrLogNotFound
	}
	*log = e.log
	log.Data = slices.Clone(e.log.Data)
	return nil
}

func (s *simStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

func (s *simStore) StoreLogs(logs []*raft.Log) error {
	err := s.wait()
	defer s.mu.Unlock()
	n := len(logs)
	if err != nil {
		n = 0
		if !s.over { // else it began when the process was gone already
			n = s.rng.IntN(len(logs) + 1)
			s.over = true
		}
	}
	for _, l := range logs[:n] {
		if s.last != 0 && l.Index != s.last+1 {
			return fmt.Errorf("entry %d after %d", l.Index, s.last)
		}
		c := *l
		c.Data, c.Extensions = slices.Clone(l.Data), slices.Clone(l.Extensions)
		s.logs[l.Index] = simEntry{c, time.Now()}
		s.last = l.Index
		if s.first == 0 {
			s.first = l.Index
		}
	}
	return unlessGone(err)
}

func unlessGone(err error) error {
	if errors.Is(err, errSimCrashed) {
		return nil
	}
	return err
}

func (s *simStore) DeleteRange(from, to uint64) error {
	err := s.wait()
	defer s.mu.Unlock()
	if err != nil {
		return unlessGone(err)
	}
	maps.DeleteFunc(s.logs, func(i uint64, _ simEntry) bool { return i >= from && i <= to })
	s.bounds()
	return nil
}

func (s *simStore) Set(key, val []byte) error {
	err := s.wait()
	if err == nil {
		s.kv[string(key)] = slices.Clone(val)
	}
	s.mu.Unlock()
	if err != nil && !errors.Is(err, errSimCrashed) {
		s.exit(err)
	}
	return nil
}

func (s *simStore) SetUint64(key []byte, val uint64) error {
	return s.Set(key, fmt.Append(nil, val))
}

func (s *simStore) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kv[string(key)]), nil
}

func (s *simStore) GetUint64(key []byte) (val uint64, err error) {
	raw, _ := s.Get(key)
	if len(raw) > 0 {
		_, err = fmt.Sscan(string(raw), &val)
	}
	return val, err
}

// TestProcessEndsMute: when Raft is told that a vote is kept, by a process that has
// ended, nobody hears of the vote any more. (In schedule 4065 one was counted, and a
// second one in the same term after a restart: two leaders.)
func TestProcessEndsMute(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*simDisk, *simStore)
	}{
		{"its disk fails", func(d *simDisk, _ *simStore) { d.set(normalLatency, true, false) }},
		{"it crashes", func(_ *simDisk, s *simStore) { s.crash(true) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newSimNet(1, []string{"n1", "n2"})
				vote, _ := n.pair("n1", "n2")
				d := newSimDisk(1, 1)
				var store *simStore
				store = d.open(func(error) { store.crash(false) }, func(power bool) { n.crash("n1", power) })
				c.end(d, store)
				if err := store.Set([]byte("LastVoteTerm"), []byte("7")); err != nil {
					t.Error(err)
				}
				if kept, _ := store.Get([]byte("LastVoteTerm")); len(kept) != 0 {
					t.Errorf("kept %q", kept)
				}
				if _, err := vote.Write([]byte("granted")); err == nil {
					t.Error("a vote that was not kept is told")
				}
			})
		})
	}
}
