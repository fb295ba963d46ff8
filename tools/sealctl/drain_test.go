package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		addresses []string
		node      string
		set       func(f *fakeCluster)
		want      string
		code      int
		says      string
	}{
		{name: "the leader", addresses: []string{"gw1", "gw2"}, node: "n2", want: "drain n2, n1 leads, n1 has gw1", says: "n2 leads nothing and holds no gateway address; it may be stopped"},
		{name: "the leader, with the only address", addresses: []string{"gw"}, node: "n2", want: "drain n2, n1 leads, n1 has gw"},
		{name: "who has nothing", node: "n0", want: "drain n0"},
		{name: "who is drained already", node: "n0", set: func(f *fakeCluster) { f.drained = []string{"n0"} }, want: ""},
		{
			name: "of an older version", addresses: []string{"gw1", "gw2"}, node: "n2", set: func(f *fakeCluster) { f.old = []string{"n2"} },
			want: "move gw1 n0, n1 leads", says: "gw1 stays where it went",
		},
		{name: "who isn't reached from here", addresses: []string{"gw1", "gw2"}, node: "n1", set: func(f *fakeCluster) { f.hidden = []string{"n1"} }, want: "move gw2 n2", says: "(it doesn't answer here)"},
		{
			name: "no address goes to who is drained", addresses: []string{"gw1", "gw2"}, node: "n1", set: func(f *fakeCluster) { f.hidden, f.drained = []string{"n1"}, []string{"n0"} },
			want: "move gw2 n2",
		},
		{name: "who is dead", addresses: []string{"gw1", "gw2"}, node: "n1", set: func(f *fakeCluster) { f.silent = []string{"n1"} }, want: "n2 has gw2", says: "n1 doesn't answer, and wasn't told"},
		{name: "the others are drained", node: "n1", set: func(f *fakeCluster) { f.leader, f.drained = "n1", []string{"n0", "n2"} }, code: exitConflict, says: "nobody would take over from n1: n0, n2 are drained, too"},
		{name: "another is dead", node: "n1", set: func(f *fakeCluster) { f.silent = []string{"n0"} }, code: exitConflict, says: "without n1 the cluster would lose its quorum: of 3 voters [n2] would answer"},
		{name: "who is no member", node: "n9", code: exitConflict, says: "there is no node n9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster(t, 3, c.addresses...)
			if c.set != nil {
				c.set(f)
			}
			var said bytes.Buffer
			err := f.relieves(&said, c.node).drain(t.Context(), f.client())
			if err != nil {
				said.WriteString(err.Error())
			}
			if exitCodeOf(err) != c.code || f.did() != c.want || !strings.Contains(said.String(), c.says) {
				t.Errorf("%v: did %q, want %q; it said\n%s", err, f.did(), c.want, said.String())
			}
		})
	}
}

func TestDrainIsUndone(t *testing.T) {
	t.Parallel()
	f := newFakeCluster(t, 3)
	f.drained = []string{"n1"}
	var said bytes.Buffer
	if err := f.relieves(&said, "n1").undo(t.Context(), f.client()); err != nil || f.did() != "undo n1" {
		t.Errorf("%v: did %q", err, f.did())
	}
	f.hidden = []string{"n1"}
	if err := f.relieves(&said, "n1").undo(t.Context(), f.client()); exitCodeOf(err) != exitFailed {
		t.Errorf("who isn't reached: %v", err)
	}
}

func TestMembersTellWhoIsDrained(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m    adminapi.Member
		led  bool
		want string
	}{
		{adminapi.Member{State: adminapi.MemberVotes, Leader: true}, true, "voter leads"},
		{adminapi.Member{State: adminapi.MemberVotes, Answers: true, Drained: true}, true, "voter, drained yes"},
		{adminapi.Member{State: adminapi.MemberWaiting}, true, "waiting no"},
		{adminapi.Member{State: adminapi.MemberVotes, Drained: true}, false, "voter, drained unknown"},
	} {
		if got := strings.Join(memberRow(c.m, c.led)[3:], " "); got != c.want {
			t.Errorf("%+v is shown as %q", c.m, got)
		}
	}
}
