package wifi

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// Errors of translating a packet: it is dropped.
var (
	errPacket    = errors.New("not a whole IPv4 packet")
	errProtocol  = errors.New("only unfragmented UDP is translated")
	errTTL       = errors.New("time to live exceeded")
	errNoMapping = errors.New("no mapping for it")
	errFull      = errors.New("no port is free")
)

// Bounds of the table.
const (
	firstOutside = ipstack.LastPort + 1 // the host's own stack has those below
	maxMappings  = 1024
	maxPeers     = 16 // remembered for one mapping
)

// nat translates UDP between the hotspot and the tunnel (RFC 4787): mappings
// are endpoint-independent (REQ-1) and kept alive by outgoing packets (REQ-6);
// incoming packets pass from addresses that were spoken to (REQ-8, address-
// dependent filtering). It is pure: packets are changed in place, and the time
// comes with them.
type nat struct {
	timeout  time.Duration
	inside   map[netip.AddrPort]*mapping
	outside  map[uint16]*mapping
	nextPort uint16
}

type mapping struct {
	inside netip.AddrPort
	port   uint16
	used   time.Time // by an outgoing packet
	peers  []netip.Addr
}

func newNAT(timeout time.Duration) *nat {
	return &nat{
		timeout: timeout, nextPort: firstOutside,
		inside: make(map[netip.AddrPort]*mapping), outside: make(map[uint16]*mapping),
	}
}

// udpPacket is a view of an unfragmented IPv4 UDP packet.
type udpPacket struct {
	ip, udp []byte
}

func parseUDP(b []byte) (udpPacket, error) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return udpPacket{}, errPacket
	}
	header, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header || total > len(b) {
		return udpPacket{}, errPacket
	}
	// More-fragments flag or a fragment offset: ports stand only in the
	// first fragment.
	if b[9] != 17 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 || total < header+8 {
		return udpPacket{}, errProtocol
	}
	return udpPacket{ip: b[:header], udp: b[header:total]}, nil
}

func (p udpPacket) src() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(p.ip[12:16])), binary.BigEndian.Uint16(p.udp))
}

func (p udpPacket) dst() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(p.ip[16:20])), binary.BigEndian.Uint16(p.udp[2:]))
}

// set writes an address and port at the given offsets (source or destination)
// and mends both checksums by the difference (RFC 1624).
func (p udpPacket) set(ipAt, portAt int, to netip.AddrPort) {
	var before, after [6]byte
	copy(before[:4], p.ip[ipAt:])
	copy(before[4:], p.udp[portAt:])
	a := to.Addr().As4()
	copy(after[:4], a[:])
	binary.BigEndian.PutUint16(after[4:], to.Port())
	copy(p.ip[ipAt:ipAt+4], after[:4])
	copy(p.udp[portAt:portAt+2], after[4:])
	mend(p.ip[10:12], before[:4], after[:4])
	if binary.BigEndian.Uint16(p.udp[6:]) != 0 { // 0: no checksum was made
		mend(p.udp[6:8], before[:], after[:])
		if binary.BigEndian.Uint16(p.udp[6:]) == 0 {
			binary.BigEndian.PutUint16(p.udp[6:], 0xffff) // RFC 768
		}
	}
}

// hop counts the time to live down.
func (p udpPacket) hop() error {
	if p.ip[8] <= 1 {
		return errTTL
	}
	before := [2]byte{p.ip[8], p.ip[9]}
	p.ip[8]--
	mend(p.ip[10:12], before[:], p.ip[8:10])
	return nil
}

// mend is HC' = ~(~HC + ~m + m') over 16-bit words (RFC 1624 3).
func mend(sum, before, after []byte) {
	s := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < len(before); i += 2 {
		s += uint32(^binary.BigEndian.Uint16(before[i:])) + uint32(binary.BigEndian.Uint16(after[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(sum, ^uint16(s))
}

// out translates a packet of a station on its way to the tunnel.
func (n *nat) out(b []byte, outside netip.Addr, now time.Time) error {
	p, err := parseUDP(b)
	if err != nil {
		return err
	}
	m := n.inside[p.src()]
	if m != nil && now.Sub(m.used) >= n.timeout {
		n.drop(m)
		m = nil
	}
	if m == nil {
		if m, err = n.open(p.src(), now); err != nil {
			return err
		}
	}
	if err := p.hop(); err != nil {
		return err
	}
	m.used = now
	m.speaks(p.dst().Addr())
	p.set(12, 0, netip.AddrPortFrom(outside, m.port))
	return nil
}

// in translates a packet from the tunnel back and returns the station's
// address. A packet that belongs to no mapping stays as it was.
func (n *nat) in(b []byte, now time.Time) (netip.Addr, error) {
	p, err := parseUDP(b)
	if err != nil {
		return netip.Addr{}, err
	}
	m := n.outside[p.dst().Port()]
	if m == nil || now.Sub(m.used) >= n.timeout || !m.spoke(p.src().Addr()) {
		return netip.Addr{}, errNoMapping
	}
	if err := p.hop(); err != nil {
		return netip.Addr{}, err
	}
	p.set(16, 2, m.inside)
	return m.inside.Addr(), nil
}

// open makes a mapping, on the next port that is free.
func (n *nat) open(inside netip.AddrPort, now time.Time) (*mapping, error) {
	if len(n.inside) >= maxMappings {
		n.expire(now)
		if len(n.inside) >= maxMappings {
			return nil, errFull
		}
	}
	for {
		port := n.nextPort
		if n.nextPort++; n.nextPort < firstOutside {
			n.nextPort = firstOutside // wrapped
		}
		if old := n.outside[port]; old != nil {
			if now.Sub(old.used) < n.timeout {
				continue // some port is free: there are more of them than mappings
			}
			n.drop(old)
		}
		m := &mapping{inside: inside, port: port, used: now}
		n.inside[inside], n.outside[port] = m, m
		return m, nil
	}
}

func (n *nat) drop(m *mapping) {
	delete(n.inside, m.inside)
	delete(n.outside, m.port)
}

// expire drops what was idle for too long.
func (n *nat) expire(now time.Time) {
	for _, m := range n.inside {
		if now.Sub(m.used) >= n.timeout {
			n.drop(m)
		}
	}
}

// forget drops the mappings of a station that left.
func (n *nat) forget(station netip.Addr) {
	for _, m := range n.inside {
		if m.inside.Addr() == station {
			n.drop(m)
		}
	}
}

func (m *mapping) spoke(peer netip.Addr) bool {
	for _, p := range m.peers {
		if p == peer {
			return true
		}
	}
	return false
}

// speaks notes a peer; of too many the oldest is forgotten.
func (m *mapping) speaks(peer netip.Addr) {
	if m.spoke(peer) {
		return
	}
	if len(m.peers) == maxPeers {
		m.peers = m.peers[1:]
	}
	m.peers = append(m.peers, peer)
}
