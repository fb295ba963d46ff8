package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// fakeCluster behaves as the admin API of several nodes does about members: only the
// leader changes them, it doesn't remove itself, and it hands over to the voter with
// the highest name, which is the worst choice for who takes the highest away.
type fakeCluster struct {
	mu      sync.Mutex
	names   []string          // guarded by mu: of the members
	silent  []string          // guarded by mu: of those that don't answer
	leader  string            // guarded by mu
	holders map[string]string // guarded by mu: address to holder
	homes   map[string]string // guarded by mu: where it was told to stay
	done    []string          // guarded by mu: what was changed
	lose    bool              // guarded by mu: the next answer to a removal is lost
	behind  bool              // guarded by mu: the next freeing is refused, as an epoch was seen that is past
	viewer  bool              // the caller may only look
	hosts   []*httptest.Server
}

func newFakeCluster(t *testing.T, size int, addresses ...string) *fakeCluster {
	f := &fakeCluster{holders: map[string]string{}, homes: map[string]string{}}
	for i := range size {
		name := fmt.Sprintf("n%d", i)
		f.names = append(f.names, name)
		host := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(name, w, r) }))
		t.Cleanup(host.Close)
		f.hosts = append(f.hosts, host)
	}
	for i, a := range addresses {
		f.holders[a] = f.names[len(f.names)-1-i]
	}
	f.leader = f.names[size-1]
	return f
}

func (f *fakeCluster) client() *client {
	c := &client{answered: new(atomic.Int32), stderr: io.Discard, http: f.hosts[0].Client()}
	for _, h := range f.hosts {
		c.addresses = append(c.addresses, h.Listener.Addr().String())
	}
	return c
}

func (f *fakeCluster) serve(name string, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	refuse := func(status int, code wire.Code) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(wire.Problem{Status: status, Code: code, Title: "no"})
	}
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	leads := name == f.leader
	switch path := r.URL.Path; {
	case slices.Contains(f.silent, name):
		panic(http.ErrAbortHandler)
	case path == "/v1/status":
		s := adminapi.Status{Node: name, IsLeader: leads}
		for _, a := range slices.Sorted(maps.Keys(f.holders)) {
			s.Addresses = append(s.Addresses, adminapi.GatewayAddress{Name: a, Holder: f.holders[a]})
		}
		answer(s)
	case path == "/v1/cluster/members":
		var all []adminapi.Member
		for _, n := range f.names {
			all = append(all, adminapi.Member{ID: n + "_0a", Name: n, State: adminapi.MemberVotes, Leader: n == f.leader, Answers: !slices.Contains(f.silent, n)})
		}
		answer(adminapi.Whole(all))
	case f.viewer:
		refuse(http.StatusForbidden, "role-missing")
	case !leads && !strings.HasSuffix(path, "/move"):
		refuse(http.StatusConflict, "not-leader")
	case path == "/v1/cluster/step-down":
		f.leader = slices.Max(slices.DeleteFunc(slices.Clone(f.names), func(n string) bool { return n == name }))
		f.done = append(f.done, "lead "+f.leader)
	case r.Method == http.MethodDelete:
		id := path[strings.LastIndex(path, "/")+1:]
		n := strings.TrimSuffix(id, "_0a")
		switch {
		case r.URL.Query().Get("reason") == "":
			refuse(http.StatusBadRequest, "bad-request")
			return
		case n == name:
			refuse(http.StatusConflict, "conflict")
			return
		case !slices.Contains(f.names, n):
			refuse(http.StatusNotFound, "not-found")
			return
		}
		f.names = slices.DeleteFunc(f.names, func(have string) bool { return have == n })
		f.done = append(f.done, "remove "+n)
		for _, holder := range f.holders {
			if holder == n {
				f.done = append(f.done, "an address was lost")
			}
		}
		if f.lose {
			f.lose = false
			panic(http.ErrAbortHandler)
		}
		answer(adminapi.Removed{ID: id})
	case strings.HasSuffix(path, "/move"):
		var m adminapi.MoveAddress
		_ = json.NewDecoder(r.Body).Decode(&m)
		address := strings.Split(path, "/")[4]
		if f.behind && m.To == "" {
			f.behind = false
			refuse(http.StatusConflict, "conflict")
			return
		}
		if f.homes[address] = m.To; m.To != "" {
			f.holders[address] = m.To
			f.done = append(f.done, "move "+address+" "+m.To)
		} else {
			f.done = append(f.done, "free "+address)
		}
		answer(adminapi.GatewayAddress{Name: address})
	default:
		refuse(http.StatusNotFound, "not-found")
	}
}

func (f *fakeCluster) retire(ctx context.Context, names ...string) (said string, err error) {
	var b bytes.Buffer
	r := retirement{names: names, reason: "smaller", say: func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }}
	err = r.run(ctx, f.client())
	return b.String(), err
}

func TestRetire(t *testing.T) {
	for _, c := range []struct {
		name      string
		size      int
		addresses []string
		going     []string
		silent    []string
		lose      bool
		behind    bool
		want      string
	}{
		{name: "the leader goes last, when it can only hand over to one that stays", size: 5, going: []string{"n3", "n4"}, want: "remove n3, lead n2, remove n4"},
		{name: "three to one", size: 3, going: []string{"n1", "n2"}, want: "remove n1, lead n0, remove n2"},
		{name: "an address goes first, and is then the cluster's to place", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3", "n4"}, want: "move gw1 n0, move gw2 n1, remove n3, lead n2, remove n4, free gw1, free gw2"},
		{name: "an election goes on when an address is to be freed", size: 5, addresses: []string{"gw1", "gw2"}, going: []string{"n3", "n4"}, behind: true, want: "move gw1 n0, move gw2 n1, remove n3, lead n2, remove n4, free gw1, free gw2"},
		{name: "a node that is dead", size: 5, silent: []string{"n3"}, going: []string{"n3"}, want: "remove n3"},
		{name: "an answer that was lost", size: 5, lose: true, going: []string{"n3"}, want: "remove n3"},
		{name: "what is done already", size: 3, going: []string{"n3", "n4"}, want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakeCluster(t, c.size, c.addresses...)
			f.silent, f.lose, f.behind = c.silent, c.lose, c.behind
			said, err := f.retire(t.Context(), c.going...)
			if err != nil || strings.Join(f.done, ", ") != c.want {
				t.Errorf("%v: did %q, want %q", err, f.done, c.want)
			}
			if !strings.Contains(said, strings.Join(c.going, ", ")+": no member") {
				t.Errorf("it said %q", said)
			}
		})
	}
}

// Of those that stay one answers, and two do not.
func TestRetireKeepsTheQuorum(t *testing.T) {
	f := newFakeCluster(t, 5)
	f.silent = []string{"n0", "n1"}
	ctx, cancel := context.WithCancel(t.Context())
	var said []string
	r := retirement{names: []string{"n3", "n4"}, reason: "smaller", say: func(format string, args ...any) {
		said = append(said, fmt.Sprintf(format, args...))
		cancel() // it waits; the time is up
	}}
	err := r.run(ctx, f.client())
	if exitCode(err) != exitConflict || len(f.done) > 0 || len(said) != 1 || !strings.Contains(said[0], "would lose its quorum") {
		t.Errorf("%v: %q, did %q", err, said, f.done)
	}
}

// Who isn't allowed to is told at once.
func TestRetireIsRefused(t *testing.T) {
	f := newFakeCluster(t, 3)
	f.viewer = true
	if said, err := f.retire(t.Context(), "n1"); exitCode(err) != exitDenied || said != "" {
		t.Errorf("%v: %s", err, said)
	}
}
