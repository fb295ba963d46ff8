package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/address"
	"github.com/sealedge/sealedge/cluster/state"
)

// rollout is a simulated cluster with one gateway address, whose nodes are stopped and
// started as a platform does it: each is drained before it is stopped, and the next
// one's turn comes when it is ready again.
type rollout struct {
	*sim
	keepers map[string]func() // what ends a node's keeper, and waits; by node

	mu    sync.Mutex
	up    string   // who has the address up
	led   []string // who came to lead, one after the other
	since time.Time
	gap   time.Duration // the longest that nobody had the address up, after somebody had
}

// rollOut runs size nodes, of which one is preferred, unless that is empty.
func rollOut(t *testing.T, size int, preferred string, do func(r *rollout)) {
	t.Helper()
	simCerts()
	dir, err := os.MkdirTemp("", "sealedge-sim-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	seed := uint64(1)
	for five := false; five != (size == 5) || seed%tlsEvery == 0; { // see newSim
		seed++
		five = rand.New(rand.NewPCG(seed, 's')).IntN(8) == 0
	}
	defer func() { // see simulate
		if p := recover(); p != nil && fmt.Sprint(p) != "deadlock: main bubble goroutine has exited but blocked goroutines remain" {
			panic(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		r := &rollout{sim: newSim(t, seed, healthy, dir), keepers: map[string]func(){}}
		if len(r.nodes) != size {
			t.Fatalf("%d nodes", len(r.nodes))
		}
		for _, n := range r.nodes {
			n.cfg.PreferredLeader = preferred
			// Hours of the bubble's time cost less with fewer heartbeats.
			n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout, n.cfg.LeaderLease = 2*time.Second, 2*time.Second, time.Second
			n.cfg.quiet = time.Second
		}
		var tasks sync.WaitGroup
		for _, n := range r.nodes {
			tasks.Go(n.start)
		}
		tasks.Wait()
		for _, n := range r.nodes {
			r.keep(n)
		}
		r.await("all are there", r.whole)
		do(r)
		for _, n := range r.nodes {
			r.end(n)
		}
		r.stop()
		for _, n := range r.nodes {
			<-n.closed()
		}
		r.tasks.Wait()
		if r.failed() {
			t.Error(r.report())
		}
	})
}

// keep is what a daemon does besides its node.
func (r *rollout) keep(n *simNode) {
	node := n.running()
	leadership := node.Leadership()
	r.tasks.Go(func() {
		for {
			select {
			case lead := <-leadership:
				if lead {
					r.mu.Lock()
					r.led = append(r.led, n.name)
					r.mu.Unlock()
					r.logf("%s leads", n.name)
				}
			case <-node.down:
				return
			}
		}
	})
	k := address.New(address.Config{
		Node: n.name, Logger: node.log, Yields: node.Yields, HandOver: node.HandOver,
		Leave: func(ctx context.Context) { _ = node.SetDrained(ctx, true) },
		Addresses: []address.Address{{
			Name: "gw", Lease: node.AddressLease("gw"),
			OnUp: func(context.Context, uint64) error { r.raised(n.name); return nil }, OnDown: func() { r.lowered(n.name) },
		}},
	}, node, node)
	ctx, stop := context.WithCancel(r.ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); k.Run(ctx) }()
	r.keepers[n.name] = func() { stop(); <-ended }
}

func (r *rollout) raised(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up != "" {
		r.failf("%s has the address up, and %s hasn't taken it down", name, r.up)
	}
	if !r.since.IsZero() {
		r.gap = max(r.gap, time.Since(r.since))
	}
	r.up = name
	r.logf("%s has the address up", name)
}

// longestGap is the longest that nobody had the address up.
func (r *rollout) longestGap() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gap
}

func (r *rollout) lowered(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up, r.since = "", time.Now()
	r.logf("%s has the address down", name)
}

// end stops a node as SIGTERM does.
func (r *rollout) end(n *simNode) {
	r.keepers[n.name]()
	n.crash("it was stopped", false, nil)
}

// whole tells whether all nodes vote, answer and have applied what the leader has, and
// one has the address up.
func (r *rollout) whole() bool {
	l := r.leader()
	if l == nil {
		return false
	}
	node := l.running()
	living, drained, all := node.Living()
	if !all || len(living)+len(drained) != len(r.nodes) {
		return false
	}
	for _, n := range r.nodes {
		if other := n.running(); other == nil || other.position.index.Load() < node.position.index.Load() {
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up == l.name
}

func (r *rollout) await(what string, ok func() bool) {
	r.t.Helper()
	for began := time.Now(); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 5*time.Minute {
			r.t.Fatalf("it didn't happen: %s\n%s", what, r.report())
		}
	}
}

// leads has a node lead.
func (r *rollout) leads(name string) {
	r.t.Helper()
	r.await(name+" leads", func() bool {
		l := r.leader()
		if l == nil || l.name == name {
			return l != nil && r.whole()
		}
		_ = l.running().HandOver(r.ctx, name)
		return false
	})
}

// drain is what "sealedge drain" does.
func (r *rollout) drain(n *simNode) {
	node := n.running()
	_ = node.SetDrained(r.ctx, true)
	r.await(n.name+" has nothing", func() bool {
		holder := ""
		node.View(func(m *state.Machine) { holder = m.Address("gw").GetHolder() })
		return !node.IsLeader() && holder != n.name
	})
}

// changes counts how often the leadership changed since it was asked last.
func (r *rollout) changes() (n int, led []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, led, r.led = len(r.led), r.led, nil
	return n, led
}

// rolls stops and starts all nodes, from the last to the first; each is down for a
// while.
func (r *rollout) rolls(down time.Duration) {
	for _, n := range slices.Backward(r.nodes) {
		r.drain(n)
		r.end(n)
		time.Sleep(down)
		n.start()
		r.keep(n)
		r.await(n.name+" is ready", r.whole)
	}
}

// TestRolloutStepsDown: a rollout, whoever led before, changes the leader once when it
// was the preferred one, which is updated last; else at most twice. In between the
// address goes over without an election. Afterwards the preferred node leads again.
func TestRolloutStepsDown(t *testing.T) {
	sizes := []int{3, 5}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		for _, preferred := range []string{"n1", ""} {
			t.Run(fmt.Sprintf("%d nodes, preferred %q", size, preferred), func(t *testing.T) {
				t.Parallel()
				rollOut(t, size, preferred, func(r *rollout) {
					for i := range size {
						first := r.nodes[i].name
						time.Sleep(2 * time.Minute) // since the last rollout
						r.leads(first)
						r.changes()
						// Also while a node takes long to come back nobody makes for the preferred one.
						r.rolls([]time.Duration{10 * time.Second, 100 * time.Second}[i%2])
						n, led := r.changes()
						most := 2
						if i == 0 {
							most = 1
						}
						if n > most {
							t.Errorf("%s led before, and then one after the other %v", first, led)
						}
						if preferred == "" {
							continue
						}
						r.await("the preferred node leads", func() bool { return r.leader() != nil && r.leader().name == preferred && r.whole() })
						if n, led := r.changes(); n > 1 {
							t.Errorf("after the rollout from %s led one after the other %v", first, led)
						}
					}
					if preferred != "" && size == 3 {
						time.Sleep(15 * time.Minute)
						if n, led := r.changes(); n > 0 {
							t.Errorf("with nothing to do led one after the other %v", led)
						}
					}
					if gap, limit := r.longestGap(), r.nodes[0].cfg.HeartbeatTimeout; gap >= limit {
						t.Errorf("nobody had the address up for %v; an election takes %v\n%s", gap, limit, r.report())
					}
				})
			})
		}
	}
}

// TestFlappingPreferredNode: one that comes and goes isn't followed each time.
func TestFlappingPreferredNode(t *testing.T) {
	rollOut(t, 3, "n1", func(r *rollout) {
		r.leads("n1")
		r.changes()
		began := time.Now()
		for time.Since(began) < time.Hour {
			r.keepers["n1"]()
			r.nodes[0].crash("it flaps", false, nil)
			time.Sleep(10 * time.Second)
			r.nodes[0].start()
			r.keep(r.nodes[0])
			time.Sleep(100 * time.Second)
		}
		_, led := r.changes()
		times := 0
		for _, name := range led {
			if name == "n1" {
				times++
			}
		}
		if times == 0 || times > 6 {
			t.Errorf("in an hour n1 was given the leadership %d times: %v", times, led)
		}
	})
}

// TestPreferredNodeThatLosesIt: one that is well, as far as anybody sees, and yet leads no
// more as soon as it was given the leadership isn't given it again, until it is started
// anew.
func TestPreferredNodeThatLosesIt(t *testing.T) {
	rollOut(t, 3, "n1", func(r *rollout) {
		r.leads("n2")
		r.changes()
		loses := func(during time.Duration) (times int) {
			for began := time.Now(); time.Since(began) < during; time.Sleep(time.Second) {
				if l := r.leader(); l != nil && l.name == "n1" {
					times++
					r.leads("n2")
				}
			}
			return times
		}
		if times := loses(time.Hour); times != 1 {
			t.Errorf("in an hour n1 was given the leadership %d times", times)
		}
		r.end(r.nodes[0])
		r.nodes[0].start()
		r.keep(r.nodes[0])
		if times := loses(time.Hour); times != 1 {
			t.Errorf("in the hour after it was started anew n1 was given the leadership %d times", times)
		}
	})
}

// TestDrainedPreferredNode gets nothing, and gets it when it isn't drained any more.
func TestDrainedPreferredNode(t *testing.T) {
	rollOut(t, 3, "n1", func(r *rollout) {
		r.leads("n2")
		r.changes()
		_ = r.nodes[0].running().SetDrained(r.ctx, true)
		time.Sleep(time.Hour)
		if n, led := r.changes(); n > 0 {
			t.Errorf("led one after the other %v", led)
		}
		_ = r.nodes[0].running().SetDrained(r.ctx, false)
		r.await("the preferred node leads", func() bool { return r.leader() != nil && r.leader().name == "n1" })
		if gap := r.longestGap(); gap > time.Second {
			t.Errorf("nobody had the address for %v", gap)
		}
	})
}
