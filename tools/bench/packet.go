package main

import (
	"encoding/binary"
	"net/netip"

	"github.com/sealedge/sealedge/edge/wire"
)

// Lengths of headers, in bytes.
const (
	ipHeader   = 20
	icmpHeader = 8
	udpHeader  = 8
	gtpHeader  = 8 // of a G-PDU without options
)

// Numbers of protocols and types (IANA).
const (
	protocolICMP  = 1
	protocolUDP   = 17
	icmpEchoReply = 0
	icmpEcho      = 8
)

// datagram is an inner IPv4 packet of size bytes, from a terminal to a UDP
// port of the inner gateway. What it carries begins no DTLS record.
func datagram(from netip.Addr, size int) []byte {
	b := packet(from, protocolUDP, size)
	u := b[ipHeader:]
	binary.BigEndian.PutUint16(u, 40_000)
	binary.BigEndian.PutUint16(u[2:], wire.BarrelPort)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	for i := range u[udpHeader:] {
		u[udpHeader+i] = 0xff
	}
	// The checksum stays 0: there is none (RFC 768).
	return b
}

// echo is an inner ICMP Echo Request of size bytes.
func echo(from netip.Addr, size int) []byte {
	b := packet(from, protocolICMP, size)
	m := b[ipHeader:]
	m[0] = icmpEcho
	binary.BigEndian.PutUint16(m[4:], 0x5eed)
	binary.BigEndian.PutUint16(m[2:], ^onesSum(m))
	return b
}

func packet(from netip.Addr, protocol byte, size int) []byte {
	b := make([]byte, size)
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	copy(b[12:], from.AsSlice())
	copy(b[16:], innerGateway.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^onesSum(b[:ipHeader]))
	return b
}

// isEchoReply tells whether a packet answers an echo.
func isEchoReply(b []byte) bool {
	return len(b) >= ipHeader+icmpHeader && b[0] == 0x45 && b[9] == protocolICMP && b[ipHeader] == icmpEchoReply
}

// onesSum is the ones' complement sum of RFC 1071.
func onesSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
