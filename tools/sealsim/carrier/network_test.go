package carrier

import (
	"errors"
	"net"
	"net/netip"
	"sync"
)

// fakeNetwork carries datagrams between sockets without a kernel, so that
// timers can run in a synctest bubble.
type fakeNetwork struct {
	mu      sync.Mutex
	sockets map[netip.AddrPort]*fakeConn
	drop    func(to netip.AddrPort, b []byte) bool // nil: drops nothing
}

type datagram struct {
	from netip.AddrPort
	b    []byte
}

type fakeConn struct {
	net    *fakeNetwork
	at     netip.AddrPort
	in     chan datagram
	closed chan struct{}
	once   sync.Once
}

func newFakeNetwork() *fakeNetwork {
	return &fakeNetwork{sockets: make(map[netip.AddrPort]*fakeConn)}
}

func (n *fakeNetwork) listen(at netip.AddrPort) (Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.sockets[at]; taken {
		return nil, errors.New("address in use")
	}
	c := &fakeConn{net: n, at: at, in: make(chan datagram, 4096), closed: make(chan struct{})}
	n.sockets[at] = c
	return c, nil
}

func (c *fakeConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-c.in:
		return copy(b, d.b), d.from, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *fakeConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	peer := c.net.sockets[to]
	if peer == nil || c.net.drop != nil && c.net.drop(to, b) {
		return len(b), nil
	}
	select {
	case peer.in <- datagram{c.at, append([]byte(nil), b...)}:
	default:
	}
	return len(b), nil
}

func (c *fakeConn) Close() error {
	c.once.Do(func() {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		delete(c.net.sockets, c.at)
		close(c.closed)
	})
	return nil
}
