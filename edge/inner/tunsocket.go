package inner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// listenTCP opens a port at each of the gateway's addresses, on the device alone.
func (d *tunDriver) listenTCP(port uint16) (net.Listener, error) {
	l := &tunListener{driver: d, port: port, ready: make(chan *net.TCPConn), done: make(chan struct{})}
	lc := net.ListenConfig{Control: d.socket, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepaliveIdle, Interval: keepaliveInterval, Count: keepaliveCount,
	}}
	lc.SetMultipathTCP(false) // one interface
	for _, a := range d.net.cfg.Addresses {
		at, err := lc.Listen(context.Background(), networkOf("tcp", a), netip.AddrPortFrom(a, port).String())
		if err != nil {
			for _, open := range l.ends {
				open.Close()
			}
			return nil, err
		}
		l.ends = append(l.ends, at)
	}
	for _, at := range l.ends {
		l.accepts.Go(func() { l.accept(at) })
	}
	d.listening.add(port)
	return l, nil
}

// networkOf is the name of a network of an address's family.
func networkOf(name string, a netip.Addr) string {
	if a.Is4() {
		return name + "4"
	}
	return name + "6"
}

// tunListener is one TCP port at all addresses.
type tunListener struct {
	driver  *tunDriver
	port    uint16
	ends    []net.Listener
	accepts sync.WaitGroup
	ready   chan *net.TCPConn
	once    sync.Once
	done    chan struct{}
}

// accept hands the connections of one address to Accept.
func (l *tunListener) accept(at net.Listener) {
	for pause := time.Duration(0); ; {
		c, err := at.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptor free, or the connection is gone by now
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
				continue
			case <-l.done:
				return
			}
		}
		pause = 0
		select {
		case l.ready <- c.(*net.TCPConn):
		case <-l.done:
			reset(c.(*net.TCPConn))
			return
		}
	}
}

// reset ends a connection without ceremony.
func reset(c *net.TCPConn) {
	// It can only fail on a connection that is closed.
	_ = c.SetLinger(0)
	_ = c.Close()
}

// Accept waits for the next connection; after Close it returns net.ErrClosed.
func (l *tunListener) Accept() (net.Conn, error) {
	for {
		select {
		case <-l.done: // not a connection that waits beside it
			return nil, l.closed()
		default:
		}
		select {
		case c := <-l.ready:
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
			if adopted := l.driver.net.adopt(c, from, func() { reset(c) }); adopted != nil {
				return adopted, nil
			}
			reset(c)
		case <-l.done:
			return nil, l.closed()
		}
	}
}

func (l *tunListener) closed() error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

// Addr is the port on the gateway's first inner address.
func (l *tunListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.driver.net.cfg.Addresses[0], l.port))
}

// Close ends Accept.
func (l *tunListener) Close() error {
	l.once.Do(func() {
		l.driver.listening.remove(l.port)
		close(l.done)
		l.driver.net.unregister(l)
		for _, at := range l.ends {
			at.Close()
		}
		l.accepts.Wait()
	})
	return nil
}

// listenUDP opens a port at each of the gateway's addresses, on the device alone.
func (d *tunDriver) listenUDP(port uint16) (net.PacketConn, error) {
	c := &tunPacketConn{
		net: d.net, port: port, ready: make(chan datagram, 64), done: make(chan struct{}),
		deadline: newDeadline(), byAddr: make(map[netip.Addr]*net.UDPConn),
	}
	lc := net.ListenConfig{Control: d.socket}
	for _, a := range d.net.cfg.Addresses {
		at, err := lc.ListenPacket(context.Background(), networkOf("udp", a), netip.AddrPortFrom(a, port).String())
		if err != nil {
			for _, open := range c.byAddr {
				open.Close()
			}
			return nil, err
		}
		u := at.(*net.UDPConn)
		// A smaller buffer than asked for loses datagrams sooner and nothing else.
		_ = u.SetReadBuffer(udpBuffer)
		c.byAddr[a] = u
	}
	for _, at := range c.byAddr {
		c.reads.Go(func() { c.read(at) })
	}
	return c, nil
}

// tunPacketConn is one UDP port at all addresses.
type tunPacketConn struct {
	net      *Network
	port     uint16
	byAddr   map[netip.Addr]*net.UDPConn
	reads    sync.WaitGroup
	ready    chan datagram
	once     sync.Once
	done     chan struct{}
	deadline *deadline
}

type datagram struct {
	payload []byte
	from    netip.AddrPort
}

// read hands the datagrams of one address to ReadFrom.
func (c *tunPacketConn) read(at *net.UDPConn) {
	b := make([]byte, 65535)
	for {
		n, from, err := at.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error that is of one terminal
		}
		if c.net.route(from.Addr().Unmap()) == nil { // a process of this machine
			c.net.count.add(dropSource, 1)
			continue
		}
		select {
		case c.ready <- datagram{append([]byte(nil), b[:n]...), from}:
		case <-c.done:
			return
		}
	}
}

// ReadFrom waits for the next datagram; one longer than b is cut. After Close
// it returns net.ErrClosed, after the deadline os.ErrDeadlineExceeded.
func (c *tunPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		passed := c.deadline.passed()
		select {
		case <-c.done:
			return 0, nil, c.opError("read", net.ErrClosed)
		case <-passed:
			return 0, nil, c.opError("read", os.ErrDeadlineExceeded)
		default:
		}
		select {
		case d := <-c.ready:
			return copy(b, d.payload), net.UDPAddrFromAddrPort(d.from), nil
		case <-c.done:
		case <-passed:
		}
	}
}

// WriteTo sends a datagram to a terminal, a *net.UDPAddr.
func (c *tunPacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, c.opError("write", net.ErrClosed)
	default:
	}
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.opError("write", fmt.Errorf("address %v: want a UDP port", to))
	}
	terminal := netip.AddrPortFrom(u.AddrPort().Addr().Unmap(), u.AddrPort().Port())
	from := c.byAddr[c.net.answersFrom(terminal.Addr())]
	if from == nil {
		return 0, c.opError("write", fmt.Errorf("address %v: the gateway has no address of its family", to))
	}
	return from.WriteToUDPAddrPort(b, terminal)
}

// Close ends ReadFrom and closes the port.
func (c *tunPacketConn) Close() error {
	c.once.Do(func() {
		c.net.udpPorts.remove(c.port)
		close(c.done)
		c.net.unregister(c)
		for _, at := range c.byAddr {
			at.Close()
		}
		c.reads.Wait()
	})
	return nil
}

// LocalAddr is the port on the gateway's first inner address.
func (c *tunPacketConn) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.net.cfg.Addresses[0], c.port))
}

func (c *tunPacketConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: c.LocalAddr(), Err: err}
}

// SetDeadline sets the deadline of ReadFrom. WriteTo never waits.
func (c *tunPacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline sets the deadline of ReadFrom, now and later ones.
func (c *tunPacketConn) SetReadDeadline(t time.Time) error {
	c.deadline.set(t)
	return nil
}

// SetWriteDeadline does nothing: WriteTo never waits.
func (c *tunPacketConn) SetWriteDeadline(time.Time) error { return nil }
