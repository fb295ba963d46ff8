package barrel

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// linkQueue is how many datagrams of one peer wait to be read. A peer that
// sends faster loses some, as it would in any socket.
const linkQueue = 32

// link is the connection to one peer over the socket that all of them share.
type link struct {
	socket net.PacketConn
	peer   net.Addr
	in     chan []byte
	muted  atomic.Bool // what is written goes nowhere
	once   sync.Once
	closed chan struct{}

	mu    sync.Mutex
	timer *time.Timer   // guarded by mu: closes late when the read deadline comes
	late  chan struct{} // guarded by mu: closed when the read deadline is over
}

var _ net.Conn = (*link)(nil)

func newLink(socket net.PacketConn, peer net.Addr) *link {
	return &link{
		socket: socket, peer: peer, in: make(chan []byte, linkQueue),
		closed: make(chan struct{}), late: make(chan struct{}),
	}
}

// deliver hands a datagram over, which is the link's from then on. It tells
// whether there was room.
func (l *link) deliver(datagram []byte) bool {
	select {
	case l.in <- datagram:
		return true
	default:
		return false
	}
}

func (l *link) Read(p []byte) (int, error) {
	l.mu.Lock()
	late := l.late
	l.mu.Unlock()
	select {
	case <-l.closed:
		return 0, net.ErrClosed
	case <-late:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	select {
	case d := <-l.in:
		return copy(p, d), nil
	case <-l.closed:
		return 0, net.ErrClosed
	case <-late:
		return 0, os.ErrDeadlineExceeded
	}
}

func (l *link) Write(p []byte) (int, error) {
	select {
	case <-l.closed:
		return 0, net.ErrClosed
	default:
	}
	if l.muted.Load() {
		return len(p), nil
	}
	return l.socket.WriteTo(p, l.peer)
}

// mute makes the link swallow what is written. Where another association has
// taken the peer's address, the farewell of this one is not for it.
func (l *link) mute() { l.muted.Store(true) }

// Close ends reading and writing; the socket stays open.
func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *link) LocalAddr() net.Addr  { return l.socket.LocalAddr() }
func (l *link) RemoteAddr() net.Addr { return l.peer }

func (l *link) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// SetWriteDeadline does nothing: a datagram socket doesn't wait.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline makes reads fail from t on, those under way too; the zero
// time lets them wait for ever. (The DTLS library interrupts a read by a
// deadline in the past and sets the zero time afterwards.)
func (l *link) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil && !l.timer.Stop() {
		<-l.late // its function is about to close it, or has
	}
	l.timer = nil
	select {
	case <-l.late:
		l.late = make(chan struct{})
	default:
	}
	late := l.late
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(late)
	default:
		l.timer = time.AfterFunc(wait, func() { close(late) })
	}
	return nil
}
