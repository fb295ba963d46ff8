package phone

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

// as is a phone with a session of some type.
func as(t carrier.PDNType, prefer6 bool) func(*Config) {
	return func(c *Config) { c.SIM.PDNType, c.PreferIPv6 = t, prefer6 }
}

// The phone speaks to the gateway in the family that it has, IPv4 of both unless
// told otherwise, and says so in its requests.
func TestFamilies(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		own    netip.Addr
	}{
		"IPv4":                              {as(carrier.IPv4, false), given},
		"IPv4 of a phone that prefers IPv6": {as(carrier.IPv4, true), given},
		"IPv6":                              {as(carrier.IPv6, false), given6},
		"both":                              {as(carrier.IPv4v6, false), given},
		"both, preferring IPv6":             {as(carrier.IPv4v6, true), given6},
		"both, of a gateway with IPv6": {func(c *Config) {
			c.SIM.PDNType, c.Gateway = carrier.IPv4v6, netip.Addr{}
		}, given6},
		"both, of a gateway with IPv4": {func(c *Config) {
			c.SIM.PDNType, c.Gateway6, c.PreferIPv6 = carrier.IPv4v6, netip.Addr{}, true
		}, given},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.change)
			var from atomic.Pointer[string]
			w.mux.HandleFunc("POST "+wire.PathLogin, func(rw http.ResponseWriter, r *http.Request) {
				from.Store(&r.RemoteAddr)
				answerJSON(rw, 200, `{"token":"T1","name":"Lin"}`)
			})
			app := w.attach()
			if got := w.phone.Address(); got != c.own {
				t.Errorf("the phone's address is %v, want %v", got, c.own)
			}
			if _, err := w.phone.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := app.Login(t.Context(), "lin", "secret"); err != nil {
				t.Fatal(err)
			}
			if got, err := netip.ParseAddrPort(*from.Load()); err != nil || got.Addr() != c.own {
				t.Errorf("the gateway saw %s, want %v", *from.Load(), c.own)
			}
			if got := app.NewUseRequest("WO-7", "SB-0001", 1).TerminalAddress; got != c.own.String() {
				t.Errorf("requests say %s, want %v", got, c.own)
			}
		})
	}
}

// The fallback path has IPv4 only, with which the phone goes on there.
func TestFallbackIsIPv4(t *testing.T) {
	for name, pdnType := range map[string]carrier.PDNType{"both": carrier.IPv4v6, "IPv6": carrier.IPv6} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, as(pdnType, true))
			w.attach()
			if w.phone.Address() != given6 {
				t.Fatalf("on the carrier's path with %v", w.phone.Address())
			}
			if err := w.phone.SwitchToFallback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w.phone.Address() != given {
				t.Errorf("on the fallback with %v", w.phone.Address())
			}
			if err := w.phone.SwitchToCarrier(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w.phone.Address() != given6 || w.creates.Load() != 1 {
				t.Errorf("back with %v after %d attaches", w.phone.Address(), w.creates.Load())
			}
			if got := w.phone.Stack().Address().IsValid(); got != (pdnType == carrier.IPv4v6) {
				t.Errorf("it has IPv4: %v", got)
			}
		})
	}
	w := newWorld(t, func(c *Config) { c.SIM.PDNType, c.Fallback.Address = carrier.IPv6, netip.Addr{} })
	w.attach()
	if err := w.phone.SwitchToFallback(t.Context()); err == nil {
		t.Error("on the fallback without IPv4")
	}
}

// A station on the hotspot of a phone with IPv6 alone reaches the gateway, from
// the phone's /64.
func TestHotspotSharesThePrefix(t *testing.T) {
	w := newWorld(t, as(carrier.IPv6, false))
	w.mux.HandleFunc("POST "+wire.PathAssociations, func(rw http.ResponseWriter, _ *http.Request) {
		answerJSON(rw, 200, `{"allowed":true,"barrel":"SB-0001"}`)
	})
	w.attach()
	mac, err := ident.ParseMAC("02:00:5e:10:00:01")
	if err != nil {
		t.Fatal(err)
	}
	link, err := w.phone.Hotspot().Join(t.Context(), wifi.Station{MAC: mac, Hostname: "SB-0001"})
	if err != nil {
		t.Fatal(err)
	}
	if own := link.Address6(); own == given6 || !netip.PrefixFrom(givenPrefix6, 64).Contains(own) {
		t.Fatalf("the station has %v", own)
	}
	station, err := ipstack.New(link.Address(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer station.Close()
	if err := station.SetAddress6(netip.PrefixFrom(link.Address6(), 128)); err != nil {
		t.Fatal(err)
	}
	link.Handle(station.Deliver)
	station.SetLink(link.Send)
	if _, err := station.Ping(t.Context(), gateway6); err != nil {
		t.Error(err)
	}
	if _, err := w.phone.Ping(t.Context()); err != nil { // what is the phone's own comes to the phone
		t.Error(err)
	}
}

// A session whose router doesn't answer is given back.
func TestNoRouter(t *testing.T) {
	w := newWorld(t, as(carrier.IPv6, false))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w.solicited = func() bool { cancel(); return false }
	if err := w.phone.Attach(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("attach: %v", err)
	}
	<-w.detached
	if w.path() != NoPath || w.phone.Address().IsValid() || w.phone.Bearer() != nil {
		t.Errorf("on %s with %v", w.path(), w.phone.Address())
	}
}

func TestGatewaysOfTheirFamily(t *testing.T) {
	for name, c := range map[string]Config{
		"none":             {},
		"IPv6 for IPv4":    {Gateway: gateway6},
		"IPv4 for IPv6":    {Gateway6: gateway},
		"IPv4 in disguise": {Gateway6: netip.AddrFrom16(gateway.As16())},
	} {
		if p, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
			p.Close()
		}
	}
}
