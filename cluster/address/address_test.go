package address

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// fakeCluster is a cluster of which the test decides who leads. It applies to a
// real machine.
type fakeCluster struct {
	leadership chan bool
	fail       error // of Propose, once

	mu      sync.Mutex
	machine *state.Machine
	index   uint64
	barred  int // Barriers asked for
}

func newFake() *fakeCluster {
	return &fakeCluster{leadership: make(chan bool, 1), machine: state.New()}
}

func (c *fakeCluster) Leadership() <-chan bool { return c.leadership }

func (c *fakeCluster) Barrier(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.barred++
	return ctx.Err()
}

func (c *fakeCluster) View(fn func(*state.Machine)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(c.machine)
}

func (c *fakeCluster) Propose(_ context.Context, cmd *command.Command) (*command.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fail; err != nil {
		c.fail = nil
		return nil, err
	}
	c.index++
	result, _, err := c.machine.Apply(c.index, 1, command.Marshal(cmd))
	return result, err
}

// acquiredBy has another node take the address, as a leader in between would.
func (c *fakeCluster) acquiredBy(t *testing.T, node string) {
	var epoch uint64
	c.View(func(m *state.Machine) { epoch = m.Address("gw").GetEpoch() })
	if _, err := c.Propose(t.Context(), command.New("address", "", node, &command.AcquireAddress{Name: "gw", Node: node, Epoch: epoch})); err != nil {
		t.Fatal(err)
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
		Name: "gw", Node: "a",
		OnUp:     func(_ context.Context, epoch uint64) error { d.note("up %d", epoch); return nil },
		OnDown:   func() { d.note("down") },
		StepDown: func(context.Context) error { d.note("step down"); c.leadership <- false; return nil },
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// run starts a keeper and returns what stops it and waits.
func run(cfg Config, c *fakeCluster) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); New(cfg, c).Run(ctx) }()
	return func() { cancel(); <-done }
}

func TestFollowsLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		defer run(d.config(c), c)()
		c.leadership <- false
		d.expect(t)
		c.leadership <- true
		d.expect(t, "up 1")
		c.leadership <- false
		d.expect(t, "up 1", "down")
		c.acquiredBy(t, "b")
		c.leadership <- true
		d.expect(t, "up 1", "down", "up 3")
	})
}

func TestTrueAfterTrueIsANewTenure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		defer run(d.config(c), c)()
		c.leadership <- true
		d.expect(t, "up 1")
		c.acquiredBy(t, "b")
		c.leadership <- true
		d.expect(t, "up 1", "down", "up 3")
	})
}

func TestPlannedStopDropsBeforeItHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		stop := run(d.config(c), c)
		c.leadership <- true
		synctest.Wait()
		stop()
		d.expect(t, "up 1", "down", "step down")
	})
}

func TestFollowerStopsWithoutHandingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		stop := run(d.config(c), c)
		c.leadership <- false
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
		cfg.OnUp = func(_ context.Context, epoch uint64) error {
			if left--; left > 0 {
				return errors.New("address already in use")
			}
			d.note("up %d", epoch)
			return nil
		}
		defer run(cfg, c)()
		c.leadership <- true
		d.expect(t)
		time.Sleep(firstPause * (1 + 2 + 4 + 8)) // of the bubble's clock
		d.expect(t, "up 1")
	})
}

func TestLossBreaksBindingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		cfg.OnUp = func(ctx context.Context, epoch uint64) error {
			d.note("trying %d", epoch)
			<-ctx.Done()
			return ctx.Err()
		}
		defer run(cfg, c)()
		c.leadership <- true
		d.expect(t, "trying 1")
		c.leadership <- false
		time.Sleep(time.Minute)
		d.expect(t, "trying 1") // nothing came up, so nothing goes down
	})
}

func TestUnknownOutcomeIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		c.fail = command.ErrUnknownOutcome
		defer run(d.config(c), c)()
		c.leadership <- true
		d.expect(t)
		time.Sleep(firstPause)
		d.expect(t, "up 1")
		if c.barred != 2 {
			t.Errorf("%d barriers before 2 attempts", c.barred)
		}
	})
}
