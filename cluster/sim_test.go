package cluster

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
)

// mutant is a fault in the product, or in its surroundings, that the checks of
// the simulation have to find.
type mutant int

const (
	healthy      mutant = iota
	dedupOff            // each attempt at a request counts as one of its own
	localCounter        // nodes count uses for themselves
	staleReads          // reads don't wait for anything
	verifyLeader        // reads trust raft's VerifyLeader
	lyingDisk           // what was synced isn't
	longLease           // one node's lease is longer than the others wait before they elect
	ownClock            // leaders stamp with their own clock, whatever the others' say
)

func (m mutant) String() string {
	return [...]string{"healthy", "de-duplication off", "local counter", "stale reads", "VerifyLeader reads", "lying disk", "long lease", "own clock"}[m]
}

// outcome of one schedule.
type simOutcome struct {
	wrong     bool
	report    string
	undecided bool // the history took too long to judge
	ops       int
	faults    map[string]int // by kind
	lasted    time.Duration  // in the bubble
}

// simulate runs one schedule.
func simulate(t *testing.T, seed uint64, mut mutant) (out simOutcome) {
	base := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm" // schedules are many, and what they sync is simulated anyhow
	}
	dir, err := os.MkdirTemp(base, "sealedge-sim-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	simCerts()
	var s *sim
	func() {
		defer func() {
			// A process that ends leaves requests in Raft's queue that nobody will
			// ever answer, and a goroutine that waits for them: see Node.settle.
			if p := recover(); p != nil && fmt.Sprint(p) != "deadlock: main bubble goroutine has exited but blocked goroutines remain" {
				panic(p)
			}
		}()
		synctest.Test(t, func(t *testing.T) {
			s = newSim(t, seed, mut, dir)
			s.run()
			out.lasted = time.Since(s.began)
		})
	}()
	result, err := s.check.judge()
	if err != nil {
		s.failf("%v", err)
	}
	out.faults = s.faults
	out.wrong, out.undecided, out.ops = s.failed(), result == porcupine.Unknown, len(s.check.ops)
	if out.wrong || os.Getenv("SIM_LOG") != "" {
		out.report = s.report()
	}
	return out
}

// envNumber reads a number from the environment.
func envNumber(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// envTime reads a span of time from the environment; without it there is no end to it.
func envTime(t *testing.T, name string) time.Duration {
	text := os.Getenv(name)
	if text == "" {
		return time.Duration(1<<63 - 1)
	}
	span, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return span
}

// TestSimulation runs schedules of faults. A schedule is a cluster of its own, of
// three nodes or (one in eight) five, with empty disks, in about six seconds of
// its own time. The nodes begin it, three terminals with their barrels reserve,
// stamp and settle uses of two or three orders, attach and detach, sometimes a court
// ends an order, readers look, and a tenth of all requests are sent twice; about
// two hundred of these operations are judged. Meanwhile, for four seconds, about
// nine faults are injected, one every half second on average, each lasting for
// 0.05 s and an exponentially distributed time of 0.6 s more, so that they
// overlap: see plan. Then all is mended, everything must work again within ten
// seconds, and be right. One schedule in tlsEvery has TLS.
//
// Without anything said it takes a few seconds; in the environment:
//
//	SIM_SCHEDULES=10000   how many
//	SIM_TIME=30m          or for how long
//	SIM_SEED=17           this seed alone, or as many from it as said; a failure names its own
//	SIM_FIRST=1000        from this seed on
//	SIM_RUNS=20           how often each seed is run
//	SIM_LOG=1             log what happened in those that went well, too
func TestSimulation(t *testing.T) {
	schedules := uint64(200)
	if testing.Short() {
		schedules = 10
	}
	first := envNumber(t, "SIM_SEED", envNumber(t, "SIM_FIRST", 1))
	runs := envNumber(t, "SIM_RUNS", 1)
	if os.Getenv("SIM_SEED") != "" {
		schedules = 1
	}
	limit := envTime(t, "SIM_TIME")
	if os.Getenv("SIM_TIME") != "" {
		schedules = 1 << 62
	}
	schedules = envNumber(t, "SIM_SCHEDULES", schedules)
	// Schedules leave much garbage and little else: what waits for ever in a process that
	// ended, see Node.settle, some half a megabyte each.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(8 << 30))
	began := time.Now()
	var next, ran, undecided, ops, lasted atomic.Uint64
	var faultsMu sync.Mutex
	faults := map[string]int{}
	t.Run("schedules", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for {
					n := next.Add(1) - 1
					if n >= schedules*runs || time.Since(began) > limit {
						return
					}
					seed := first + n/runs
					out := simulate(t, seed, healthy)
					ran.Add(1)
					ops.Add(uint64(out.ops))
					lasted.Add(uint64(out.lasted))
					faultsMu.Lock()
					for kind, n := range out.faults {
						faults[kind] += n
					}
					faultsMu.Unlock()
					if out.undecided {
						undecided.Add(1)
					}
					if out.report != "" {
						t.Log(out.report)
					}
					if out.wrong {
						t.Errorf("schedule %d failed; again: SIM_SEED=%d SIM_RUNS=20 go test -run TestSimulation ./cluster", seed, seed)
						return
					}
				}
			})
		}
	})
	took := time.Since(began)
	all, kinds := 0, ""
	for _, kind := range slices.Sorted(maps.Keys(faults)) {
		all += faults[kind]
		kinds += fmt.Sprintf("\n%8d  %s", faults[kind], kind)
	}
	t.Logf("%d schedules of %v of simulated time with %d faults and %d operations on orders in %v (%.0f schedules/min); %d histories undecided; faults:%s",
		ran.Load(), (time.Duration(lasted.Load()) / time.Duration(max(ran.Load(), 1))).Round(time.Millisecond), all, ops.Load(), took.Round(time.Millisecond), float64(ran.Load())/took.Minutes(), undecided.Load(), kinds)
}
