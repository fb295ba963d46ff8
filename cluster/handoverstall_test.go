package cluster

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// stalledHandover has the leader try to hand over while the others' disks stand, and lose
// the leadership meanwhile, and returns when it leads again.
func stalledHandover(t *testing.T, s *sim, try func(n *Node, to *simNode)) *Node {
	t.Helper()
	const stands = 400 * time.Millisecond // Config.DiskStall is longer, Config.ElectionTimeout shorter
	var old *simNode
	s.until(t, "a leader holds", func() bool { old = s.leader(); return old != nil && old.running().Holds() })
	var first *simNode
	for _, n := range s.nodes {
		if n != old {
			n.disk.set(stands, false, false)
			if first == nil {
				first = n
			}
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	s.tasks.Go(func() { _, _ = old.running().Propose(ctx, put("001010000000001", "")) })
	synctest.Wait() // replication waits for the disks
	s.tasks.Go(func() { try(old.running(), first) })
	time.Sleep(3 * stands / 4)
	s.net.change(func(pair [2]string, l *simLink) { l.cut = pair[0] == old.name || pair[1] == old.name })
	s.until(t, "it leads no more", func() bool { return !old.running().IsLeader() })
	s.net.heal()
	for _, n := range s.nodes {
		n.disk.set(normalLatency, false, false)
	}
	s.until(t, "it leads again", func() bool {
		if l := s.leader(); l != nil && l != old && l.running().Holds() {
			_ = l.running().HandOver(s.ctx, old.name)
		}
		return old.running().IsLeader()
	})
	return old.running()
}

// TestStalledHandovers: attempts to hand over that lead to nothing, as replication
// stands, don't have Raft take itself for handing over when this node leads again.
func TestStalledHandovers(t *testing.T) {
	t.Parallel()
	for range 10 { // which of two ways replication ends is chance
		quiet(t, func(s *sim) {
			n := stalledHandover(t, s, func(n *Node, to *simNode) {
				for range 3 {
					_ = n.HandOver(s.ctx, to.name)
				}
			})
			s.until(t, "the leader serves", func() bool { return !n.IsLeader() || n.Barrier(s.ctx) == nil })
		})
	}
}

// TestEndlessHandover: a Raft that does so nevertheless ends the process.
func TestEndlessHandover(t *testing.T) {
	t.Parallel()
	simCerts()
	for round := 0; ; round++ {
		serves, ends := false, false
		inBubble(t, func(t *testing.T) {
			s := newSim(t, 1, healthy, t.TempDir())
			defer s.shutDown()
			for _, n := range s.nodes {
				n.start()
			}
			n := stalledHandover(t, s, func(n *Node, to *simNode) {
				for range 20 { // not by way of HandOver, which would refuse
					n.handovers.begin(n.raft.CurrentTerm(), "")
					n.handovers.told("")
					err := n.raft.LeadershipTransferToServer(to.running().id, raft.ServerAddress(to.running().id)).Error()
					n.handovers.end("", err)
					time.Sleep(10 * time.Millisecond)
				}
			})
			time.Sleep(lateTransfer)
			s.until(t, "the leader serves or ends", func() bool {
				serves = n.Barrier(s.ctx) == nil
				ends = n.ctx.Err() != nil
				return serves || ends
			})
			if said := strings.Join(s.wrong, "\n"); ends && !strings.Contains(said, errEndless.Error()) {
				t.Errorf("it ended for another reason: %s", said)
			}
		})
		if ends || t.Failed() {
			return
		}
		if round == 50 { // which of two ways replication ends is chance
			t.Fatal("Raft goes on handing over never")
		}
	}
}
