package wireguard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// bind is the device's socket. The library's own binds all addresses; the
// gateway has one that moves between nodes, so the socket is opened outside
// and put here before the device comes up.
type bind struct {
	count *counters
	warn  func(msg string, args ...any)
	holds func() bool // nil: always

	mu   sync.Mutex
	next Conn                   // for the next Open; guarded by mu
	conn atomic.Pointer[socket] // nil while closed; written under mu
}

// socket wraps Conn for an atomic pointer.
type socket struct{ Conn }

var _ conn.Bind = (*bind)(nil)

// prepare puts c where the next Open takes it.
func (b *bind) prepare(c Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = c
}

// Open begins to use the prepared socket. The port asked for is what the
// device remembers of the last one, and of no interest.
func (b *bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	if b.next == nil {
		return nil, 0, errors.New("no socket")
	}
	s := &socket{b.next}
	b.next = nil
	b.conn.Store(s)
	var port uint16
	if u, ok := s.LocalAddr().(*net.UDPAddr); ok {
		port = u.AddrPort().Port()
	}
	return []conn.ReceiveFunc{b.receiver(s)}, port, nil
}

// receiver reads one datagram a call. It is called by one goroutine.
func (b *bind) receiver(s *socket) conn.ReceiveFunc {
	var last *endpoint // most datagrams come from where the one before came from
	return func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, from, err := s.ReadFromUDPAddrPort(packets[0])
		switch {
		case err != nil && b.conn.Load() != s, errors.Is(err, net.ErrClosed):
			return 0, net.ErrClosed
		case err != nil:
			// Wrapped, because the device gives up for good on a net.Error
			// that isn't temporary; of another kind it tries again, in steps.
			b.count.add(deviceErrors, 1)
			b.warn("wireguard: read socket", "error", err)
			return 0, fmt.Errorf("read socket: %w", err)
		}
		if last == nil || last.addr != from {
			last = &endpoint{from}
		}
		sizes[0], eps[0] = n, last
		return 1, nil
	}
}

// Close closes the socket, if one is open. The device closes also before it
// opens, so a prepared socket stays.
func (b *bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.conn.Swap(nil); s != nil {
		return s.Close()
	}
	return nil
}

// Send writes datagrams to one peer.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	s := b.conn.Load()
	if s == nil {
		return net.ErrClosed
	}
	to, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	if b.holds != nil && !b.holds() {
		b.count.add(dropFenced, len(bufs))
		return nil // lost, as on any network
	}
	for _, buf := range bufs {
		if _, err := s.WriteToUDPAddrPort(buf, to.addr); err != nil {
			b.count.add(dropSendFailed, 1)
			return err
		}
	}
	return nil
}

// ParseEndpoint reads "address:port".
func (*bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return &endpoint{addr}, nil
}

// BatchSize is 1: one datagram a system call. The fallback path carries the
// terminals that have lost the carrier, not all of them.
func (*bind) BatchSize() int { return 1 }

// SetMark does nothing: our datagrams need no routing of their own.
func (*bind) SetMark(uint32) error { return nil }

// endpoint is a peer's outer address. Ours is that of the socket, so there is
// no source to remember.
type endpoint struct{ addr netip.AddrPort }

func (*endpoint) ClearSrc()             {}
func (*endpoint) SrcToString() string   { return "" }
func (*endpoint) SrcIP() netip.Addr     { return netip.Addr{} }
func (e *endpoint) DstToString() string { return e.addr.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.addr.Addr() }
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.addr.MarshalBinary() // never fails
	return b
}
