package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// The carrier falls silent and the phone comes over WireGuard: the same
// session, the same address, on either path, also when the holder dies
// meanwhile.
func TestFallback(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	c, tap := s.carrier(1)
	enlist, install := s.wireguard()
	sim := s.enlist(1, enlist)
	p := s.attach(c, sim, install)
	was := s.sessions(imsi(1))[0]
	on := func(path string) bool {
		t.Helper()
		all := s.sessions(imsi(1))
		return len(all) == 1 && all[0].ID == was.ID && all[0].Address == was.Address && all[0].Path == path && slices.Contains(all[0].Paths, "gtp")
	}
	if !on("gtp") || p.Address().String() != was.Address {
		t.Fatalf("the phone is at %s, its session is %+v", p.Address(), was)
	}

	c.Cut()
	if err := p.SwitchToFallback(s.soon()); err != nil {
		t.Fatal(err)
	}
	s.until("the session is on the fallback path", func() bool { return on("wireguard") })

	s.nodes[s.held()].kill()
	s.ping(p) // the new holder calls the phone back
	s.until("another node holds the address", func() bool { return s.holder() != nil })
	if _, err := p.App().Status(s.soon()); err != nil {
		t.Fatal(err)
	}

	c.Restore()
	if err := p.SwitchToCarrier(s.soon()); err != nil {
		t.Fatal(err)
	}
	s.until("the session is on the carrier's path", func() bool { return on("gtp") })
	s.ping(p)
	if p.Address().String() != was.Address {
		t.Errorf("the phone's address was %s and is %s", was.Address, p.Address())
	}
	tap.noEnding()
	s.auditVerifies()
}

// untapped is a carrier whose packets nobody keeps.
func (s *site) untapped(n byte) *carrier.Carrier {
	s.Helper()
	c, err := carrier.New(carrier.Config{
		Address: s.ip(20, n), Gateway: s.gateway, RestartCounter: n, Logger: s.simLog(), T3: 500 * time.Millisecond, N3: 20,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// roam has a phone decide for itself until the test ends.
func (s *site) roam(p *phone.Phone) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	var roaming sync.WaitGroup
	roaming.Go(func() { _ = p.Roam(ctx, pathwatch.Config{}) })
	s.Cleanup(func() { cancel(); roaming.Wait() })
}

// onPath waits until a phone is on a path.
func (s *site) onPath(p *phone.Phone, want phone.Path) {
	s.Helper()
	s.until("the phone is on the path "+string(want), func() bool { is, _ := p.Path(); return is == want })
}

// An image of 50 MB is on its way while the phone goes from the carrier to the fallback
// and back: it arrives whole, over one TCP connection.
func TestEvidenceAcrossPaths(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.startServer()
	office := s.office()
	c := s.untapped(1)
	enlist, install := s.wireguard()
	sim := s.enlist(1, enlist)
	// An attempt may take as long as the image.
	w := s.out(1, s.attach(c, sim, install, func(cfg *phone.Config) { cfg.App.AttemptTimeout = 5 * patience }), s.barrel(1, sim))
	order := office.Order("WO-1", 1)
	use := w.request(order, 1)
	w.unlock(use)
	stamp := w.press(use)
	if _, err := w.phone.OpenFallback(s.soon()); err != nil {
		t.Fatal(err)
	}

	image := make([]byte, 50<<20)
	_, _ = rand.Read(image) // never fails (crypto/rand)
	dials := w.app.Dials()
	done := make(chan error, 1)
	var answer wire.EvidenceAnswer
	began := time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(s.Context(), 5*patience)
		defer cancel()
		var err error
		answer, err = w.app.UploadEvidence(ctx, use.Use, stamp, image, "image/png")
		done <- err
	}()
	// What the gateway has heard of the phone, by path.
	heard := func(counter string) uint64 { return s.counted(counter) }
	const part = 10 << 20
	const gtpuUplink, wireguardUplink = "gtpu.uplink-bytes", "wireguard.uplink-bytes"
	for _, step := range []struct {
		counter string
		next    phone.Path
	}{{gtpuUplink, phone.FallbackPath}, {wireguardUplink, phone.CarrierPath}} {
		before := heard(step.counter)
		s.until("a part of the image has come by "+step.counter, func() bool { return heard(step.counter) >= before+part })
		if err := w.phone.Use(step.next); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(image); !bytes.Equal(answer.Digest, sum[:]) || answer.Size != int64(len(image)) {
		t.Errorf("the seal server has %d bytes with the digest %x", answer.Size, answer.Digest)
	}
	if e := office.evidence(order); len(e) != 1 || e[0].Size != int64(len(image)) {
		t.Errorf("the reviewer sees %+v", e)
	}
	if n := w.app.Dials() - dials; n > 1 {
		t.Errorf("the app connected %d times: a connection was lost at a switch", n)
	}
	t.Logf("%d MB in %v", len(image)>>20, time.Since(began).Round(time.Millisecond))
	w.settled(use.Use)
	s.auditVerifies()
}

// Both paths live, and a flow of 100 packets a second goes from one to the other and back
// without losing any.
func TestNothingIsLostBetweenLivePaths(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	c := s.untapped(1)
	enlist, install := s.wireguard()
	p := s.attach(c, s.enlist(1, enlist), install)
	if _, err := p.OpenFallback(s.soon()); err != nil {
		t.Fatal(err)
	}
	for _, to := range []phone.Path{phone.FallbackPath, phone.CarrierPath} {
		s.held()
		epoch := s.epoch()
		f := s.flow(p, func() {
			if err := p.Use(to); err != nil {
				t.Error(err)
			}
			s.until("the gateway follows to the "+string(to), func() bool {
				a, err := p.Probe(s.soon(), to)
				return err == nil && a.Active
			})
		})
		t.Logf("to the %s: %v", to, f)
		switch {
		case f.Sent == f.Answered:
		case s.epoch() != epoch:
			t.Log("meanwhile nobody held the gateway address for a moment, which a busy machine can bring about")
		default:
			t.Errorf("to the %s: %v", to, f)
		}
	}
}

// flow sends 100 packets a second while something happens, and until as many more were
// answered as before it.
func (s *site) flow(p *phone.Phone, happens func()) ipstack.Flow {
	s.Helper()
	const around = 100
	ctx, stop := context.WithTimeout(s.Context(), 2*patience)
	defer stop()
	var answers atomic.Int64
	flowing := make(chan ipstack.Flow, 1)
	go func() {
		f, err := p.Stack().FlowTold(ctx, s.inner, 10*time.Millisecond, func(n int) { answers.Store(int64(n)) })
		if err != nil {
			s.Error(err)
		}
		flowing <- f
	}()
	s.until("packets flow", func() bool { return answers.Load() >= around })
	happens()
	before := answers.Load()
	s.until("packets flow again", func() bool { return answers.Load() >= before+around })
	stop()
	return <-flowing
}

// The phone decides for itself. In the middle of a use the carrier dies, and then the node
// that holds the gateway address: the barrel, whose lease is 10 s, doesn't notice, and the
// use goes on.
func TestUseSurvivesCarrierAndHolder(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.startServer()
	office := s.office()
	c := s.untapped(1)
	enlist, install := s.wireguard()
	sim := s.enlist(1, enlist)
	p := s.phone(c, sim, install)
	s.roam(p)
	s.onPath(p, phone.CarrierPath)
	w := s.out(1, p, s.barrel(1, sim))
	use := w.request(office.Order("WO-1", 3), 3)
	w.unlock(use)
	w.press(use)

	f := s.flow(p, func() {
		c.Cut()
		s.onPath(p, phone.FallbackPath)
	})
	t.Logf("the carrier died: %v", f)
	if !w.stillUnlocked("the carrier died", f) {
		return
	}
	w.press(use)

	dead := s.nodes[s.held()]
	f = s.flow(p, func() {
		dead.kill()
		s.until("another node holds the address", func() bool { h := s.holder(); return h != nil && h != dead })
	})
	t.Logf("the holder died: %v", f)
	if !w.stillUnlocked("the holder died", f) {
		return
	}
	w.press(use)
	w.settled(use.Use)

	c.Restore()
	s.onPath(p, phone.CarrierPath)
	s.ping(p)
	s.auditVerifies()
}

// stillUnlocked fails the test if the barrel has lost its lease while the gateway was heard.
// That it wasn't, for so long that the barrel has to lock, is the machine's doing, and no
// matter of this test.
func (w *worker) stillUnlocked(what string, meanwhile ipstack.Flow) bool {
	w.Helper()
	w.awaitBarrel("heard from", isHeard)
	now, _ := w.barrel.Status()
	if now.Locked && meanwhile.Gap < 5*time.Second { // of a lease of 10 s, as the barrel needs a new association after it
		w.Fatalf("%s, and the barrel locked: %+v", what, now)
	}
	if now.Locked {
		w.Logf("%s, and on this busy machine nothing was heard for %v: the barrel has locked, and no use goes on", what, meanwhile.Gap)
	}
	return !now.Locked
}

// The policy comes to demand more on the fallback than a terminal has: who is there is
// put off it, and who asks is refused, in words that don't say why.
func TestFallbackIsRefusedByPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	c := s.untapped(1)
	enlist, install := s.wireguard()
	p := s.attach(c, s.enlist(1, enlist), install)
	if err := p.SwitchToFallback(s.soon()); err != nil {
		t.Fatal(err)
	}
	s.demandCertificate()
	s.until("the session is off the fallback", func() bool {
		all := s.sessions(imsi(1))
		return len(all) == 0 || !slices.Contains(all[0].Paths, "wireguard")
	})
	a, err := p.Probe(s.soon(), phone.FallbackPath)
	if err != nil || a.Admitted {
		t.Errorf("a probe by the fallback: %+v, %v", a, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := p.Ping(ctx); err == nil {
		t.Error("the inner network answers")
	}
	_, err = p.RequestConnection(s.soon(), phone.NoPath)
	refused(t, "a connection request without the certificate", err, wire.CodeConnectionRefused)
	var why *wire.Problem
	if errors.As(err, &why) && strings.Contains(why.Detail+why.Title, "certificate") {
		t.Errorf("the refusal says why: %+v", why)
	}
	s.until("the reason is in the chain", func() bool {
		return regexp.MustCompile(`"kind":"connection".*certificate`).MatchString(s.sealctl("audit", "export"))
	})
}

// The gateway's key has leaked and is replaced without an overlap. A phone that has nothing
// but the fallback finds out, asks for another connection in public, and is back by itself.
func TestGatewayKeyReplacedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	c := s.untapped(1)
	enlist, install := s.wireguard()
	p := s.phone(c, s.enlist(1, enlist), install)
	c.Cut()
	s.roam(p)
	s.onPath(p, phone.FallbackPath)
	s.ping(p)
	lease := func() uint64 {
		var all []adminapi.FallbackLease
		if n := s.holding(); n < 0 || askAll(s, n, "/v1/fallback/leases", &all) != nil || len(all) != 1 {
			return 0
		}
		return all[0].Number
	}
	key, first := s.gatewayKey(), lease()
	s.sealctl("fallback", "rotate-key", "--overlap", "0", "--yes")
	if s.gatewayKey() == key {
		t.Fatal("the gateway has the old key")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	for now := first; now == first || now == 0; now = lease() {
		// Somebody waits for an answer, so the phone looks closer.
		try, end := context.WithTimeout(ctx, time.Second)
		_, _ = p.App().Status(try) // what comes of it is told by the lease
		end()
		if ctx.Err() != nil {
			t.Fatal("the phone didn't ask for another connection")
		}
	}
	if _, err := p.App().Status(s.soon()); err != nil {
		t.Fatal(err)
	}
	if is, _ := p.Path(); is != phone.FallbackPath {
		t.Errorf("the phone is on the path %s", is)
	}
}

// demandCertificate has the policy demand a certificate on the fallback, as the line says
// that is a comment of the policy that comes with an installation.
func (s *site) demandCertificate() {
	s.Helper()
	raw, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		s.Fatal(err)
	}
	const line = "credentials: {carrier: [sim], fallback: [wireguard, certificate]}"
	if !strings.Contains(string(raw), "# "+line) {
		s.Fatal("the policy has no such line")
	}
	file := s.file("tightened.yaml")
	s.write(file, strings.Replace(string(raw), "# "+line, line, 1))
	s.sealctl("policy", "apply", file)
}
