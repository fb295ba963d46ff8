package gtpu

import (
	"bytes"
	"encoding/binary"
	"time"
)

// Neighbour discovery messages (RFC 4861 4).
const (
	routerSolicitation     = 133
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect               = 137
)

// Options of them (RFC 4861 4.6).
const (
	optionSourceLinkLayer = 1
	optionPrefix          = 3
	optionMTU             = 5
)

// What a GGSN or PGW advertises (TS 29.061 11.2.1.3.4): the prefix for ever, and
// itself as the router for three times the longest interval between two
// advertisements, so that a node that takes over may spread its first ones over
// a whole interval.
const (
	advertiseInterval = 21_600 * time.Second
	routerLifetime    = 3 * advertiseInterval
	hopLimit          = 255 // nothing from off the link has it
	minMTU6           = 1280
)

// Answers to a session's solicitations: one a second, and five at once, which
// is more than a host asks while nothing is lost (RFC 4861 10).
const (
	solicitedCost  = int64(time.Second) * units
	solicitedBurst = 5 * solicitedCost
)

var (
	gateway6 = [16]byte{0: 0xfe, 1: 0x80, 15: 1} // the gateway's address on each terminal's link
	allNodes = [16]byte{0: 0xff, 1: 0x02, 15: 1}
)

// discover answers a message of neighbour discovery as the router at the other
// end of the terminal's link (TS 29.061 11.2.1.3): with the session's prefix, or
// that the router is still there. Nothing else is of use on a link of two whose
// prefix is one terminal's alone; duplicate address detection is ignored.
func (p *Plane) discover(s *socket, f *flow, pkt, m []byte, now int64) {
	unspecified := allZero(pkt[8:24])
	var fixed int
	switch m[0] {
	case routerSolicitation:
		p.count.add(routerSolicitations, 1)
		fixed = 8
	case neighbourSolicitation:
		p.count.add(neighbourSolicitations, 1)
		fixed = 24
	default:
		p.count.add(dropDiscovery, 1)
		return
	}
	// RFC 4861 6.1.1, 7.1.1
	if pkt[7] != hopLimit || m[1] != 0 || len(m) < fixed ||
		checksum(pkt, m) != 0 || !soundOptions(m[fixed:], unspecified) {
		p.count.add(dropInnerMalformed, 1)
		return
	}
	if m[0] == neighbourSolicitation && (unspecified || !bytes.Equal(m[8:24], gateway6[:])) {
		p.count.add(dropDiscovery, 1)
		return
	}
	if f.suspended {
		p.count.add(dropSuspended, 1)
		return
	}
	if !f.use.solicited.spend(now, solicitedCost, solicitedBurst) {
		p.count.add(dropSolicitationLimit, 1)
		return
	}
	if m[0] == routerSolicitation {
		p.advertise(s, f, now)
		return
	}
	var room [maxDiscovery]byte
	if p.emit(s, f, appendNeighbourAdvertisement(room[:0], [16]byte(pkt[8:24]))) {
		p.count.add(neighbourAdvertisements, 1)
	}
}

// soundOptions checks the form of options. Who has no address yet has no
// link-layer address to tell either.
func soundOptions(o []byte, unspecified bool) bool {
	for len(o) > 0 {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) || unspecified && o[0] == optionSourceLinkLayer {
			return false
		}
		o = o[int(o[1])*8:]
	}
	return true
}

// advertise sends a session its prefix.
func (p *Plane) advertise(s *socket, f *flow, now int64) {
	var room [maxDiscovery]byte
	if p.emit(s, f, appendRouterAdvertisement(room[:0], f.keys[byPrefix], p.cfg.MTU)) {
		f.use.advertised.Store(now)
		p.count.add(routerAdvertisements, 1)
	}
}

// emit sends a packet of the gateway's own into a tunnel. It is no traffic of
// the session's: the bit rate and LastActive don't know of it.
func (p *Plane) emit(s *socket, f *flow, pkt []byte) bool {
	if !p.cfg.Holds() {
		p.count.add(dropFenced, 1)
		return false
	}
	return p.write(s, f, pkt) == nil
}

// maxDiscovery is the length of the longest packet made here.
const maxDiscovery = ipv6HeaderLen + 16 + 32 + 8

// appendRouterAdvertisement appends a Router Advertisement to all nodes of the
// link, which is the terminal. The prefix is for addresses, not on the link:
// everything goes by the router (RFC 6459 5.2).
func appendRouterAdvertisement(b []byte, prefix uint64, mtu uint32) []byte {
	be := binary.BigEndian
	b, m := beginICMP6(b, allNodes, routerAdvertisement)
	b = append(b, 64, 0) // hop limit for the terminal; no DHCPv6
	b = be.AppendUint16(b, uint16(routerLifetime/time.Second))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // reachable time and retransmission timer: the terminal's own
	const autonomous = 0x40
	b = append(b, optionPrefix, 4, 64, autonomous)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0) // valid and preferred for ever
	b = be.AppendUint64(b, prefix)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, optionMTU, 1, 0, 0)
	b = be.AppendUint32(b, mtu)
	return endICMP6(b, m)
}

// appendNeighbourAdvertisement appends that the gateway is there, a router, and
// was asked. There are no link-layer addresses, so nothing is overridden (RFC
// 4861 7.2.4).
func appendNeighbourAdvertisement(b []byte, to [16]byte) []byte {
	b, m := beginICMP6(b, to, neighbourAdvertisement)
	const router, solicited = 0x80, 0x40
	b = append(b, router|solicited, 0, 0, 0)
	b = append(b, gateway6[:]...)
	return endICMP6(b, m)
}

// beginICMP6 appends an IPv6 header and the head of a message, which is at m.
func beginICMP6(b []byte, to [16]byte, typ byte) (_ []byte, m int) {
	b = append(b, 0x60, 0, 0, 0, 0, 0, nextICMP6, hopLimit)
	b = append(append(b, gateway6[:]...), to[:]...)
	return append(b, typ, 0, 0, 0), len(b)
}

// endICMP6 fills in length and checksum of the only packet in b.
func endICMP6(b []byte, m int) []byte {
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-m))
	binary.BigEndian.PutUint16(b[m+2:], checksum(b, b[m:]))
	return b
}

// checksum is that of an ICMPv6 message with the pseudo-header of its packet
// (RFC 4443 2.3): 0 over a message whose checksum is right.
func checksum(pkt, m []byte) uint16 {
	sum := uint64(len(m)) + nextICMP6
	for i := 8; i < ipv6HeaderLen; i += 2 {
		sum += uint64(binary.BigEndian.Uint16(pkt[i:]))
	}
	for ; len(m) >= 2; m = m[2:] {
		sum += uint64(binary.BigEndian.Uint16(m))
	}
	if len(m) == 1 {
		sum += uint64(m[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
