package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Protocols and messages (RFC 792, RFC 4443).
const (
	protocolICMP     = 1
	protocolICMP6    = 58
	echoRequest      = 8
	echoReply        = 0
	echoRequest6     = 128
	echoReply6       = 129
	ipHeader         = 20
	ip6Header        = 40
	icmpHeader       = 8
	pingPayload      = "sealsim ping"
	identifierOffset = 4
)

// echo is a ping that waits for its reply.
type echo struct {
	to       netip.Addr
	answered chan struct{}
}

// Ping sends the terminal's ICMP echo to an address inside and waits for the
// reply, whose checksum and content must be right. Of IPv6 the source is the
// link-local address towards one such, else the autoconfigured one.
func (b *Bearer) Ping(ctx context.Context, to netip.Addr) (time.Duration, error) {
	from := b.Address()
	if to.Is6() {
		from = b.LinkLocal()
		if !to.IsLinkLocalUnicast() {
			r, err := b.autoconfiguredOnce()
			if err != nil {
				return 0, fmt.Errorf("ping: %w", err)
			}
			from = r.Address
		}
	}
	if !from.IsValid() {
		return 0, fmt.Errorf("ping %v: the session has no address of the family", to)
	}
	id, answered := b.terminal.expect(to)
	defer b.terminal.forget(id)
	began := time.Now()
	if err := b.Send(ping(from, to, id)); err != nil {
		return 0, fmt.Errorf("ping %v: %w", to, err)
	}
	select {
	case <-answered:
		return time.Since(began), nil
	case <-b.done:
		return 0, fmt.Errorf("ping %v: %w", to, b.err)
	case <-ctx.Done():
		return 0, fmt.Errorf("ping %v: %w", to, context.Cause(ctx))
	}
}

func (b *Bearer) autoconfiguredOnce() (Router, error) {
	b.terminal.mu.Lock()
	none := b.terminal.router == nil
	b.terminal.mu.Unlock()
	if none {
		return Router{}, errors.New("no IPv6 address: Autoconfigure comes first")
	}
	return b.autoconfigured()
}

func (t *terminal) expect(to netip.Addr) (id uint16, answered <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	if t.echoes == nil {
		t.echoes = make(map[uint16]echo)
	}
	e := echo{to: to, answered: make(chan struct{}, 1)}
	t.echoes[t.next] = e
	t.pings.Add(1)
	return t.next, e.answered
}

func (t *terminal) forget(id uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.echoes, id)
	t.pings.Add(-1)
}

// echoed takes an echo reply that a ping waits for.
func (t *terminal) echoed(packet []byte) bool {
	from, body, ok := readICMP(packet)
	want := uint8(echoReply)
	if !ok {
		from, body, ok = readICMP6(packet)
		want = echoReply6
	}
	if !ok || body[0] != want || string(body[icmpHeader:]) != pingPayload {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e, waits := t.echoes[binary.BigEndian.Uint16(body[identifierOffset:])]
	if !waits || e.to != from {
		return false
	}
	select {
	case e.answered <- struct{}{}:
	default: // a second reply
	}
	return true
}

// ping is an echo request.
func ping(from, to netip.Addr, id uint16) []byte {
	body := append([]byte{echoRequest6, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}, pingPayload...)
	if to.Is6() {
		return icmp6(from, to, body)
	}
	body[0] = echoRequest
	binary.BigEndian.PutUint16(body[2:], ^sum(0, body))
	p := make([]byte, ipHeader, ipHeader+len(body))
	p[0], p[8], p[9] = 0x45, 64, protocolICMP
	binary.BigEndian.PutUint16(p[2:], uint16(ipHeader+len(body)))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^sum(0, p))
	return append(p, body...)
}

// icmp6 is an IPv6 packet with an ICMPv6 message, whose checksum it computes.
// The hop limit is that of neighbour discovery.
func icmp6(from, to netip.Addr, body []byte) []byte {
	p := make([]byte, ip6Header, ip6Header+len(body))
	p[0], p[6], p[7] = 0x60, protocolICMP6, 255
	binary.BigEndian.PutUint16(p[4:], uint16(len(body)))
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.AsSlice())
	p = append(p, body...)
	binary.BigEndian.PutUint16(p[ip6Header+2:], ^checksum6(p))
	return p
}

// readICMP6 reads an IPv6 packet without extension headers; ok when it has an
// ICMPv6 message whose checksum is right.
func readICMP6(p []byte) (from netip.Addr, body []byte, ok bool) {
	if len(p) < ip6Header+icmpHeader || p[0]>>4 != 6 || p[6] != protocolICMP6 ||
		int(binary.BigEndian.Uint16(p[4:])) != len(p)-ip6Header || checksum6(p) != 0xffff {
		return from, nil, false
	}
	return netip.AddrFrom16([16]byte(p[8:])), p[ip6Header:], true
}

// readICMP is the same for IPv4.
func readICMP(p []byte) (from netip.Addr, body []byte, ok bool) {
	if len(p) < ipHeader+icmpHeader || p[0] != 0x45 || p[9] != protocolICMP ||
		int(binary.BigEndian.Uint16(p[2:])) != len(p) || sum(0, p[:ipHeader]) != 0xffff || sum(0, p[ipHeader:]) != 0xffff {
		return from, nil, false
	}
	return netip.AddrFrom4([4]byte(p[12:])), p[ipHeader:], true
}

// checksum6 sums up the ICMPv6 message and its pseudo-header (RFC 8200 8.1).
func checksum6(p []byte) uint16 {
	return sum(uint32(len(p)-ip6Header)+protocolICMP6, p[8:])
}

// sum is the ones' complement sum of the Internet checksum (RFC 1071).
func sum(start uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start&0xffff + start>>16
	}
	return uint16(start)
}
