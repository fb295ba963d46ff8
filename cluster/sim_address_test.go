package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// addressMutant is a fault in the fence of granted addresses that the checks of
// addressSim have to find.
type addressMutant int

const (
	fenced       addressMutant = iota
	noWait                     // a new leader doesn't wait for what the one before may have granted
	noPromise                  // a leader forgets what it granted itself
	keepsHolding               // who surrenders goes on for what is left of its lease
	noEpoch                    // what came to an address doesn't say at which epoch
)

func (m addressMutant) String() string {
	return [...]string{"fenced", "no wait by a new leader", "promises forgotten", "holding after a surrender", "no epoch with what came"}[m]
}

// addressSim is a simulated cluster whose nodes hold addresses by grant. It assigns,
// moves and surrenders them at random, much more often than a keeper does.
type addressSim struct {
	*sim
	mutant    addressMutant
	addresses []string
	holders   int           // moments at which somebody held an address
	most      atomic.Int64  // the most that did at once, addresses together
	moves     int           // changes of holder that were seen
	unheld    time.Duration // of all addresses together
	arrived   atomic.Int64  // of what came to an address, carried out
	late      atomic.Int64  // and refused: another held it by then, or the holder anew
}

// simulateAddresses runs one schedule.
func simulateAddresses(t *testing.T, seed uint64, mutant addressMutant) (*addressSim, string) {
	base := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "sealedge-sim-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	simCerts()
	var s *addressSim
	func() {
		defer func() { // see simulate
			if p := recover(); p != nil && fmt.Sprint(p) != "deadlock: main bubble goroutine has exited but blocked goroutines remain" {
				panic(p)
			}
		}()
		synctest.Test(t, func(t *testing.T) {
			s = &addressSim{sim: newSim(t, seed, healthy, dir), mutant: mutant, addresses: []string{"a1", "a2", "a3"}}
			s.run()
		})
	}()
	report := ""
	if s.failed() || os.Getenv("SIM_LOG") != "" {
		report = s.report()
	}
	return s, report
}

func (s *addressSim) run() {
	var starting sync.WaitGroup
	for _, n := range s.nodes {
		starting.Go(n.start)
	}
	starting.Wait()
	for _, n := range s.nodes {
		rng := rand.New(rand.NewPCG(s.seed, uint64(len(n.name))<<32|uint64(n.name[1])))
		s.tasks.Go(func() { s.play(n, rng) })
	}
	s.tasks.Go(s.watch)
	for began := time.Now(); s.most.Load() == 0 && time.Since(began) < 10*time.Second; {
		pause(s.ctx, 50*time.Millisecond)
	}
	s.inject()
	s.net.heal()
	for _, n := range s.nodes {
		n.disk.set(normalLatency, false, false)
	}
	for _, n := range s.nodes {
		n.start()
	}
	pause(s.ctx, 3*time.Second)
	if node := s.nodes[0].running(); node != nil {
		s.carriedOut(node)
	}
	s.stop()
	var stopping sync.WaitGroup
	for _, n := range s.nodes {
		stopping.Go(func() {
			if node := n.running(); node != nil {
				_ = node.Close()
			}
			<-n.closed()
		})
	}
	stopping.Wait()
	s.tasks.Wait()
}

// play is a keeper that never leaves well alone.
func (s *addressSim) play(n *simNode, rng *rand.Rand) {
	for pause(s.ctx, time.Duration(rng.Int64N(int64(60*time.Millisecond)))) {
		node := n.running()
		if node == nil {
			continue
		}
		name := s.addresses[rng.IntN(len(s.addresses))]
		lease := node.AddressLease(name)
		for _, other := range s.addresses {
			node.AddressLease(other)
		}
		ctx, cancel := context.WithTimeout(s.ctx, 300*time.Millisecond)
		var r *command.GatewayAddress
		node.View(func(m *state.Machine) { r = m.Address(name) })
		switch {
		case r.GetHolder() == n.name && rng.IntN(12) == 0:
			to := ""
			if rng.IntN(2) == 0 {
				to = s.names[rng.IntN(len(s.names))]
			}
			s.logf("%s surrenders %s (%d) to %q: %v", n.name, name, r.Epoch, to, s.surrender(ctx, node, lease, r, to))
		case node.IsLeader():
			s.assign(ctx, node, r, name, rng)
		}
		cancel()
		if r.GetHolder() == n.name && lease.Held() {
			s.arrive(node, r, lease.Held)
		}
	}
}

func (s *addressSim) surrender(ctx context.Context, node *Node, lease *AddressLease, r *command.GatewayAddress, to string) error {
	if s.mutant != keepsHolding {
		return lease.Surrender(ctx, to)
	}
	_, err := node.Propose(ctx, command.New("address", "", "", &command.SurrenderAddress{Name: r.Name, Node: r.Holder, Epoch: r.Epoch, To: to}))
	return err
}

// assign gives an address to whoever the dice say, as soon as it is free.
func (s *addressSim) assign(ctx context.Context, node *Node, r *command.GatewayAddress, name string, rng *rand.Rand) {
	s.sabotage(node, name)
	free, err := node.AddressFree(name)
	mine := r.GetHolder() == node.cfg.NodeName
	if err != nil || free > 0 || mine && rng.IntN(10) > 0 {
		return
	}
	living, _, _ := node.Living()
	to := living[rng.IntN(len(living))]
	got, err := node.AssignAddress(ctx, name, to, r.GetEpoch())
	if err == nil {
		s.logf("%s assigned %s (%d) to %s: %v", node.cfg.NodeName, name, got.GetEpoch(), to, got.GetGranted())
	}
}

// sabotage is what the mutants are.
func (s *addressSim) sabotage(node *Node, name string) {
	node.grants.mu.Lock()
	defer node.grants.mu.Unlock()
	switch s.mutant {
	case noWait:
		node.grants.elected = time.Time{}
	case noPromise:
		if p, ok := node.grants.promises[name]; ok {
			p.until = time.Time{}
			node.grants.promises[name] = p
		}
	}
}

// watch looks every millisecond who holds what.
func (s *addressSim) watch() {
	last := map[string]string{}
	for pause(s.ctx, time.Millisecond) {
		together := 0
		for _, name := range s.addresses {
			holder := ""
			for _, n := range s.nodes {
				node := n.running()
				if node == nil {
					continue
				}
				if !node.address(name).Held() {
					continue
				}
				if holder != "" {
					s.failf("%s and %s hold %s at the same time", holder, n.name, name)
				}
				holder = n.name
			}
			if holder == "" {
				s.unheld += time.Millisecond
				continue
			}
			together++
			s.holders++
			if holder != last[name] {
				last[name] = holder
				s.moves++
			}
		}
		s.most.Store(max(s.most.Load(), int64(together)))
	}
}

// TestAddressLeases runs schedules of faults, in which addresses are assigned,
// surrendered and lost; at no moment two nodes may hold one.
func TestAddressLeases(t *testing.T) {
	schedules := envNumber(t, "SIM_SCHEDULES", 30)
	if testing.Short() {
		schedules = 5
	}
	first := envNumber(t, "SIM_SEED", 1)
	moves, unheld, most := 0, time.Duration(0), 0
	arrived, late := int64(0), int64(0)
	limit, began := envTime(t, "SIM_TIME"), time.Now()
	for seed := first; seed < first+schedules; seed++ {
		if seed >= first+30 && time.Since(began) > limit {
			schedules = seed - first
			break
		}
		s, report := simulateAddresses(t, seed, fenced)
		if report != "" {
			t.Log(report)
		}
		if s.failed() {
			t.Fatalf("schedule %d failed; again: SIM_SEED=%d SIM_SCHEDULES=1 go test -run TestAddressLeases ./cluster", seed, seed)
		}
		moves, unheld, most = moves+s.moves, unheld+s.unheld, max(most, int(s.most.Load()))
		arrived, late = arrived+s.arrived.Load(), late+s.late.Load()
	}
	t.Logf("%d schedules, %d changes of holder, %v without one; of what came %d carried out, %d too late", schedules, moves, unheld, arrived, late)
	if most < 3 || moves < int(schedules) {
		t.Errorf("never were more than %d addresses held at once; holders changed %d times", most, moves)
	}
	if arrived < int64(schedules) || late == 0 && schedules >= 30 {
		t.Errorf("of what came to an address %d were carried out, %d too late", arrived, late)
	}
}

// TestAddressLeasesCatchMutants plants a fault in the fence.
func TestAddressLeasesCatchMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of schedules")
	}
	for _, tc := range []struct {
		mutant addressMutant
		within uint64
	}{{noWait, 60}, {noPromise, 20}, {keepsHolding, 20}, {noEpoch, 60}} {
		t.Run(tc.mutant.String(), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= tc.within; seed++ {
				if s, report := simulateAddresses(t, seed, tc.mutant); s.failed() {
					what, _, _ := strings.Cut(report, "\n\nwhat happened")
					t.Logf("caught after %d schedules: %s", seed, what)
					return
				}
			}
			t.Errorf("not caught in %d schedules", tc.within)
		})
	}
}
