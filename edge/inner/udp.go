package inner

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// udpBuffer bounds the datagrams of one port that wait to be read, in bytes.
const udpBuffer = 1 << 20

// ListenUDP opens a UDP port on every inner address of the gateway. An answer
// comes from the address that the terminal last sent to.
func (n *Network) ListenUDP(port uint16) (net.PacketConn, error) {
	if n.isClosed() {
		return nil, ErrClosed
	}
	c, err := n.driver.listenUDP(port)
	if err != nil {
		return nil, fmt.Errorf("inner network: UDP port %d: %w", port, err)
	}
	if err := n.register(c); err != nil {
		c.Close()
		return nil, err
	}
	n.udpPorts.add(port)
	return c, nil
}

func (s *netstack) listenUDP(port uint16) (net.PacketConn, error) {
	n := s.net
	c := &packetConn{
		net: n, stack: s.stack, port: port, ready: make(chan struct{}, 1), done: make(chan struct{}),
		deadline: newDeadline(), byAddr: make(map[netip.Addr]tcpip.Endpoint),
	}
	for _, a := range n.cfg.Addresses {
		if err := c.bind(a); err != nil {
			c.closeEndpoints()
			return nil, err
		}
	}
	return c, nil
}

// packetConn is one UDP port. It has an endpoint for each address of the
// gateway: the stack can't be told which address a datagram should come from,
// other than by the endpoint that sends it.
type packetConn struct {
	net      *Network
	stack    *stack.Stack
	port     uint16
	ready    chan struct{} // holds a token when some endpoint may have a datagram
	once     sync.Once
	done     chan struct{}
	deadline *deadline
	ends     []tcpip.Endpoint // as Config.Addresses
	byAddr   map[netip.Addr]tcpip.Endpoint
}

func (c *packetConn) bind(a netip.Addr) error {
	wq := new(waiter.Queue)
	ep, err := c.stack.NewEndpoint(udp.ProtocolNumber, familyOf(a).number, wq)
	if err != nil {
		return errors.New(err.String())
	}
	c.ends = append(c.ends, ep)
	c.byAddr[a] = ep
	ep.SocketOptions().SetReceiveBufferSize(udpBuffer, true)
	entry := waiter.NewFunctionEntry(waiter.ReadableEvents, func(waiter.EventMask) { c.wake() })
	wq.EventRegister(&entry)
	if err := ep.Bind(tcpip.FullAddress{Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: c.port}); err != nil {
		return errors.New(err.String())
	}
	return nil
}

func (c *packetConn) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// ReadFrom waits for the next datagram; one longer than b is cut. After Close
// it returns net.ErrClosed, after the deadline os.ErrDeadlineExceeded.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		select {
		case <-c.done:
			return 0, nil, c.opError("read", net.ErrClosed)
		case <-c.deadline.passed():
			return 0, nil, c.opError("read", os.ErrDeadlineExceeded)
		default:
		}
		for _, ep := range c.ends {
			w := tcpip.SliceWriter(b)
			res, err := ep.Read(&w, tcpip.ReadOptions{NeedRemoteAddr: true})
			if err == nil {
				c.wake() // there may be more, for whoever reads next
				from := netip.AddrPortFrom(address(res.RemoteAddr.Addr), res.RemoteAddr.Port)
				return res.Count, net.UDPAddrFromAddrPort(from), nil
			}
		}
		select {
		case <-c.ready:
		case <-c.done:
		case <-c.deadline.passed():
		}
	}
}

// WriteTo sends a datagram to a terminal, a *net.UDPAddr.
func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, c.opError("write", net.ErrClosed)
	default:
	}
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.opError("write", fmt.Errorf("address %v: want a UDP port", to))
	}
	terminal := u.AddrPort().Addr().Unmap()
	from := c.from(terminal)
	if from == nil {
		return 0, c.opError("write", fmt.Errorf("address %v: the gateway has no address of its family", to))
	}
	n, err := from.Write(bytes.NewReader(b), tcpip.WriteOptions{
		To: &tcpip.FullAddress{Addr: tcpip.AddrFromSlice(terminal.AsSlice()), Port: u.AddrPort().Port()},
	})
	if err != nil {
		return int(n), c.opError("write", errors.New(err.String()))
	}
	return int(n), nil
}

// from picks the endpoint that a terminal has spoken to, else the first of its
// family; nil if there is none.
func (c *packetConn) from(terminal netip.Addr) tcpip.Endpoint {
	return c.byAddr[c.net.answersFrom(terminal)]
}

// answersFrom is the address that a terminal has sent UDP to, else the first of
// its family; the zero address if there is none.
func (n *Network) answersFrom(terminal netip.Addr) netip.Addr {
	if r := n.route(terminal); r != nil {
		if local := r.local.Load(); local != nil && local.Is4() == terminal.Is4() {
			return *local
		}
	}
	for _, a := range n.cfg.Addresses {
		if terminal.IsValid() && a.Is4() == terminal.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// Close ends ReadFrom and closes the port.
func (c *packetConn) Close() error {
	c.once.Do(func() {
		c.net.udpPorts.remove(c.port)
		close(c.done)
		c.net.unregister(c)
		c.closeEndpoints()
	})
	return nil
}

func (c *packetConn) closeEndpoints() {
	for _, ep := range c.ends {
		ep.Close()
	}
}

// LocalAddr is the port on the gateway's first inner address.
func (c *packetConn) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.net.cfg.Addresses[0], c.port))
}

func (c *packetConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: c.LocalAddr(), Err: err}
}

// SetDeadline sets the deadline of ReadFrom. WriteTo never waits.
func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline sets the deadline of ReadFrom, now and later ones.
func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.deadline.set(t)
	return nil
}

// SetWriteDeadline does nothing: WriteTo never waits.
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }

// deadline is a time after which a channel is closed.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	ch    chan struct{}
}

func newDeadline() *deadline { return &deadline{ch: make(chan struct{})} }

// passed returns a channel that is closed once the deadline is over.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ch
}

// set moves the deadline; the zero time removes it. A reader that waits on the
// earlier channel is not told of a later deadline until it wakes, so the
// channel is only replaced when it is closed.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.ch // its function is about to close it, or has
	}
	d.timer = nil
	select {
	case <-d.ch:
		d.ch = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	ch := d.ch
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(ch) })
		return
	}
	close(ch)
}
