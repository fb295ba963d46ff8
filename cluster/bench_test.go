package cluster

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
)

// BenchmarkPropose measures commands carried out, from the leader and, with three
// nodes, from a follower, with a number of callers that each wait for their
// answer.
func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{1, 3} {
		for _, from := range []string{"leader", "follower"} {
			if size == 1 && from == "follower" {
				continue
			}
			for _, callers := range []int{1, 16, 256} {
				b.Run(fmt.Sprintf("nodes=%d/from=%s/outstanding=%d", size, from, callers), func(b *testing.B) {
					c := newTestCluster(b, size)
					n := c.leader()
					if from == "follower" {
						n = c.follower()
					}
					proposeMany(b, n, callers)
				})
			}
		}
	}
}

func proposeMany(b *testing.B, n *Node, callers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				// As large as most commands, and with a request id like them.
				cmd := command.New("bench", strconv.FormatInt(i, 10), "bench", &command.RecordDecision{
					Kind: "admit", Subject: "001010000000001", Allowed: true, Reasons: []string{"subscriber is active", "handset is bound"},
				})
				if _, err := n.Propose(context.Background(), cmd); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
}

// BenchmarkRead measures linearizable reads, by a read index and, for comparison,
// through the log.
func BenchmarkRead(b *testing.B) {
	ways := map[string]func(*Node, context.Context) error{"ReadIndex": (*Node).ReadIndex, "Barrier": (*Node).Barrier}
	for _, way := range []string{"ReadIndex", "Barrier"} {
		for _, from := range []string{"leader", "follower"} {
			for _, callers := range []int{1, 16, 256} {
				b.Run(fmt.Sprintf("way=%s/from=%s/outstanding=%d", way, from, callers), func(b *testing.B) {
					c := newTestCluster(b, 3)
					n := c.leader()
					if from == "follower" {
						n = c.follower()
					}
					insist(b, func() error { return n.Barrier(b.Context()) })
					var left atomic.Int64
					left.Store(int64(b.N))
					var wg sync.WaitGroup
					b.ResetTimer()
					for range callers {
						wg.Go(func() {
							for left.Add(-1) >= 0 {
								if err := ways[way](n, b.Context()); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
				})
			}
		}
	}
}

// BenchmarkHolds is asked for every batch of packets.
func BenchmarkHolds(b *testing.B) {
	n := newTestCluster(b, 3).leader()
	for b.Loop() {
		n.Holds()
	}
}
