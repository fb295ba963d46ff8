package hotspot

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/policy/ident"
)

// macs makes addresses that nobody has.
type macs struct{ n int }

func (m *macs) String() string {
	return fmt.Sprintf("02:00:5e:99:%02x:%02x", m.n>>8&0xff, m.n&0xff)
}

func parsed(t *testing.T, s string) ident.MAC {
	t.Helper()
	m, err := ident.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// kinds are the decisions in the chain, in short.
func kinds(w *usetest.World) string {
	var out []string
	for _, d := range w.Decisions() {
		word := d.Code
		if d.Allowed {
			word = "allowed"
		}
		out = append(out, d.Kind+" "+word)
	}
	return strings.Join(out, ", ")
}

// watched runs a test with a watch, in a bubble.
func watched(t *testing.T, test func(t *testing.T, world *usetest.World, w *Watch)) {
	synctest.Test(t, func(t *testing.T) {
		world := usetest.New(t, time.Now)
		w := NewWatch(&Guard{Records: world, Rules: usetest.Rules}, world, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		test(t, world, w)
	})
}

// What is asked again and again stands in the chain once; an unlisted device is an
// alarm besides, and what changes stands there again.
func TestWatchTellsWhatIsNew(t *testing.T) {
	watched(t, func(t *testing.T, world *usetest.World, w *Watch) {
		ours, stranger := parsed(t, usetest.MAC(usetest.Barrel)), parsed(t, "02:00:5e:99:99:99")
		for range 3 {
			if err := w.Judge(usetest.Terminal, ours); err != nil {
				t.Errorf("its own barrel is refused: %v", err)
			}
			if w.Judge(usetest.Terminal, stranger) == nil {
				t.Error("a stranger is let in")
			}
			time.Sleep(time.Minute)
		}
		if got, want := kinds(world), "hotspot allowed, hotspot mac-not-allowed, alarm alarm"; got != want {
			t.Errorf("recorded: %s\nwant: %s", got, want)
		}
		if w.Alarms() != 1 {
			t.Errorf("%d alarms, want 1", w.Alarms())
		}
		world.Do(&command.CheckIn{Barrel: usetest.Barrel})
		if w.Judge(usetest.Terminal, ours) == nil {
			t.Error("a barrel that is in nobody's hands is let in")
		}
		synctest.Wait()
		if got, want := kinds(world), "hotspot allowed, hotspot mac-not-allowed, alarm alarm, hotspot barrel-not-bound"; got != want {
			t.Errorf("recorded: %s\nwant: %s", got, want)
		}
		time.Sleep(tellAgain)
		_ = w.Judge(usetest.Terminal, stranger)
		synctest.Wait()
		if got := kinds(world); !strings.HasSuffix(got, "barrel-not-bound, hotspot mac-not-allowed, alarm alarm") {
			t.Errorf("recorded an hour later: %s", got)
		}
	})
}

// Somebody who makes up MACs near a hotspot can't fill the chain.
func TestWatchIsBounded(t *testing.T) {
	watched(t, func(t *testing.T, world *usetest.World, w *Watch) {
		for i := range 1000 {
			if w.Judge(usetest.Terminal, parsed(t, (&macs{i}).String())) == nil {
				t.Fatal("a stranger is let in")
			}
		}
		synctest.Wait()
		if n := len(world.Decisions()); n != 2*tellBurst {
			t.Errorf("%d entries, want %d", n, 2*tellBurst)
		}
		if w.Alarms() != 1000 {
			t.Errorf("%d alarms are counted, want 1000", w.Alarms())
		}
	})
}

// What is seen while there is no quorum is recorded when there is one.
func TestWatchWaitsForTheQuorum(t *testing.T) {
	watched(t, func(t *testing.T, world *usetest.World, w *Watch) {
		world.Fail(command.ErrNoQuorum)
		_ = w.Judge(usetest.Terminal, parsed(t, "02:00:5e:99:99:99"))
		time.Sleep(10 * time.Second)
		world.Fail(nil)
		time.Sleep(2 * time.Second)
		if got, want := kinds(world), sealuse.KindHotspot+" mac-not-allowed, alarm alarm"; got != want {
			t.Errorf("recorded: %s, want: %s", got, want)
		}
	})
}
