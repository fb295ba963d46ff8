package main

import (
	"bytes"
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
// leader changes them, and it doesn't remove itself. What drained and dead nodes have goes
// to the living one with the highest name, which is the worst choice for who takes the
// highest away; bit by bit, whenever the leader is asked for the members.
type fakeCluster struct {
	mu      sync.Mutex
	names   []string          // guarded by mu: of the members
	silent  []string          // guarded by mu: of those that don't answer
	drained []string          // guarded by mu
	old     []string          // guarded by mu: of those that don't know how to drain
	hidden  []string          // guarded by mu: of those that the client doesn't know
	leader  string            // guarded by mu
	holders map[string]string // guarded by mu: address to holder
	homes   map[string]string // guarded by mu: where it was told to stay
	done    []string          // guarded by mu: what was changed
	lose    bool              // guarded by mu: the next answer to a removal is lost
	behind  bool              // guarded by mu: the next freeing is refused, as an epoch was seen that is past
	viewer  bool              // the caller may only look
	slow    int               // guarded by mu: for how often nothing goes
	restart string            // guarded by mu: what is started anew when slow is 1
	onDone  func(done int)    // called when something was changed
	hosts   map[string]*httptest.Server
}

func newFakeCluster(t *testing.T, size int, addresses ...string) *fakeCluster {
	f := &fakeCluster{holders: map[string]string{}, homes: map[string]string{}, hosts: map[string]*httptest.Server{}}
	for i := range size {
		name := fmt.Sprintf("n%d", i)
		f.names = append(f.names, name)
		f.hosts[name] = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(name, w, r) }))
		t.Cleanup(f.hosts[name].Close)
	}
	for i, a := range addresses {
		f.holders[a] = f.names[len(f.names)-1-i]
	}
	f.leader = f.names[size-1]
	return f
}

func (f *fakeCluster) client() *client {
	c := &client{answered: new(atomic.Int32), stderr: io.Discard, http: f.hosts["n0"].Client()}
	for _, name := range slices.Sorted(maps.Keys(f.hosts)) {
		if !slices.Contains(f.hidden, name) {
			c.addresses = append(c.addresses, f.hosts[name].Listener.Addr().String())
		}
	}
	return c
}

func (f *fakeCluster) note(format string, args ...any) {
	f.done = append(f.done, fmt.Sprintf(format, args...))
	if f.onDone != nil {
		f.onDone(len(f.done))
	}
}

// heir is who gets what a node gives up; empty: nobody can.
func (f *fakeCluster) heir(but string) string {
	for _, n := range slices.Backward(f.names) {
		if n != but && !slices.Contains(f.drained, n) && !slices.Contains(f.silent, n) {
			return n
		}
	}
	return ""
}

// settle does one thing that the cluster does by itself.
func (f *fakeCluster) settle() {
	if f.slow > 0 {
		if f.slow--; f.slow == 0 {
			f.drained = slices.DeleteFunc(f.drained, func(n string) bool { return n == f.restart })
		}
		return
	}
	heir := f.heir("")
	if slices.Contains(f.drained, f.leader) && heir != "" {
		f.leader = heir
		f.note("%s leads", heir)
		return
	}
	if len(f.holders) == 1 {
		heir = f.leader
	}
	for _, a := range slices.Sorted(maps.Keys(f.holders)) {
		has := f.holders[a]
		if heir != "" && has != heir && (len(f.holders) == 1 || slices.Contains(f.drained, has) || slices.Contains(f.silent, has)) {
			f.holders[a] = heir
			f.note("%s has %s", heir, a)
			return
		}
	}
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
			all = append(all, adminapi.Member{
				ID: n + "_0a", Name: n, State: adminapi.MemberVotes, Leader: n == f.leader, Answers: !slices.Contains(f.silent, n), Drained: slices.Contains(f.drained, n),
			})
		}
		answer(adminapi.Whole(all))
		f.settle()
	case f.viewer:
		refuse(http.StatusForbidden, "role-missing")
	case path == "/v1/node/drain" && !slices.Contains(f.old, name):
		var d adminapi.Drain
		_ = json.NewDecoder(r.Body).Decode(&d)
		switch {
		case d.Reason == "":
			refuse(http.StatusBadRequest, "bad-request")
			return
		case r.URL.Query().Get("node") != name:
			refuse(http.StatusConflict, "conflict")
			return
		case d.Undo:
			f.drained = slices.DeleteFunc(f.drained, func(n string) bool { return n == name })
			f.note("undo %s", name)
		default:
			f.drained = append(f.drained, name)
			f.note("drain %s", name)
		}
		w.WriteHeader(http.StatusNoContent)
	case path == "/v1/node/drain":
		refuse(http.StatusNotFound, "not-found")
	case !leads && !strings.HasSuffix(path, "/move"):
		refuse(http.StatusConflict, "not-leader")
	case path == "/v1/cluster/step-down":
		f.leader = f.heir(name)
		f.note("%s leads", f.leader)
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
		for _, holder := range f.holders {
			if holder == n {
				f.done = append(f.done, "an address was lost")
			}
		}
		f.note("remove %s", n)
		if f.lose {
			f.lose = false
			panic(http.ErrAbortHandler)
		}
		answer(adminapi.Removed{ID: id})
	case strings.HasSuffix(path, "/move"):
		var m adminapi.MoveAddress
		_ = json.NewDecoder(r.Body).Decode(&m)
		address := strings.Split(path, "/")[4]
		if f.behind && m.To == "" || len(f.holders) == 1 {
			f.behind = false
			refuse(http.StatusConflict, "conflict")
			return
		}
		if f.homes[address] = m.To; m.To != "" {
			f.holders[address] = m.To
			f.note("move %s %s", address, m.To)
		} else {
			delete(f.homes, address)
			f.note("free %s", address)
		}
		answer(adminapi.GatewayAddress{Name: address})
	default:
		refuse(http.StatusNotFound, "not-found")
	}
}

// relieves is what a person calls, and hears.
func (f *fakeCluster) relieves(said *bytes.Buffer, names ...string) *relief {
	return &relief{nodes: names, reason: "smaller", say: func(format string, args ...any) { fmt.Fprintf(said, format+"\n", args...) }}
}

// did is what was changed.
func (f *fakeCluster) did() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.done, ", ")
}
