package inner

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	ipv4HeaderLen   = 20
	icmpHeaderLen   = 8
	tcpHeaderLen    = 20
	udpHeaderLen    = 8
	protocolICMP    = 1
	protocolTCP     = 6
	protocolUDP     = 17
	icmpEchoRequest = 8
)

// portSet is a set of ports that is read without a lock.
type portSet [65536 / 64]atomic.Uint64

func (s *portSet) has(port uint16) bool { return s[port/64].Load()&(1<<(port%64)) != 0 }
func (s *portSet) add(port uint16)      { s[port/64].Or(1 << (port % 64)) }
func (s *portSet) remove(port uint16)   { s[port/64].And(^uint64(1 << (port % 64))) }

// Deliver takes an IPv4 packet from an access path that verified its source.
// pkt is the caller's again when Deliver returns. Any goroutine may call it.
func (n *Network) Deliver(pkt []byte) {
	defer func() {
		if r := recover(); r != nil {
			n.count.add(dropPanic, 1)
			n.log.Error("inner network: a packet broke its handling; please report it with these bytes",
				"panic", r, "bytes", hex.EncodeToString(pkt[:min(len(pkt), 256)]))
		}
	}()
	pkt, reason := n.admit(pkt)
	if reason != 0 {
		n.count.add(reason, 1)
		return
	}
	n.count.add(inPackets, 1)
	n.count.add(inBytes, len(pkt))
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(pkt)})
	n.link.inject(p)
	p.DecRef()
}

// admit is the whole of what terminals may do. It returns the packet without
// what followed its stated length, or the reason to drop it.
func (n *Network) admit(b []byte) ([]byte, counter) {
	if len(b) < ipv4HeaderLen || b[0]>>4 != 4 || b[0]&0x0f < ipv4HeaderLen/4 {
		return nil, dropMalformed
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total < ipv4HeaderLen || total > len(b) {
		return nil, dropMalformed
	}
	b = b[:total]
	if b[0]&0x0f != ipv4HeaderLen/4 {
		return nil, dropOptions
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // more fragments, or an offset
		return nil, dropFragment
	}
	if headerSum(b[:ipv4HeaderLen]) != 0xffff {
		return nil, dropChecksum
	}
	src := netip.AddrFrom4([4]byte(b[12:16]))
	dst := netip.AddrFrom4([4]byte(b[16:20]))
	from := n.route(src)
	if from == nil {
		return nil, dropSource
	}
	if !n.own[dst] {
		if n.route(dst) != nil {
			return nil, dropPhoneToPhone
		}
		return nil, dropDestination
	}
	switch l4 := b[ipv4HeaderLen:]; b[9] {
	case protocolTCP:
		if len(l4) < tcpHeaderLen {
			return nil, dropMalformed
		}
		if !n.tcpPorts.has(binary.BigEndian.Uint16(l4[2:])) {
			return nil, dropTCPPort
		}
	case protocolUDP:
		if len(l4) < udpHeaderLen {
			return nil, dropMalformed
		}
		if !n.udpPorts.has(binary.BigEndian.Uint16(l4[2:])) {
			return nil, dropUDPPort
		}
		if was := from.local.Load(); was == nil || *was != dst {
			from.local.Store(&dst)
		}
	case protocolICMP:
		if len(l4) < icmpHeaderLen {
			return nil, dropMalformed
		}
		if l4[0] != icmpEchoRequest || l4[1] != 0 {
			return nil, dropICMP
		}
	default:
		return nil, dropProtocol
	}
	return b, 0
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

// transmit takes a packet of the stack to its terminal.
func (n *Network) transmit(pkt []byte) {
	if len(pkt) < ipv4HeaderLen {
		n.count.add(dropNoRoute, 1)
		return
	}
	r := n.route(netip.AddrFrom4([4]byte(pkt[16:20])))
	if r == nil {
		n.count.add(dropNoRoute, 1)
		return
	}
	if err := r.path.Send(pkt); err != nil {
		n.count.add(dropPath, 1)
		return
	}
	n.count.add(outPackets, 1)
	n.count.add(outBytes, len(pkt))
}
