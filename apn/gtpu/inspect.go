package gtpu

import (
	"encoding/binary"

	"github.com/sealedge/sealedge/apn/gtp"
)

const (
	ipv4HeaderLen = 20
	udpHeaderLen  = 8
	protocolTCP   = 6
	protocolUDP   = 17
)

// inspect checks an inner packet that came up the tunnel f. It returns the
// packet without what followed its stated length, or the reason to drop it.
// With discovery, that message of the packet is for the gateway itself. What it
// lets through is still only a claim about where the packet wants to go: the
// inner network decides what is served.
func (p *Plane) inspect(f *flow, b []byte) (pkt, discovery []byte, reason counter) {
	if len(b) == 0 {
		return nil, nil, dropInnerMalformed
	}
	switch b[0] >> 4 {
	case 4:
		pkt, reason = p.inspect4(f, b)
		return pkt, nil, reason
	case 6:
		return p.inspect6(f, b)
	}
	return nil, nil, dropInnerMalformed
}

func (p *Plane) inspect4(f *flow, b []byte) ([]byte, counter) {
	if len(b) < ipv4HeaderLen {
		return nil, dropInnerMalformed
	}
	header := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4HeaderLen || total < header || total > len(b) {
		return nil, dropInnerMalformed
	}
	b = b[:total]
	if !f.has[byInner] || uint64(binary.BigEndian.Uint32(b[12:])) != f.keys[byInner] {
		return nil, dropInnerSource
	}
	if header > ipv4HeaderLen {
		if reason := options4(b[ipv4HeaderLen:header]); reason != 0 {
			return nil, reason
		}
	}
	dst := binary.BigEndian.Uint32(b[16:])
	if dst>>28 == 0xe || dst == 0xffffffff {
		return nil, dropMulticast
	}
	for _, own := range p.outer4 {
		if dst == own {
			return nil, dropOuterDestination
		}
	}
	if p.find(byInner, uint64(dst)) != nil {
		return nil, dropPhoneToPhone
	}
	// Ports stand in the first fragment only; a later one alone reaches no
	// socket.
	if offset := binary.BigEndian.Uint16(b[6:]) & 0x1fff; b[9] == protocolUDP && offset == 0 {
		if reason := datagram(b[header:]); reason != 0 {
			return nil, reason
		}
	}
	return b, 0
}

// options4 judges the options of an IPv4 header. With a source route the
// destination that was judged isn't the last.
func options4(o []byte) counter {
	const end, pad, loose, strict = 0, 1, 131, 137
	for len(o) > 0 {
		switch o[0] {
		case end:
			return 0
		case pad:
			o = o[1:]
			continue
		case loose, strict:
			return dropSourceRoute
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return dropInnerMalformed
		}
		o = o[o[1]:]
	}
	return 0
}

// datagram judges the header of a UDP datagram.
func datagram(b []byte) counter {
	if len(b) < udpHeaderLen {
		return dropInnerMalformed
	}
	switch binary.BigEndian.Uint16(b[2:]) {
	case portGTPC, Port, portPFCP:
		return dropGTPInGTP
	}
	return 0
}

// Ports of the protocols that terminals have no business with.
const (
	portGTPC = 2123
	portPFCP = 8805
)

// route finds the tunnel that pkt goes down by, and why there is none; nil
// without an error when the packet waits for its turn. It takes the packet off
// what the session may receive.
func (p *Plane) route(pkt []byte, now int64) (*flow, error) {
	f, reason := p.destination(pkt)
	switch {
	case reason != 0:
		p.count.add(reason, 1)
		return nil, ErrPacket
	case f == nil:
		p.count.add(dropNoTunnel, 1)
		return nil, ErrNoTunnel
	case f.suspended:
		p.count.add(dropSuspended, 1)
		return nil, ErrSuspended
	}
	switch p.shape(f, false, pkt, now) {
	case waits:
		return nil, nil
	case exceeds:
		p.count.add(dropAMBRDown, 1)
		return nil, ErrRate
	}
	f.use.touch(now)
	return f, nil
}

// destination finds the terminal that pkt is for; nil when nobody has the
// address.
func (p *Plane) destination(pkt []byte) (*flow, counter) {
	if len(pkt) < ipv4HeaderLen || len(pkt) > maxInner {
		return nil, dropDownlinkMalformed
	}
	switch pkt[0] >> 4 {
	case 4:
		return p.find(byInner, uint64(binary.BigEndian.Uint32(pkt[16:]))), 0
	case 6:
		if len(pkt) < ipv6HeaderLen {
			return nil, dropDownlinkMalformed
		}
		if isLinkLocal(pkt[8:]) || isLinkLocal(pkt[24:]) {
			return nil, dropLinkLocal
		}
		return p.find(byPrefix, binary.BigEndian.Uint64(pkt[24:])), 0
	}
	return nil, dropDownlinkMalformed
}

// maxInner is the longest packet that fits a G-PDU in a UDP datagram over IPv4.
const maxInner = 65535 - ipv4HeaderLen - udpHeaderLen - maxHeader

// maxHeader is the length of a G-PDU's header with a sequence number.
const maxHeader = gtp.UserHeaderLen + 4
