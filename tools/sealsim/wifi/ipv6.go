package wifi

import (
	"net"
	"net/netip"
)

const ip6Header = 40

// Address6 is an address of the station's own out of the tunnel's /64, which
// changes when the tunnel's does; the zero Addr if there is no IPv6 now. It is
// made of the station's MAC (RFC 4291 appendix A).
func (l *Link) Address6() netip.Addr {
	prefix, ok := l.ap.shared()
	mac, err := net.ParseMAC(l.station.MAC.String())
	if !ok || err != nil || len(mac) != 6 {
		return netip.Addr{}
	}
	a := prefix.Addr().As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}

// shared is the tunnel's /64.
func (a *AccessPoint) shared() (netip.Prefix, bool) {
	if a.cfg.Outside6 == nil {
		return netip.Prefix{}, false
	}
	prefix, err := a.cfg.Outside6().Prefix(64)
	return prefix, err == nil && prefix.IsValid()
}

// fromStation6 takes an IPv6 packet of a station to the tunnel as it is. What
// isn't from the station's own address, or for another in the /64, is lost.
func (a *AccessPoint) fromStation6(l *Link, packet []byte) {
	prefix, ok := a.shared()
	if !ok || a.cfg.Uplink == nil || len(packet) < ip6Header || netip.AddrFrom16([16]byte(packet[8:24])) != l.Address6() {
		return
	}
	if to := netip.AddrFrom16([16]byte(packet[24:40])); prefix.Contains(to) || !to.IsGlobalUnicast() {
		return // station to station doesn't pass
	}
	a.cfg.Uplink(packet)
}

// inbound6 is Inbound for IPv6.
func (a *AccessPoint) inbound6(packet []byte) bool {
	if len(packet) < ip6Header {
		return false
	}
	to := netip.AddrFrom16([16]byte(packet[24:40]))
	a.mu.Lock()
	var l *Link
	for _, some := range a.links {
		if some.Address6() == to {
			l = some
		}
	}
	a.mu.Unlock()
	if l == nil {
		return false
	}
	l.deliver(packet)
	return true
}
