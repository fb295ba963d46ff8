package barrel

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

var idle = wire.Heartbeat{State: wire.BarrelIdle, Locked: true, Battery: 80}

// A heartbeat gives a lease of ten seconds and no longer.
func TestLease(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		if w.server.Alive(usetest.Barrel) {
			t.Error("alive before its first heartbeat")
		}
		m := d.beat(idle)
		wantCode(t, m, codes.Changed, "")
		var a wire.HeartbeatAnswer
		into(t, m, &a)
		if a.LeaseMillis != 10_000 || a.Time != time.Now().UnixMilli() || len(a.Locks) != 0 {
			t.Errorf("answered %+v", a)
		}
		for _, tc := range []struct {
			after time.Duration
			alive bool
		}{{9*time.Second + 900*time.Millisecond, true}, {200 * time.Millisecond, false}} {
			time.Sleep(tc.after)
			if got := w.server.Alive(usetest.Barrel); got != tc.alive {
				t.Errorf("alive %v, want %v", got, tc.alive)
			}
		}
		d.beat(idle)
		if !w.server.Alive(usetest.Barrel) {
			t.Error("not alive after another heartbeat")
		}
	})
}

func TestHeartbeatIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		barrel  string
		at      string
		before  func(w *world)
		code    codes.Code
		problem wire.Code
	}{
		{"at another terminal", usetest.Barrel, usetest.Other, nil, codes.Forbidden, wire.CodeBarrelNotBound},
		{"in nobody's hands", usetest.Spare, usetest.Terminal, nil, codes.Forbidden, wire.CodeBarrelNotBound},
		{"checked in meanwhile", usetest.Barrel, usetest.Terminal, func(w *world) {
			w.Do(&command.CheckIn{Barrel: usetest.Barrel})
		}, codes.Forbidden, wire.CodeBarrelNotBound},
		{"terminal detached", usetest.Barrel, usetest.Terminal, func(w *world) {
			var s *command.Session
			w.View(func(m *state.Machine) { s = m.SessionByAddress(usetest.Address(usetest.Terminal)) })
			w.Do(&command.ClosePath{Session: s.Id})
		}, codes.Forbidden, wire.CodeTerminalUnknown},
		{"not leading", usetest.Barrel, usetest.Terminal, func(w *world) { w.away.Store(true) }, codes.ServiceUnavailable, wire.CodeNoQuorum},
		{"what was locked elsewhere isn't known", usetest.Barrel, usetest.Terminal, func(w *world) { w.Fail(command.ErrNoQuorum) }, codes.ServiceUnavailable, wire.CodeNoQuorum},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d := w.connect(tc.barrel, tc.at, 40001)
				if tc.before != nil {
					tc.before(w)
				}
				wantCode(t, d.beat(idle), tc.code, tc.problem)
				if w.server.Alive(tc.barrel) {
					t.Error("alive all the same")
				}
			})
		})
	}
}

// A barrel behind a terminal with IPv6 has one of the addresses out of its /64,
// whichever.
func TestHeartbeatOverIPv6(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.AttachAs(usetest.Terminal, usetest.IPv6)
		w.AttachAs(usetest.Other, usetest.IPv4v6)
		beatAt := func(at netip.Addr, port uint16) message.Message {
			t.Helper()
			d, err := w.try(pskConfig(usetest.Barrel), netip.AddrPortFrom(at, port))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return d.beat(idle)
		}
		for n := range byte(3) {
			wantCode(t, beatAt(usetest.Address6(usetest.Terminal, n), 40001), codes.Changed, "")
			if !w.server.Alive(usetest.Barrel) {
				t.Error("not alive")
			}
		}
		// At another terminal it loses its lease.
		wantCode(t, beatAt(usetest.Address6(usetest.Other, 1), 40001), codes.Forbidden, wire.CodeBarrelNotBound)
		if w.server.Alive(usetest.Barrel) {
			t.Error("alive all the same")
		}
		wantCode(t, beatAt(usetest.Address(usetest.Terminal), 40001), codes.Forbidden, wire.CodeTerminalUnknown) // it has no IPv4 any more
		wantCode(t, beatAt(netip.MustParseAddr("fd00:90:0:d::1"), 40001), codes.Forbidden, wire.CodeTerminalUnknown)
	})
}

// A lease ends at once when the barrel turns out not to be where it belongs.
func TestLeaseIsTakenBack(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.beat(idle)
		w.Do(&command.CheckIn{Barrel: usetest.Barrel})
		wantCode(t, d.beat(idle), codes.Forbidden, wire.CodeBarrelNotBound)
		if w.server.Alive(usetest.Barrel) {
			t.Error("alive after it was checked in")
		}
		w.Do(&command.CheckOut{Barrel: usetest.Barrel, Imsi: usetest.Terminal})
		wantCode(t, d.beat(idle), codes.Changed, "")
	})
}

// How a barrel is judged goes into the audit chain when it changes, not with
// every heartbeat.
func TestVerdictsAreRecordedOnce(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		entries := func() (n uint64) {
			synctest.Wait()
			w.View(func(m *state.Machine) { n, _ = m.AuditHead() })
			return n
		}
		before := entries()
		for range 5 {
			d.beat(idle)
		}
		if n := entries() - before; n != 1 {
			t.Errorf("five good heartbeats made %d entries, want 1", n)
		}
		w.Do(&command.CheckIn{Barrel: usetest.Barrel})
		before = entries()
		for range 5 {
			d.beat(idle)
		}
		if n := entries() - before; n != 1 {
			t.Errorf("five refused heartbeats made %d entries, want 1", n)
		}
	})
}

// A barrel whose counter isn't where its own word has put it is an alarm: above,
// somebody else gives grants; below, it has forgotten some. While a use is open
// its grant may not have arrived.
func TestCounterThatCannotBe(t *testing.T) {
	for _, tc := range []struct {
		name    string
		settled bool
		counter uint64
		alarm   bool
	}{
		{"grant not arrived yet", false, 0, false},
		{"grant arrived", false, 1, false},
		{"grant that nobody gave", false, 2, true},
		{"settled", true, 1, false},
		{"settled and forgotten", true, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
				d.beat(idle)
				use := w.reserve()
				if tc.settled {
					wantCode(t, d.do(d.post(wire.PathBarrelSettle, wire.ContentCOSE, usetest.Statement(t, use, 0))), codes.Changed, "")
				}
				hb := idle
				hb.Counter = tc.counter
				wantCode(t, d.beat(hb), codes.Changed, "")
				wantCode(t, d.beat(hb), codes.Changed, "")
				synctest.Wait()
				alarms := 0
				for _, decision := range w.Decisions() {
					if decision.Subject == "alarm" {
						alarms++
					}
				}
				if want := map[bool]int{true: 1}[tc.alarm]; alarms != want {
					t.Errorf("%d alarms, want %d", alarms, want)
				}
			})
		})
	}
}

func TestTamperedBarrelHasNoLease(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.beat(idle)
		m := d.beat(wire.Heartbeat{State: wire.BarrelTampered, Locked: true})
		wantCode(t, m, codes.Changed, "")
		var a wire.HeartbeatAnswer
		into(t, m, &a)
		if a.LeaseMillis != 0 || w.server.Alive(usetest.Barrel) {
			t.Errorf("answered %+v, alive %v", a, w.server.Alive(usetest.Barrel))
		}
	})
}
