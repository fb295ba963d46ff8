package gtpu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"
)

// bufferBytes is what Listen asks of the kernel for a socket: room for a burst
// of some thousand packets while this process isn't scheduled. The kernel may
// give less (net.core.rmem_max).
const bufferBytes = 4 << 20

// maxDatagram is the longest datagram that is taken: a jumbo frame.
const maxDatagram = 9216

// Listen opens a UDP socket for Serve at addr.
func Listen(ctx context.Context, lc net.ListenConfig, addr netip.AddrPort) (*net.UDPConn, error) {
	c, err := lc.ListenPacket(ctx, "udp4", addr.String())
	if err != nil {
		return nil, fmt.Errorf("gtpu: open user-plane socket: %w", err)
	}
	u := c.(*net.UDPConn)
	// A smaller buffer than asked for loses packets sooner and nothing else.
	_ = u.SetReadBuffer(bufferBytes)
	_ = u.SetWriteBuffer(bufferBytes)
	return u, nil
}

// Serve handles what arrives on conn and sends what is due there, until ctx is
// done or conn fails, and closes conn. It returns nil when ctx is done. After that it may be called
// again with another conn: tunnels stay when the gateway address goes and
// comes back.
func (p *Plane) Serve(ctx context.Context, conn Conn) error {
	s := &socket{conn: conn, local: p.localAddr(conn), since: p.clock()}
	r := newReader(conn)
	if u, ok := conn.(*net.UDPConn); ok && batches {
		s.batch = ipv4.NewPacketConn(u)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	p.quiet(s.since)
	p.socket.Store(s)
	defer p.socket.CompareAndSwap(s, nil)
	tending, rest := context.WithCancel(ctx)
	var tender sync.WaitGroup
	tender.Go(func() { p.tend(tending, s) })
	tender.Go(func() { p.release(tending, s) })
	defer tender.Wait()
	defer rest()
	for {
		n, err := r.read()
		now := p.clock()
		for i := range n {
			b, from, whole := r.datagram(i)
			if !whole {
				p.count.add(dropOversized, 1)
				continue
			}
			p.receive(s, from, b, now)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("gtpu: user-plane socket was closed: %w", err)
		case err != nil:
			return fmt.Errorf("gtpu: read user-plane socket: %w", err)
		}
	}
}

// localAddr is the address that Error Indications name: see Config.Address.
func (p *Plane) localAddr(conn Conn) netip.Addr {
	if p.cfg.Address.IsValid() {
		return p.cfg.Address.Unmap()
	}
	if u, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		if a := u.AddrPort().Addr().Unmap(); a.IsValid() && !a.IsUnspecified() {
			return a
		}
	}
	if len(p.cfg.Outer) > 0 {
		return p.cfg.Outer[0].Unmap()
	}
	return netip.IPv4Unspecified()
}

// reader takes datagrams off a socket. What datagram returns is good until the
// next read.
type reader interface {
	// read waits for datagrams and returns how many there are.
	read() (int, error)
	// datagram returns the i-th, where it came from, and whether it is whole.
	datagram(i int) (b []byte, from netip.AddrPort, whole bool)
}

// single reads one datagram at a time.
type single struct {
	conn Conn
	b    []byte
	n    int
	from netip.AddrPort
}

func (r *single) read() (int, error) {
	var err error
	r.n, r.from, err = r.conn.ReadFromUDPAddrPort(r.b)
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (r *single) datagram(int) ([]byte, netip.AddrPort, bool) {
	from := netip.AddrPortFrom(r.from.Addr().Unmap(), r.from.Port())
	// One octet of room more than is taken tells a long one from a cut one.
	return r.b[:r.n], from, r.n <= maxDatagram
}

func newSingle(conn Conn) *single { return &single{conn: conn, b: make([]byte, maxDatagram+1)} }
