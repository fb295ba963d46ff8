package wireguard

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a bound UDP socket; a *net.UDPConn is one.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// socketBuffer is how much may wait in the socket each way, in bytes.
const socketBuffer = 4 << 20

// ListenUDP is a Config.Listen that opens its sockets with lc.
func ListenUDP(lc net.ListenConfig) func(ctx context.Context, addr netip.AddrPort) (Conn, error) {
	return func(ctx context.Context, addr netip.AddrPort) (Conn, error) {
		c, err := lc.ListenPacket(ctx, "udp", addr.String())
		if err != nil {
			return nil, err
		}
		u := c.(*net.UDPConn)
		// A smaller buffer than asked for loses packets sooner and nothing else.
		_ = u.SetReadBuffer(socketBuffer)
		_ = u.SetWriteBuffer(socketBuffer)
		return u, nil
	}
}

// Sizes of what is read at once: each slot takes what the kernel has made one of
// datagrams that belong together.
const (
	slots    = 16
	slotSize = 1 << 16
)

// batch is what one read brought.
type batch struct {
	n        int
	sizes    [slots]int // bytes
	segments [slots]int // bytes of each datagram in a slot; 0: the slot is one datagram
	eps      [slots]*endpoint
	b        []byte

	refs atomic.Int32 // who still reads it
	home chan<- *batch
}

func (b *batch) slot(i int) []byte { return b.b[i*slotSize : i*slotSize+b.sizes[i]] }

// release gives the batch back; after the last reader's it is filled anew.
func (b *batch) release() {
	if b.refs.Add(-1) == 0 {
		b.home <- b
	}
}

// reader fills batches from a socket.
type reader interface {
	// read waits for datagrams and puts them into b, senders by way of place.
	read(b *batch, place func(netip.AddrPort) *endpoint) error
}

// sender sends datagrams to one address. It returns how many were lost, and why the
// first of them was.
type sender interface {
	send(bufs [][]byte, to netip.AddrPort) (lost int, err error)
}

// single reads and sends one datagram at a time, on any Conn.
type single struct{ Conn }

func (s single) read(b *batch, place func(netip.AddrPort) *endpoint) error {
	n, from, err := s.ReadFromUDPAddrPort(b.b[:slotSize])
	if err != nil {
		return err
	}
	b.n, b.sizes[0], b.segments[0], b.eps[0] = 1, n, 0, place(from)
	return nil
}

func (s single) send(bufs [][]byte, to netip.AddrPort) (lost int, err error) {
	for _, buf := range bufs {
		if _, failed := s.WriteToUDPAddrPort(buf, to); failed != nil {
			lost++
			err = cmp.Or(err, failed)
		}
	}
	return lost, err
}

// socket is the open socket. The devices of all keys share it: what is read goes to
// each, and a device takes what concerns it.
type socket struct {
	conn  Conn
	in    reader
	out   sender
	count *counters
	warn  func(msg string, args ...any)

	mu     sync.Mutex
	ports  atomic.Pointer[[]*port] // written under mu
	closed chan struct{}
	done   chan struct{}
	places places // owned by run
}

// spare is how many batches there are: one that is being read, one for each key, and
// one in between.
const spare = 4

func newSocket(c Conn, count *counters, warn func(string, ...any)) *socket {
	in, out := openBatches(c)
	s := &socket{
		conn: c, in: in, out: out, count: count, warn: warn,
		closed: make(chan struct{}), done: make(chan struct{}),
	}
	s.ports.Store(new([]*port))
	go s.run()
	return s
}

// attach has what is read go to p also; detach ends that.
func (s *socket) attach(p *port) { s.change(p, true) }
func (s *socket) detach(p *port) { s.change(p, false) }

func (s *socket) change(p *port, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ports []*port
	for _, other := range *s.ports.Load() {
		if other != p {
			ports = append(ports, other)
		}
	}
	if in {
		ports = append(ports, p)
	}
	s.ports.Store(&ports)
}

// run reads until the socket is closed.
func (s *socket) run() {
	defer close(s.done)
	free := make(chan *batch, spare)
	for range spare {
		free <- &batch{b: make([]byte, slots*slotSize), home: free}
	}
	for failures := 0; ; {
		b := <-free
		if err := s.in.read(b, s.places.at); err != nil {
			free <- b
			if s.isClosed() || errors.Is(err, net.ErrClosed) {
				return
			}
			s.count.add(deviceErrors, 1)
			s.warn("wireguard: read socket", "error", err)
			failures = min(failures+1, 10)
			select {
			case <-s.closed:
				return
			case <-time.After(time.Duration(failures) * 100 * time.Millisecond):
			}
			continue
		}
		failures = 0
		ports := *s.ports.Load()
		b.refs.Store(int32(len(ports)) + 1)
		for _, p := range ports {
			select {
			case p.in <- b:
			case <-p.closed:
				b.release()
			}
		}
		b.release()
	}
}

func (s *socket) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// close closes the socket and returns when nothing is read any more. No port may be
// attached.
func (s *socket) close() error {
	close(s.closed)
	err := s.conn.Close()
	<-s.done
	return err
}

// places remembers senders, so that not each datagram makes a new endpoint.
type places struct {
	seed  maphash.Seed
	table [1024]*endpoint
}

func (p *places) at(from netip.AddrPort) *endpoint {
	if p.seed == (maphash.Seed{}) {
		p.seed = maphash.MakeSeed()
	}
	slot := &p.table[maphash.Comparable(p.seed, from)%uint64(len(p.table))]
	if *slot == nil || (*slot).addr != from {
		*slot = &endpoint{from}
	}
	return *slot
}
