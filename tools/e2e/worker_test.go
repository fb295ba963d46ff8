package e2e

import (
	"errors"
	"fmt"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/e2e/people"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// worker is somebody outside with a phone and the barrel that is checked out
// with it, logged in.
type worker struct {
	*site
	phone  *phone.Phone
	app    *phone.App
	barrel *barrel.Barrel
	id     string // the barrel's
}

// worker sends the n-th phone and barrel out.
func (s *site) worker(n int, c *carrier.Carrier, change ...func(*phone.Config)) *worker {
	s.Helper()
	sim := s.enlist(n)
	return s.out(n, s.attach(c, sim, change...), s.barrel(n, sim))
}

// out logs the n-th worker in, with his barrel on the hotspot.
func (s *site) out(n int, p *phone.Phone, b *barrel.Barrel) *worker {
	s.Helper()
	w := &worker{site: s, phone: p, barrel: b, id: barrelID(n)}
	w.app = w.phone.App()
	if err := w.barrel.Join(s.soon(), w.phone.Hotspot()); err != nil {
		s.Fatal(err)
	}
	w.awaitBarrel("heard from", isHeard)
	if _, err := w.app.Login(s.soon(), people.Applicant, people.Password(people.Applicant)); err != nil {
		s.Fatal(err)
	}
	return w
}

// isHeard tells whether the gateway hears a barrel's heartbeats.
func isHeard(b wire.BarrelStatus) bool { return b.LeaseMs > 0 }

func (w *worker) awaitBarrel(what string, wanted func(wire.BarrelStatus) bool) {
	w.Helper()
	if now, err := w.barrel.Await(w.soon(), wanted); err != nil {
		w.Fatalf("barrel %s is not %s: %+v", w.id, what, now)
	}
}

// request asks for the use of an order.
func (w *worker) request(order string, count uint32) wire.UseAnswer {
	w.Helper()
	var use wire.UseAnswer
	var err error
	w.until("the barrel is heard from", func() bool {
		use, err = w.app.RequestUse(w.soon(), order, w.id, count)
		var p *wire.Problem
		return !errors.As(err, &p) || p.Code != wire.CodeBarrelOffline // what a person waits out
	})
	if err != nil {
		w.Fatal(err)
	}
	return use
}

// unlock hands the grant to the barrel, and gives it finger and face.
func (w *worker) unlock(use wire.UseAnswer) {
	w.Helper()
	if _, err := w.app.Unlock(w.soon(), use, people.Applicant, use.Order); err != nil {
		w.Fatal(err)
	}
	if err := w.barrel.Finger(people.Applicant); err != nil {
		w.Fatal(err)
	}
	if err := w.barrel.Face(people.Applicant); err != nil {
		w.Fatal(err)
	}
}

// press stamps once and waits until the ledger has the receipt.
func (w *worker) press(use wire.UseAnswer) (stamp uint32) {
	w.Helper()
	n, err := w.barrel.Press()
	if err != nil {
		w.Fatal(err)
	}
	w.awaitUse(use.Use, fmt.Sprintf("confirmed %d times", n), func(u wire.UseStatus) bool { return u.Confirmed >= n })
	return n
}

func (w *worker) awaitUse(use uint64, what string, wanted func(wire.UseStatus) bool) {
	w.Helper()
	w.until(fmt.Sprintf("use %d is %s", use, what), func() bool {
		u, err := w.app.Use(w.soon(), use)
		if err != nil {
			w.Fatal(err)
		}
		return wanted(u)
	})
}

// stampOnce has one stamping of an order granted, made and settled.
func (w *worker) stampOnce(order string) {
	w.Helper()
	use := w.request(order, 1)
	w.unlock(use)
	w.press(use)
	w.settled(use.Use)
}

// settled waits until the ledger knows for certain what became of a use.
func (w *worker) settled(use uint64) {
	w.Helper()
	w.awaitUse(use, "settled", func(u wire.UseStatus) bool { return u.State == wire.UseSettled })
}
