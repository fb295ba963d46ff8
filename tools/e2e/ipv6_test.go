package e2e

import (
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// Phones of either family, and of both, use seals: their addresses come by
// GTPv2 or GTPv1 and by a router advertisement through the tunnel, their
// packets, and their barrels', in the family that they have.
func TestIPv6(t *testing.T) {
	t.Parallel()
	gateway6, pool6 := netip.MustParseAddr("fd00:90::1"), netip.MustParsePrefix("fd00:90::/48")
	s := newSite(t, 1, func(o *setup.Options) { o.Inner6, o.Pool6 = gateway6, pool6 })
	s.startServer()
	office := s.office()
	c, tap := s.carrier(1)
	n := 0
	for name, who := range map[string]struct {
		pdnType carrier.PDNType
		gtpv1   bool
		prefer6 bool
		with6   bool // speaks IPv6
	}{
		"IPv6":                    {carrier.IPv6, false, false, true},
		"IPv6 over GTPv1":         {carrier.IPv6, true, false, true},
		"both":                    {carrier.IPv4v6, false, false, false},
		"both, preferring IPv6":   {carrier.IPv4v6, false, true, true},
		"IPv4 of a phone of both": {carrier.IPv4, true, true, false},
	} {
		n++
		sim := s.enlist(n)
		sim.PDNType, sim.GTPv1 = who.pdnType, who.gtpv1
		p := s.attach(c, sim, func(cfg *phone.Config) { cfg.Gateway6, cfg.PreferIPv6 = gateway6, who.prefer6 })
		granted := p.Bearer().Granted()
		if got := granted.PDNType(); got != who.pdnType {
			t.Errorf("%s: the session is of PDN type %d, want %d", name, got, who.pdnType)
		}
		if got := pool6.Contains(p.Address()); got != who.with6 {
			t.Errorf("%s: the phone is at %v", name, p.Address())
		}
		w := s.out(n, p, s.barrel(n, sim, func(cfg *barrel.Config) {
			if who.pdnType == carrier.IPv6 {
				cfg.Gateway = netip.AddrPortFrom(gateway6, wire.BarrelPort)
			}
		}))
		status, err := w.app.Status(s.soon())
		if err != nil || status.Terminal != p.Address().String() {
			t.Errorf("%s: the gateway sees %+v, %v; the phone is at %v", name, status, err, p.Address())
		}
		use := w.request(office.Order("WO-"+imsi(n), 1), 0)
		w.unlock(use)
		w.press(use)
		w.settled(use.Use)
	}
	tap.noEnding()
	s.auditVerifies()
}
