package inner

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
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
	defer n.caught(pkt)
	if p, ok := n.admitted(pkt); ok {
		n.driver.packet(p)
	}
}

// admitted admits and counts.
func (n *Network) admitted(pkt []byte) (packet, bool) {
	p, reason := n.admit(pkt)
	if reason != 0 {
		n.count.add(reason, 1)
		return p, false
	}
	n.count.add(inPackets, 1)
	n.count.add(inBytes, len(p.whole))
	return p, true
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

// transmit takes packets of the driver to their terminals. Those of one call are
// mostly for the same.
func (n *Network) transmit(pkts [][]byte) {
	for len(pkts) > 0 {
		to, ok := mayLeave(pkts[0])
		if !ok {
			n.count.add(dropEgress, 1)
			pkts = pkts[1:]
			continue
		}
		same := 1
		for same < len(pkts) {
			if next, ok := mayLeave(pkts[same]); !ok || next != to {
				break
			}
			same++
		}
		n.send(to, pkts[:same])
		pkts = pkts[same:]
	}
}

// send takes packets to one terminal.
func (n *Network) send(to netip.Addr, pkts [][]byte) {
	r := n.route(to)
	if r == nil {
		n.count.add(dropNoRoute, len(pkts))
		return
	}
	if r.batch != nil && len(pkts) > 1 {
		if err := r.batch.SendAll(pkts); err != nil {
			n.count.add(dropPath, len(pkts))
			return
		}
		n.sent(pkts)
		return
	}
	for i, pkt := range pkts {
		if err := r.path.Send(pkt); err != nil {
			n.count.add(dropPath, 1)
			continue
		}
		n.sent(pkts[i : i+1])
	}
}

func (n *Network) sent(pkts [][]byte) {
	bytes := 0
	for _, pkt := range pkts {
		bytes += len(pkt)
	}
	n.count.add(outPackets, len(pkts))
	n.count.add(outBytes, bytes)
}
