package address

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// yielding has the leadership go to a node when the test says so.
func yielding(cfg *Config, d *diary) (now *atomic.Bool) {
	now = new(atomic.Bool)
	cfg.Yields = func() (string, bool) { return " for b", now.Load() }
	cfg.Leave = func(context.Context) { d.note("leave") }
	return now
}

// A leader that is to hand over takes its address down first, and has it up again when
// it leads again, under another epoch.
func TestHandsOverWhileItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		now := yielding(&cfg, d)
		defer run(cfg, c)()
		c.lead(true)
		d.expect(t, "up 1")
		time.Sleep(time.Minute)
		d.expect(t, "up 1")
		now.Store(true)
		time.Sleep(yieldEvery)
		d.expect(t, "up 1", "down", "step down for b")
		time.Sleep(time.Minute) // it leads no more, so it hands over nothing
		now.Store(false)
		c.acquiredBy(t, "b")
		c.lead(true)
		d.expect(t, "up 1", "down", "step down for b", "up 3")
	})
}

// The leadership that nobody takes stays, and with it the address.
func TestServesOnWhenNobodyTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		now := yielding(&cfg, d)
		cfg.HandOver = func(context.Context, string) error {
			d.note("nobody takes it")
			now.Store(false)
			return errors.New("nobody")
		}
		defer run(cfg, c)()
		c.lead(true)
		synctest.Wait()
		now.Store(true)
		time.Sleep(time.Minute)
		d.expect(t, "up 1", "down", "nobody takes it", "up 1")
	})
}

// The address is down while the leadership is offered. That is done ever less often as
// long as nobody takes it, and at once again by who leads anew.
func TestIsNotDownForOffersThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		now := yielding(&cfg, d)
		var offers atomic.Int64
		cfg.HandOver = func(context.Context, string) error {
			offers.Add(1)
			return errors.New("nobody")
		}
		defer run(cfg, c)()
		c.lead(true)
		now.Store(true)
		time.Sleep(20 * time.Second) // what a node has before it is stopped, as a rule
		if n := offers.Load(); n != 2 {
			t.Errorf("it was offered %d times in twenty seconds", n)
		}
		time.Sleep(time.Hour)
		if n := offers.Load(); n < 12 || n > 20 {
			t.Errorf("it was offered %d times in an hour", n)
		}
		offers.Store(0)
		c.lead(false)
		c.lead(true)
		time.Sleep(2 * yieldEvery)
		if n := offers.Load(); n != 1 {
			t.Errorf("who leads anew offered it %d times", n)
		}
	})
}

// Who stops says so while it serves yet.
func TestLeavesBeforeItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		yielding(&cfg, d)
		stop := run(cfg, c)
		c.lead(true)
		synctest.Wait()
		stop()
		d.expect(t, "up 1", "leave", "down", "step down")
	})
}

// What a drained node has by grant is moved away, and nothing comes to it.
func TestDrainedNodeIsRelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake("x", "y", "z"), new(diary)
		defer run(d.several(c), c)()
		c.lead(true)
		c.expectHolders(t, "x:a y:b* z:c*")
		c.set(func() { c.living, c.drained = []string{"a", "c"}, []string{"b"} })
		synctest.Wait()
		if to := c.movingTo("y"); to != "a" && to != "c" {
			t.Errorf("y moves to %q", to)
		}
	})
}

func (c *fakeCluster) movingTo(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.Address(name).GetMovingTo()
}
