package gtpu

import (
	"bytes"
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"testing"
)

type sink struct{ sent int }

func (*sink) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, net.ErrClosed
}

func (s *sink) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	s.sent++
	return len(b), nil
}
func (*sink) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 10, 1), Port: Port} }
func (*sink) Close() error        { return nil }

// newFuzzPlane has one tunnel and answers anyone.
func newFuzzPlane(uplink func([]byte)) (*Plane, *socket) {
	p := New(Config{
		Uplink:       uplink,
		AllowedPeers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		Answers:      1 << 30,
	})
	p.Carry(Plan{Put: []Tunnel{{
		Session: 1, Local: 0x1002, Peer: 0x2002, Active: true,
		PeerAddr: netip.MustParseAddr("127.0.20.1"), Inner: netip.MustParseAddr("10.90.0.2"),
		Prefix6: netip.MustParseAddr("2001:db8:0:2::"), InterfaceID: [8]byte{3: 1, 7: 1},
	}}})
	s := &socket{conn: &sink{}, local: netip.MustParseAddr("127.0.10.1")}
	p.socket.Store(s)
	return p, s
}

// mayCome tells whether a packet that came up is one that may: whole, of the
// tunnel's own addresses, to none of them, and with no GTP in it as far as a
// port can be seen.
func mayCome(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return int(binary.BigEndian.Uint16(b[2:])) == len(b) && binary.BigEndian.Uint32(b[12:]) == 0x0a5a0002 &&
			binary.BigEndian.Uint32(b[16:]) != 0x0a5a0002 && b[16]>>4 != 0xe
	case 6:
		own := []byte{0x20, 1, 0x0d, 0xb8, 0, 0, 0, 2}
		return len(b) >= 40 && int(binary.BigEndian.Uint16(b[4:])) == len(b)-40 && bytes.Equal(b[8:16], own) &&
			!bytes.Equal(b[24:32], own) && b[24] != 0xff && !isLinkLocal(b[24:]) && b[6] != nextFragment &&
			(b[6] != protocolUDP || binary.BigEndian.Uint16(b[42:]) != Port)
	}
	return false
}

// Whatever arrives, nothing breaks, a datagram has at most one consequence,
// and what comes up is a packet that may.
func FuzzReceive(f *testing.F) {
	pkt := []byte{
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 90, 0, 2, 10, 90, 0, 1,
		0x30, 0x39, 0x16, 0x34, 0, 8, 0, 0,
	}
	f.Add(append([]byte{0x30, 255, 0, 28, 0, 0, 0x10, 2}, pkt...))
	f.Add(append([]byte{0x34, 255, 0, 36, 0, 0, 0x10, 2, 0, 0, 0, 0x85, 1, 0x10, 9, 0}, pkt...))
	f.Add([]byte{0x34, 255, 0, 8, 0, 0, 0x10, 2, 0, 0, 0, 0x85, 0, 0, 0, 0})
	f.Add([]byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Add([]byte{0x32, 26, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0x20, 2, 133, 0, 4, 127, 0, 20, 1})
	f.Add([]byte{0x30, 254, 0, 0, 0, 0, 0x10, 2})
	f.Add([]byte{0x32, 31, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 141, 1, 0x85})
	// Inner packets of both families: UDP, options, headers, discovery, what
	// is broken.
	own := []byte{0x20, 1, 0x0d, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9}
	link := []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}
	there := []byte{0x20, 1, 0x0d, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	ipv6 := func(src, dst []byte, next byte, payload ...byte) []byte {
		b := append([]byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 255}, src...)
		return append(append(b, dst...), payload...)
	}
	solicitation := ipv6(link, allNodes[:], 58, 133, 0, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(solicitation[42:], checksum(solicitation, solicitation[40:]))
	neighbour := ipv6(link, gateway6[:], 58, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, gateway6[:]...)...)
	binary.BigEndian.PutUint16(neighbour[42:], checksum(neighbour, neighbour[40:]))
	udp := []byte{0x30, 0x39, 0x16, 0x34, 0, 8, 0, 0}
	for _, inner := range [][]byte{
		ipv6(own, there, 17, udp...),
		ipv6(own, there, 0, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp...)...),
		ipv6(own, there, 43, append([]byte{17, 0, 0, 1, 0, 0, 0, 0}, udp...)...),
		ipv6(own, there, 44, append([]byte{17, 0, 0, 1, 0, 0, 0, 0}, udp...)...),
		ipv6(own, there, 51, append([]byte{17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}, udp...)...),
		ipv6(own, there, 60, 60, 255, 1, 4, 0, 0, 0, 0),
		solicitation,
		neighbour,
		append([]byte{
			0x46, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 90, 0, 2, 10, 90, 0, 1, 131, 3, 4, 0,
		}, udp...),
		append([]byte{
			0x46, 0, 0, 32, 0, 0, 0x20, 0, 64, 17, 0, 0, 10, 90, 0, 2, 10, 90, 0, 1, 7, 3, 4, 0,
		}, udp...),
	} {
		f.Add(append([]byte{0x30, 255, 0, byte(len(inner)), 0, 0, 0x10, 2}, inner...))
	}
	ups := 0
	p, s := newFuzzPlane(func(b []byte) {
		ups++
		if !mayCome(b) {
			panic("a packet came up that may not")
		}
	})
	out := s.conn.(*sink)
	from := netip.MustParseAddrPort("127.0.20.1:2152")
	f.Fuzz(func(t *testing.T, b []byte) {
		ups, out.sent = 0, 0
		p.receive(s, from, b, p.clock())
		if n := p.count[dropPanic].n.Load(); n != 0 {
			t.Fatalf("panicked on %x", b)
		}
		if ups+out.sent > 1 {
			t.Fatalf("%d packets up and %d answers for %x", ups, out.sent, b)
		}
	})
}

// A callback that panics costs its packet, not the plane.
func TestReceiveSurvivesPanic(t *testing.T) {
	calls := 0
	p, s := newFuzzPlane(func([]byte) {
		if calls++; calls == 1 {
			panic("broken consumer")
		}
	})
	d := append([]byte{0x30, 255, 0, 20, 0, 0, 0x10, 2}, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 90, 0, 2, 10, 90, 0, 1)
	for range 2 {
		p.receive(s, netip.MustParseAddrPort("127.0.20.1:2152"), d, p.clock())
	}
	if n := p.count[dropPanic].n.Load(); n != 1 || calls != 2 {
		t.Errorf("panics %d, calls %d; want 1 and 2", n, calls)
	}
}

// The packet path doesn't allocate, either way, in either family, with a
// maximum bit rate and without.
func TestPacketPathAllocatesNothing(t *testing.T) {
	for _, kbps := range []uint32{0, math.MaxUint32} {
		for _, sequenced := range []bool{false, true} {
			p := New(Config{Uplink: func([]byte) {}, SequenceNumbers: sequenced})
			tun := nth(1)
			tun.UpKbps, tun.DownKbps = kbps, kbps
			p.Carry(Plan{Put: []Tunnel{tun}})
			s := &socket{conn: new(sink)}
			p.socket.Store(s)
			from := netip.MustParseAddrPort("127.0.0.1:2152")
			for _, f := range families {
				up, down := datagramOf(tun, packet(f.of(tun), f.gateway, 100)), packet(f.gateway, f.of(tun), 100)
				if n := testing.AllocsPerRun(1000, func() { p.receive(s, from, up, p.clock()) }); n != 0 {
					t.Errorf("%s: %v allocations for an uplink packet", f.name, n)
				}
				if n := testing.AllocsPerRun(1000, func() { _ = p.Send(down) }); n != 0 {
					t.Errorf("%s: %v allocations for a downlink packet", f.name, n)
				}
			}
			if up, down := p.count[uplinkPackets].n.Load(), p.count[downlinkPackets].n.Load(); up < 2000 || down < 2000 {
				t.Errorf("carried %d up and %d down", up, down)
			}
		}
	}
}
