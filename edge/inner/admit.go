package inner

import (
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	icmpHeaderLen = 8
	tcpHeaderLen  = 20
	udpHeaderLen  = 8
	protocolTCP   = 6
	protocolUDP   = 17
)

// portSet is a set of ports that is read without a lock.
type portSet [65536 / 64]atomic.Uint64

func (s *portSet) has(port uint16) bool { return s[port/64].Load()&(1<<(port%64)) != 0 }
func (s *portSet) add(port uint16)      { s[port/64].Or(1 << (port % 64)) }
func (s *portSet) remove(port uint16)   { s[port/64].And(^uint64(1 << (port % 64))) }

// Deliver takes an IP packet from an access path that verified its source. pkt
// is the caller's again when Deliver returns. Any goroutine may call it.
func (n *Network) Deliver(pkt []byte) {
	defer func() {
		if r := recover(); r != nil {
			n.count.add(dropPanic, 1)
			n.log.Error("inner network: a packet broke its handling; please report it with these bytes",
				"panic", r, "bytes", hex.EncodeToString(pkt[:min(len(pkt), 256)]))
		}
	}()
	p, reason := n.admit(pkt)
	if reason != 0 {
		n.count.add(reason, 1)
		return
	}
	n.count.add(inPackets, 1)
	n.count.add(inBytes, len(p.whole))
	b := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p.whole)})
	n.link.inject(p.number, b)
	b.DecRef()
}

// DeliverAll takes packets as Deliver does, in their order, and costs less for
// each of them when they come many at a time.
func (n *Network) DeliverAll(pkts [][]byte) {
	for _, pkt := range pkts {
		n.Deliver(pkt)
	}
}

// admit is the whole of what terminals may do. It returns the packet, or the
// reason to drop it.
func (n *Network) admit(b []byte) (packet, counter) {
	p, reason := parse(b)
	if reason != 0 {
		return p, reason
	}
	from := n.route(p.src)
	// A terminal's /64 may have been chosen around the gateway's own address.
	if from == nil || n.own[p.src] != nil {
		return p, dropSource
	}
	to := n.own[p.dst]
	if to == nil {
		if n.route(p.dst) != nil {
			return p, dropPhoneToPhone
		}
		return p, dropDestination
	}
	switch l4 := p.payload; p.protocol {
	case protocolTCP:
		if len(l4) < tcpHeaderLen {
			return p, dropMalformed
		}
		if !n.tcpPorts.has(binary.BigEndian.Uint16(l4[2:])) {
			return p, dropTCPPort
		}
	case protocolUDP:
		if len(l4) < udpHeaderLen {
			return p, dropMalformed
		}
		if !n.udpPorts.has(binary.BigEndian.Uint16(l4[2:])) {
			return p, dropUDPPort
		}
		if from.local.Load() != to {
			from.local.Store(to)
		}
	case p.icmp:
		if len(l4) < icmpHeaderLen {
			return p, dropMalformed
		}
		if l4[0] != p.echoRequest || l4[1] != 0 {
			return p, dropICMP
		}
	default:
		return p, dropProtocol
	}
	return p, 0
}

// transmit takes a packet of the stack to its terminal.
func (n *Network) transmit(pkt []byte) {
	to, ok := mayLeave(pkt)
	if !ok {
		n.count.add(dropEgress, 1)
		return
	}
	r := n.route(to)
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
