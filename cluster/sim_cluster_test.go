package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// sim is one schedule: a few nodes on a network and on disks that fail by a plan
// drawn from the seed, people and barrels that use them, and what must hold.
// It runs within a bubble of testing/synctest, in whose time hours take moments.
// Faults, delays and what the clients want follow from the seed alone. Raft's own
// election timeouts and the order of goroutines do not, so that a seed that failed
// is run several times to see it fail again (SIM_SEED, SIM_RUNS).
type sim struct {
	t     *testing.T
	seed  uint64
	mut   mutant
	rng   *rand.Rand // of the plan
	began time.Time
	net   *simNet
	names []string
	nodes []*simNode
	ctx   context.Context // ends with the workload
	stop  context.CancelFunc
	tasks sync.WaitGroup
	check *checks
	ahead atomic.Int64 // how far any clock was ahead

	mu     sync.Mutex
	events []string
	wrong  []string
	faults map[string]int  // injected, by kind
	jumped map[string]bool // nodes whose clock was ahead at any time
}

// simNode is one machine: its disk stays, its processes come and go.
type simNode struct {
	sim   *sim
	name  string
	disk  *simDisk
	dir   string
	cfg   Config
	shift atomic.Int64 // of its wall clock

	mu      sync.Mutex
	node    *Node // nil while no process runs
	store   *simStore
	closing chan struct{} // closed when the last process has let go of everything
	power   chan struct{} // full while a process starts or ends; a mutex would stop the bubble's time
}

func (s *sim) logf(format string, args ...any) {
	line := fmt.Sprintf("%9.4fs  %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, line)
}

// failf notes something that must not be.
func (s *sim) failf(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.logf("WRONG: %s", what)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) < 10 {
		s.wrong = append(s.wrong, what)
	}
}

func (s *sim) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.wrong) > 0
}

// simCerts are made once: the nodes of all schedules bear the same names.
var simCerts = sync.OnceValue(func() map[string]*tls.Config {
	ca, configs, now := newTestCA(simTB{}), map[string]*tls.Config{}, time.Now()
	for i := range 5 {
		name := fmt.Sprintf("n%d", i+1)
		c := ca.config(simTB{}, NodeURI(name))
		c.Time = func() time.Time { return now } // a bubble's clock starts long before
		configs[name] = c
	}
	return configs
})

// simTB lets certificates be made outside of a test.
type simTB struct{ testing.TB }

func (simTB) Helper()           {}
func (simTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// tlsEvery is how many schedules there are to one in which the nodes use TLS.
const tlsEvery = 32

func newSim(t *testing.T, seed uint64, mut mutant, dir string) *sim {
	s := &sim{
		t: t, seed: seed, mut: mut, rng: rand.New(rand.NewPCG(seed, 's')), began: time.Now(), faults: map[string]int{}, jumped: map[string]bool{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.check = newChecks(s)
	size := 3
	if s.rng.IntN(8) == 0 {
		size = 5
	}
	var peers []Peer
	byAddress := map[string]string{}
	for i := range size {
		p := Peer{Name: fmt.Sprintf("n%d", i+1), Address: fmt.Sprintf("10.0.0.%d:7000", i+1)}
		peers, s.names, byAddress[p.Address] = append(peers, p), append(s.names, p.Name), p.Name
	}
	s.net = newSimNet(seed, s.names)
	threshold := uint64(10 + s.rng.IntN(60))
	quiet := time.Duration(20+s.rng.IntN(30)) * time.Millisecond
	for i, p := range peers {
		sn := &simNode{sim: s, name: p.Name, disk: newSimDisk(seed, uint64(i)), dir: filepath.Join(dir, p.Name), closing: make(chan struct{}), power: make(chan struct{}, 1)}
		close(sn.closing)
		sn.disk.lies = mut == lyingDisk
		sn.cfg = Config{
			NodeName: p.Name, DataDir: sn.dir, Peers: peers, TLS: simCerts()[p.Name], Bootstrap: true,
			SnapshotThreshold: threshold, quiet: quiet, Logger: slog.New(slog.DiscardHandler),
			dial:     s.net.dial(p.Name, byAddress),
			diskUsed: func(string) (int, error) { return 0, nil },
			now:      func() time.Time { return time.Now().Add(time.Duration(sn.shift.Load())) },
		}
		if seed%tlsEvery != 0 {
			sn.cfg.prover = simProver{p.Name}
		}
		if mut == ownClock {
			sn.cfg.judge = func(own int64) (int64, time.Duration) { return own, 0 }
		}
		if mut == longLease && i == 0 {
			sn.cfg.HeartbeatTimeout, sn.cfg.LeaderLease = time.Second, 900*time.Millisecond
		}
		if os.Getenv("CLUSTER_TEST_LOG") != "" {
			sn.cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		s.nodes = append(s.nodes, sn)
	}
	return s
}

// running returns the node's process, nil if there is none.
func (n *simNode) running() *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.node
}

// start runs a process on the machine, unless one runs.
func (n *simNode) start() {
	n.power <- struct{}{}
	defer func() { <-n.power }()
	if n.running() != nil {
		return
	}
	<-n.closing
	var store *simStore
	exit := func(err error) {
		n.sim.logf("%s: fatal: %v", n.name, err)
		if !n.disk.hurts() && !crashed(store) {
			n.sim.failf("%s ended though nothing was wrong with its disk: %v", n.name, err)
		}
		store.crash(false)
		go n.crash("watchdog", false, store)
	}
	store = n.disk.open(exit, func(power bool) { n.sim.net.crash(n.name, power) })
	cfg := n.cfg
	cfg.store, cfg.listener = store, n.sim.net.listen(n.name)
	cfg.Fatal = exit
	node, err := Open(cfg)
	if err != nil {
		cfg.listener.Close()
		n.sim.logf("%s doesn't start: %v", n.name, err)
		if !n.disk.hurts() {
			n.sim.failf("%s doesn't start: %v", n.name, err)
		}
		return
	}
	n.mu.Lock()
	n.node, n.store, n.closing = node, store, make(chan struct{})
	n.mu.Unlock()
	n.sim.logf("%s runs", n.name)
	n.sim.tasks.Go(func() { n.sim.check.watch(n, node) })
}

func crashed(s *simStore) bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// hurts tells whether the disk gives or lately gave reason to end.
func (d *simDisk) hurts() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fails || d.hangs || d.latency > normalLatency || !d.hurt.IsZero() && time.Since(d.hurt) < 2*time.Second
}

// crash ends the machine's process between two instructions: what it had not
// synced is gone, and nobody is told goodbye. only, if set, is the store of the
// one process that is meant.
func (n *simNode) crash(why string, power bool, only *simStore) {
	n.power <- struct{}{}
	defer func() { <-n.power }()
	n.mu.Lock()
	node, store := n.node, n.store
	if node == nil || only != nil && only != store {
		n.mu.Unlock()
		return
	}
	n.node = nil
	closing := n.closing
	n.mu.Unlock()
	n.sim.logf("%s crashes (%s, power lost: %v)", n.name, why, power)
	written := n.auditSizes()
	store.crash(power)
	n.disk.crashed()
	go func() {
		defer close(closing)
		// Whatever the remains of the process do now, they do to nobody. Their
		// errors tell of that only.
		_ = node.Close()
		if err := n.tearAudit(written); err != nil {
			n.sim.failf("%s: tear the audit files: %v", n.name, err)
		}
	}()
}

// auditSizes are the sizes of the audit files.
func (n *simNode) auditSizes() map[string]int64 {
	sizes := map[string]int64{}
	files, _ := filepath.Glob(filepath.Join(n.dir, "audit", "*")) // the pattern is good
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			sizes[path] = info.Size()
		}
	}
	return sizes
}

// tearAudit cuts the open audit segment off somewhere after what the newest
// snapshot stands for: that much was synced. What the remains of the process added
// to what was written at the crash goes in any case.
func (n *simNode) tearAudit(written map[string]int64) error {
	synced, err := n.snapshotAudit()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(n.dir, "audit", "*"))
	if err != nil {
		return err
	}
	for _, path := range files {
		s, kind := parseSegmentName(path)
		if kind != segmentOpen {
			continue
		}
		keep := int64(0)
		if s.first <= synced {
			for e, err := range s.entries(nil, s.first, synced) {
				if err != nil {
					return err
				}
				keep += int64(protowire.SizeBytes(proto.Size(e)))
			}
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		n.disk.mu.Lock()
		whole := max(keep, min(info.Size(), written[path]))
		size := keep + n.disk.rng.Int64N(whole-keep+1)
		n.disk.mu.Unlock()
		if err := os.Truncate(path, size); err != nil {
			return err
		}
	}
	return nil
}

// snapshotAudit is the audit sequence of the newest whole snapshot.
func (n *simNode) snapshotAudit() (uint64, error) {
	dirs, err := filepath.Glob(filepath.Join(n.dir, "snapshots", "*"))
	if err != nil {
		return 0, err
	}
	newest := uint64(0)
	for _, dir := range dirs {
		if strings.HasSuffix(dir, ".tmp") {
			continue
		}
		f, err := os.Open(filepath.Join(dir, "state.bin"))
		if err != nil {
			return 0, err
		}
		m, err := state.ReadSnapshot(f)
		f.Close()
		if err != nil {
			return 0, err
		}
		sequence, _ := m.AuditHead()
		newest = max(newest, sequence)
	}
	return newest, nil
}

// leader is the node that holds its lease, nil if none does.
func (s *sim) leader() *simNode {
	for _, n := range s.nodes {
		if node := n.running(); node != nil && node.Holds() {
			return n
		}
	}
	return nil
}

// level is that of the log, as far as every node has applied it.
func (s *sim) level() uint32 {
	level := uint32(command.Level)
	for _, n := range s.nodes {
		if node := n.running(); node != nil {
			level = min(level, node.level())
		}
	}
	return level
}

// any picks a running node, nil if none runs.
func (s *sim) any(rng *rand.Rand) *Node {
	for _, i := range rng.Perm(len(s.nodes)) {
		if node := s.nodes[i].running(); node != nil {
			return node
		}
	}
	return nil
}

// lives tells whether a process has not crashed. What remains of one that has
// may still answer, believing that its disk wrote: nobody hears that.
func (s *sim) lives(node *Node) bool {
	return slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.running() == node })
}

// pause sleeps, shorter if ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run carries the schedule out.
func (s *sim) run() {
	var starting sync.WaitGroup
	for _, n := range s.nodes {
		starting.Go(n.start)
	}
	starting.Wait()
	s.tasks.Go(s.check.lease)
	w := newWorkload(s)
	if w.prepare() {
		w.start()
		s.inject()
	}
	s.recover(w)
	s.stop()
	var stopping sync.WaitGroup
	for _, n := range s.nodes {
		stopping.Go(func() {
			if node := n.running(); node != nil {
				if err := node.Close(); err != nil && !errors.Is(err, errSimDisk) {
					s.failf("%s doesn't close: %v", n.name, err)
				}
			}
			<-n.closed()
		})
	}
	stopping.Wait()
	s.tasks.Wait()
	w.sent.Wait()
}

// closed returns a channel that is closed, unless a crashed process goes on
// letting go.
func (n *simNode) closed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.node == nil {
		return n.closing
	}
	c := make(chan struct{})
	close(c)
	return c
}

// recoveryTime is how long after the last fault everything must work again.
const recoveryTime = 10 * time.Second

// recover mends everything and checks that the cluster is whole again.
func (s *sim) recover(w *workload) {
	s.logf("everything is mended")
	s.net.heal()
	s.check.clock()
	ahead := int64(0)
	for _, n := range s.nodes {
		ahead = max(ahead, n.shift.Load(), s.ahead.Load())
	}
	for _, n := range s.nodes {
		// The cluster's clock doesn't go back: grants expire again when the nodes'
		// have caught up with it.
		n.shift.Store(ahead)
		n.disk.set(normalLatency, false, false)
	}
	ctx, cancel := context.WithTimeout(s.ctx, recoveryTime)
	defer cancel()
	var tasks sync.WaitGroup
	for _, n := range s.nodes {
		tasks.Go(func() {
			for ctx.Err() == nil {
				n.start()
				node := n.running()
				if node != nil && node.Barrier(ctx) == nil && node.askClocks() {
					return
				}
				pause(ctx, 20*time.Millisecond)
			}
			s.failf("%s doesn't serve %v after everything was mended", n.name, recoveryTime)
		})
	}
	tasks.Wait()
	w.finish()
	if !s.failed() {
		s.check.state()
	}
}

func (s *sim) report() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("seed %d:\n\t%s\n\nwhat happened:\n%s", s.seed, strings.Join(s.wrong, "\n\t"), strings.Join(slices.Clone(s.events), "\n"))
}
