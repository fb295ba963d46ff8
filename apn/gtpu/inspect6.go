package gtpu

import "encoding/binary"

const ipv6HeaderLen = 40

// Next headers of IPv6 that can be judged.
const (
	nextHopByHop    = 0
	nextRouting     = 43
	nextFragment    = 44
	nextAuth        = 51
	nextICMP6       = 58
	nextNone        = 59
	nextDestination = 60
)

// linkLocal is the upper half of link-local addresses (RFC 4291 2.5.6).
const linkLocal = 0xfe80 << 48

// isLinkLocal tells whether an IPv6 address is in fe80::/10.
func isLinkLocal(a []byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

// inspect6 is inspect for IPv6. A terminal speaks for its /64. Its link-local
// address and the unspecified one go no further than the gateway.
func (p *Plane) inspect6(f *flow, b []byte) (pkt, discovery []byte, reason counter) {
	if len(b) < ipv6HeaderLen {
		return nil, nil, dropInnerMalformed
	}
	total := ipv6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return nil, nil, dropInnerMalformed
	}
	b = b[:total]
	high, low := binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	own := high == f.keys[byPrefix]
	unspecified := high|low == 0
	if !f.has[byPrefix] || !own && !unspecified && (high != linkLocal || low != f.linkLocal) {
		return nil, nil, dropInnerSource
	}
	next, at, reason := upperLayer(b)
	if reason != 0 {
		return nil, nil, reason
	}
	if next == nextICMP6 {
		if discovery, reason = onLink(b[at:]); discovery != nil || reason != 0 {
			return b, discovery, reason
		}
	}
	switch {
	case unspecified:
		return nil, nil, dropInnerSource
	case !own:
		return nil, nil, dropLinkLocal
	}
	if reason := p.destination6(b[24:40]); reason != 0 {
		return nil, nil, reason
	}
	if next == protocolUDP {
		if reason := datagram(b[at:]); reason != 0 {
			return nil, nil, reason
		}
	}
	return b, nil, 0
}

// onLink tells what ICMPv6 messages never leave a link: neighbour discovery (RFC
// 4861), which is returned, and multicast listener discovery (RFC 2710, 3810),
// for which there is no use where no multicast is carried.
func onLink(m []byte) (discovery []byte, reason counter) {
	const minLen = 4
	if len(m) < minLen {
		return nil, dropInnerMalformed
	}
	switch m[0] {
	case 130, 131, 132, 143:
		return nil, dropMLD
	case routerSolicitation, routerAdvertisement, neighbourSolicitation, neighbourAdvertisement, redirect:
		return m, 0
	}
	return nil, 0
}

// destination6 judges where a packet of a terminal wants to go.
func (p *Plane) destination6(dst []byte) counter {
	high := binary.BigEndian.Uint64(dst)
	switch {
	case dst[0] == 0xff:
		return dropMulticast
	case isLinkLocal(dst):
		return dropLinkLocal
	case high == 0 && binary.BigEndian.Uint16(dst[8:]) == 0:
		// Unspecified, loopback, and IPv4 addresses in IPv6's clothes.
		return dropReserved
	}
	for i := range p.outer6 {
		if p.outer6[i] == [16]byte(dst) {
			return dropOuterDestination
		}
	}
	if p.find(byPrefix, high) != nil {
		return dropPhoneToPhone
	}
	return 0
}

// maxHeaders bounds the headers that are looked at, the upper layer's included.
// A packet that keeps to RFC 8200 4.1 has no more.
const maxHeaders = 8

// upperLayer finds what an IPv6 packet carries, behind the extension headers
// whose form is known (RFC 8200 4). A packet whose port or real destination
// can't be seen is dropped: a fragment, an unknown header, a source route.
func upperLayer(b []byte) (next byte, at int, reason counter) {
	next, at = b[6], ipv6HeaderLen
	for range maxHeaders {
		switch next {
		case protocolTCP, protocolUDP, nextICMP6, nextNone:
			return next, at, 0
		case nextFragment:
			return 0, 0, dropFragment
		case nextHopByHop, nextRouting, nextDestination, nextAuth:
		default:
			return 0, 0, dropNextHeader
		}
		if next == nextHopByHop && at != ipv6HeaderLen {
			return 0, 0, dropNextHeader
		}
		if len(b) < at+8 {
			return 0, 0, dropInnerMalformed
		}
		size := (int(b[at+1]) + 1) * 8
		if next == nextAuth { // RFC 4302 2.2
			size = (int(b[at+1]) + 2) * 4
		}
		if len(b) < at+size {
			return 0, 0, dropInnerMalformed
		}
		if segmentsLeft := b[at+3]; next == nextRouting && segmentsLeft != 0 {
			return 0, 0, dropSourceRoute
		}
		next, at = b[at], at+size
	}
	return 0, 0, dropNextHeader
}
