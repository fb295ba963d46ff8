package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestRetire(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		size      int
		addresses []string
		going     []string
		set       func(f *fakeCluster)
		want      string
	}{
		{name: "the leader goes, and another", size: 5, going: []string{"n3", "n4"}, want: "drain n3, drain n4, n2 leads, remove n3, remove n4"},
		{name: "three to one", size: 3, going: []string{"n1", "n2"}, want: "drain n1, drain n2, n0 leads, remove n1, remove n2"},
		{
			name: "nobody is removed who holds an address", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3", "n4"},
			want: "drain n3, drain n4, n2 leads, n2 has gw1, n2 has gw2, remove n3, remove n4",
		},
		{
			name: "the only address goes with the leadership", size: 5, addresses: []string{"gw"}, going: []string{"n3", "n4"},
			want: "drain n3, drain n4, n2 leads, n2 has gw, remove n3, remove n4",
		},
		{
			name: "a node that is dead has what it has until it is taken over", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3"},
			set: func(f *fakeCluster) { f.silent = []string{"n3"} }, want: "n4 has gw2, remove n3",
		},
		{
			name: "who is drained already isn't asked again", size: 5, going: []string{"n3", "n4"},
			set: func(f *fakeCluster) { f.drained = []string{"n3"} }, want: "drain n4, n2 leads, remove n3, remove n4",
		},
		{
			name: "who is started anew is", size: 5, going: []string{"n3", "n4"},
			set: func(f *fakeCluster) { f.slow, f.restart = 2, "n3" }, want: "drain n3, drain n4, n3 leads, drain n3, n2 leads, remove n3, remove n4",
		},
		{
			name: "of those that stay one is drained, and gets nothing", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3", "n4"},
			set:  func(f *fakeCluster) { f.drained, f.old = []string{"n0"}, []string{"n3"} },
			want: "drain n4, move gw2 n2, n3 leads, n3 has gw1, move gw1 n1, remove n4, n2 leads, remove n3, free gw2, free gw1",
		},
		{
			name: "of a version that can't be asked the leader goes last", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3", "n4"},
			set:  func(f *fakeCluster) { f.old = []string{"n0", "n1", "n2", "n3", "n4"} },
			want: "move gw1 n0, move gw2 n1, remove n3, n2 leads, remove n4, free gw1, free gw2",
		},
		{
			name: "and has the only address until then", size: 3, addresses: []string{"gw"}, going: []string{"n1", "n2"},
			set:  func(f *fakeCluster) { f.old = []string{"n0", "n1", "n2"} },
			want: "remove n1, n0 leads, n0 has gw, remove n2",
		},
		{
			name: "a node that isn't reached from here", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3"},
			set: func(f *fakeCluster) { f.hidden = []string{"n3"} }, want: "move gw2 n1, remove n3, free gw2",
		},
		{
			name: "an election goes on when an address is to be freed", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3"},
			set: func(f *fakeCluster) { f.hidden, f.behind = []string{"n3"}, true }, want: "move gw2 n1, remove n3, free gw2",
		},
		{name: "an answer that was lost", size: 5, going: []string{"n3"}, set: func(f *fakeCluster) { f.lose = true }, want: "drain n3, remove n3"},
		{name: "what is done already", size: 3, going: []string{"n3", "n4"}, want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster(t, c.size, c.addresses...)
			if c.set != nil {
				c.set(f)
			}
			var said bytes.Buffer
			err := f.relieves(&said, c.going...).retire(t.Context(), f.client())
			if err != nil || f.did() != c.want {
				t.Errorf("%v: did\n%s, want\n%s", err, f.did(), c.want)
			}
			if !strings.HasSuffix(said.String(), strings.Join(c.going, ", ")+": no member of the cluster; what runs of it may be stopped\n") {
				t.Errorf("it said %q", said.String())
			}
		})
	}
}

// Wherever it is interrupted, it is done when it is run again, and leaves nothing behind.
func TestRetireInterrupted(t *testing.T) {
	t.Parallel()
	for at := 1; at <= 7; at++ {
		t.Run(fmt.Sprintf("after %d changes", at), func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster(t, 5, "gw1", "gw2")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f.onDone = func(done int) {
				if done == at {
					cancel()
				}
			}
			var said bytes.Buffer
			err := f.relieves(&said, "n3", "n4").retire(ctx, f.client())
			if err == nil || ctx.Err() == nil {
				t.Fatalf("it wasn't interrupted: %v, did %s", err, f.did())
			}
			if err := f.relieves(&said, "n3", "n4").retire(t.Context(), f.client()); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(f.did(), "lost") || len(f.homes) > 0 || !slices.Equal(f.names, []string{"n0", "n1", "n2"}) || f.leader != "n2" {
				t.Errorf("did %s; homes %v, members %v, %s leads", f.did(), f.homes, f.names, f.leader)
			}
		})
	}
}

// It waits, and does nothing, while those that stay couldn't go on; and says so.
func TestRetireIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		set  func(f *fakeCluster)
		code int
		says string
	}{
		{
			"of those that stay one answers, and two do not", func(f *fakeCluster) { f.silent = []string{"n0", "n1"} }, exitConflict,
			"waiting: without n3, n4 the cluster would lose its quorum: of 3 voters [n2] would answer\n",
		},
		{
			"those that stay are drained themselves", func(f *fakeCluster) { f.drained = []string{"n0", "n1", "n2"} }, exitConflict,
			"waiting: nobody would take over from n3, n4: n0, n1, n2 are drained, too\n",
		},
		{"who calls may not", func(f *fakeCluster) { f.viewer = true }, exitDenied, ""},
		{
			"one of those that go was drained by a run before", func(f *fakeCluster) { f.silent, f.drained = []string{"n0", "n1"}, []string{"n3"} }, exitConflict,
			"waiting: without n3, n4 the cluster would lose its quorum: of 3 voters [n2] would answer\n" +
				"n3 stays drained; if it isn't to go after all: 'sealctl cluster drain --undo n3 --reason WHY'\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster(t, 5)
			c.set(f)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var said bytes.Buffer
			r := f.relieves(&said, "n3", "n4")
			r.say = whenItWaits(r.say, cancel) // the time is up
			err := r.retire(ctx, f.client())
			if exitCode(err) != c.code || f.did() != "" || said.String() != c.says {
				t.Errorf("%v: said %q, did %q", err, said.String(), f.did())
			}
		})
	}
}

// When it ends before it is done, it says who was drained for nothing.
func TestRetireSaysHowToUndo(t *testing.T) {
	t.Parallel()
	f := newFakeCluster(t, 5, "gw1", "gw2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.onDone = func(done int) {
		if f.done[done-1] == "remove n3" {
			f.silent = []string{"n0", "n1"}
		}
	}
	var said bytes.Buffer
	r := f.relieves(&said, "n3", "n4")
	r.say = whenItWaits(r.say, cancel)
	err := r.retire(ctx, f.client())
	if undo := "n4 stays drained; if it isn't to go after all: 'sealctl cluster drain --undo n4 --reason WHY'\n"; exitCode(err) != exitConflict || !strings.HasSuffix(said.String(), undo) ||
		strings.Contains(said.String(), "n3 stays") || f.did() != "drain n3, drain n4, n2 leads, n2 has gw1, n2 has gw2, remove n3" {
		t.Errorf("%v: did %s and said\n%s", err, f.did(), said.String())
	}
}

func whenItWaits(say func(format string, args ...any), do func()) func(format string, args ...any) {
	return func(format string, args ...any) {
		if say(format, args...); strings.HasPrefix(format, "waiting") {
			do()
		}
	}
}
