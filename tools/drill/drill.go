package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"filippo.io/age"
)

// Drill is something that a cluster has to bear.
type Drill struct {
	Name    string
	Summary string
	// Destructive drills need hands, and a cluster that may be hurt.
	Destructive bool
	needs       []Action
	// begin breaks something, and returns on whom. The holder is who holds the
	// gateway address.
	begin func(ctx context.Context, t *Target, holder string) (victim string, err error)
	// moves: the gateway address goes to another node by it. Otherwise the canary
	// is watched for a time.
	moves bool
	// end undoes it; nil: there is nothing to undo.
	end func(ctx context.Context, t *Target, victim string) error
}

// by is a drill that takes an action on the holder, and one to undo it.
func by(a, undo Action) Drill {
	return Drill{
		Destructive: true, needs: []Action{a, undo}, moves: true,
		begin: func(ctx context.Context, t *Target, holder string) (string, error) {
			return holder, t.Hands.Do(ctx, a, holder)
		},
		end: func(ctx context.Context, t *Target, victim string) error { return t.Hands.Do(ctx, undo, victim) },
	}
}

func (d Drill) called(name, summary string) Drill {
	d.Name, d.Summary = name, summary
	return d
}

// Drills lists all of them.
func Drills() []Drill {
	slow := by(Slow, Cure)
	slow.moves = false
	return []Drill{
		{
			Name: "planned-handover", Summary: "the leader hands over to another node", moves: true,
			begin: func(ctx context.Context, t *Target, holder string) (string, error) {
				return holder, t.Admin.stepDown(ctx)
			},
		},
		{
			Name: "address-move", Summary: "the gateway address is moved away, and back to where it was, by handovers", moves: true, begin: moveAway,
		},
		{
			Name: "restore", Summary: "a backup is taken while the cluster works, and restored beside it", begin: restore,
		},
		by(Kill, Start).called("leader-kill", "the node that holds the gateway address dies (SIGKILL) and is started again"),
		by(Freeze, Thaw).called("node-freeze", "the holder stands still (SIGSTOP) and goes on later (SIGCONT)"),
		by(Cut, Heal).called("partition", "the holder is cut off from the other nodes, not from the carriers"),
		slow.called("slow-disk", fmt.Sprintf("each write to the holder's disk takes %v longer for a while", SlowDisk)),
		by(Hang, Cure).called("hung-disk", "the holder's disk hangs; its watchdog has to end it"),
	}
}

// handovers is how many it may take until a node leads again: who is next is up to
// the cluster.
const handovers = 20

// moveAway hands over until the address is back.
func moveAway(ctx context.Context, t *Target, holder string) (string, error) {
	for range handovers {
		before := newest(t.Admin.statuses(ctx))
		if err := t.Admin.stepDown(ctx); err != nil {
			return holder, err
		}
		limited, cancel := context.WithTimeout(ctx, moveLimit)
		var now holding
		moved := wait(limited, 20*time.Millisecond, func() bool { now = newest(t.Admin.statuses(limited)); return now.epoch > before.epoch })
		if !moved {
			cancel()
			return holder, errors.New("the gateway address did not move")
		}
		err := errors.Join(t.Canary.awaitServed(limited), t.Admin.healthy(limited))
		cancel()
		if err != nil || now.node == holder {
			return holder, err
		}
	}
	return holder, fmt.Errorf("the gateway address was not back at %s after %d handovers", holder, handovers)
}

// Find finds a drill by name.
func Find(name string) (Drill, bool) {
	for _, d := range Drills() {
		if d.Name == name {
			return d, true
		}
	}
	return Drill{}, false
}

// Target is a cluster with a canary.
type Target struct {
	Admin  *Admin
	Canary *Canary
	Hands  Hands // nil: none
	// Destructive drills are allowed.
	Destructive bool
	// Aside restores a backup beside the cluster; nil: it is only read.
	Aside func(ctx context.Context, file []byte, id *age.X25519Identity) error
	// UseEvery is in how many rounds once it is asked whether a seal could be used,
	// if the canary has a barrel; zero means in each. A barrel takes seconds to come
	// back.
	UseEvery int

	rounds int
}

// ErrNotAllowed is wrapped when a drill is not for this cluster.
var ErrNotAllowed = errors.New("this drill is not for this cluster")

// Allowed explains why a drill can't be run here; nil: it can.
func (t *Target) Allowed(d Drill) error {
	if d.Destructive && !t.Destructive {
		return fmt.Errorf("%w: %s is destructive; run it on a local cluster (--local), or say --destructive", ErrNotAllowed, d.Name)
	}
	for _, a := range d.needs {
		if t.Hands == nil {
			return fmt.Errorf("%w: %s needs hands on the nodes, to %s one", ErrNotAllowed, d.Name, a)
		}
		if err := t.Hands.Can(a); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrNotAllowed, d.Name, err)
		}
	}
	return nil
}

// SlowDisk is how much longer a write takes on a slow disk.
const SlowDisk = 100 * time.Millisecond

// Times of a round.
const (
	watchFor  = 3 * time.Second        // a canary that nothing should happen to
	maxJitter = 300 * time.Millisecond // before a fault
	calm      = 100 * time.Millisecond // that the canary is watched on, once it is served again
	moveLimit = 15 * time.Second       // for the gateway address to move
	mendLimit = 60 * time.Second       // for the cluster to be healthy again
)

// Run runs one round of a drill. What the cluster did wrong is in the round; an
// error means that nothing can be said, or that the cluster is still broken.
func (t *Target) Run(ctx context.Context, d Drill) (r Round, err error) {
	if err := t.Allowed(d); err != nil {
		return r, err
	}
	c := t.Canary
	t.rounds++
	asks := c.use != nil && (t.rounds-1)%max(t.UseEvery, 1) == 0
	fallen, err := t.revive()
	if err != nil {
		return r, err
	}
	before, err := t.ready(ctx, asks)
	if err != nil {
		return r, fmt.Errorf("before the drill: %w", err)
	}
	c.begin()
	acked, noticed := 0, c.tap.noticed()
	if c.churn != nil {
		acked = c.churn.begin()
	}
	r = Round{Holder: before.node, At: time.Now(), Faults: fallen}
	fault := c.now()
	victim, err := d.begin(ctx, t, before.node)
	if d.end != nil && victim != "" {
		// Whatever happens now, it is undone, also when nobody waits any more.
		defer func() {
			if r.undone {
				return
			}
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), mendLimit)
			defer cancel()
			err = errors.Join(err, d.end(last, t, victim))
		}()
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", d.Name, err)
	}
	if err := t.watch(ctx, d, before, &r); err != nil {
		r.fail(err)
	}
	end := c.now()
	r.note(measure(c.seen(), len(c.bearers), fault, end))
	r.timeline = timeline(c.seen(), fault, end)
	if c.churn != nil {
		if at, ok := c.churn.firstAfter(r.At.Add(r.recovered)); ok {
			r.Signalling = millis(at.Sub(r.At))
		}
	}
	if asks {
		if err := c.use.await(ctx); err != nil {
			r.fail(err)
		} else {
			r.SealUse = millis(time.Since(r.At))
		}
	}
	return r, t.mend(ctx, d, victim, acked, noticed, &r)
}

// revive starts nodes that ended though nobody ended them, where that is up to the
// hands. It is a fault of the round, not the end of all.
func (t *Target) revive() ([]string, error) {
	if l, ok := t.Hands.(interface{ Revive() ([]string, error) }); ok {
		return l.Revive()
	}
	return nil, nil
}

// ready waits until nothing is wrong, and returns who holds the gateway address.
func (t *Target) ready(ctx context.Context, asks bool) (holding, error) {
	ctx, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	if err := t.Admin.healthy(ctx); err != nil {
		return holding{}, err
	}
	if lost := t.Canary.lost(); len(lost) > 0 {
		return holding{}, fmt.Errorf("the canary has lost sessions: %q", lost)
	}
	if asks {
		if err := t.Canary.use.await(ctx); err != nil {
			return holding{}, err
		}
	}
	// Rounds follow each other at the cluster's own pace. A fault is to come at any
	// moment of its heartbeats.
	if err := pause(ctx, rand.N(maxJitter)); err != nil {
		return holding{}, err
	}
	if err := t.Canary.awaitServed(ctx); err != nil {
		return holding{}, err
	}
	return newest(t.Admin.statuses(ctx)), nil
}

// watch waits until the drill has had its effect and the canary is served again.
func (t *Target) watch(ctx context.Context, d Drill, before holding, r *Round) error {
	if !d.moves {
		if err := pause(ctx, watchFor); err != nil {
			return err
		}
		return t.Canary.awaitServed(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, moveLimit)
	defer cancel()
	var now holding
	if !wait(ctx, 20*time.Millisecond, func() bool { now = newest(t.Admin.statuses(ctx)); return now.epoch > before.epoch }) {
		return errors.New("the gateway address did not move")
	}
	r.Next = now.node
	if err := t.Canary.awaitServed(ctx); err != nil {
		return err
	}
	return pause(ctx, calm)
}

// mend undoes the drill and looks at what is left.
func (t *Target) mend(ctx context.Context, d Drill, victim string, acked int, noticed Notice, r *Round) error {
	c := t.Canary
	undo := c.now()
	mended := time.Now()
	if d.end != nil {
		r.undone = true
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), mendLimit)
		err := d.end(limited, t, victim)
		cancel()
		if err != nil {
			return fmt.Errorf("%s could not be undone: %w", d.Name, err)
		}
	}
	fallen, err := t.revive()
	if r.Faults = append(r.Faults, fallen...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	if err := t.Admin.healthy(ctx); err != nil {
		return fmt.Errorf("after %s: %w", d.Name, err)
	}
	if err := c.awaitServed(ctx); err != nil {
		r.fail(err)
	}
	r.Mended = millis(time.Since(mended))
	r.UndoSilence = millis(measure(c.seen(), len(c.bearers), undo, c.now()).Silence)
	list, err := t.Admin.sessions(ctx)
	if err != nil {
		return fmt.Errorf("after %s: %w", d.Name, err)
	}
	r.Sessions = len(c.bearers)
	r.LostSessions = append(c.lost(), kept(c.cfg.Sessions, c.address, list)...)
	if c.churn != nil {
		total, lost, refused, err := c.churn.compare(func() ([]sessionRecord, error) { return t.Admin.sessions(ctx) })
		if err != nil {
			return fmt.Errorf("after %s: %w", d.Name, err)
		}
		r.Acknowledged, r.LostWrites, r.Refused = total-acked, lost, refused
	}
	r.Notice = c.tap.noticed().minus(noticed)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
