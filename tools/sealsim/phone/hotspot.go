package phone

import (
	"context"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

// leaveTimeout bounds the report that a station left.
const leaveTimeout = 5 * time.Second

// authorise asks the gateway before a station is let in.
func (p *Phone) authorise(ctx context.Context, s wifi.Station) error {
	answer, err := p.app.Associate(ctx, wire.Association{MAC: s.MAC.String(), Event: wire.EventJoin, Hostname: s.Hostname})
	if err != nil {
		return err
	}
	if !answer.Allowed {
		return wire.NewProblem(wire.CodeMACNotAllowed, "")
	}
	if answer.Barrel != "" {
		p.mu.Lock()
		p.stations[answer.Barrel] = s.MAC
		p.mu.Unlock()
	}
	return nil
}

// left tells the gateway that a station is gone.
func (p *Phone) left(s wifi.Station) {
	ctx, cancel := context.WithTimeout(p.ctx, leaveTimeout)
	defer cancel()
	if _, err := p.app.Associate(ctx, wire.Association{MAC: s.MAC.String(), Event: wire.EventLeave, Hostname: s.Hostname}); err != nil {
		p.log.Info("leave not reported", "mac", s.MAC, "error", err)
	}
}

// barrelAddress finds a barrel on the hotspot.
func (p *Phone) barrelAddress(barrel string) (netip.AddrPort, error) {
	p.mu.Lock()
	mac, known := p.stations[barrel]
	p.mu.Unlock()
	if known {
		if at, ok := p.hotspot.AddressOf(mac); ok {
			return netip.AddrPortFrom(at, wire.LocalPort), nil
		}
	}
	return netip.AddrPort{}, ErrNoBarrel
}
