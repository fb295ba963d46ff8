package drill

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// hung is longer than any watchdog waits.
const hung = 10 * time.Minute

// Can tells whether an action can be carried out here; nil: yes.
func (l *Local) Can(a Action) error {
	switch a {
	case Freeze, Thaw, Cut, Heal:
		if !Isolated() {
			return fmt.Errorf("to %s a node takes network namespaces: on loopback it would keep the gateway address", a)
		}
		if a == Cut || a == Heal {
			return needs("nft", "nftables")
		}
	case Slow, Hang, Cure:
		return needs("strace", "strace")
	}
	return nil
}

// Do carries out an action.
func (l *Local) Do(ctx context.Context, a Action, node string) error {
	if err := l.Can(a); err != nil {
		return err
	}
	p, err := l.node(node)
	if err != nil {
		return err
	}
	switch a {
	case Kill:
		return p.signal(syscall.SIGKILL)
	case Start:
		<-p.done
		return p.again()
	case Freeze:
		return p.signal(syscall.SIGSTOP)
	case Thaw:
		return p.signal(syscall.SIGCONT)
	case Cut:
		return cut(ctx, node, l.others(node))
	case Heal:
		return heal(ctx, node)
	case Slow:
		return l.delay(ctx, p, SlowDisk)
	case Hang:
		return l.delay(ctx, p, hung)
	case Cure:
		return l.cure(ctx, p)
	}
	return fmt.Errorf("there is no action %q", a)
}

// Revive starts nodes that ended by themselves, as a service manager would, and
// says which and why.
func (l *Local) Revive() (fallen []string, err error) {
	for _, p := range l.nodes {
		if p.ended() {
			fallen = append(fallen, fmt.Sprintf("%s ended by itself: %s", p.name, p.lastWords()))
			err = errors.Join(err, p.again())
		}
	}
	return fallen, err
}

func (l *Local) others(node string) (all []netip.Addr) {
	for i, n := range l.names {
		if n != node {
			all = append(all, l.ip(1, byte(i+1)))
		}
	}
	return all
}

func (l *Local) delay(ctx context.Context, p *process, d time.Duration) (err error) {
	if _, bad := l.disks[p.name]; bad {
		return errors.New(p.name + " has a bad disk already")
	}
	bad, err := delayDisk(ctx, l.cfg.Dir, p, d)
	if err == nil {
		l.disks[p.name] = bad
	}
	return err
}

// cure takes the delays away. A node that ends for them is started.
func (l *Local) cure(ctx context.Context, p *process) error {
	bad, ok := l.disks[p.name]
	if !ok {
		return nil
	}
	delete(l.disks, p.name)
	defer bad.stop()
	if bad.delay != hung {
		return nil
	}
	// The others may serve before it exits; cured too early it might live on.
	if err := bad.awaitExit(ctx, p); err != nil {
		return err
	}
	_ = bad.signal(syscall.SIGKILL) // asked to end, it would wait for the delays
	<-bad.done
	<-p.done
	return p.again()
}
