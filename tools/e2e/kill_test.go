package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/e2e/people"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// moments of a seal use at which something dies.
var moments = []string{"before the request", "with the grant", "unlocked", "stamped", "with one image stored", "all stamped"}

// Every process is killed at every moment of a seal use, and started again. The
// person at the barrel has to be patient at most: each use ends with two
// impressions, two images and two uses in the ledger.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.startServer()
	office := s.office()
	c, tap := s.carrier(1)
	w := s.worker(1, c)
	again := func(n int) {
		s.nodes[n].kill()
		s.startNode(n)
	}
	deaths := []struct {
		whose string
		die   func()
	}{
		{"the holder", func() { again(s.held()) }},
		{"the seal server", func() { s.server.kill(); s.startServer() }},
		{"a follower", func() { again((s.held() + 1) % len(s.nodes)) }},
	}
	rounds := uint64(0)
	for i, moment := range moments {
		for j, death := range deaths {
			if testing.Short() && j != i%len(deaths) {
				continue
			}
			rounds++
			what := fmt.Sprintf("%s dies %s", death.whose, moment)
			order := office.Order(fmt.Sprintf("WO-%d-%d", i, j), 2)
			s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
			use := w.stampTwice(order, func(at string) {
				if at == moment {
					death.die()
				}
			})
			w.settled(use)
			s.until("the ledger answers", func() bool { _, err := s.trySealctl("order", "list"); return err == nil })
			if o := ledger(s, order); o.Confirmed != 2 || o.Reserved != 0 {
				t.Errorf("%s: ledger: %+v", what, o)
			}
			if e := office.evidence(order); len(e) != 2 {
				t.Errorf("%s: %d images at the seal server", what, len(e))
			}
			if n := w.barrel.Impressions(); n != 2*rounds {
				t.Errorf("%s: %d impressions on paper, want %d", what, n, 2*rounds)
			}
		}
	}
	tap.noEnding()
	s.until("all nodes have caught up", s.caughtUp)
	s.auditVerifies()
}

// stampTwice uses a seal for two pages, patiently, and tells at each moment when it first
// comes. Should the barrel lock because it didn't hear the gateway for too long, the rest is
// another use. It returns the last one.
func (w *worker) stampTwice(order string, at func(moment string)) (use uint64) {
	w.Helper()
	told := map[string]bool{}
	first := func(moment string) {
		if !told[moment] {
			told[moment] = true
			at(moment)
		}
	}
	first(moments[0])
	for stamped := 0; stamped < 2; {
		request := w.app.NewUseRequest(order, w.id, uint32(2-stamped))
		var grant wire.UseAnswer
		w.insist("request", func() (err error) { grant, err = w.app.SendUseRequest(w.soon(), request); return err })
		use = grant.Use
		first(moments[1])
		w.insist("unlock", func() error { _, err := w.app.Unlock(w.soon(), grant, people.Applicant, order); return err })
		open := true
		for _, sense := range []func(string) error{w.barrel.Finger, w.barrel.Face} {
			open = open && w.heardEnough(sense(people.Applicant))
		}
		if open {
			first(moments[2])
		}
		for open && stamped < 2 {
			stamp, err := w.barrel.Press()
			if open = w.heardEnough(err); !open {
				break
			}
			stamped++
			w.awaitUse(use, fmt.Sprintf("confirmed %d times", stamp), func(u wire.UseStatus) bool { return u.Confirmed >= stamp })
			first(moments[1+2*stamped])
			image, err := w.barrel.Photograph(order, stamped)
			if err != nil {
				w.Fatal(err)
			}
			w.insist("upload", func() error {
				_, err := w.app.UploadEvidence(w.soon(), use, stamp, image, "image/png")
				return err
			})
			if stamped == 1 {
				first(moments[4])
			}
		}
		if stamped < 2 {
			w.settled(use)
		}
	}
	return use
}

// heardEnough tells whether the barrel did what somebody wanted of it. It may not have done
// it only because it didn't hear the gateway for as long as its lease is, for which it has to
// lock: on a busy machine it may take as long until another node holds the address.
func (w *worker) heardEnough(err error) bool {
	w.Helper()
	if err == nil {
		return true
	}
	if said := w.barrel.Said(); said[len(said)-1] != "Locked: the gateway is not heard any more." {
		w.Fatalf("%v; it said last: %s", err, said[len(said)-1])
	}
	w.Logf("barrel %s didn't hear the gateway for too long, and has locked", w.id)
	return false
}

// insist tries again while what is in the way passes by itself.
func (w *worker) insist(what string, try func() error) {
	w.Helper()
	passing := []wire.Code{wire.CodeBarrelOffline, wire.CodeServerUnreachable, barrel.CodeNoLease}
	w.until(what, func() bool {
		err := try()
		var p *wire.Problem
		var b *phone.BarrelError
		switch {
		case err == nil:
			return true
		case errors.As(err, &p) && (p.Code == "" && p.Status == 502 || slices.Contains(passing, p.Code)):
		case errors.As(err, &b) && slices.Contains(passing, b.Problem.Title):
		default:
			w.Fatalf("%s: %v", what, err)
		}
		return false
	})
}
