package e2e

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/e2e/people"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// Two people outside, and what either could try to stamp more, or other, than
// was permitted. All of it fails, and each refusal says why; the ledger, the
// audit chain and the paper agree in the end.
func TestSealUseAttacks(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.startServer()
	c, _ := s.carrier(1)
	a := &attack{site: s, office: s.office(), li: s.worker(1, c), wu: s.worker(2, c), stamped: map[string]uint32{}}
	a.replay()
	a.elsewhere()
	a.lies()
	a.twice()
	a.lastUse()

	var sum uint32
	for order, n := range a.stamped {
		if o := ledger(s, order); o.Confirmed != n || o.Confirmed+o.Reserved > o.Permitted {
			t.Errorf("%s: %d stamped, ledger: %+v", order, n, o)
		}
		sum += n
	}
	if n := a.li.barrel.Impressions() + a.wu.barrel.Impressions(); n != uint64(sum) {
		t.Errorf("%d impressions on paper, %d in the ledger", n, sum)
	}
	s.auditVerifies()
}

type attack struct {
	*site
	office  *office
	li, wu  *worker
	stamped map[string]uint32 // by order: what was pressed with a right grant
}

// replay: a grant that was used is handed to the barrel once more.
func (a *attack) replay() {
	use := a.li.request(a.office.Order("WO-REPLAY", 2), 1)
	a.li.unlock(use)
	a.stamped[use.Order] = a.li.press(use)
	a.li.settled(use.Use)
	a.li.refusesGrant("once more", use, barrel.CodeReplayed)
	if err := a.li.barrel.Reboot(); err != nil {
		a.Fatal(err)
	}
	a.li.awaitBarrel("back", isHeard)
	a.li.refusesGrant("after a reboot", use, barrel.CodeReplayed)
}

// elsewhere: a grant is handed to another barrel, or altered, or forged.
func (a *attack) elsewhere() {
	use := a.li.request(a.office.Order("WO-ELSEWHERE", 1), 0)
	if err := a.wu.barrel.Join(a.soon(), a.li.phone.Hotspot()); err == nil {
		a.Error("a barrel that is checked out with another phone got onto the hotspot")
	}
	// So Wu takes the grant to his own phone.
	if err := a.wu.barrel.Join(a.soon(), a.wu.phone.Hotspot()); err != nil {
		a.Fatal(err)
	}
	a.wu.awaitBarrel("back", isHeard)
	elsewhere := use
	elsewhere.Barrel = a.wu.id
	a.wu.refusesGrant("on another barrel", elsewhere, barrel.CodeOtherBarrel)

	altered := use
	altered.Grant = bytes.Clone(use.Grant)
	altered.Grant[len(altered.Grant)/2] ^= 1
	a.li.refusesGrant("with a bit changed", altered, barrel.CodeGrantInvalid)

	claims, err := grant.Verify(use.Grant, a.grantKey())
	if err != nil {
		a.Fatal(err)
	}
	_, forger, err := ed25519.GenerateKey(nil)
	if err != nil {
		a.Fatal(err)
	}
	claims.Count = 100
	forged := use
	if forged.Grant, err = grant.Sign(claims, forger); err != nil {
		a.Fatal(err)
	}
	a.li.refusesGrant("signed by somebody else", forged, barrel.CodeGrantInvalid)

	a.li.unlock(use) // the grant itself is as good as before
	a.stamped[use.Order] = a.li.press(use)
	if n, err := a.li.barrel.Press(); !errors.Is(err, barrel.ErrLocked) {
		a.Errorf("stamping %d of 1: %v", n, err)
	}
	a.li.settled(use.Use)
}

// lies: a request says what isn't so.
func (a *attack) lies() {
	order := a.office.Order("WO-LIES", 1)
	li, wu := a.li, a.wu
	for _, c := range []struct {
		what string
		lie  func(*wire.UseRequest)
		code wire.Code
	}{
		{"another phone's address", func(r *wire.UseRequest) { r.TerminalAddress = li.phone.Address().String() }, wire.CodeAddressMismatch},
		{"a clock that is late", func(r *wire.UseRequest) { r.Time = r.Time.Add(-10 * time.Minute) }, wire.CodeClockSkew},
		{"a clock that is early", func(r *wire.UseRequest) { r.Time = r.Time.Add(10 * time.Minute) }, wire.CodeClockSkew},
		{"another phone's barrel", func(r *wire.UseRequest) { r.Barrel = li.id }, wire.CodeBarrelNotBound},
		{"a seal server that is not allowed", func(r *wire.UseRequest) { r.ServerAddress = "127.9.9.9:8443" }, wire.CodeServerNotAllowed},
		{"an order that is not there", func(r *wire.UseRequest) { r.Order = "WO-NEVER" }, wire.CodeOrderUnknown},
		{"more than is permitted", func(r *wire.UseRequest) { r.Count = 2 }, wire.CodeOrderExhausted},
	} {
		r := wu.app.NewUseRequest(order, wu.id, 0)
		c.lie(&r)
		_, err := wu.app.SendUseRequest(a.soon(), r)
		refused(a.T, c.what, err, c.code)
	}
	// An address that lies in the packet itself gets no further than the tunnel.
	const spoofed = "gtpu.inner-source"
	before := a.counters()[spoofed]
	p := packet(netip.AddrPortFrom(li.phone.Address(), 4000), netip.AddrPortFrom(a.inner, wire.BarrelPort), []byte("spoofed"))
	if err := wu.phone.Bearer().Send(p); err != nil {
		a.Fatal(err)
	}
	a.until("the packet is counted as spoofed", func() bool { return a.counters()[spoofed] == before+1 })
}

// twice: a request comes many times, at once, and then changed.
func (a *attack) twice() {
	r := a.li.app.NewUseRequest(a.office.Order("WO-TWICE", 3), a.li.id, 1)
	var all [8]wire.UseAnswer
	var errs [8]error
	atOnce(8, func(i int) { all[i], errs[i] = a.li.app.SendUseRequest(a.soon(), r) })
	for i, answer := range all {
		if errs[i] != nil || answer.Use != all[0].Use || !bytes.Equal(answer.Grant, all[0].Grant) {
			a.Fatalf("answer %d: use %d (the first: %d), %v", i, answer.Use, all[0].Use, errs[i])
		}
	}
	if o := ledger(a.site, r.Order); o.Reserved != 1 {
		a.Errorf("one request reserved %d uses", o.Reserved)
	}
	other := r
	other.Count = 2
	_, err := a.li.app.SendUseRequest(a.soon(), other)
	refused(a.T, "the same id for something else", err, wire.CodeRequestReused)
	a.li.giveBack(all[0])
}

// lastUse: two phones ask at once for the last use of an order.
func (a *attack) lastUse() {
	order := a.office.Order("WO-LAST", 1)
	workers := [2]*worker{a.li, a.wu}
	for range 4 {
		var uses [2]wire.UseAnswer
		var errs [2]error
		atOnce(2, func(i int) { uses[i], errs[i] = workers[i].app.RequestUse(a.soon(), order, workers[i].id, 1) })
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil {
			a.Fatalf("nobody got it: %v", errs)
		}
		refused(a.T, "the second to ask", errs[1-winner], wire.CodeOrderExhausted)
		workers[winner].giveBack(uses[winner])
	}
	if o := ledger(a.site, order); o.Left != 1 || o.Reserved != 0 || o.Confirmed != 0 {
		a.Errorf("the order is not as it was: %+v", o)
	}
}

// refusesGrant hands the barrel a grant that it must refuse.
func (w *worker) refusesGrant(what string, use wire.UseAnswer, code wire.Code) {
	w.Helper()
	_, err := w.app.Unlock(w.soon(), use, people.Applicant, use.Order)
	var no *phone.BarrelError
	if !errors.As(err, &no) || no.Problem.Title != code {
		w.Errorf("a grant %s: %v, want %s", what, err, code)
	}
	if b, _ := w.barrel.Status(); !b.Locked {
		w.Errorf("a grant %s unlocked the barrel", what)
	}
}

// giveBack ends a use before anything is stamped.
func (w *worker) giveBack(use wire.UseAnswer) {
	w.Helper()
	w.unlock(use)
	if err := w.app.LockBarrel(w.soon(), w.id, "not needed"); err != nil {
		w.Fatal(err)
	}
	w.settled(use.Use)
}

// ledger is the account of an order.
func ledger(s *site, number string) adminapi.Order {
	s.Helper()
	for _, o := range list[adminapi.Order](s, "order") {
		if o.Number == number {
			return o
		}
	}
	s.Fatalf("the ledger has no order %s", number)
	return adminapi.Order{}
}

// atOnce calls do for 0 to n-1 at the same moment.
func atOnce(n int, do func(i int)) {
	var all sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		all.Go(func() { <-gate; do(i) })
	}
	close(gate)
	all.Wait()
}
