package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var here = netip.MustParseAddr("192.0.2.1")

// fakeLink notes what is done to an interface.
type fakeLink struct {
	diary
	removes, adds, announces error // what they fail with
	static                   string
}

func (l *fakeLink) add(a netip.Addr, valid time.Duration) error {
	l.note("add %s for %v", a, valid)
	return l.adds
}

func (l *fakeLink) remove(a netip.Addr) error {
	l.note("remove %s", a)
	return l.removes
}

func (l *fakeLink) announce(a netip.Addr) error {
	l.note("announce %s", a)
	return l.announces
}

func (l *fakeLink) where(netip.Addr) (string, error) { return l.static, nil }

func (l *fakeLink) count(line string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, is := range l.lines {
		if is == line {
			n++
		}
	}
	return n
}

func (l *fakeLink) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = nil
}

func fakeDriver(t *testing.T, l *fakeLink) (Driver, *atomic.Bool) {
	t.Helper()
	holds := new(atomic.Bool)
	holds.Store(true)
	d, err := startNetlink(l, []netip.Addr{here}, func(netip.Addr) bool { return holds.Load() }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d, holds
}

// The kernel's copy of the address lives while it is renewed, and neighbours hear
// more than once.
func TestAddressIsRenewedAndAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLink{removes: errAbsent}
		d, _ := fakeDriver(t, l)
		if err := d.Up(t.Context(), here, 1); err != nil {
			t.Fatal(err)
		}
		l.expect(t, "remove 192.0.2.1", "add 192.0.2.1 for 3s", "announce 192.0.2.1")
		time.Sleep(time.Minute)
		if n := l.count("add 192.0.2.1 for 3s"); n < int(time.Minute/lifetime)*2 {
			t.Errorf("renewed %d times in a minute", n)
		}
		if n := l.count("announce 192.0.2.1"); n < 10 || n > 20 {
			t.Errorf("announced %d times in a minute", n)
		}
		if err := d.Down(here); err != nil {
			t.Fatal(err)
		}
		l.forget()
		time.Sleep(time.Minute)
		l.expect(t)
	})
}

// A process that was stopped wakes up in the middle of its tenure, when another
// node holds the address: it must not touch anything until it is told.
func TestAddressIsNotRenewedByAFormerHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLink{removes: errAbsent}
		d, holds := fakeDriver(t, l)
		if err := d.Up(t.Context(), here, 1); err != nil {
			t.Fatal(err)
		}
		holds.Store(false)
		l.forget()
		time.Sleep(time.Minute)
		l.expect(t)
		holds.Store(true) // it was a hiccup
		time.Sleep(lastRepeat)
		if l.count("add 192.0.2.1 for 3s") == 0 || l.count("announce 192.0.2.1") == 0 {
			t.Error("the address is neglected after a hiccup")
		}
		if err := d.Down(here); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDriverThatFails(t *testing.T) {
	l := &fakeLink{removes: errAbsent, announces: errors.New("no buffer space available")}
	d, _ := fakeDriver(t, l)
	l.forget()
	if err := d.Up(t.Context(), here, 1); err == nil || !strings.Contains(err.Error(), "announce 192.0.2.1: no buffer space") {
		t.Errorf("Up: %v", err)
	}
	if n := l.count("remove 192.0.2.1"); n != 1 {
		t.Errorf("an address that nobody was told of is removed %d times", n)
	}
	l.announces, l.adds = nil, fmt.Errorf("%w: operation not permitted", errForbidden)
	if err := d.Up(t.Context(), here, 1); err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("Up without the capability: %v", err)
	}
}

func TestDriverBegins(t *testing.T) {
	for _, c := range []struct {
		name string
		link *fakeLink
		want string
	}{
		{"after a clean end", &fakeLink{removes: errAbsent}, ""},
		{"after a crash", &fakeLink{}, ""},
		{"without the capability", &fakeLink{removes: errForbidden}, "takes the capabilities CAP_NET_ADMIN and CAP_NET_RAW"},
		{"with an address that an operator configured", &fakeLink{removes: errAbsent, static: "eth0"}, "192.0.2.1 is configured on interface eth0 already; remove it there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := startNetlink(c.link, []netip.Addr{here}, nil, slog.New(slog.DiscardHandler))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if c.link.count("remove 192.0.2.1") != 1 {
				t.Error("what a process before left is not removed")
			}
		})
	}
}

func TestDriverOnNoInterface(t *testing.T) {
	_, err := NewDriver(Netlink, Settings{Interface: "eth99", Addresses: []netip.Addr{here}, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), `interface "eth99"`) || !strings.Contains(err.Error(), "this machine has lo") {
		t.Errorf("error %v", err)
	}
}

// The sockets are open before packets come, and until none come any more.
func TestDriverWithinTheSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newFake(), new(diary)
		cfg := d.config(c)
		driver := &fakeMover{diary: d, fails: 2}
		cfg.Driver, cfg.Addresses[0].IP = driver, here
		defer run(cfg, c)()
		c.lead(true)
		time.Sleep(time.Second)
		d.expect(t, "up 1", "fail 192.0.2.1", "down", "up 1", "fail 192.0.2.1", "down", "up 1", "move 192.0.2.1 at 1")
		c.lead(false)
		d.expect(t, "up 1", "fail 192.0.2.1", "down", "up 1", "fail 192.0.2.1", "down", "up 1", "move 192.0.2.1 at 1", "remove 192.0.2.1", "down")
	})
}

type fakeMover struct {
	*diary
	fails int // so often at first
}

func (m *fakeMover) Up(_ context.Context, a netip.Addr, epoch uint64) error {
	if m.fails--; m.fails >= 0 {
		m.note("fail %s", a)
		return errors.New("no such device")
	}
	m.note("move %s at %d", a, epoch)
	return nil
}

func (m *fakeMover) Down(a netip.Addr) error { m.note("remove %s", a); return nil }
