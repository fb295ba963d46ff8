package address

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Ethernet types, and what ARP (RFC 826) and neighbour discovery (RFC 4861) put
// into their headers.
const (
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	arpEthernet = 1
	arpIPv4     = 0x0800
	arpRequest  = 1
	arpReply    = 2

	protocolICMPv6        = 58
	neighborAdvertisement = 136
	flagOverride          = 0x20
	targetLinkLayer       = 2 // the option, in units of eight bytes one long
	hopLimitND            = 255
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
	// allNodesEthernet is where Ethernet brings allNodes (RFC 2464 7).
	allNodesEthernet = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// announcement is the Ethernet frames that tell all neighbours that a is now at
// mac. In IPv4 they are a gratuitous ARP request and reply: some systems heed only
// the one (RFC 5227 3), some only the other. In IPv6 it is an unsolicited Neighbor
// Advertisement that overrides (RFC 4861 7.2.6).
func announcement(a netip.Addr, mac net.HardwareAddr) [][]byte {
	if a.Is4() {
		return [][]byte{gratuitousARP(a, mac, arpRequest), gratuitousARP(a, mac, arpReply)}
	}
	return [][]byte{unsolicitedNA(a, mac)}
}

func ethernet(to, from net.HardwareAddr, etherType uint16) []byte {
	b := append(append(make([]byte, 0, 96), to...), from...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

func gratuitousARP(a netip.Addr, mac net.HardwareAddr, operation uint16) []byte {
	target := make(net.HardwareAddr, len(mac)) // nobody is asked
	if operation == arpReply {
		target = mac
	}
	b := ethernet(broadcast, mac, etherTypeARP)
	b = binary.BigEndian.AppendUint16(b, arpEthernet)
	b = binary.BigEndian.AppendUint16(b, arpIPv4)
	b = append(b, byte(len(mac)), 4)
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(append(b, mac...), a.AsSlice()...)
	return append(append(b, target...), a.AsSlice()...)
}

func unsolicitedNA(a netip.Addr, mac net.HardwareAddr) []byte {
	icmp := []byte{neighborAdvertisement, 0, 0, 0, flagOverride, 0, 0, 0}
	icmp = append(icmp, a.AsSlice()...)
	icmp = append(append(icmp, targetLinkLayer, 1), mac...)
	binary.BigEndian.PutUint16(icmp[2:], checksumICMPv6(a, allNodes, icmp))

	b := ethernet(allNodesEthernet, mac, etherTypeIPv6)
	b = append(b, 6<<4, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(icmp)))
	b = append(b, protocolICMPv6, hopLimitND)
	b = append(append(b, a.AsSlice()...), allNodes.AsSlice()...)
	return append(b, icmp...)
}

// checksumICMPv6 is over the message and its pseudo-header (RFC 4443 2.3).
func checksumICMPv6(from, to netip.Addr, message []byte) uint16 {
	pseudo := append(from.AsSlice(), to.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(append(pseudo, 0, 0, 0, protocolICMPv6), message...)
	if len(pseudo)%2 != 0 {
		pseudo = append(pseudo, 0)
	}
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
