package inner

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// backlog is how many connections may wait to be accepted on one port; beyond
// it the stack falls back to SYN cookies and then drops.
const backlog = 1024

// A terminal that has gone silent is given up after keepaliveIdle and
// keepaliveCount probes, so that lost terminals don't hold connections.
const (
	keepaliveIdle     = 2 * time.Minute
	keepaliveInterval = 20 * time.Second
	keepaliveCount    = 3
)

// ListenTCP opens a TCP port on every inner address of the gateway. Closing
// the listener leaves accepted connections alone; the port goes on being let
// through for them, and new ones are refused.
func (n *Network) ListenTCP(port uint16) (net.Listener, error) {
	if n.isClosed() {
		return nil, ErrClosed
	}
	l, err := n.driver.listenTCP(port)
	if err != nil {
		return nil, fmt.Errorf("inner network: TCP port %d: %w", port, err)
	}
	if err := n.register(l); err != nil {
		l.Close()
		return nil, err
	}
	n.tcpPorts.add(port)
	return l, nil
}

func (s *netstack) listenTCP(port uint16) (net.Listener, error) {
	n := s.net
	l := &listener{net: n, port: port, done: make(chan struct{})}
	// An IPv6 endpoint takes connections to IPv4 addresses too (RFC 3493 3.7).
	number := family4.number
	if n.with6 {
		number = family6.number
	}
	ep, err := s.stack.NewEndpoint(tcp.ProtocolNumber, number, &l.wq)
	if err != nil {
		return nil, errors.New(err.String())
	}
	l.ep = ep
	if err := ep.Bind(tcpip.FullAddress{Port: port}); err != nil {
		ep.Close()
		return nil, errors.New(err.String())
	}
	if err := ep.Listen(backlog); err != nil {
		ep.Close()
		return nil, errors.New(err.String())
	}
	return l, nil
}

// listener accepts the TCP connections of one port.
type listener struct {
	net  *Network
	port uint16
	ep   tcpip.Endpoint
	wq   waiter.Queue
	once sync.Once
	done chan struct{}
}

// Addr is the port on the gateway's first inner address.
func (l *listener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.net.cfg.Addresses[0], l.port))
}

// Close ends Accept.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.unregister(l)
		l.ep.Close()
	})
	return nil
}

// Accept waits for the next connection; after Close it returns net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.wq.EventRegister(&entry)
	defer l.wq.EventUnregister(&entry)
	for {
		var remote tcpip.FullAddress
		ep, wq, err := l.ep.Accept(&remote)
		switch err.(type) {
		case nil:
			if c := l.net.accepted(ep, wq, remote); c != nil {
				return c, nil
			}
			continue
		case *tcpip.ErrWouldBlock:
		default:
			return nil, l.opError(err)
		}
		select {
		case <-ready:
		case <-l.done:
			return nil, l.opError(nil)
		}
	}
}

func (l *listener) opError(err tcpip.Error) error {
	e := &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	select {
	case <-l.done:
	default:
		if err != nil {
			e.Err = errors.New(err.String())
		}
	}
	return e
}

// accepted makes a connection of an endpoint, or resets it and returns nil when
// its terminal has too many or is gone.
func (n *Network) accepted(ep tcpip.Endpoint, wq *waiter.Queue, remote tcpip.FullAddress) *conn {
	o := ep.SocketOptions()
	o.SetKeepAlive(true)
	o.SetDelayOption(false)
	idle := tcpip.KeepaliveIdleOption(keepaliveIdle)
	interval := tcpip.KeepaliveIntervalOption(keepaliveInterval)
	// Keepalive that can't be set only makes a lost terminal cost more.
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, keepaliveCount)

	from := address(remote.Addr)
	c := n.adopt(gonet.NewTCPConn(wq, ep), netip.AddrPortFrom(from, remote.Port), ep.Abort)
	if c == nil {
		ep.Abort()
	}
	return c
}

// adopt counts a new connection for its terminal; nil when that has too many or
// is gone.
func (n *Network) adopt(tcp tcpConn, from netip.AddrPort, reset func()) *conn {
	c := &conn{tcpConn: tcp, net: n, reset: reset, terminal: holder(from.Addr()), remote: net.TCPAddrFromAddrPort(from)}
	n.mu.Lock()
	defer n.mu.Unlock()
	of := n.conns[c.terminal]
	if n.closed || n.routes[c.terminal] == nil {
		return nil
	}
	if len(of) >= n.cfg.ConnsPerTerminal {
		n.count.add(dropConnLimit, 1)
		return nil
	}
	if of == nil {
		of = make(map[*conn]struct{})
		n.conns[c.terminal] = of
	}
	of[c] = struct{}{}
	return c
}

// tcpConn is a connection of either driver.
type tcpConn interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// conn is an accepted connection. It counts for its terminal until it is
// closed.
type conn struct {
	tcpConn
	net      *Network
	reset    func()
	terminal netip.Addr // its holder
	remote   *net.TCPAddr
}

// RemoteAddr is the terminal's end, also after the connection was reset: the
// stack has forgotten it by then, and would give nil.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// Close ends the connection in order.
func (c *conn) Close() error {
	c.forget()
	return c.tcpConn.Close()
}

// abort resets the connection; reads and writes on it fail.
func (c *conn) abort() {
	c.forget()
	c.reset()
}

func (c *conn) forget() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	of := c.net.conns[c.terminal]
	delete(of, c)
	if len(of) == 0 {
		delete(c.net.conns, c.terminal)
	}
}
