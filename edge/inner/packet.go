package inner

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
)

// family is what differs between IPv4 and IPv6 behind their headers.
type family struct {
	number                       tcpip.NetworkProtocolNumber
	icmp, echoRequest, echoReply uint8 // RFC 792; RFC 4443 4
}

var (
	family4 = family{ipv4.ProtocolNumber, 1, 8, 0}
	family6 = family{ipv6.ProtocolNumber, 58, 128, 129}
)

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return family4
	}
	return family6
}

// address is an address of the stack; one of IPv4 it writes with 4 octets, also
// where it comes by an IPv6 endpoint.
func address(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr.Unmap()
}

// packet is an IP packet whose header is in order.
type packet struct {
	family
	src, dst netip.Addr
	protocol uint8
	whole    []byte // without what followed its stated length
	payload  []byte
}

// parse reads a packet from a terminal, or gives the reason to drop it.
func parse(b []byte) (packet, counter) {
	if len(b) == 0 {
		return packet{}, dropMalformed
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b)
	case 6:
		return parse6(b)
	}
	return packet{}, dropMalformed
}

// parse4 reads an IPv4 header (RFC 791 3.1).
func parse4(b []byte) (packet, counter) {
	if len(b) < ipv4HeaderLen || b[0]&0x0f < ipv4HeaderLen/4 {
		return packet{}, dropMalformed
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total < ipv4HeaderLen || total > len(b) {
		return packet{}, dropMalformed
	}
	b = b[:total]
	if b[0]&0x0f != ipv4HeaderLen/4 {
		return packet{}, dropOptions
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // more fragments, or an offset
		return packet{}, dropFragment
	}
	if headerSum(b[:ipv4HeaderLen]) != 0xffff {
		return packet{}, dropChecksum
	}
	return packet{
		family: family4, src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])),
		protocol: b[9], whole: b, payload: b[ipv4HeaderLen:],
	}, 0
}

// fragmentHeader is the next header number of fragments (RFC 8200 4.5).
const fragmentHeader = 44

// extensionHeaders has the other next header numbers that IANA lists as IPv6
// extension headers.
var extensionHeaders = [256]bool{
	0: true, 43: true, 50: true, 51: true, 60: true, 135: true, 139: true, 140: true, 253: true, 254: true,
}

// parse6 reads an IPv6 header (RFC 8200 3). Addresses in it that are written as
// IPv4-mapped ones stay what they are, and belong to no terminal.
func parse6(b []byte) (packet, counter) {
	if len(b) < ipv6HeaderLen {
		return packet{}, dropMalformed
	}
	total := ipv6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return packet{}, dropMalformed
	}
	b = b[:total]
	switch next := b[6]; {
	case next == fragmentHeader:
		return packet{}, dropFragment
	case extensionHeaders[next]:
		return packet{}, dropExtension
	}
	return packet{
		family: family6, src: netip.AddrFrom16([16]byte(b[8:24])), dst: netip.AddrFrom16([16]byte(b[24:40])),
		protocol: b[6], whole: b, payload: b[ipv6HeaderLen:],
	}, 0
}

// headerSum is the ones' complement sum of an IPv4 header with its checksum,
// 0xffff when that is right (RFC 791 3.1).
func headerSum(h []byte) uint16 {
	var sum uint32
	for ; len(h) >= 2; h = h[2:] {
		sum += uint32(binary.BigEndian.Uint16(h))
	}
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

// mayLeave tells whether a packet of the stack is of a kind that may go to a
// terminal, and to which. An ICMPv6 error is at most 1280 octets long (RFC 4443
// 2.4), the least MTU, so no fragment is of one; of IPv4's the first fragment
// would tell.
func mayLeave(b []byte) (to netip.Addr, ok bool) {
	var f family
	var protocol uint8
	var payload []byte
	switch {
	case len(b) >= ipv4HeaderLen && b[0]>>4 == 4:
		f, to, protocol, payload = family4, netip.AddrFrom4([4]byte(b[16:20])), b[9], b[min(int(b[0]&0x0f)*4, len(b)):]
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return to, true
		}
	case len(b) >= ipv6HeaderLen && b[0]>>4 == 6:
		f, to, protocol, payload = family6, netip.AddrFrom16([16]byte(b[24:40])), b[6], b[ipv6HeaderLen:]
		if protocol == fragmentHeader {
			return to, true
		}
	default:
		return to, false
	}
	switch protocol {
	case protocolTCP, protocolUDP:
		return to, true
	case f.icmp:
		return to, len(payload) > 0 && payload[0] == f.echoReply
	}
	return to, false
}
