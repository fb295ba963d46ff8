// Package pathprobe answers the probes by which a terminal learns that a path leads
// to the gateway: not that there is a radio signal or a tunnel, but that a node holds
// the gateway address, decrypts, and answers from inside.
//
// A probe is a UDP datagram (wire.MarshalProbe) to wire.ProbePort at one of the
// gateway's inner addresses. The plane that it came by answers it and sends the answer
// back the same way, so it tells of that path even while the other one carries. The
// inner network never sees it. The package is pure: packets in, packets out.
package pathprobe

import (
	"encoding/binary"
	"net/netip"

	"github.com/sealedge/sealedge/edge/wire"
)

// Sizes of headers in bytes, and numbers in them.
const (
	ipv4Header  = 20
	ipv6Header  = 40
	udpHeader   = 8
	protocolUDP = 17
	hopLimit    = 64

	datagram = udpHeader + wire.ProbeSize
)

// Answer appends to dst the packet that answers pkt with a, whose nonce it fills in
// from the probe. It is nil when pkt, an IP packet whose source was verified, is no
// probe to an address that gateway knows, or is damaged. A probe has no IP options or
// extension headers and is no fragment.
func Answer(dst, pkt []byte, gateway func(netip.Addr) bool, a wire.ProbeAnswer) []byte {
	switch version(pkt) {
	case 4:
		return answer4(dst, pkt, gateway, a)
	case 6:
		return answer6(dst, pkt, gateway, a)
	}
	return nil
}

// Likely tells most packets from probes at once, so that who answers needs to look at
// nothing else for them. What isn't likely isn't answered.
func Likely(pkt []byte) bool { return version(pkt) != 0 }

// version is that of IP, 0 for a packet that can't be a probe.
func version(pkt []byte) byte {
	switch len(pkt) {
	case ipv4Header + datagram:
		if pkt[0] == 0x45 && pkt[9] == protocolUDP {
			return 4
		}
	case ipv6Header + datagram:
		if pkt[0]>>4 == 6 && pkt[6] == protocolUDP {
			return 6
		}
	}
	return 0
}

func answer4(dst, pkt []byte, gateway func(netip.Addr) bool, a wire.ProbeAnswer) []byte {
	const moreAndOffset = 0x3fff
	src, to := pkt[12:16], pkt[16:20]
	nonce, ok := probe(pkt[ipv4Header:])
	if !ok || binary.BigEndian.Uint16(pkt[2:]) != uint16(len(pkt)) || binary.BigEndian.Uint16(pkt[6:])&moreAndOffset != 0 ||
		!gateway(netip.AddrFrom4([4]byte(to))) || fold(sum(0, pkt[:ipv4Header])) != 0xffff {
		return nil
	}
	l4 := pkt[ipv4Header:]
	// Over IPv4 the sender may leave the checksum out (RFC 768).
	if binary.BigEndian.Uint16(l4[6:]) != 0 && fold(sum(pseudo(pkt[12:20]), l4)) != 0xffff {
		return nil
	}
	at := len(dst)
	const dontFragment = 0x4000
	dst = append(dst, 0x45, 0)
	dst = binary.BigEndian.AppendUint16(dst, ipv4Header+datagram)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, dontFragment)
	dst = append(dst, hopLimit, protocolUDP, 0, 0)
	dst = append(append(dst, to...), src...)
	h := dst[at : at+ipv4Header]
	binary.BigEndian.PutUint16(h[10:], ^fold(sum(0, h)))
	a.Nonce = nonce
	return reply(dst, l4, pseudo(pkt[12:20]), a)
}

func answer6(dst, pkt []byte, gateway func(netip.Addr) bool, a wire.ProbeAnswer) []byte {
	src, to, l4 := pkt[8:24], pkt[24:40], pkt[ipv6Header:]
	nonce, ok := probe(l4)
	if !ok || binary.BigEndian.Uint16(pkt[4:]) != datagram || !gateway(netip.AddrFrom16([16]byte(to))) ||
		binary.BigEndian.Uint16(l4[6:]) == 0 || fold(sum(pseudo(pkt[8:40]), l4)) != 0xffff {
		return nil
	}
	dst = append(dst, 0x60, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, datagram)
	dst = append(dst, protocolUDP, hopLimit)
	dst = append(append(dst, to...), src...)
	a.Nonce = nonce
	return reply(dst, l4, pseudo(pkt[8:40]), a)
}

// probe reads what a UDP datagram of the right length asks.
func probe(l4 []byte) (nonce uint64, ok bool) {
	if binary.BigEndian.Uint16(l4[2:]) != wire.ProbePort || binary.BigEndian.Uint16(l4[4:]) != datagram {
		return 0, false
	}
	return wire.ParseProbe(l4[udpHeader:])
}

// reply appends the datagram that answers asked. pseudo is the sum of the addresses,
// which are the same ones in the answer.
func reply(dst, asked []byte, pseudo uint32, a wire.ProbeAnswer) []byte {
	at := len(dst)
	dst = append(append(dst, asked[2:4]...), asked[0:2]...)
	dst = binary.BigEndian.AppendUint16(dst, datagram)
	dst = append(dst, 0, 0)
	dst = a.Append(dst)
	check := ^fold(sum(pseudo, dst[at:]))
	if check == 0 { // which would say that there is none
		check = 0xffff
	}
	binary.BigEndian.PutUint16(dst[at+6:], check)
	return dst
}

// pseudo is the sum of UDP's pseudo-header (RFC 768, RFC 8200 8.1).
func pseudo(addresses []byte) uint32 { return sum(protocolUDP+datagram, addresses) }

// sum adds 16-bit words to s; b has an even number of bytes.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	return s
}

// fold makes a sum of words the one's complement sum (RFC 1071).
func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
