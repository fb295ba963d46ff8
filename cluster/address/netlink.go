package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// lifetime is how long the kernel keeps an address that nobody renews. It ends the
// tenure of a holder that was killed, stopped or cut off: its machine would
// otherwise answer for the address for ever, and neighbours that ask anew would hear
// two. The kernel counts in seconds, and is up to one late.
const lifetime = 3 * time.Second

// renewal is the time between two looks at whether the address is still ours.
const renewal = 500 * time.Millisecond

// Announcements go on after the first one, as they may be lost, and neighbours may
// hear what an earlier holder's machine says last: at first after firstRepeat, then
// twice as late each time, up to lastRepeat.
const (
	firstRepeat = 50 * time.Millisecond
	lastRepeat  = 10 * time.Second
)

// netlink is the Driver of that kind.
type netlink struct {
	link  link
	holds func(netip.Addr) bool
	log   *slog.Logger

	mu    sync.Mutex
	tends map[netip.Addr]func() // guarded by mu; each ends the tending of an address and waits for it
}

// link is the machine's network, with one interface of it that addresses are put on.
type link interface {
	// add puts a on the interface for valid from now on, if it is there already for
	// that long anew.
	add(a netip.Addr, valid time.Duration) error
	// remove takes a off the interface; errAbsent if it isn't there.
	remove(a netip.Addr) error
	// announce tells the neighbours that a is here.
	announce(a netip.Addr) error
	// where names the interface that has a, "" if none has.
	where(a netip.Addr) (string, error)
}

var (
	errAbsent    = errors.New("the interface hasn't this address")
	errForbidden = errors.New("not permitted")
)

func newNetlink(iface string, addresses []netip.Addr, holds func(netip.Addr) bool, log *slog.Logger) (Driver, error) {
	if _, err := net.InterfaceByName(iface); err != nil {
		return nil, fmt.Errorf("interface %q: %w; this machine has %s", iface, err, interfaces())
	}
	l, err := openLink(iface)
	if err != nil {
		return nil, permission(err)
	}
	return startNetlink(l, addresses, holds, log)
}

// startNetlink takes away what a process before, which had no time to, left behind.
func startNetlink(l link, addresses []netip.Addr, holds func(netip.Addr) bool, log *slog.Logger) (Driver, error) {
	for _, a := range addresses {
		switch err := l.remove(a); {
		case err == nil:
			log.Info("address of a process before is removed from its interface", "address", a)
		case !errors.Is(err, errAbsent):
			return nil, permission(fmt.Errorf("remove %s: %w", a, err))
		}
		name, err := l.where(a)
		if err != nil {
			return nil, err
		}
		if name != "" {
			return nil, fmt.Errorf("%s is configured on interface %s already; remove it there: this node puts the address on its interface when it holds it, and must be able to take it away", a, name)
		}
	}
	return &netlink{link: l, holds: holds, log: log, tends: map[netip.Addr]func(){}}, nil
}

// permission says what to do about a lack of it.
func permission(err error) error {
	if errors.Is(err, errForbidden) {
		return fmt.Errorf("%w: moving an address takes the capabilities CAP_NET_ADMIN and CAP_NET_RAW (systemd: AmbientCapabilities=), or another gateway.address_driver", err)
	}
	return err
}

func interfaces() string {
	all, err := net.Interfaces()
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return strings.Join(names, ", ")
}

// Up implements Driver.
func (d *netlink) Up(ctx context.Context, a netip.Addr, _ uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, up := d.tends[a]; up {
		return fmt.Errorf("%s is up already", a)
	}
	if err := d.link.add(a, lifetime); err != nil {
		return permission(fmt.Errorf("add %s: %w", a, err))
	}
	if err := d.link.announce(a); err != nil {
		err = permission(fmt.Errorf("announce %s: %w", a, err))
		return errors.Join(err, d.remove(a))
	}
	tending, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	d.tends[a] = func() { cancel(); <-done }
	go func() {
		defer close(done)
		d.tend(tending, a)
	}()
	return nil
}

// Down implements Driver.
func (d *netlink) Down(a netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if end, up := d.tends[a]; up {
		end()
		delete(d.tends, a)
	}
	return d.remove(a)
}

func (d *netlink) remove(a netip.Addr) error {
	if err := d.link.remove(a); err != nil && !errors.Is(err, errAbsent) {
		return fmt.Errorf("remove %s: %w", a, err)
	}
	return nil
}

// tend keeps the address and repeats the announcement while this node holds it. A
// node that was stopped, or has lost the others, may still be in here when another is
// the holder.
func (d *netlink) tend(ctx context.Context, a netip.Addr) {
	renew := time.NewTicker(renewal)
	defer renew.Stop()
	pause := firstRepeat
	repeat := time.NewTimer(pause)
	defer repeat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			if d.holds(a) {
				err = d.link.add(a, lifetime)
			}
		case <-repeat.C:
			pause = min(2*pause, lastRepeat)
			repeat.Reset(pause)
			if d.holds(a) {
				err = d.link.announce(a)
			}
		}
		if err != nil {
			d.log.Error("the address can't be kept on its interface", "address", a, "error", err)
		}
	}
}
