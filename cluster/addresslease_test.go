package cluster

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
)

// TestAddressLeaseOfTheHolder plays answers to a holder's requests, and asks what
// it takes itself for.
func TestAddressLeaseOfTheHolder(t *testing.T) {
	const ms = time.Millisecond
	type answer struct {
		epoch    uint64
		sent, at time.Duration
	}
	for _, tc := range []struct {
		name    string
		answers []answer
		forbid  uint64 // at 50 ms; 0: nothing
		held    map[time.Duration]bool
	}{
		{"nothing was granted", nil, 0, map[time.Duration]bool{0: false, 100 * ms: false}},
		{"until the request and the lease", []answer{{7, 0, ms}}, 0, map[time.Duration]bool{2 * ms: true, 799 * ms: true, 800 * ms: false}},
		{"not until the answer and the lease", []answer{{7, 0, 190 * ms}}, 0, map[time.Duration]bool{189 * ms: false, 191 * ms: true, 799 * ms: true, 800 * ms: false}},
		{"an answer that comes when it is over gives nothing", []answer{{7, 0, 900 * ms}}, 0, map[time.Duration]bool{901 * ms: false}},
		{"answers that overtake each other", []answer{{7, 20 * ms, 30 * ms}, {7, 0, 40 * ms}}, 0, map[time.Duration]bool{819 * ms: true, 820 * ms: false}},
		{"an answer about another epoch", []answer{{6, 0, ms}, {8, 0, ms}}, 0, map[time.Duration]bool{2 * ms: false}},
		{"given up, and answered after that", []answer{{7, 0, ms}, {7, 45 * ms, 60 * ms}}, 7, map[time.Duration]bool{49 * ms: true, 51 * ms: false, 61 * ms: false}},
		{"an earlier epoch was given up", []answer{{7, 0, ms}}, 6, map[time.Duration]bool{51 * ms: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &Node{cfg: Config{AddressLease: 800 * ms}, lease: newLease(100*ms, "a", func() {})}
				a := &AddressLease{node: n, name: "gw"}
				a.until.Store(math.MinInt64)
				a.await(7)
				began := time.Now()
				for now := time.Duration(0); now < time.Second; now += ms {
					for _, answer := range tc.answers {
						if answer.at == now {
							a.extend(answer.epoch, began.Add(answer.sent))
						}
					}
					if tc.forbid != 0 && now == 50*ms {
						a.forbid(tc.forbid)
					}
					if want, asked := tc.held[now]; asked && a.Held() != want {
						t.Errorf("at %v: held %v", now, !want)
					}
					time.Sleep(ms)
				}
			})
		})
	}
}

// quiet runs a simulated cluster without faults.
func quiet(t *testing.T, do func(s *sim)) {
	t.Helper()
	simCerts()
	dir := t.TempDir()
	defer func() { // see simulate
		if p := recover(); p != nil && p != "deadlock: main bubble goroutine has exited but blocked goroutines remain" {
			panic(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, healthy, dir)
		s.nodes = s.nodes[:3]
		var tasks sync.WaitGroup
		for _, n := range s.nodes {
			tasks.Go(n.start)
		}
		tasks.Wait()
		s.until(t, "newer commands may be used", func() bool { return s.level() == command.Level })
		do(s)
		s.stop()
		for _, n := range s.nodes {
			tasks.Go(func() {
				if node := n.running(); node != nil {
					_ = node.Close()
				}
				<-n.closed()
			})
		}
		tasks.Wait()
		s.tasks.Wait()
		if s.failed() {
			t.Error(s.report())
		}
	})
	_ = os.RemoveAll(dir)
}

// until waits for ok, in the bubble's time.
func (s *sim) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("it didn't happen: %s\n%s", what, s.report())
		}
	}
}

// spread has each node hold an address: the leader "a0", led, the others "a1" and
// "a2", granted.
func (s *sim) spread(t *testing.T) (leader *simNode, followers []*simNode) {
	t.Helper()
	s.until(t, "a leader", func() bool {
		leader = s.leader()
		if leader == nil {
			return false
		}
		_, open := leader.running().leadsIn()
		_, _, all := leader.running().Living()
		return open && all
	})
	for _, n := range s.nodes {
		for _, name := range []string{"a0", "a1", "a2"} {
			n.running().AddressLease(name)
		}
		if n != leader {
			followers = append(followers, n)
		}
	}
	time.Sleep(100 * time.Millisecond) // what was theirs before they began is forgotten
	for i, n := range append([]*simNode{leader}, followers...) {
		name := []string{"a0", "a1", "a2"}[i]
		if _, err := leader.running().AssignAddress(s.ctx, name, n.name, 0); err != nil {
			t.Fatal(err)
		}
		s.until(t, n.name+" holds "+name, n.running().AddressLease(name).Held)
	}
	return leader, followers
}

// without counts for how long an address isn't held by a node.
func (s *sim) without(n *simNode, name string, while func()) (gap time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, time.Millisecond) {
			if !n.running().address(name).Held() {
				gap += time.Millisecond
			}
		}
	}()
	while()
	cancel()
	<-done
	return gap
}

// A leader that dies takes nothing but its own address along, and that is free as
// soon as there is another.
func TestOtherAddressesOutlastTheLeader(t *testing.T) {
	quiet(t, func(s *sim) {
		leader, followers := s.spread(t)
		var next *simNode
		gap := s.without(followers[0], "a1", func() {
			gap := s.without(followers[1], "a2", func() {
				leader.crash("test", true, nil)
				s.until(t, "another leader that knows", func() bool {
					if next = s.leader(); next == nil {
						return false
					}
					_, open := next.running().leadsIn()
					return open
				})
				if free, err := next.running().AddressFree("a0"); err != nil || free != 0 {
					t.Errorf("the address of the leader before: %v, %v", free, err)
				}
				if free, _ := next.running().AddressFree("a1"); free == 0 && next != followers[0] {
					t.Error("an address that another may hold is free")
				}
				time.Sleep(2 * time.Second)
			})
			if gap > 0 {
				t.Errorf("a2 was not held for %v", gap)
			}
		})
		if gap > 0 {
			t.Errorf("a1 was not held for %v", gap)
		}
	})
}

// An address whose holder died is free when its lease has expired, and not before.
func TestAddressOfADeadHolder(t *testing.T) {
	quiet(t, func(s *sim) {
		leader, followers := s.spread(t)
		n := leader.running()
		time.Sleep(time.Second)
		if _, err := n.AssignAddress(s.ctx, "a1", leader.name, 1); !errors.Is(err, ErrAddressLeased) {
			t.Errorf("assigned though it is held: %v", err)
		}
		followers[0].crash("test", true, nil)
		died := time.Now()
		s.until(t, "it is free", func() bool { free, err := n.AddressFree("a1"); return err == nil && free == 0 })
		length := n.cfg.AddressLease
		if after := time.Since(died); after < length*7/8 || after > promised(length)+20*time.Millisecond {
			t.Errorf("free %v after its holder's death", after)
		}
		r, err := n.AssignAddress(s.ctx, "a1", followers[1].name, 1)
		if err != nil || !r.Granted {
			t.Fatal(r, err)
		}
		s.until(t, "the other holds it", followers[1].running().AddressLease("a1").Held)
		if !followers[1].running().AddressLease("a2").Held() || !n.AddressLease("a0").Held() {
			t.Error("somebody else lost an address")
		}
	})
}

// A holder that was just named is given the time of a lease to ask for one, though
// the leader was elected long ago.
func TestNewHolderIsGivenTime(t *testing.T) {
	quiet(t, func(s *sim) {
		leader, followers := s.spread(t)
		n, other := leader.running(), followers[1]
		time.Sleep(10 * time.Second)
		other.crash("test", true, nil) // holds a2
		if err := followers[0].running().AddressLease("a1").Surrender(s.ctx, other.name); err != nil {
			t.Fatal(err)
		}
		s.until(t, "it is surrendered", func() bool { return n.addressRecord("a1").Epoch == 2 })
		if free, err := n.AddressFree("a1"); err != nil || free < n.cfg.AddressLease {
			t.Errorf("free in %v (%v)", free, err)
		}
		time.Sleep(promised(n.cfg.AddressLease))
		if free, err := n.AddressFree("a1"); err != nil || free != 0 {
			t.Errorf("free in %v (%v), though its holder never asked", free, err)
		}
	})
}

// Between the decision to give an address to another and the entry that does it,
// its holder may come back.
func TestEpochThatIsGivenAwayIsNotGranted(t *testing.T) {
	quiet(t, func(s *sim) {
		leader, followers := s.spread(t)
		n, late := leader.running(), followers[0]
		from := late.running().id
		late.crash("test", true, nil)
		s.until(t, "it is free", func() bool { free, _ := n.AddressFree("a1"); return free == 0 })
		term, _ := n.leadsIn()
		assign := &command.AssignAddress{Name: "a1", Node: followers[1].name, Epoch: 1, Term: term, Granted: true}
		ask := renewalRequest{"a1", 1, n.cfg.AddressLease, from}
		if err := n.grant(ask); err != nil {
			t.Fatalf("nothing was decided: %v", err)
		}
		if err := n.mayAppend(assign); !errors.Is(err, ErrAddressLeased) {
			t.Fatalf("its holder is back: %v", err)
		}
		time.Sleep(promised(n.cfg.AddressLease))
		if err := n.mayAppend(assign); err != nil {
			t.Fatal(err)
		}
		if err := n.grant(ask); !errors.Is(err, errClosedEpoch) {
			t.Errorf("granted what is given away: %v", err)
		}
	})
}

// What a leader holds by its own grant ends before it becomes led: as a led one, it
// may be taken over at once.
func TestLedInsteadOfGranted(t *testing.T) {
	quiet(t, func(s *sim) {
		leader, followers := s.spread(t)
		if err := followers[0].running().AddressLease("a1").Surrender(s.ctx, leader.name); err != nil {
			t.Fatal(err)
		}
		n := leader.running()
		lease := n.AddressLease("a1")
		s.until(t, "the leader has it granted", lease.Held)
		r := n.addressRecord("a1")
		if !r.Granted || r.Epoch != 2 {
			t.Fatal(r)
		}
		tenures := lease.Tenures()
		if epoch := <-tenures; epoch != 2 {
			t.Errorf("epoch %d", epoch)
		}
		if err := n.mayAppend(&command.AcquireAddress{Name: "a1", Node: leader.name, Epoch: 2}); err != nil {
			t.Fatal(err)
		}
		if lease.Held() {
			t.Error("the granted lease goes on")
		}
		if r, err := n.AssignAddress(s.ctx, "a1", leader.name, 2); err != nil || r.Granted || r.Epoch != 3 {
			t.Fatal(r, err)
		}
		s.until(t, "the leader holds it again", lease.Held)
		if epoch := <-tenures; epoch != 3 {
			t.Errorf("epoch %d after 2: the address went down", epoch)
		}
	})
}

// A process takes no lease of an epoch from before it began.
func TestNoLeaseFromALifeBefore(t *testing.T) {
	quiet(t, func(s *sim) {
		leader, followers := s.spread(t)
		n := followers[0]
		n.crash("test", false, nil)
		n.start()
		lease := n.running().AddressLease("a1")
		s.until(t, "its address is free", func() bool {
			if lease.Held() {
				t.Error("held in a life after")
			}
			free, err := leader.running().AddressFree("a1")
			return err == nil && free == 0
		})
		if _, err := leader.running().AssignAddress(s.ctx, "a1", n.name, 1); err != nil {
			t.Fatal(err)
		}
		s.until(t, "it holds the address in another epoch", lease.Held)
	})
}

// Who isn't entitled to a lease gets none, and leaves no promise.
func TestGrantIsRefused(t *testing.T) {
	quiet(t, func(s *sim) {
		leader, followers := s.spread(t)
		n, follower := leader.running(), followers[0].running()
		length := n.cfg.AddressLease
		for _, tc := range []struct {
			name string
			ask  renewalRequest
			of   *Node
			want error
		}{
			{"another length", renewalRequest{"a1", 1, length / 2, follower.id}, n, errOtherLength},
			{"a stranger", renewalRequest{"a1", 1, length, raft.ServerID(followers[0].name + "~0")}, n, errStranger},
			{"not the holder", renewalRequest{"a2", 1, length, follower.id}, n, errNotHolder},
			{"another epoch", renewalRequest{"a1", 2, length, follower.id}, n, errNotHolder},
			{"a led address", renewalRequest{"a0", 1, length, n.id}, n, errNotHolder},
			{"an unknown address", renewalRequest{"a9", 1, length, follower.id}, n, errNotHolder},
			{"who doesn't lead", renewalRequest{"a1", 1, length, follower.id}, followers[1].running(), errNoLease},
		} {
			if err := tc.of.grant(tc.ask); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v, not %v", tc.name, err, tc.want)
			}
		}
		if a := n.serveRenewal(followers[1].name, renewalRequest{"a1", 1, length, follower.id}.frame(1).body); !errors.Is(a.err, errStranger) {
			t.Errorf("in another's name: %v", a.err)
		}
	})
}

func FuzzRenewal(f *testing.F) {
	f.Add(renewalRequest{"gw1", 7, time.Second, "n1-0a"}.frame(1).body)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeRenewal(body)
		if err != nil {
			return
		}
		if again := r.frame(1).body; !slices.Equal(again, body) {
			t.Errorf("%x reads as %v, which is %x", body, r, again)
		}
	})
}

func TestRenewalCutShort(t *testing.T) {
	body := renewalRequest{"gw1", 7, time.Second, "n1"}.frame(1).body
	for i := range len(body) - len("n1") {
		if r, err := decodeRenewal(body[:i]); err == nil {
			t.Errorf("%d bytes read as %v", i, r)
		}
	}
}
