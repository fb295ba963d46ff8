package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/keywrap"
)

// timed is a replicated state whose leader stamps commands.
type timed struct {
	*fakeNode
	got []command.Type // guarded by fakeNode.mu
}

func newTimed() *timed { return &timed{fakeNode: &fakeNode{machine: state.New()}} }

func (n *timed) Propose(_ context.Context, c *command.Command) (*command.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	c.LeaderTime = time.Now().UnixNano()
	n.got = append(n.got, c.Type)
	r, _, err := n.machine.Apply(n.index, 1, command.Marshal(c))
	return r, err
}

// do carries a command out, which must succeed.
func (n *timed) do(t *testing.T, payload, into proto.Message) {
	t.Helper()
	r, err := n.Propose(t.Context(), command.New("test", "", "test", payload))
	if err != nil || r.Code != command.Code_OK {
		t.Fatalf("%T: %v %v", payload, r, err)
	}
	if into != nil {
		if err := r.Into(into); err != nil {
			t.Fatal(err)
		}
	}
}

// proposed takes what was proposed since the last call, without what tests did.
func (n *timed) proposed() []command.Type {
	n.mu.Lock()
	defer n.mu.Unlock()
	got := n.got
	n.got = nil
	return got
}

func newWrapper(t *testing.T) *keywrap.Wrapper {
	t.Helper()
	w, err := keywrap.New(make([]byte, keywrap.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// keeper is serverKeys with what they told the endpoints.
type keeper struct {
	*serverKeys
	*timed
	leads bool
	set   [][32]byte // the private keys, newest first
}

func newKeeper(t *testing.T, n *timed) *keeper {
	k := &keeper{timed: n, leads: true}
	k.serverKeys = &serverKeys{
		cluster: n, leads: func() bool { return k.leads }, wrapper: newWrapper(t), log: slog.New(slog.DiscardHandler),
		set: func(private ...[32]byte) error { k.set = slices.Clone(private); return nil },
	}
	return k
}

// public is what a client knows the endpoints by.
func (k *keeper) public(t *testing.T) (keys []string) {
	t.Helper()
	for _, private := range k.set {
		key, err := ecdh.X25519().NewPrivateKey(private[:])
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(key.PublicKey().Bytes()))
	}
	return keys
}

// agree checks that the endpoints answer to the keys of the state, and returns them.
func (k *keeper) agree(t *testing.T) []string {
	t.Helper()
	if err := k.follow(time.Now()); err != nil {
		t.Fatal(err)
	}
	var want []string
	k.View(func(m *state.Machine) {
		for _, r := range m.ServerKeys() {
			if !over(r, time.Now()) {
				want = append(want, string(r.PublicKey))
			}
		}
	})
	if got := k.public(t); !slices.Equal(got, want) {
		t.Errorf("the endpoints answer to %x, want %x", got, want)
	}
	return want
}

// raise makes the state one of level 2, as all nodes' being able to makes it.
func (n *timed) raise(t *testing.T) {
	t.Helper()
	n.do(t, &command.RaiseLevel{Level: keyLevel, Nodes: []string{"n1"}}, nil)
}

// The node that leads makes one key, which every node can open and nobody can read.
func TestFirstServerKey(t *testing.T) {
	n := newTimed()
	follower, leader := newKeeper(t, n), newKeeper(t, n)
	follower.leads = false
	tend := func(k *keeper) {
		t.Helper()
		if err := k.tend(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	tend(leader)
	if got := n.proposed(); len(got) != 0 || len(leader.agree(t)) != 0 {
		t.Errorf("before all nodes know of keys: proposed %v", got)
	}
	n.raise(t)
	n.proposed()
	tend(follower)
	if got := n.proposed(); len(got) != 0 {
		t.Errorf("who doesn't lead proposed %v", got)
	}
	tend(leader)
	tend(leader)
	if got := n.proposed(); !slices.Equal(got, []command.Type{command.Type_PUT_SERVER_KEY}) {
		t.Errorf("proposed %v", got)
	}
	if keys := leader.agree(t); len(keys) != 1 || !slices.Equal(follower.agree(t), keys) {
		t.Errorf("keys %x", keys)
	}
	n.View(func(m *state.Machine) {
		if r := m.ServerKeys()[0]; strings.Contains(string(r.PrivateKey), string(leader.set[0][:])) {
			t.Error("the private key is readable in the state")
		}
	})
}

// An installation of before has its key in a file: nodes use it until the cluster has
// it, and no client notices.
func TestServerKeyOfTheConfiguration(t *testing.T) {
	n := newTimed()
	k := newKeeper(t, n)
	key := [32]byte{1, 2, 3}
	k.file = func() ([32]byte, error) { return key, nil }
	if err := k.follow(time.Now()); err != nil {
		t.Fatal(err)
	}
	before := k.public(t)
	n.raise(t)
	if err := k.tend(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if after := k.agree(t); len(before) != 1 || !slices.Equal(before, after) {
		t.Errorf("clients knew the gateway by %x, and now by %x", before, after)
	}
	k.file = func() ([32]byte, error) { return key, errors.New("no such file") }
	if k.agree(t); k.tend(t.Context(), time.Now()) != nil {
		t.Error("the file is of use yet")
	}
}

// During the overlap of a rotation the endpoints answer to both keys. At its end, to
// the second, or when somebody retires it, the old one is gone; the leader has that put
// on record.
func TestServerKeyIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTimed()
		n.raise(t)
		k := newKeeper(t, n)
		if err := k.tend(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		rotate := func(overlap time.Duration) {
			t.Helper()
			private, err := ecdh.X25519().GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			public := private.PublicKey().Bytes()
			wrapped, err := k.wrapper.Wrap(keyOwner(public), private.Bytes(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			n.do(t, &command.PutServerKey{
				PublicKey: public, PrivateKey: wrapped, Replaces: []byte(k.agree(t)[0]), OverlapSeconds: uint32(overlap / time.Second),
			}, nil)
			if keys := k.agree(t); keys[0] != string(public) {
				t.Errorf("the newest key isn't the first of %x", keys)
			}
		}
		good := func(want int) {
			t.Helper()
			if keys := k.agree(t); len(keys) != want {
				t.Errorf("%d keys are good, want %d", len(keys), want)
			}
		}
		rotate(24 * time.Hour)
		good(2)
		time.Sleep(24*time.Hour - time.Second)
		good(2)
		n.proposed()
		if err := k.tend(t.Context(), time.Now()); err != nil || len(n.proposed()) != 0 {
			t.Errorf("retired before its time, %v", err)
		}
		time.Sleep(time.Second)
		good(1) // though the state has it yet
		if err := k.tend(t.Context(), time.Now()); err != nil || !slices.Equal(n.proposed(), []command.Type{command.Type_RETIRE_SERVER_KEY}) {
			t.Errorf("not retired, %v", err)
		}
		rotate(time.Hour)
		good(2)
		var old []byte
		n.View(func(m *state.Machine) { old = m.ServerKeys()[1].PublicKey })
		n.do(t, &command.RetireServerKey{PublicKey: old, Reason: "leaked"}, nil)
		good(1)
		rotate(0)
		good(1)
	})
}

// With another wrapping key than the others' a node keeps what it has, and says so.
func TestServerKeyThatDoesNotOpen(t *testing.T) {
	n := newTimed()
	n.raise(t)
	k, stranger := newKeeper(t, n), newKeeper(t, n)
	var err error
	if stranger.wrapper, err = keywrap.New(slices.Repeat([]byte{7}, keywrap.KeySize)); err != nil {
		t.Fatal(err)
	}
	if err := k.tend(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := stranger.follow(time.Now()); !errors.Is(err, keywrap.ErrUnwrap) || len(stranger.set) != 0 {
		t.Errorf("%v, set to %d keys", err, len(stranger.set))
	}
}

// The first key is there as soon as all nodes know of keys, not a tick later.
func TestFirstServerKeyIsMadeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTimed()
		k := newKeeper(t, n)
		changed := make(chan struct{})
		k.changed = func() <-chan struct{} { return changed }
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.run(ctx) }()
		time.Sleep(tendKeysEvery / 2)
		n.raise(t)
		began := time.Now()
		close(changed)
		synctest.Wait()
		if len(k.agree(t)) != 1 || !time.Now().Equal(began) {
			t.Error("there is no key yet")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
