package phone

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
)

// Protocol numbers and sizes of headers in bytes.
const (
	protocolICMP   = 1
	protocolUDP    = 17
	protocolICMPv6 = 58
	header4        = 20
	header6        = 40
	headerUDP      = 8
	headerICMP     = 8
)

// probePacket is a probe from one address of the phone to one of the gateway, which
// must be of one family. Probes have no connection in the stack: they go over a path
// that the stack's packets don't take.
func probePacket(from, to netip.Addr, nonce uint64) []byte {
	l4 := make([]byte, headerUDP, headerUDP+wire.ProbeSize)
	binary.BigEndian.PutUint16(l4, wire.ProbePort)
	binary.BigEndian.PutUint16(l4[2:], wire.ProbePort)
	l4 = append(l4, wire.MarshalProbe(nonce)...)
	binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	sum := checksum(pseudoHeader(from, to, protocolUDP, len(l4)), l4)
	if sum == 0 {
		sum = 0xffff // 0 would be none (RFC 768)
	}
	binary.BigEndian.PutUint16(l4[6:], sum)
	return ipPacket(from, to, protocolUDP, l4)
}

// echoPacket is an ICMP echo request, whose answer nobody waits for.
func echoPacket(from, to netip.Addr) []byte {
	l4 := make([]byte, headerICMP)
	l4[0] = 8 // RFC 792
	protocol, pseudo := byte(protocolICMP), []byte(nil)
	if to.Is6() {
		l4[0] = 128 // RFC 4443 4.1
		protocol, pseudo = protocolICMPv6, pseudoHeader(from, to, protocolICMPv6, len(l4))
	}
	binary.BigEndian.PutUint16(l4[2:], checksum(pseudo, l4))
	return ipPacket(from, to, protocol, l4)
}

func ipPacket(from, to netip.Addr, protocol byte, l4 []byte) []byte {
	if to.Is6() {
		p := make([]byte, 8, header6+len(l4))
		p[0], p[6], p[7] = 0x60, protocol, 64
		binary.BigEndian.PutUint16(p[4:], uint16(len(l4)))
		return append(append(append(p, from.AsSlice()...), to.AsSlice()...), l4...)
	}
	p := make([]byte, 12, header4+len(l4))
	p[0], p[8], p[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(header4+len(l4)))
	p = append(append(p, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(p[10:], checksum(nil, p))
	return append(p, l4...)
}

// pseudoHeader is what a checksum covers beside the datagram (RFC 768, RFC 8200 8.1).
func pseudoHeader(from, to netip.Addr, protocol byte, length int) []byte {
	b := append(from.AsSlice(), to.AsSlice()...)
	return append(b, 0, protocol, byte(length>>8), byte(length))
}

// checksum is the internet checksum (RFC 1071) of two pieces, the first of which has an
// even length.
func checksum(pieces ...[]byte) uint16 {
	var sum uint32
	for _, b := range pieces {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// probeAnswer reads the answer to a probe out of a packet from one of the gateway's
// addresses; false: it is none.
func probeAnswer(packet []byte, gateway func(netip.Addr) bool) (wire.ProbeAnswer, bool) {
	var l4 []byte
	var from netip.Addr
	switch {
	case len(packet) == header4+headerUDP+wire.ProbeSize && packet[0] == 0x45 && packet[9] == protocolUDP:
		from, l4 = netip.AddrFrom4([4]byte(packet[12:16])), packet[header4:]
	case len(packet) == header6+headerUDP+wire.ProbeSize && packet[0]>>4 == 6 && packet[6] == protocolUDP:
		from, l4 = netip.AddrFrom16([16]byte(packet[8:24])), packet[header6:]
	default:
		return wire.ProbeAnswer{}, false
	}
	if !gateway(from) || binary.BigEndian.Uint16(l4) != wire.ProbePort || binary.BigEndian.Uint16(l4[2:]) != wire.ProbePort {
		return wire.ProbeAnswer{}, false
	}
	a, err := wire.ParseProbeAnswer(l4[headerUDP:])
	return a, err == nil
}

// probeEvery is how often Probe repeats itself.
const probeEvery = 200 * time.Millisecond

// Probe sends probes over a path, whichever is active, until one is answered.
func (p *Phone) Probe(ctx context.Context, over Path) (wire.ProbeAnswer, error) {
	answers := make(chan wire.ProbeAnswer, 1)
	nonce := rand.Uint64()
	p.mu.Lock()
	p.probes[nonce] = answers
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.probes, nonce)
		p.mu.Unlock()
	}()
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		p.sendProbe(over, nonce)
		select {
		case a := <-answers:
			return a, nil
		case <-ticker.C:
		case <-ctx.Done():
			return wire.ProbeAnswer{}, fmt.Errorf("probe over the %s: %w", over, context.Cause(ctx))
		}
	}
}

// ends are the phone's address and the gateway's on a path.
func (p *Phone) ends(over Path) (own, gateway netip.Addr) {
	if over == FallbackPath {
		if own = p.stack.Address(); !own.IsValid() {
			if l := p.held(); l != nil {
				own = l.address
			}
		}
		return own, p.cfg.Gateway
	}
	b := p.Bearer()
	if b == nil {
		return netip.Addr{}, netip.Addr{}
	}
	if own = b.Address(); own.IsValid() && p.cfg.Gateway.IsValid() {
		return own, p.cfg.Gateway
	}
	return p.stack.Address6(), p.cfg.Gateway6
}

// sendOver sends a packet over a path; without that it is lost.
func (p *Phone) sendOver(path Path, packet []byte) {
	p.mu.Lock()
	b, t := p.bearer, p.tunnel
	p.mu.Unlock()
	switch {
	case path == CarrierPath && b != nil:
		_ = b.Send(packet) // lost, as on any network
	case path == FallbackPath && t != nil:
		t.send(packet)
	}
}

func (p *Phone) sendProbe(over Path, nonce uint64) {
	if own, gateway := p.ends(over); own.IsValid() && gateway.IsValid() {
		p.sendOver(over, probePacket(own, gateway, nonce))
	}
}

// announce sends some data over a path.
func (p *Phone) announce(over Path) {
	if own, gateway := p.ends(over); own.IsValid() && gateway.IsValid() {
		p.sendOver(over, echoPacket(own, gateway))
	}
}

// admitted sends data over a path until the gateway says that it admits the phone there,
// which on the fallback it decides then. So the gateway may come to use the path before
// the phone does.
func (p *Phone) admitted(ctx context.Context, over Path) (wire.ProbeAnswer, error) {
	for {
		a, err := p.Probe(ctx, over)
		if err != nil || a.Admitted {
			return a, err
		}
		p.announce(over)
		select {
		case <-time.After(probeEvery):
		case <-ctx.Done():
			return a, fmt.Errorf("%s: not admitted: %w", over, context.Cause(ctx))
		}
	}
}

// probed takes a packet that came by a path, if it answers a probe.
func (p *Phone) probed(over Path, packet []byte) bool {
	a, ok := probeAnswer(packet, func(from netip.Addr) bool { return from == p.cfg.Gateway || from == p.cfg.Gateway6 })
	if !ok {
		return false
	}
	p.mu.Lock()
	waiting := p.probes[a.Nonce]
	p.mu.Unlock()
	if waiting != nil {
		select {
		case waiting <- a:
		default: // it has one
		}
		return true
	}
	p.tell(pathwatch.ProbeAnswered{Path: over.watched(), Nonce: a.Nonce, Active: a.Active, Admitted: a.Admitted})
	return true
}
