package gtpu_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtpu"
)

// patience is how long these tests wait for what must come.
const patience = time.Minute

// loopback is a plane on a real socket, with a peer on another.
type loopback struct {
	plane *gtpu.Plane
	peer  *net.UDPConn
	at    netip.AddrPort // the plane
	done  chan error
}

func serveLoopback(t testing.TB, cfg gtpu.Config) *loopback {
	t.Helper()
	peer, err := gtpu.Listen(t.Context(), net.ListenConfig{}, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	conn, err := gtpu.Listen(t.Context(), net.ListenConfig{}, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.PeerPort = peer.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	l := &loopback{
		plane: gtpu.New(cfg), peer: peer,
		at:   conn.LocalAddr().(*net.UDPAddr).AddrPort(),
		done: make(chan error, 1),
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { l.done <- l.plane.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-l.done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	// An answered Echo tells that the plane is up.
	l.plane.Carry(put(tunnel(200, func(t *gtpu.Tunnel) { t.PeerAddr = netip.MustParseAddr("127.0.0.1") })))
	l.say(t, []byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0})
	l.hear(t)
	return l
}

func (l *loopback) say(t testing.TB, b []byte) {
	t.Helper()
	if _, err := l.peer.WriteToUDPAddrPort(b, l.at); err != nil {
		t.Fatal(err)
	}
}

func (l *loopback) hear(t testing.TB) []byte {
	t.Helper()
	b := make([]byte, 65536)
	if err := l.peer.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, _, err := l.peer.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func at127(id uint64) gtpu.Tunnel {
	return tunnel(id, func(t *gtpu.Tunnel) { t.PeerAddr = netip.MustParseAddr("127.0.0.1") })
}

// Over real sockets: packets of every size go up and down whole, alone and in
// batches.
func TestServeLoopback(t *testing.T) {
	up := make(chan []byte, 1)
	l := serveLoopback(t, gtpu.Config{Uplink: func(pkt []byte) { up <- bytes.Clone(pkt) }})
	l.plane.Carry(put(at127(2)))
	for _, size := range []int{0, 36, 1372, 2100, 9000} {
		pkt := ip(inner(2), gateway, 6, bytes.Repeat([]byte{byte(size)}, size)...)
		l.say(t, gpdu(0x1002, pkt))
		select {
		case got := <-up:
			if !bytes.Equal(got, pkt) {
				t.Errorf("uplink of %d octets came as %d", len(pkt), len(got))
			}
		case <-time.After(patience):
			t.Fatalf("uplink of %d octets didn't come", len(pkt))
		}
		down := ip(gateway, inner(2), 6, bytes.Repeat([]byte{1}, size)...)
		if err := l.plane.Send(down); err != nil {
			t.Fatal(err)
		}
		if got := l.hear(t); !bytes.Equal(got, gpdu(0x2002, down)) {
			t.Errorf("downlink of %d octets came as %d", len(down), len(got))
		}
	}
	// More than one train, with a hole in it.
	var pkts [][]byte
	for i := range 150 {
		to := inner(2)
		if i == 70 {
			to = inner(3)
		}
		pkts = append(pkts, udp(gateway, to, 9, byte(i)))
	}
	n, err := l.plane.SendBatch(pkts)
	if n != 149 || !errors.Is(err, gtpu.ErrNoTunnel) {
		t.Fatalf("SendBatch = %d, %v", n, err)
	}
	for i, pkt := range pkts {
		if i == 70 {
			continue
		}
		if got := l.hear(t); !bytes.Equal(got, gpdu(0x2002, pkt)) {
			t.Fatalf("packet %d came as %x", i, got)
		}
	}
	// One that the kernel refuses (from loopback, to outside) doesn't hold up the
	// rest.
	l.plane.Carry(put(tunnel(4, func(t *gtpu.Tunnel) { t.PeerAddr = netip.MustParseAddr("192.0.2.1") })))
	lost := udp(gateway, inner(4), 9)
	n, err = l.plane.SendBatch([][]byte{lost, pkts[0], lost, lost, pkts[1], lost})
	if n != 2 || err == nil || l.plane.Counters()["send-failed"] != 4 {
		t.Errorf("SendBatch = %d, %v; send-failed %d", n, err, l.plane.Counters()["send-failed"])
	}
	for _, pkt := range pkts[:2] {
		if got := l.hear(t); !bytes.Equal(got, gpdu(0x2002, pkt)) {
			t.Errorf("came as %x", got)
		}
	}
	// A datagram longer than a jumbo frame is told apart from one that fits.
	before := l.plane.Counters()["oversized"]
	l.say(t, make([]byte, 9217))
	l.say(t, []byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0})
	l.hear(t)
	if n := l.plane.Counters()["oversized"] - before; n != 1 {
		t.Errorf("oversized rose by %d", n)
	}
}

// Over a real socket in batches: both families, with sequence numbers.
func TestServeLoopbackSequenced(t *testing.T) {
	l := serveLoopback(t, gtpu.Config{Uplink: func([]byte) {}, SequenceNumbers: true})
	l.plane.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { dual(t); t.PeerAddr = netip.MustParseAddr("127.0.0.1") })))
	var pkts [][]byte
	for i := range 100 {
		pkts = append(pkts, udp(gateway, inner(2), 9, byte(i)), udp6(gateway6, inner6(2), 9, byte(i)))
	}
	if n, err := l.plane.SendBatch(pkts); n != 200 || err != nil {
		t.Fatalf("SendBatch = %d, %v", n, err)
	}
	seq := uint16(0)
	for i := 0; i < len(pkts); seq++ {
		got := l.hear(t)
		want := gpdu(0x2002, append([]byte{byte(seq >> 8), byte(seq), 0, 0}, pkts[i]...))
		want[0] |= 0x02
		switch {
		case bytes.Equal(got, want):
			i++
		case len(got) > 52 && got[52] == 134: // the Router Advertisement came between
		default:
			t.Fatalf("packet %d came as %x, want %x", i, got, want)
		}
	}
}

// The address goes away and comes back, with the tunnels as they were.
func TestServeAgain(t *testing.T) {
	plane := gtpu.New(gtpu.Config{Uplink: func([]byte) {}})
	plane.Carry(put(at127(2)))
	for range 2 {
		conn, err := gtpu.Listen(t.Context(), net.ListenConfig{}, netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		peer, err := net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- plane.Serve(ctx, conn) }()
		b := make([]byte, 64)
		if _, err := peer.Write([]byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0}); err != nil {
			t.Fatal(err)
		}
		if n, err := peer.Read(b); err != nil || n != 14 {
			t.Fatalf("Echo Response: %d octets, %v", n, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("Serve: %v", err)
		}
		if err := plane.Send(udp(gateway, inner(2), 9)); !errors.Is(err, gtpu.ErrNotServing) {
			t.Errorf("Send after Serve: %v", err)
		}
		peer.Close()
	}
	// A socket that someone else closes is an error, not an end.
	conn, err := gtpu.Listen(t.Context(), net.ListenConfig{}, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := plane.Serve(t.Context(), conn); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed socket: %v", err)
	}
}
