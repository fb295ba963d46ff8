package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// What cables, switches and firewalls do happens to a cluster at work, one thing
// after the other in an order that is drawn, while seals are used, a phone listens
// for the gateway and an operator writes.
//
//   - An order is used as often as it permits, and not once more; the impressions
//     are counted at the barrel.
//   - What was acknowledged is on every node when the fault is over, and the nodes
//     have the same state and audit chain.
//   - The carrier hears no Delete Bearer Request and no Error Indication, and the
//     restart counter stays.
//   - In each tenure of the gateway address one machine speaks from it: the
//     switch sees who sends.
//
// With E2E_FAULTS=1h faults go on for as long, drawn from all there are, and some of
// them two at once.
func TestNetworkFaults(t *testing.T) { t.Parallel(); suffer(t, networkFaults) }

// TestMachineFaults is TestNetworkFaults for processes and disks.
func TestMachineFaults(t *testing.T) { t.Parallel(); suffer(t, machineFaults) }

func suffer(t *testing.T, faults []fault) {
	if !inWorld(t) {
		return
	}
	seed := seed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newShift(newWorld(t, seed))
	faults = slices.Clone(faults)
	rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	for _, f := range faults {
		s.endure(f)
	}
	if span := os.Getenv("E2E_FAULTS"); span != "" {
		s.goOn(must(time.ParseDuration(span)), rng)
	}
	s.end()
}

// leastFault is how long a fault lasts at least. One that hurts nobody is over with
// the work otherwise before it has begun to be one.
const leastFault = 1500 * time.Millisecond

// shift is a world at work: somebody who stamps, a phone that listens for the
// gateway all the time, and an operator who enlists one terminal after the other.
type shift struct {
	*world
	tap     *tap
	carrier *carrier.Carrier
	office  *office
	worker  *worker
	counter uint8 // the restart counter that peers see
	orders  int
	faults  int // endured
	stop    context.CancelFunc
	tasks   sync.WaitGroup

	writing  sync.Mutex // held for each write
	mu       sync.Mutex
	heard    time.Time     // when the gateway answered last; guarded by mu
	silence  time.Duration // the longest since the last look; guarded by mu
	enlisted []string      // acknowledged; guarded by mu
}

func newShift(w *world) *shift {
	w.Helper()
	s := &shift{world: w}
	w.startServer()
	s.office = w.site.office()
	s.carrier, s.tap = w.site.carrier(1)
	s.worker = w.site.worker(1, s.carrier)
	var err error
	if s.counter, err = s.carrier.Echo(w.soon()); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	s.stop = cancel
	s.tasks.Go(func() { s.listen(ctx) })
	s.tasks.Go(func() { s.enlistMore(ctx) })
	w.Cleanup(func() { cancel(); s.tasks.Wait() })
	return s
}

// listen pings the gateway through the tunnel, again and again also while it doesn't
// answer: so a holder that wakes up finds packets that wait for it.
func (s *shift) listen(ctx context.Context) {
	s.mu.Lock()
	s.heard = time.Now()
	s.mu.Unlock()
	for ctx.Err() == nil {
		soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err := s.worker.phone.Ping(soon)
		cancel()
		if err == nil {
			s.mu.Lock()
			now := time.Now()
			s.silence, s.heard = max(s.silence, now.Sub(s.heard)), now
			s.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// enlistMore writes to one node after the other, and keeps what was acknowledged.
func (s *shift) enlistMore(ctx context.Context) {
	for i := 1000; ctx.Err() == nil; i++ {
		doc, err := json.Marshal(adminapi.Terminal{IMSI: imsi(i), IMEIs: []string{handset(i)}, APNs: []string{s.apn.String()}})
		if err != nil {
			panic(err) // it is ours
		}
		s.writing.Lock()
		soon, cancel := context.WithTimeout(ctx, 2*time.Second)
		r, err := http.NewRequestWithContext(soon, http.MethodPut, "https://"+string(s.cfgs[i%len(s.cfgs)].Admin.Listen)+"/v1/terminals/"+imsi(i), bytes.NewReader(doc))
		if err != nil {
			panic(err)
		}
		answer, err := s.admin.Do(r)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode/100 == 2 {
				s.mu.Lock()
				s.enlisted = append(s.enlisted, imsi(i))
				s.mu.Unlock()
			}
		}
		cancel()
		s.writing.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// endure has a fault come, work go on in spite of it, and the fault go. Then nothing
// may have happened to anything that was promised.
func (s *shift) endure(faults ...fault) {
	s.Helper()
	holder := s.held()
	epoch, turns := s.epoch(), len(s.lan.turns())
	s.mu.Lock()
	s.silence = 0
	s.mu.Unlock()

	name := ""
	began := time.Now()
	var mends []func()
	for _, f := range faults {
		name += "; " + f.name
		mends = append(mends, f.strike(s.world, holder))
	}
	name = name[2:]
	s.stampAndBeRefused()
	struck := time.Since(began)
	for time.Since(began) < leastFault {
		s.stampAndBeRefused()
	}
	for _, mend := range mends {
		mend()
	}
	began = time.Now()
	s.allTheSame(name)
	s.until(name+": a node holds the gateway address", func() bool { return s.holder() != nil })
	s.site.ping(s.worker.phone)
	healed := time.Since(began)

	s.nothingIsLost(name)
	s.tap.noEnding()
	if is, err := s.carrier.Echo(s.soon()); err != nil || is != s.counter {
		s.Errorf("%s: the restart counter was %d and is %d: %v", name, s.counter, is, err)
	}
	s.faults += len(faults)
	now, heard := s.epoch(), s.lan.turns()[turns:]
	if most := int(now - epoch); len(heard) > most {
		s.Errorf("%s: %v spoke from the gateway address in turn, but it had only %d new holders: two spoke at once", name, heard, most)
	}
	s.mu.Lock()
	silence, enlisted := s.silence, len(s.enlisted)
	s.mu.Unlock()
	s.Logf("%s: node %d held; new holders %d, speakers %v; silence %v; stamped within %v, healed within %v; %d writes acknowledged so far; frames %s",
		name, holder+1, now-epoch, heard, silence.Round(time.Millisecond), struck.Round(time.Millisecond), healed.Round(time.Millisecond), enlisted, s.lan.fates())
	if s.Failed() {
		s.FailNow()
	}
}

// allTheSame waits, writing nothing, until the nodes agree.
func (s *shift) allTheSame(name string) {
	s.Helper()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.until(name+": all nodes have the same", s.caughtUp)
}

// stampAndBeRefused uses an order up, and asks for one more.
func (s *shift) stampAndBeRefused() {
	s.Helper()
	s.orders++
	order := s.office.Order(fmt.Sprintf("WO-FAULT-%d", s.orders), 2)
	use := s.worker.stampTwice(order, func(string) {})
	s.worker.settled(use)
	s.worker.insist("refusal", func() error {
		_, err := s.worker.app.RequestUse(s.soon(), order, s.worker.id, 1)
		if refusal(err) == http.StatusConflict || refusal(err) == http.StatusForbidden {
			return nil
		}
		if err == nil {
			s.Fatal("an order that is used up is used once more")
		}
		return err
	})
	if n, want := s.worker.barrel.Impressions(), uint64(2*s.orders); n != want {
		s.Errorf("%d impressions on paper, want %d", n, want)
	}
	var all []adminapi.Order
	s.until("the ledger answers", func() bool {
		return slices.ContainsFunc([]int{0, 1, 2}, func(n int) bool { return askAll(s.site, n, "/v1/orders", &all) == nil })
	})
	if i := slices.IndexFunc(all, func(o adminapi.Order) bool { return o.Number == order }); i < 0 || all[i].Confirmed != 2 || all[i].Reserved != 0 {
		s.Errorf("ledger: %+v", all)
	}
}

// nothingIsLost looks on every node for all that was acknowledged.
func (s *shift) nothingIsLost(name string) {
	s.Helper()
	s.mu.Lock()
	enlisted := slices.Clone(s.enlisted)
	s.mu.Unlock()
	for n := range s.nodes {
		var all []adminapi.Terminal
		s.until("node answers", func() bool { return askAll(s.site, n, "/v1/terminals", &all) == nil })
		has := map[string]bool{}
		for _, t := range all {
			has[t.IMSI] = true
		}
		for _, imsi := range enlisted {
			if !has[imsi] {
				s.Errorf("%s: node %d hasn't %s, which was acknowledged", name, n+1, imsi)
			}
		}
	}
}

// goOn has faults come for a time, drawn from all there are; every other one comes
// on top of a bad network or of slow disks.
func (s *shift) goOn(span time.Duration, rng *rand.Rand) {
	s.Helper()
	for began := time.Now(); time.Since(began) < span; {
		n := rng.IntN(len(networkFaults) + len(machineFaults))
		var faults []fault
		if n < len(networkFaults) {
			faults = []fault{slowDisks, networkFaults[n]}
		} else {
			faults = []fault{badNetwork, machineFaults[n-len(networkFaults)]}
		}
		if rng.IntN(2) == 0 || faults[0].name == faults[1].name {
			faults = faults[1:]
		}
		s.endure(faults...)
	}
}

// end ends the work and has the audit chain verified.
func (s *shift) end() {
	s.Helper()
	s.stop()
	s.tasks.Wait()
	s.until("all nodes have caught up", s.caughtUp)
	s.auditVerifies()
	s.Logf("%d faults; %d orders used up, and none of them once more; %d acknowledged writes, all there", s.faults, s.orders, len(s.enlisted))
}
