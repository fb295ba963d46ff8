package gtpu

import (
	"encoding/binary"

	"github.com/sealedge/sealedge/apn/gtp"
)

const (
	ipv4HeaderLen = 20
	udpHeaderLen  = 8
	protocolUDP   = 17
)

// inspect checks an inner packet that came up the tunnel f. It returns the
// packet without what followed its stated length, or the reason to drop it.
// What it lets through is still only a claim about where the packet wants to
// go: the inner network decides what is served.
func (p *Plane) inspect(f *flow, b []byte) ([]byte, counter) {
	if len(b) < ipv4HeaderLen || b[0]>>4 != 4 {
		return nil, dropInnerMalformed
	}
	header := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4HeaderLen || total < header || total > len(b) {
		return nil, dropInnerMalformed
	}
	b = b[:total]
	if binary.BigEndian.Uint32(b[12:]) != f.keys[byInner] {
		return nil, dropInnerSource
	}
	dst := binary.BigEndian.Uint32(b[16:])
	for _, own := range p.outer {
		if dst == own {
			return nil, dropOuterDestination
		}
	}
	if p.byInner.get(dst) != nil {
		return nil, dropPhoneToPhone
	}
	// Ports stand in the first fragment only; a later one alone reaches no
	// socket.
	if offset := binary.BigEndian.Uint16(b[6:]) & 0x1fff; b[9] == protocolUDP && offset == 0 {
		if len(b) < header+udpHeaderLen {
			return nil, dropInnerMalformed
		}
		switch binary.BigEndian.Uint16(b[header+2:]) {
		case portGTPC, Port, portPFCP:
			return nil, dropGTPInGTP
		}
	}
	return b, 0
}

// Ports of the protocols that terminals have no business with.
const (
	portGTPC = 2123
	portPFCP = 8805
)

// route finds the tunnel that pkt goes down by, and why there is none.
func (p *Plane) route(pkt []byte) (*flow, error) {
	if len(pkt) < ipv4HeaderLen || len(pkt) > maxInner || pkt[0]>>4 != 4 {
		p.count.add(dropDownlinkMalformed, 1)
		return nil, ErrPacket
	}
	f := p.byInner.get(binary.BigEndian.Uint32(pkt[16:]))
	if f == nil {
		p.count.add(dropNoTunnel, 1)
		return nil, ErrNoTunnel
	}
	return f, nil
}

// maxInner is the longest packet that fits a G-PDU in a UDP datagram over IPv4.
const maxInner = 65535 - ipv4HeaderLen - udpHeaderLen - gtp.UserHeaderLen
