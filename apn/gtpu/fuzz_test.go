package gtpu

import (
	"encoding/binary"
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
	}}})
	s := &socket{conn: &sink{}, local: netip.MustParseAddr("127.0.10.1")}
	p.socket.Store(s)
	return p, s
}

// Whatever arrives, nothing breaks, a datagram has at most one consequence,
// and what comes up is an IPv4 packet of the tunnel's own address.
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
	ups := 0
	p, s := newFuzzPlane(func(b []byte) {
		ups++
		if len(b) < 20 || b[0]>>4 != 4 || int(binary.BigEndian.Uint16(b[2:])) != len(b) ||
			binary.BigEndian.Uint32(b[12:]) != 0x0a5a0002 {
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

// The packet path doesn't allocate, either way.
func TestPacketPathAllocatesNothing(t *testing.T) {
	p, s := newFuzzPlane(func([]byte) {})
	up := append([]byte{0x30, 255, 0, 20, 0, 0, 0x10, 2}, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 90, 0, 2, 10, 90, 0, 1)
	from := netip.MustParseAddrPort("127.0.20.1:2152")
	if n := testing.AllocsPerRun(1000, func() { p.receive(s, from, up, p.clock()) }); n != 0 {
		t.Errorf("%v allocations for an uplink packet", n)
	}
	down := append([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 90, 0, 1}, 10, 90, 0, 2)
	if n := testing.AllocsPerRun(1000, func() { _ = p.Send(down) }); n != 0 {
		t.Errorf("%v allocations for a downlink packet", n)
	}
	if p.count[uplinkPackets].n.Load() == 0 || p.count[downlinkPackets].n.Load() == 0 {
		t.Error("nothing was carried")
	}
}
