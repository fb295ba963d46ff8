package address

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// fakeCluster is a cluster of which the test decides who leads, who lives and whose
// leases are granted. It applies to a real machine. It is seen by node "a".
type fakeCluster struct {
	leadership chan bool

	mu      sync.Mutex
	machine *state.Machine
	changed chan struct{}
	index   uint64
	leads   bool
	living  []string
	drained []string
	silent  bool  // the holders of other nodes' addresses renew no more
	cut     bool  // no lease of node "a" is granted
	fail    error // of AssignAddress, once
	tried   int   // AssignAddress was called
	barred  map[string]uint64
	leases  map[string]*fakeLease
}

type fakeLease struct {
	*fakeCluster
	name    string
	tenures chan uint64
	told    uint64
}

func newFake(names ...string) *fakeCluster {
	c := &fakeCluster{
		leadership: make(chan bool, 1), machine: state.New(), changed: make(chan struct{}),
		living: []string{"a", "b", "c"}, leases: map[string]*fakeLease{}, barred: map[string]uint64{},
	}
	for _, name := range append(names, "gw") {
		c.leases[name] = &fakeLease{fakeCluster: c, name: name, tenures: make(chan uint64, 1)}
	}
	return c
}

// lead makes node "a" the leader, or no leader.
func (c *fakeCluster) lead(leads bool) {
	c.mu.Lock()
	c.leads = leads
	c.happened()
	c.mu.Unlock()
	c.leadership <- leads
}

func (c *fakeCluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.happened()
}

// happened tells everybody how things stand. c.mu is held.
func (c *fakeCluster) happened() {
	close(c.changed)
	c.changed = make(chan struct{})
	for name, l := range c.leases {
		r, epoch := c.machine.Address(name), uint64(0)
		if r.GetHolder() == "a" && r.Epoch > c.barred[name] && (r.Granted && !c.cut || !r.Granted && c.leads) {
			epoch = r.Epoch
		}
		if epoch == l.told {
			continue
		}
		l.told = epoch
		select {
		case <-l.tenures:
		default:
		}
		l.tenures <- epoch
	}
}

func (c *fakeCluster) Leadership() <-chan bool { return c.leadership }

func (c *fakeCluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *fakeCluster) View(fn func(*state.Machine)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(c.machine)
}

func (c *fakeCluster) Propose(_ context.Context, cmd *command.Command) (*command.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	result, _, err := c.machine.Apply(c.index, 1, command.Marshal(cmd))
	c.happened()
	return result, err
}

func (c *fakeCluster) Authority(ctx context.Context) error { return ctx.Err() }

func (c *fakeCluster) Living() (living, drained []string, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.living), slices.Clone(c.drained), len(c.living)+len(c.drained) == 3
}

func (c *fakeCluster) AddressFree(name string) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.machine.Address(name); r.GetGranted() && r.Holder != "a" && !(c.silent && !slices.Contains(c.living, r.Holder)) {
		return time.Second, nil
	}
	return 0, nil
}

func (c *fakeCluster) AssignAddress(ctx context.Context, name, node string, epoch uint64) (*command.GatewayAddress, error) {
	c.mu.Lock()
	c.tried++
	err := c.fail
	c.fail = nil
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	result, err := c.Propose(ctx, command.New("address", "", node, &command.AssignAddress{Name: name, Node: node, Epoch: epoch, Term: 1, Granted: node != "a"}))
	if err != nil {
		return nil, err
	}
	r := new(command.GatewayAddress)
	return r, result.Into(r)
}

func (l *fakeLease) Tenures() <-chan uint64 { return l.tenures }

func (l *fakeLease) Barred(epoch uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return epoch <= l.barred[l.name]
}

func (l *fakeLease) Surrender(ctx context.Context, to string) error {
	var r *command.GatewayAddress
	l.View(func(m *state.Machine) { r = m.Address(l.name) })
	l.set(func() { l.barred[l.name] = r.GetEpoch() })
	_, err := l.Propose(ctx, command.New("address", "", "a", &command.SurrenderAddress{Name: l.name, Node: "a", Epoch: r.GetEpoch(), To: to}))
	return err
}

// acquiredBy has another node take the address, as a leader in between would.
func (c *fakeCluster) acquiredBy(t *testing.T, node string) {
	var epoch uint64
	c.View(func(m *state.Machine) { epoch = m.Address("gw").GetEpoch() })
	if _, err := c.Propose(t.Context(), command.New("address", "", node, &command.AcquireAddress{Name: "gw", Node: node, Epoch: epoch})); err != nil {
		t.Fatal(err)
	}
}

// holders lists who holds what, as name:holder, * if it is granted.
func (c *fakeCluster) holders() string {
	var list []string
	c.View(func(m *state.Machine) {
		for a := range m.Addresses() {
			text := a.Name + ":" + a.Holder
			if a.Granted {
				text += "*"
			}
			list = append(list, text)
		}
	})
	return strings.Join(list, " ")
}

func (c *fakeCluster) expectHolders(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := c.holders(); got != want {
		t.Fatalf("holders: %s\nexpected: %s", got, want)
	}
}

// diary notes what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(want)+len(d.lines) > 0 && !reflect.DeepEqual(d.lines, want) {
		t.Fatalf("happened: %q\nexpected: %q", d.lines, want)
	}
}

func (d *diary) config(c *fakeCluster) Config {
	return Config{
		Node: "a", Addresses: []Address{d.address(c, "gw", "")},
		HandOver: func(_ context.Context, to string) error { d.note("step down%s", to); c.lead(false); return nil },
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func (d *diary) address(c *fakeCluster, name, label string) Address {
	return Address{
		Name: name, Lease: c.leases[name],
		OnUp:   func(_ context.Context, epoch uint64) error { d.note("%sup %d", label, epoch); return nil },
		OnDown: func() { d.note("%sdown", label) },
	}
}

// several is a configuration of three addresses.
func (d *diary) several(c *fakeCluster) Config {
	cfg := d.config(c)
	cfg.Addresses = nil
	for _, name := range []string{"x", "y", "z"} {
		cfg.Addresses = append(cfg.Addresses, d.address(c, name, name+" "))
	}
	return cfg
}

// run starts a keeper and returns what stops it and waits.
func run(cfg Config, c *fakeCluster) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); New(cfg, c, c).Run(ctx) }()
	return func() { cancel(); <-done }
}

func TestFollowsLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		defer run(d.config(c), c)()
		c.lead(false)
		d.expect(t)
		c.lead(true)
		d.expect(t, "up 1")
		c.lead(false)
		d.expect(t, "up 1", "down")
		c.acquiredBy(t, "b")
		c.lead(true)
		d.expect(t, "up 1", "down", "up 3")
	})
}

func TestPlannedStopDropsBeforeItHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		stop := run(d.config(c), c)
		c.lead(true)
		synctest.Wait()
		stop()
		d.expect(t, "up 1", "down", "step down")
	})
}

func TestFollowerStopsWithoutHandingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		stop := run(d.config(c), c)
		c.lead(false)
		synctest.Wait()
		stop()
		d.expect(t)
	})
}

func TestBindsAgainUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		left := 5
		cfg.Addresses[0].OnUp = func(_ context.Context, epoch uint64) error {
			if left--; left > 0 {
				return errors.New("address already in use")
			}
			d.note("up %d", epoch)
			return nil
		}
		defer run(cfg, c)()
		c.lead(true)
		d.expect(t)
		time.Sleep(firstPause * (1 + 2 + 4 + 8)) // of the bubble's clock
		d.expect(t, "up 1")
	})
}

func TestLossBreaksBindingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		cfg.Addresses[0].OnUp = func(ctx context.Context, epoch uint64) error {
			d.note("trying %d", epoch)
			<-ctx.Done()
			return ctx.Err()
		}
		defer run(cfg, c)()
		c.lead(true)
		d.expect(t, "trying 1")
		c.lead(false)
		time.Sleep(time.Minute)
		d.expect(t, "trying 1") // nothing came up, so nothing goes down
	})
}

func TestUnknownOutcomeIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		c.fail = command.ErrUnknownOutcome
		defer run(d.config(c), c)()
		c.lead(true)
		d.expect(t)
		time.Sleep(5 * lookEvery)
		d.expect(t, "up 1")
		if c.tried != 2 {
			t.Errorf("%d attempts", c.tried)
		}
	})
}

// What this node is named for since a life before, it acquires anew.
func TestAcquiresWhatItIsBarredFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		c.acquiredBy(t, "a")
		c.set(func() { c.barred["gw"] = 1 })
		defer run(d.config(c), c)()
		c.lead(true)
		d.expect(t, "up 2")
	})
}

func TestSpreadsOverTheLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake("x", "y", "z"), new(diary)
		defer run(d.several(c), c)()
		c.lead(true)
		c.expectHolders(t, "x:a y:b* z:c*")
		d.expect(t, "x up 1")

		// c dies: its address waits for its lease.
		c.set(func() { c.living = []string{"a", "b"} })
		time.Sleep(5 * time.Second)
		c.expectHolders(t, "x:a y:b* z:c*")
		c.set(func() { c.silent = true })
		c.expectHolders(t, "x:a y:b* z:a")
	})
}

// The leader asks b, which has two, to give one up to c, which came back.
func TestMovesWhenThereIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake("x", "y", "z"), new(diary)
		c.living = []string{"a", "b"}
		defer run(d.several(c), c)()
		for _, name := range []string{"x", "y", "z"} {
			if _, err := c.AssignAddress(t.Context(), name, map[bool]string{true: "a", false: "b"}[name == "x"], 0); err != nil {
				t.Fatal(err)
			}
		}
		c.lead(true)
		c.expectHolders(t, "x:a y:b* z:b*")
		time.Sleep(time.Minute)
		c.expectHolders(t, "x:a y:b* z:b*")
		c.set(func() { c.living = []string{"a", "b", "c"} })
		time.Sleep(calm - lookEvery)
		var y *command.GatewayAddress
		look := func() { c.View(func(m *state.Machine) { y = m.Address("y") }) }
		if look(); y.MovingTo != "" {
			t.Fatal("moved before there was calm")
		}
		time.Sleep(2 * lookEvery)
		if look(); y.MovingTo != "c" || y.Holder != "b" {
			t.Fatal(y)
		}
	})
}

func TestDropsBeforeItSurrenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake("x", "y", "z"), new(diary)
		defer run(d.several(c), c)()
		c.lead(false)
		if _, err := c.AssignAddress(t.Context(), "y", "b", 0); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Propose(t.Context(), command.New("address", "", "b", &command.SurrenderAddress{Name: "y", Node: "b", Epoch: 1, To: "a"})); err != nil {
			t.Fatal(err)
		}
		d.expect(t, "y up 2")
		if _, err := c.Propose(t.Context(), command.New("admin", "", "olga", &command.MoveAddress{Name: "y", To: "c", Epoch: 2})); err != nil {
			t.Fatal(err)
		}
		d.expect(t, "y up 2", "y down")
		c.expectHolders(t, "y:c*")
	})
}

// A node that stops leaves its addresses to nobody in particular.
func TestStopSurrenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake("x", "y", "z"), new(diary)
		if _, err := c.Propose(t.Context(), command.New("address", "", "b", &command.AssignAddress{Name: "y", Node: "a", Term: 1, Granted: true})); err != nil {
			t.Fatal(err)
		}
		stop := run(d.several(c), c)
		c.lead(false)
		d.expect(t, "y up 1")
		stop()
		d.expect(t, "y up 1", "y down")
		c.expectHolders(t, "y:")
	})
}

// A new leader has its own address led, and nobody notices.
func TestLeaderKeepsItsOwnUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake("x", "y", "z"), new(diary)
		if _, err := c.Propose(t.Context(), command.New("address", "", "b", &command.AssignAddress{Name: "y", Node: "a", Term: 1, Granted: true})); err != nil {
			t.Fatal(err)
		}
		defer run(d.several(c), c)()
		c.lead(false)
		d.expect(t, "y up 1")
		c.lead(true)
		c.expectHolders(t, "x:b* y:a z:c*")
		d.expect(t, "y up 1")
		c.lead(false)
		d.expect(t, "y up 1", "y down")
	})
}

// A node whose lease isn't granted any more takes the address down, and up again
// when it is.
func TestLeaseGoesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake("x", "y", "z"), new(diary)
		if _, err := c.Propose(t.Context(), command.New("address", "", "b", &command.AssignAddress{Name: "y", Node: "a", Term: 1, Granted: true})); err != nil {
			t.Fatal(err)
		}
		defer run(d.several(c), c)()
		c.lead(false)
		d.expect(t, "y up 1")
		c.set(func() { c.cut = true })
		d.expect(t, "y up 1", "y down")
		c.set(func() { c.cut = false })
		d.expect(t, "y up 1", "y down", "y up 1")
	})
}
