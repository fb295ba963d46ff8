package wireguard

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

// bind is a device's part of the socket. The library's own binds all addresses and
// belongs to one device; the gateway has one address that moves between nodes, and
// may have two devices, so the socket is opened outside and put here before the
// device comes up.
type bind struct {
	count *counters
	holds func() bool // nil: always
	mac1  mac1Key     // of the device's public key; set before the device comes up
	room  int         // bytes of the longest datagram, see stamp
	id    uint32      // the device's number among those of the endpoint, from 1
	own   *owners

	mu   sync.Mutex
	next *socket              // for the next Open; guarded by mu
	port atomic.Pointer[port] // nil while closed; written under mu
}

var _ conn.Bind = (*bind)(nil)

// port is a bind while it is open.
type port struct {
	*bind
	socket *socket
	in     chan *batch
	closed chan struct{}

	// Owned by the device's receiving goroutine: what it is splitting up.
	from     *batch
	slot, at int
}

// prepare puts s where the next Open takes it.
func (b *bind) prepare(s *socket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = s
}

// Open begins to use the prepared socket. The number asked for is what the device
// remembers of the last one, and of no interest.
func (b *bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.port.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	if b.next == nil {
		return nil, 0, net.ErrClosed
	}
	p := &port{bind: b, socket: b.next, in: make(chan *batch), closed: make(chan struct{})}
	b.next = nil
	b.port.Store(p)
	p.socket.attach(p)
	var number uint16
	if u, ok := p.socket.conn.LocalAddr().(*net.UDPAddr); ok {
		number = u.AddrPort().Port()
	}
	return []conn.ReceiveFunc{p.receive}, number, nil
}

// Close stops using the socket. The device closes also before it opens, so a
// prepared socket stays.
func (b *bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.port.Swap(nil); p != nil {
		p.socket.detach(p)
		close(p.closed)
	}
	return nil
}

// receive gives the device the datagrams that concern it. It is called by one
// goroutine.
func (p *port) receive(packets [][]byte, sizes []int, eps []conn.Endpoint) (n int, err error) {
	for n == 0 {
		if p.from == nil {
			select {
			case p.from = <-p.in:
				p.slot, p.at = 0, 0
			case <-p.closed:
				return 0, net.ErrClosed
			}
		}
		for n < len(packets) && p.slot < p.from.n {
			ep := p.from.eps[p.slot]
			d := p.next()
			if !p.concerns(d) {
				continue
			}
			sizes[n], eps[n] = copy(packets[n], d), ep
			stamp(packets[n][p.room:], ep.addr)
			n++
		}
		if p.slot == p.from.n {
			p.from.release()
			p.from = nil
		}
	}
	return n, nil
}

// next splits the next datagram off.
func (p *port) next() []byte {
	slot, size := p.from.slot(p.slot), p.from.segments[p.slot]
	from := p.at
	if size == 0 || from+size >= len(slot) {
		p.slot, p.at = p.slot+1, 0
		return slot[from:]
	}
	p.at += size
	return slot[from:p.at]
}

// concerns tells whether a datagram may be for this device. A handshake names the
// key that it is for by its first MAC; other messages name the receiver's
// index.
func (p *port) concerns(d []byte) bool {
	if len(d) > p.room {
		p.count.add(dropTooLong, 1)
		return false
	}
	if len(d) < device.MinMessageSize {
		return true // the device drops it
	}
	alone := len(*p.socket.ports.Load()) == 1
	if d[0] != device.MessageInitiationType && d[0] != device.MessageResponseType {
		return alone || !p.own.another(p.id, d)
	}
	if p.mac1.verifies(d) {
		return true
	}
	if alone { // with two keys, each has what is the other's
		p.count.add(dropOtherKey, 1)
	}
	return false
}

// Send writes datagrams to one peer.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	p := b.port.Load()
	if p == nil {
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
	b.notes(bufs[0])
	lost, err := p.socket.out.send(bufs, to.addr)
	b.count.add(dropSendFailed, lost)
	return err
}

// notes counts the messages of a handshake, which the device sends alone, and the
// index that they give out.
func (b *bind) notes(d []byte) {
	switch d[0] {
	case device.MessageInitiationType:
		b.count.add(initiations, 1)
		b.own.note(b.id, d)
	case device.MessageResponseType:
		b.count.add(responses, 1)
		b.own.note(b.id, d)
	case device.MessageCookieReplyType:
		b.count.add(cookieReplies, 1)
	}
}

// ParseEndpoint reads "address:port".
func (*bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return &endpoint{addr}, nil
}

// BatchSize is how many datagrams the device takes and gives at once.
func (*bind) BatchSize() int { return burst }

// SetMark does nothing: our datagrams need no routing of their own.
func (*bind) SetMark(uint32) error { return nil }

// endpoint is a peer's outer address. Ours is that of the socket, so there is
// no source to remember. It never changes.
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
