//go:build linux

package k8s

import (
	"context"
	"maps"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// otherCarrier is of a carrier that isn't heard at first.
var otherCarrier = netip.MustParseAddr("10.77.21.1")

// reload admits one more carrier, for which no pod is replaced.
func (s *site) reload() {
	c, err := carrier.New(carrier.Config{Address: otherCarrier, Gateway: gatewayAddress, RestartCounter: 1, T3: time.Second, N3: 2, Logger: s.simulators()})
	if err != nil {
		s.Fatal(err)
	}
	s.life.Cleanup(func() { _ = c.Close() })
	heard := func() bool {
		ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
		defer cancel()
		_, err := c.Echo(ctx)
		return err == nil
	}
	if heard() {
		s.Fatal("a carrier that isn't in allowed_peers is heard")
	}
	before := s.uids()
	s.during("a change that is taken up", func() {
		s.set([]string{around(carrierAddress), around(otherCarrier)}, "config", "gateway", "gtp", "allowed_peers")
		s.upgrade()
		s.until("the other carrier is heard", heard)
	})
	if after := s.uids(); !maps.Equal(before, after) {
		s.Errorf("pods %v were replaced by %v", before, after)
	}
	s.held("a change that is taken up")
}

// around is the network of a carrier.
func around(a netip.Addr) string { return netip.PrefixFrom(a, 24).Masked().String() }
