package phone

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

func TestAttachAndDetach(t *testing.T) {
	w := newWorld(t, nil)
	if w.path() != NoPath || w.phone.Address().IsValid() {
		t.Error("the phone is on a path before it attached")
	}
	if err := w.phone.Detach(t.Context()); !errors.Is(err, ErrNoPath) {
		t.Errorf("detach before attach: %v", err)
	}
	w.attach()
	if w.path() != CarrierPath || w.phone.Address() != given {
		t.Errorf("on %s with %v", w.path(), w.phone.Address())
	}
	if _, err := w.phone.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := w.phone.Bearer()
	if err := w.phone.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	if err := w.phone.Detach(t.Context()); err == nil {
		t.Error("detached twice")
	}
}

func TestAttachFailureIsTold(t *testing.T) {
	w := newWorld(t, nil)
	w.carrier.Cut()
	if err := w.phone.Attach(t.Context()); !errors.Is(err, carrier.ErrNoAnswer) {
		t.Errorf("got %v", err)
	}
	if w.path() != NoPath {
		t.Errorf("on %s", w.path())
	}
}

// One TCP connection lives through carrier, fallback and carrier again, and a
// barrel's UDP mapping does, too.
func TestConnectionsSurvivePathSwitches(t *testing.T) {
	w := newWorld(t, nil)
	w.mux.HandleFunc("POST "+wire.PathAssociations, func(rw http.ResponseWriter, _ *http.Request) {
		answerJSON(rw, 200, `{"allowed":true,"barrel":"SB-0001"}`)
	})
	w.attach()
	listener, err := w.inner.ListenTCP(7)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := listener.Accept(); err == nil {
			_, _ = io.Copy(c, c)
		}
	}()
	udp, err := w.inner.ListenUDP(wire.BarrelPort)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(append(buf[:n:n], " from "+from.String()...), from)
		}
	}()
	tcp, err := w.phone.Stack().DialTCP(t.Context(), netip.AddrPortFrom(gateway, 7))
	if err != nil {
		t.Fatal(err)
	}
	mac, err := ident.ParseMAC("02:00:5e:10:00:01")
	if err != nil {
		t.Fatal(err)
	}
	link, err := w.phone.Hotspot().Join(t.Context(), wifi.Station{MAC: mac, Hostname: "SB-0001"})
	if err != nil {
		t.Fatal(err)
	}
	station, err := ipstack.New(link.Address(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer station.Close()
	link.Handle(station.Deliver)
	station.SetLink(link.Send)
	barrel, err := station.DialUDP(netip.AddrPortFrom(gateway, wire.BarrelPort))
	if err != nil {
		t.Fatal(err)
	}

	var seen string
	both := func() {
		t.Helper()
		if _, err := tcp.Write([]byte("phone")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if _, err := io.ReadFull(tcp, buf[:5]); err != nil {
			t.Fatal(err)
		}
		if _, err := barrel.Write([]byte("barrel")); err != nil {
			t.Fatal(err)
		}
		n, err := barrel.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if seen == "" {
			seen = string(buf[:n])
		}
		if string(buf[:n]) != seen {
			t.Errorf("the gateway saw the barrel %q, before %q", buf[:n], seen)
		}
	}
	both()
	w.carrier.Cut()
	if err := w.phone.SwitchToFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.path() != FallbackPath || w.phone.Address() != given {
		t.Errorf("on %s with %v", w.path(), w.phone.Address())
	}
	onWG := w.overWG.Load()
	both()
	if w.overWG.Load() == onWG {
		t.Error("nothing went over the fallback")
	}
	w.carrier.Restore()
	if err := w.phone.SwitchToCarrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.path() != CarrierPath || w.creates.Load() != 1 {
		t.Errorf("on %s after %d attaches: the bearer was still up", w.path(), w.creates.Load())
	}
	onGTP := w.overGTP.Load()
	both()
	if w.overGTP.Load() == onGTP {
		t.Error("nothing went over the carrier")
	}
}

func TestSwitchToCarrierAttachesAnewWhereTheSessionIsLost(t *testing.T) {
	w := newWorld(t, nil)
	w.attach()
	if err := w.phone.SwitchToFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.cause = 64
	w.mu.Unlock()
	if err := w.phone.SwitchToCarrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.path() != CarrierPath || w.creates.Load() != 2 {
		t.Errorf("on %s after %d attaches", w.path(), w.creates.Load())
	}
}

func TestSwitchToCarrierThatFailsStaysOnTheFallback(t *testing.T) {
	w := newWorld(t, nil)
	w.attach()
	if err := w.phone.SwitchToFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.carrier.Cut()
	if err := w.phone.SwitchToCarrier(t.Context()); !errors.Is(err, carrier.ErrNoAnswer) {
		t.Fatalf("got %v", err)
	}
	if w.path() != FallbackPath {
		t.Errorf("on %s", w.path())
	}
	if _, err := w.phone.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFallbackWithoutCarrier(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.phone.SwitchToFallback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.phone.Address() != given {
		t.Errorf("address %v", w.phone.Address())
	}
	without := newWorld(t, func(c *Config) { c.Fallback = nil })
	if err := without.phone.SwitchToFallback(t.Context()); !errors.Is(err, ErrNoFallback) {
		t.Errorf("got %v", err)
	}
}

func TestBearerLostByTheNetwork(t *testing.T) {
	w := newWorld(t, nil)
	w.attach()
	_, changed := w.phone.Path()
	_ = w.carrier.Close()
	<-changed
	if w.path() != NoPath || w.phone.Bearer() != nil {
		t.Errorf("on %s", w.path())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := w.phone.Ping(ctx); err == nil {
		t.Error("pinged over no path")
	}
}
