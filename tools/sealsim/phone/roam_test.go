package phone

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
)

// quick is a watcher in a hurry.
func quick() pathwatch.Config {
	return pathwatch.Config{
		InUse: 20 * time.Millisecond, Idle: 50 * time.Millisecond, Standby: 20 * time.Millisecond, Timeout: 500 * time.Millisecond,
		Hold: 100 * time.Millisecond, Damp: 50 * time.Millisecond, Linger: 100 * time.Millisecond,
	}
}

// roam has a phone roam until the test ends.
func roam(t *testing.T, p *Phone, cfg pathwatch.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var roaming sync.WaitGroup
	roaming.Go(func() {
		if err := p.Roam(ctx, cfg); !errors.Is(err, context.Canceled) {
			t.Errorf("roaming ended: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); roaming.Wait() })
}

// reaches waits until the phone is on a path.
func reaches(t *testing.T, p *Phone, want Path) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		is, changed := p.Path()
		if is == want {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("on %s, not on %s", is, want)
		}
	}
}

// A phone that is switched on attaches, asks for a connection ahead of need, changes to
// the fallback when the gateway isn't heard over the carrier, though there is a bearer, and
// returns when it is.
func TestRoaming(t *testing.T) {
	d := newDesk(t, nil)
	p := d.w.phone
	roam(t, p, quick())
	reaches(t, p, CarrierPath)
	for p.held() == nil {
		if _, err := p.Probe(t.Context(), CarrierPath); err != nil {
			t.Fatal(err)
		}
	}
	d.w.dead[pathwatch.Carrier].Store(true)
	reaches(t, p, FallbackPath)
	if p.Address() != given || p.Bearer() == nil {
		t.Errorf("at %v", p.Address())
	}
	if _, err := p.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.w.dead[pathwatch.Carrier].Store(false)
	reaches(t, p, CarrierPath)
	if _, err := p.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.got) != 1 || d.inside != 1 || d.w.creates.Load() != 1 {
		t.Errorf("asked %d times, %d inside; attached %d times", len(d.got), d.inside, d.w.creates.Load())
	}
}

// The bearer that the network takes away is left at once.
func TestRoamingWhenTheBearerEnds(t *testing.T) {
	d := newDesk(t, nil)
	roam(t, d.w.phone, quick())
	reaches(t, d.w.phone, CarrierPath)
	_, changed := d.w.phone.Path()
	if err := d.w.phone.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-changed
	reaches(t, d.w.phone, CarrierPath)
	if n := d.w.creates.Load(); n != 2 {
		t.Errorf("attached %d times", n)
	}
}

// Without coverage the phone comes over the public internet; a fallback that refuses it
// isn't taken.
func TestRoamingWithoutCoverage(t *testing.T) {
	d := newDesk(t, nil)
	d.w.carrier.Cut()
	d.w.refuses.Store(true)
	roam(t, d.w.phone, quick())
	for d.w.pongs[pathwatch.Fallback].Load() < 10 {
		if _, err := d.w.phone.Probe(t.Context(), FallbackPath); err != nil {
			t.Fatal(err)
		}
	}
	if d.w.path() != NoPath {
		t.Errorf("on %s, which isn't admitted", d.w.path())
	}
	d.w.refuses.Store(false)
	reaches(t, d.w.phone, FallbackPath)
	if d.inside != 0 {
		t.Errorf("asked %d times inside a tunnel that there wasn't", d.inside)
	}
}

func TestRoamingOnceAtATime(t *testing.T) {
	d := newDesk(t, nil)
	roam(t, d.w.phone, quick())
	reaches(t, d.w.phone, CarrierPath)
	if err := d.w.phone.Roam(t.Context(), quick()); !errors.Is(err, errRoaming) {
		t.Errorf("got %v", err)
	}
}

// While a seal is being used both paths are probed often, and the fallback is up.
func TestUseIsTold(t *testing.T) {
	d := newDesk(t, nil)
	roam(t, d.w.phone, quick())
	reaches(t, d.w.phone, CarrierPath)
	app := d.w.phone.App()
	app.using(5, true)
	app.using(5, true)
	if _, err := d.w.phone.Probe(t.Context(), FallbackPath); err != nil {
		t.Fatal(err)
	}
	app.using(5, false)
	app.using(5, false)
	app.using(6, false)
	for d.w.phone.held() != nil { // and is released after it
		d.w.phone.mu.Lock()
		up := d.w.phone.tunnel != nil
		d.w.phone.mu.Unlock()
		if !up {
			break
		}
		if _, err := d.w.phone.Probe(t.Context(), CarrierPath); err != nil {
			t.Fatal(err)
		}
	}
}

// A seal can be used while the path changes: one connection lives on.
func TestProbeTellsWhichPathIsActive(t *testing.T) {
	d := newDesk(t, nil)
	d.w.attach()
	if _, err := d.w.phone.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.w.phone.OpenFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	is := func(path Path, want wire.ProbeAnswer) {
		t.Helper()
		a, err := d.w.phone.Probe(t.Context(), path)
		if err != nil || a.Active != want.Active || a.Path != want.Path {
			t.Errorf("%+v, %v", a, err)
		}
	}
	is(CarrierPath, wire.ProbeAnswer{Path: wire.ProbeCarrier, Active: true})
	is(FallbackPath, wire.ProbeAnswer{Path: wire.ProbeFallback})
	if err := d.w.phone.Use(FallbackPath); err != nil {
		t.Fatal(err)
	}
	if _, err := d.w.phone.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	is(CarrierPath, wire.ProbeAnswer{Path: wire.ProbeCarrier})
	is(FallbackPath, wire.ProbeAnswer{Path: wire.ProbeFallback, Active: true})
}
