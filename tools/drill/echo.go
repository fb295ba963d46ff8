package drill

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of protocols, messages and headers (RFC 791, RFC 792).
const (
	ipHeader   = 20
	icmpHeader = 8
	icmp       = 1
	echoAsk    = 8
	echoAnswer = 0
	identifier = 0xd411
	numberSize = 8
)

// echoRequest is an inner packet that the gateway answers with the same number.
func echoRequest(from, to netip.Addr, number uint64) []byte {
	b := make([]byte, ipHeader+icmpHeader+numberSize)
	b[0], b[8], b[9] = 0x45, 64, icmp
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^onesSum(b[:ipHeader]))
	m := b[ipHeader:]
	m[0] = echoAsk
	binary.BigEndian.PutUint16(m[4:], identifier)
	binary.BigEndian.PutUint64(m[icmpHeader:], number)
	binary.BigEndian.PutUint16(m[2:], ^onesSum(m))
	return b
}

// echoReply reads the number of an answer that is whole.
func echoReply(b []byte) (number uint64, ok bool) {
	if len(b) != ipHeader+icmpHeader+numberSize || b[0] != 0x45 || b[9] != icmp || onesSum(b[:ipHeader]) != 0xffff {
		return 0, false
	}
	m := b[ipHeader:]
	if m[0] != echoAnswer || binary.BigEndian.Uint16(m[4:]) != identifier || onesSum(m) != 0xffff {
		return 0, false
	}
	return binary.BigEndian.Uint64(m[icmpHeader:]), true
}

// onesSum is the ones' complement sum of RFC 1071, of an even number of octets.
func onesSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
