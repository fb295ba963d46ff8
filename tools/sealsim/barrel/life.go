package barrel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

// life is the barrel from one power-on to the next loss of power. One goroutine
// (run) owns the machine, and carries its actions out before it takes the next
// input.
type life struct {
	b       *Barrel
	machine *Machine // owned by run
	open    bool     // the latch; owned by run
	calls   chan *input
	ctx     context.Context
	kill    context.CancelFunc
	loop    sync.WaitGroup // run
	tasks   sync.WaitGroup // everything else

	joining sync.Mutex // one association at a time
	mu      sync.Mutex
	link    *connection // nil: no Wi-Fi; guarded by mu
}

// input is something that happens to the machine.
type input struct {
	do   func(m *Machine, now time.Time) []Action
	done chan error
}

func newLife(b *Barrel, m *Machine) *life {
	l := &life{b: b, machine: m, calls: make(chan *input)}
	l.ctx, l.kill = context.WithCancel(context.Background())
	return l
}

// start boots the machine and runs it.
func (l *life) start() error {
	l.loop.Go(l.run)
	return l.do(func(m *Machine, now time.Time) []Action { return m.Boot(now) })
}

// stop ends this life. It must not be called by its own goroutines.
func (l *life) stop() {
	l.kill()
	l.loop.Wait()
	l.leave()
	l.tasks.Wait()
}

// run is the loop. When it ends, for want of power or of memory, the spring has
// locked the seal.
func (l *life) run() {
	defer l.off()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := l.b.cfg.Clock()
		if at := l.machine.Deadline(); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(at.Sub(now))
		}
		select {
		case in := <-l.calls:
			err := l.carryOut(in.do(l.machine, l.b.cfg.Clock()))
			l.b.publish(l.machine.Status(l.b.cfg.Clock()))
			in.done <- err
			if err != nil {
				return
			}
		case <-timer.C:
			if l.carryOut(l.machine.Tick(l.b.cfg.Clock())) != nil {
				return
			}
			l.b.publish(l.machine.Status(l.b.cfg.Clock()))
		case <-l.ctx.Done():
			return
		}
	}
}

// carryOut does what the machine wants, in order. Memory that fails ends it
// all: nothing after an unsaved state may happen.
func (l *life) carryOut(acts []Action) error {
	for _, a := range acts {
		switch a := a.(type) {
		case Persist:
			if err := l.b.store.save(a.State); err != nil {
				l.b.log.Error("memory failed", "error", err)
				return errors.Join(ErrMemory, err)
			}
			if len(a.State.Outbox) > 0 {
				l.wake()
			}
		case Latch:
			l.open = a.Open
		case Stamp:
			if l.open {
				l.b.impressions.Add(1)
			}
		case Say:
			l.b.speak(a.Text)
		case AckLocks:
			l.acknowledge(a.IDs)
		}
	}
	return nil
}

// off is what remains without power.
func (l *life) off() {
	l.kill()
	l.open = false
	l.b.mu.Lock()
	if l.b.life == l {
		l.b.life = nil
	}
	l.b.mu.Unlock()
	l.b.publish(wire.BarrelStatus{Barrel: l.b.cfg.Identity.ID.String(), Locked: true})
}

// do gives the machine an input and waits until its actions are carried out.
func (l *life) do(fn func(m *Machine, now time.Time) []Action) error {
	in := &input{do: fn, done: make(chan error, 1)}
	select {
	case l.calls <- in:
		return <-in.done
	case <-l.ctx.Done():
		return ErrOff
	}
}

// join associates with a network and connects to the gateway through it,
// leaving the network before.
func (l *life) join(ctx context.Context, n Network) error {
	l.joining.Lock()
	defer l.joining.Unlock()
	l.leave()
	return l.associate(ctx, n)
}

// associate is join for a barrel that has no link; the caller holds joining.
func (l *life) associate(ctx context.Context, n Network) error {
	link, err := n.Join(ctx, wifi.Station{MAC: l.b.cfg.MAC, Hostname: l.b.cfg.Identity.ID.String()})
	if err != nil {
		return err
	}
	c, err := l.connect(link)
	if err != nil {
		link.Leave()
		return err
	}
	l.mu.Lock()
	alive := l.ctx.Err() == nil
	if alive {
		l.link = c
		l.tasks.Go(func() { l.attend(c, n) })
	}
	l.mu.Unlock()
	if !alive {
		c.close()
		return ErrOff
	}
	return nil
}

// attend serves a connection until its link ends, and then looks for the
// network again unless the barrel left it.
func (l *life) attend(c *connection, n Network) {
	c.serve()
	c.close()
	_ = l.do(func(m *Machine, now time.Time) []Action { return m.LinkLost(now) })
	l.mu.Lock()
	if l.link == c {
		l.link = nil
	}
	l.mu.Unlock()
	close(c.gone)
	if !errors.Is(c.link.Err(), wifi.ErrLeft) {
		l.rejoin(n)
	}
}

// rejoin tries to get back on a network until it succeeds, or the barrel is to
// be on another one, or on none.
func (l *life) rejoin(n Network) {
	timer := time.NewTimer(l.b.cfg.Rejoin)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			return
		}
		if l.found(n) {
			return
		}
		timer.Reset(l.b.cfg.Rejoin)
	}
}

// found tries once, and tells whether there is nothing more to try.
func (l *life) found(n Network) bool {
	l.joining.Lock()
	defer l.joining.Unlock()
	l.b.mu.Lock()
	wanted := l.b.network == n
	l.b.mu.Unlock()
	l.mu.Lock()
	linked := l.link != nil
	l.mu.Unlock()
	if !wanted || linked {
		return true
	}
	err := l.associate(l.ctx, n)
	if err != nil {
		l.b.log.Info("Wi-Fi not found again yet", "error", err)
	}
	return err == nil
}

// leave ends the link, if there is one, and waits until the machine knows.
func (l *life) leave() {
	l.mu.Lock()
	c := l.link
	l.mu.Unlock()
	if c != nil {
		c.close()
		<-c.gone
	}
}

// wake makes the connection look into the outbox.
func (l *life) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.link != nil {
		l.link.wake()
	}
}

// acknowledge tells the gateway of locks that are carried out.
func (l *life) acknowledge(ids []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.link != nil {
		l.link.acknowledge(ids)
	}
}
