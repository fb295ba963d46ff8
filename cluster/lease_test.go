package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func voters(ids ...raft.ServerID) func() []raft.Server {
	var s []raft.Server
	for _, id := range ids {
		s = append(s, raft.Server{Suffrage: raft.Voter, ID: id})
	}
	return func() []raft.Server { return s }
}

// TestLease plays acknowledgements, each with when its message was sent and when
// it came, and asks whether the lease is held.
func TestLease(t *testing.T) {
	const ms = time.Millisecond
	type ack struct {
		from     raft.ServerID
		term     uint64
		sent, at time.Duration
	}
	type look struct {
		at   time.Duration
		term uint64
		held bool
	}
	for _, tc := range []struct {
		name   string
		voters []raft.ServerID
		acks   []ack
		looks  []look
	}{
		{"a sole voter always holds", []raft.ServerID{"a"}, nil, []look{{0, 1, true}, {time.Hour, 9, true}}},
		{"nobody answered", []raft.ServerID{"a", "b", "c"}, nil, []look{{0, 1, false}, {ms, 0, false}}},
		{
			"one of two others is a majority",
			[]raft.ServerID{"a", "b", "c"},
			[]ack{{"b", 1, 0, ms}},
			[]look{{2 * ms, 1, true}, {99 * ms, 1, true}, {100 * ms, 1, false}},
		},
		{
			"it counts from when the message was sent, not when the answer came",
			[]raft.ServerID{"a", "b", "c"},
			[]ack{{"b", 1, 0, 90 * ms}},
			[]look{{91 * ms, 1, true}, {101 * ms, 1, false}},
		},
		{
			"an answer that comes after its lease gives none",
			[]raft.ServerID{"a", "b", "c"},
			[]ack{{"b", 1, 0, 150 * ms}},
			[]look{{151 * ms, 1, false}},
		},
		{
			"two of four others are needed, and the older one counts",
			[]raft.ServerID{"a", "b", "c", "d", "e"},
			[]ack{{"b", 1, 0, ms}, {"c", 1, 50 * ms, 51 * ms}, {"d", 1, 70 * ms, 71 * ms}},
			[]look{{10 * ms, 1, false}, {52 * ms, 1, true}, {99 * ms, 1, true}, {149 * ms, 1, true}, {150 * ms, 1, false}},
		},
		{
			"one term's answers say nothing about another's",
			[]raft.ServerID{"a", "b", "c"},
			[]ack{{"b", 1, 0, ms}, {"c", 2, 10 * ms, 11 * ms}, {"b", 1, 20 * ms, 21 * ms}},
			[]look{{5 * ms, 1, true}, {5 * ms, 2, false}, {12 * ms, 1, false}, {12 * ms, 2, true}, {109 * ms, 2, true}, {110 * ms, 2, false}},
		},
		{
			"strangers and the node itself don't count",
			[]raft.ServerID{"a", "b", "c"},
			[]ack{{"x", 1, 0, ms}, {"a", 1, 0, ms}},
			[]look{{2 * ms, 1, false}},
		},
		{
			"answers that overtake each other don't shorten it",
			[]raft.ServerID{"a", "b", "c"},
			[]ack{{"b", 1, 50 * ms, 55 * ms}, {"b", 1, 0, 60 * ms}},
			[]look{{120 * ms, 1, true}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLease(100*ms, "a", func() {})
				l.attach(voters(tc.voters...))
				acks := tc.acks
				for _, look := range tc.looks {
					for len(acks) > 0 && acks[0].at <= look.at {
						a := acks[0]
						acks = acks[1:]
						time.Sleep(time.Until(l.base.Add(a.at)))
						l.acknowledged(a.from, a.term, l.base.Add(a.sent))
					}
					time.Sleep(time.Until(l.base.Add(look.at)))
					if got := l.held(look.term); got != look.held {
						t.Errorf("at %v, term %d: held %v", look.at, look.term, got)
					}
				}
			})
		})
	}
}

func TestLeaseTellsWhenItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := 0
		l := newLease(100*time.Millisecond, "a", func() { begun++ })
		l.attach(voters("a", "b", "c"))
		answer := func() { l.acknowledged("b", 1, time.Now()) }
		answer()
		time.Sleep(50 * time.Millisecond)
		answer() // prolongs it
		time.Sleep(200 * time.Millisecond)
		answer() // begins it anew
		if begun != 2 {
			t.Errorf("begun %d times, not 2", begun)
		}
	})
}
