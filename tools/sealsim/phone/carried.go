package phone

import "net/netip"

// Carried puts the phone behind a tunnel that somebody else keeps for it, such as a
// WireGuard client of another make: what the phone sends goes to send, and what comes for
// it is given to deliver. The address is the phone's in that tunnel. To the phone it is
// its fallback path.
func (p *Phone) Carried(address netip.Addr, send func(packet []byte)) (deliver func(packet []byte), err error) {
	if err := p.stack.SetAddress(host(address)); err != nil {
		return nil, err
	}
	p.activate(FallbackPath, send)
	return p.from(FallbackPath), nil
}
