package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
)

// watched is a traveller with both paths, and when it was heard by each.
type watched struct {
	*traveller
	*standbys
	carrier, fallback time.Time
	held              bool
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{traveller: newTraveller(t, true), held: true}
	w.standbys = &standbys{
		paths: w.traveller.paths, rules: w.traveller.rules, holds: func() bool { return w.held },
		both: func() (both []*command.Session) {
			if s := w.session(); s.GetGtp() != nil && s.Wireguard != nil {
				both = append(both, s)
			}
			return both
		},
		carrierHeard:  func(uint64) (time.Time, bool) { return w.carrier, !w.carrier.IsZero() },
		fallbackHeard: func(netip.Addr) (time.Time, bool) { return w.fallback, !w.fallback.IsZero() },
		mine:          func(s *command.Session) bool { return s.GatewayAddress == "gw1" },
		log:           slog.New(slog.DiscardHandler),
	}
	w.attach()
	w.carrier = time.Now()
	is(t, "it comes by the fallback", w.sends(byWireGuard, cafe), attaches)
	w.fallback = time.Now()
	w.sweep(t.Context(), time.Now())
	return w
}

// pass lets time pass, in which the holder sweeps, and tells what it proposed.
func (w *watched) pass(d time.Duration) []command.Type {
	for range d / letGoEvery {
		time.Sleep(letGoEvery)
		w.sweep(w.traveller.t.Context(), time.Now())
	}
	return w.proposed()
}

const closes = command.Type_CLOSE_PATH

// The carrier's path goes when it was silent for the grace time; the session goes on.
func TestCarriersPathIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		is(t, "within the grace time", w.pass(115*time.Second))
		is(t, "after it", w.pass(10*time.Second), closes)
		if s := w.session(); s.GetGtp() != nil || s.GetWireguard() == nil || s.Active != byWireGuard {
			t.Errorf("left is %v", s)
		}
		is(t, "afterwards", w.pass(time.Hour))
	})
}

// The fallback path goes likewise; the peer stays, and comes back as at first.
func TestFallbackPathIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		time.Sleep(10 * time.Second)
		is(t, "back on the carrier's", w.sends(byCarrier), selects)
		is(t, "within the grace time", w.pass(115*time.Second))
		is(t, "after it", w.pass(10*time.Second), closes)
		if s := w.session(); s.GetGtp() == nil || s.Wireguard != nil || s.Active != byCarrier {
			t.Errorf("left is %v", s)
		}
		w.View(func(m *state.Machine) {
			if peers, _ := wantedPeers(m, time.Now()); len(peers) != 1 || peers[0].Active {
				t.Errorf("peers %+v", peers)
			}
		})
		is(t, "it comes again", w.sends(byWireGuard, cafe), attaches)
	})
}

// What is heard stays, be it probes alone; so does what can't be heard at present, what
// both use, and what is another address's or another node's to let go of.
func TestPathsThatStay(t *testing.T) {
	for name, why := range map[string]func(*watched){
		"probed":                func(w *watched) {},
		"suspended":             func(w *watched) { w.change(func(s *command.Session) { s.Gtp.Suspended = true }) },
		"IPv6 alone":            func(w *watched) { w.change(func(s *command.Session) { s.Gtp.PdnType = 2 }) },
		"of another address":    func(w *watched) { w.mine = func(*command.Session) bool { return false } },
		"not served here":       func(w *watched) { w.carrier = time.Time{} },
		"not held":              func(w *watched) { w.held = false },
		"for lack of any grace": func(w *watched) { r := *w.standbys.rules(); r.Fallback.Grace = 0; w.standbys.rules = ruled(&r) },
		"for lack of a policy":  func(w *watched) { w.standbys.rules = ruled(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t)
				why(w)
				for range 40 {
					if name == "probed" {
						w.carrier = time.Now()
					}
					is(t, name, w.pass(15*time.Second))
				}
			})
		})
	}
}

// Who takes over has heard nothing yet: it waits for the grace time of its own. What
// isn't committed is tried again.
func TestLetGoAfterTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		w.held = false
		w.pass(time.Hour)
		w.held = true
		is(t, "it begins to hold", w.pass(115*time.Second))
		w.traveller.paths.cluster = &failing{proposer: w.traveller.paths.cluster, times: 2}
		is(t, "without a quorum", w.pass(15*time.Second))
		is(t, "with one", w.pass(5*time.Second), closes)
	})
}

func ruled(r *policy.Rules) func() *policy.Rules { return func() *policy.Rules { return r } }

// failing is a log without a quorum for some times.
type failing struct {
	proposer
	times int
}

func (f *failing) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if f.times--; f.times >= 0 {
		return nil, errors.New("no quorum")
	}
	return f.proposer.Propose(ctx, c)
}

// change has what is seen of the session be another.
func (w *watched) change(how func(*command.Session)) {
	both := w.both
	w.both = func() []*command.Session {
		all := slices.Clone(both())
		for i, s := range all {
			next := &command.Session{Id: s.Id, Imsi: s.Imsi, Apn: s.Apn, Active: s.Active, Address: s.Address, GatewayAddress: s.GatewayAddress, Wireguard: s.Wireguard, PathSince: s.PathSince}
			next.Gtp = &command.GTPPath{Version: s.Gtp.Version, LocalTeidC: s.Gtp.LocalTeidC, PdnType: s.Gtp.PdnType}
			how(next)
			all[i] = next
		}
		return all
	}
}

// With several gateway addresses the two paths of a session may be tied to different
// ones. Each holder sees to the path that is its own.
func TestPathsAtTwoAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t) // both at gw1
		first := w.traveller.paths
		second := newPaths(first.cluster, first.rules, "gw2", first.log)
		other := *w.standbys
		other.paths, other.mine = second, func(s *command.Session) bool { return s.GatewayAddress == "gw2" }
		sweep := func(b *standbys, d time.Duration) []command.Type {
			t.Helper()
			for range d / letGoEvery {
				time.Sleep(letGoEvery)
				w.carrier = time.Now() // it is probed
				b.sweep(t.Context(), time.Now())
			}
			return w.proposed()
		}
		w.traveller.paths = second
		is(t, "it comes to the other address", w.sends(byWireGuard, hotel), attaches)
		is(t, "and stays there", w.sends(byWireGuard, hotel))
		if s := w.session(); fallbackAddress(s) != "gw2" || s.GatewayAddress != "gw1" {
			t.Fatalf("tied to %s and %s", s.GatewayAddress, fallbackAddress(s))
		}
		time.Sleep(5 * time.Second)
		w.traveller.paths = first
		is(t, "back on the carrier's", w.sends(byCarrier), selects)
		is(t, "the holder of the first address", sweep(w.standbys, 10*time.Minute))
		is(t, "the holder of the other", sweep(&other, 2*time.Minute), closes)
		if s := w.session(); s.GetGtp() == nil || s.Wireguard != nil {
			t.Errorf("left is %v", s)
		}
	})
}
