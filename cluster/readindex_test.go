package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
)

// TestRounds plays acknowledgements, each with the last question that had been
// asked when its message was sent.
func TestRounds(t *testing.T) {
	type ack struct {
		from           raft.ServerID
		term, question uint64
	}
	for _, tc := range []struct {
		name      string
		voters    []raft.ServerID
		acks      []ack
		question  uint64
		confirmed uint64 // the term
	}{
		{"nobody answered", []raft.ServerID{"a", "b", "c"}, nil, 1, 0},
		{"one of two others is a majority", []raft.ServerID{"a", "b", "c"}, []ack{{"b", 3, 1}}, 1, 3},
		{"the message was sent before the question", []raft.ServerID{"a", "b", "c"}, []ack{{"b", 3, 1}, {"c", 3, 1}}, 2, 0},
		{"a later message says for all before", []raft.ServerID{"a", "b", "c"}, []ack{{"b", 3, 9}}, 2, 3},
		{"two of four others are needed", []raft.ServerID{"a", "b", "c", "d", "e"}, []ack{{"b", 3, 2}, {"c", 3, 1}}, 2, 0},
		{"and are enough", []raft.ServerID{"a", "b", "c", "d", "e"}, []ack{{"b", 3, 2}, {"c", 3, 1}, {"d", 3, 3}}, 2, 3},
		{"strangers and the node itself don't count", []raft.ServerID{"a", "b", "c"}, []ack{{"x", 3, 1}, {"a", 3, 1}}, 1, 0},
		{"answers that overtake each other", []raft.ServerID{"a", "b", "c"}, []ack{{"b", 3, 2}, {"b", 3, 1}}, 2, 3},
		{"terms are not added up", []raft.ServerID{"a", "b", "c", "d", "e"}, []ack{{"b", 3, 1}, {"c", 4, 1}}, 1, 0},
		{"a later term needs a majority of its own", []raft.ServerID{"a", "b", "c", "d", "e"}, []ack{{"b", 3, 1}, {"c", 3, 1}, {"b", 4, 1}}, 1, 0},
		{"an older term's come too late", []raft.ServerID{"a", "b", "c"}, []ack{{"b", 4, 1}, {"c", 3, 2}}, 2, 0},
		{"alone there is nobody to ask", []raft.ServerID{"a"}, []ack{{"b", 3, 1}}, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRounds("a", voters(tc.voters...))
			for _, a := range tc.acks {
				r.acknowledged(a.from, a.term, a.question)
			}
			if got := r.confirmedIn(tc.question); got != tc.confirmed {
				t.Errorf("confirmed in term %d, not %d", got, tc.confirmed)
			}
		})
	}
}

// TestQuestionsWaitForTheDisk asks without pause, of a leader whose disk stands still
// for a while, and of which each question is answered at once: Raft's own heartbeats go
// on. It must not be asked to verify its leadership more often than it has room for.
func TestQuestionsWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watchedStore{store: &sickStore{takes: 10 * time.Second}, limit: time.Minute, fatal: func(err error) { t.Error(err) }}
		r := newRounds("a", voters("a", "b", "c"))
		done := make(chan struct{})
		sent := 0
		var tasks sync.WaitGroup
		tasks.Go(func() { r.put(done, 20*time.Millisecond, func() { sent++ }, w.stands) })
		ask := func() {
			for range 1000 {
				q := r.ask()
				time.Sleep(time.Millisecond)
				r.acknowledged("b", 3, q)
			}
			synctest.Wait()
		}
		ask()
		if sent != 1000 {
			t.Errorf("%d of 1000 rounds were sent while nothing was written", sent)
		}
		sent = 0
		tasks.Go(func() { _ = w.StoreLogs(nil) })
		synctest.Wait()
		ask()
		if sent > 25 {
			t.Errorf("%d rounds wait for a disk that stands", sent)
		}
		time.Sleep(10 * time.Second)
		sent = 0
		ask()
		if sent != 1000 {
			t.Errorf("%d of 1000 rounds were sent after it", sent)
		}
		close(done)
		tasks.Wait()
	})
}

// TestCommits looks for the last command below a commit index, in logs in which a
// letter is an entry: c a command, b one of Raft's own, - one that is gone.
func TestCommits(t *testing.T) {
	for _, tc := range []struct {
		name, log     string
		commit, term  uint64
		applied, want uint64 // want 0: the log has to tell
	}{
		{"a command", "ccc", 2, 1, 0, 2},
		{"after a command", "ccbbb", 5, 1, 0, 2},
		{"applied already", "ccbcb", 3, 1, 4, 4},
		{"the rest is in a snapshot", "---bb", 5, 1, 2, 2},
		{"all of it", "-----", 5, 1, 5, 0},
		{"of an earlier term", "ccc", 3, 2, 3, 0},
		{"nothing", "", 0, 1, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs := raft.NewInmemStore()
			for i, kind := range tc.log {
				l := &raft.Log{Index: uint64(i) + 1, Term: 1, Type: raft.LogCommand}
				if kind == 'b' {
					l.Type = raft.LogBarrier
				}
				if err := logs.StoreLog(l); err != nil {
					t.Fatal(err)
				}
				if kind == '-' {
					if err := logs.DeleteRange(l.Index, l.Index); err != nil {
						t.Fatal(err)
					}
				}
			}
			var c commits
			var applied atomic.Uint64
			applied.Store(tc.applied)
			for range 2 { // the second time it knows
				got, err := c.upTo(tc.commit, tc.term, logs, &applied)
				if got != tc.want || (err != nil) != (tc.want == 0) {
					t.Errorf("index %d, error %v", got, err)
				}
			}
		})
	}
}

// TestReadIndexMakesReadsLinearizable also watches the log: nothing is written.
func TestReadIndexMakesReadsLinearizable(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := newTestCluster(t, size)
			for i := range 50 {
				imsi := fmt.Sprintf("00101%010d", i)
				mustPropose(t, c.leader(), put(imsi, ""))
				for name, n := range c.nodes {
					insist(t, func() error { return n.ReadIndex(t.Context()) })
					if times(n, imsi) != 1 {
						t.Fatalf("after a read index %s doesn't see write %d", name, i)
					}
				}
			}
			n := c.leader()
			term, last := n.raft.CurrentTerm(), n.raft.LastIndex()
			for range 100 {
				insist(t, func() error { return n.ReadIndex(t.Context()) })
			}
			if grown := n.raft.LastIndex() - last; grown >= 100 && n.raft.CurrentTerm() == term { // nodes write a little by themselves
				t.Errorf("100 reads put %d entries into the log", grown)
			}
		})
	}
}

func TestReadIndexWithoutQuorum(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) { cfg.ApplyTimeout = cfg.ApplyTimeout / 20 })
	n := c.leader()
	c.net.isolate(n.cfg.NodeName, c.names...)
	if err := n.ReadIndex(t.Context()); !errors.Is(err, command.ErrNoQuorum) {
		t.Errorf("a leader that nobody hears answers %v", err)
	}
	c.net.heal()
	insist(t, func() error { return n.ReadIndex(context.Background()) })
}
