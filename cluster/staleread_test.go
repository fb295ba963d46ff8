package cluster

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// TestStaleRead is the experiment that tells ways to read apart. The answers of
// both followers are held up on their way to the leader, one's longer than the
// other's; then the leader's messages reach nobody any more. While the answers
// that are under way still come in, it believes that it leads; the others elect,
// and have a write carried out. Whoever reads at the old leader after that must see
// the write or be refused.
//
// Raft's VerifyLeader fails it: an answer to what was sent before the write serves
// it for a proof. It stands here as the mutant that shows that the experiment can
// tell.
func TestStaleRead(t *testing.T) {
	ways := map[string]func(context.Context, *Node) error{
		"VerifyLeader": func(_ context.Context, n *Node) error { return n.raft.VerifyLeader().Error() },
		"ReadIndex":    func(ctx context.Context, n *Node) error { return n.ReadIndex(ctx) },
		"leadRead":     func(ctx context.Context, n *Node) error { return n.leadRead(ctx).err },
		"Barrier":      func(ctx context.Context, n *Node) error { return n.Barrier(ctx) },
	}
	stale, said := map[string]int{}, map[string]int{}
	const enough = 5
	for seed := uint64(0); seed < 200 && stale["VerifyLeader"] < enough; seed++ {
		staleReadRound(t, seed, func(old *Node, written func() bool) {
			type verdict struct {
				way        string
				err        error
				sawTheLast bool
			}
			verdicts := make(chan verdict)
			for way, ask := range ways {
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					defer cancel()
					err := ask(ctx, old)
					verdicts <- verdict{way, err, written()}
				}()
			}
			for range ways {
				v := <-verdicts
				said[v.way]++
				if v.err == nil && !v.sawTheLast {
					stale[v.way]++
				}
			}
		})
	}
	t.Logf("answers that missed an acknowledged write: %v; asked: %v", stale, said)
	if stale["VerifyLeader"] < enough {
		t.Error("the experiment shows nothing: VerifyLeader all but passes it")
	}
	delete(stale, "VerifyLeader")
	if len(stale) > 0 {
		t.Errorf("stale answers: %v", stale)
	}
}

// staleReadRound brings the situation about and has probe look at it: old takes
// itself for the leader, and written tells whether it shows a write that another
// had carried out. Elections being what they are, it may not come to it.
func staleReadRound(t *testing.T, seed uint64, probe func(old *Node, written func() bool)) {
	const heartbeat = time.Second
	dir := t.TempDir()
	inBubble(t, func(t *testing.T) {
		s := newSim(t, seed, healthy, dir)
		defer s.shutDown()
		for _, n := range s.nodes {
			n.cfg.HeartbeatTimeout, n.cfg.LeaderLease, n.cfg.ApplyTimeout = heartbeat, heartbeat-50*time.Millisecond, 10*time.Second
			n.start()
		}
		var old *simNode
		for old == nil {
			time.Sleep(10 * time.Millisecond)
			old = s.leader()
		}
		others, heldUp := []*simNode{}, map[string]time.Duration{}
		for _, n := range s.nodes {
			if n != old {
				heldUp[n.name] = heartbeat * time.Duration(9+8*len(others)) / 10
				others = append(others, n)
			}
		}
		time.Sleep(2 * heartbeat)
		if s.leader() != old {
			return
		}
		s.net.change(func(pair [2]string, l *simLink) {
			if pair[1] == old.name {
				l.delay = heldUp[pair[0]]
			}
		})
		time.Sleep(heartbeat / 5) // every stream has its question under way
		s.net.change(func(pair [2]string, l *simLink) { l.cut = l.cut || pair[0] == old.name })

		write := put("001010000000001", fmt.Sprint("write ", seed))
		for old.running().IsLeader() {
			for _, n := range others {
				ctx, cancel := context.WithTimeout(s.ctx, heartbeat/50)
				r, err := (*command.Result)(nil), error(nil)
				if n.running().Holds() {
					r, err = n.running().Propose(ctx, write)
				}
				cancel()
				if err == nil && r.GetCode() == command.Code_OK {
					probe(old.running(), func() (seen bool) {
						old.running().View(func(m *state.Machine) { seen = m.Subscriber("001010000000001") != nil })
						return seen
					})
					return
				}
			}
			time.Sleep(heartbeat / 100)
		}
	})
}

// shutDown ends a schedule that was not run.
func (s *sim) shutDown() {
	s.net.heal()
	s.stop()
	for _, n := range s.nodes {
		if node := n.running(); node != nil {
			_ = node.Close()
		}
	}
	s.tasks.Wait()
}

// inBubble runs a test in a bubble of testing/synctest. A process that ends leaves
// requests in Raft's queue that nobody will ever answer, and a goroutine that waits
// for them: see Node.settle.
func inBubble(t *testing.T, run func(*testing.T)) {
	defer func() {
		if p := recover(); p != nil && fmt.Sprint(p) != "deadlock: main bubble goroutine has exited but blocked goroutines remain" {
			panic(p)
		}
	}()
	synctest.Test(t, run)
}
