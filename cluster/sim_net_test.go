package cluster

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// simNet carries bytes between the nodes of one schedule, as TCP would over a
// network that loses, delays and cuts. A connection keeps its order; different
// ones overtake each other. What is sent into a cut waits, as it would in the
// sender's kernel, and arrives some time after the cut is mended. Writing never
// blocks.
type simNet struct {
	mu        sync.Mutex
	rng       *rand.Rand
	links     map[[2]string]*simLink
	listeners map[string]*simListener // by node; of those that listen
	dark      map[string]bool         // nodes without power: nothing answers
	conns     map[*simConn]struct{}
}

// simLink is one direction between two nodes.
type simLink struct {
	cut   bool
	open  time.Time // when what waited for a cut to be mended arrives
	delay time.Duration
	loss  float64
	rng   *rand.Rand
}

// retransmit is what a lost segment costs (RFC 6298, 2.1: Linux's least).
const retransmit = 200 * time.Millisecond

func newSimNet(seed uint64, names []string) *simNet {
	n := &simNet{
		rng: rand.New(rand.NewPCG(seed, 'n')), links: map[[2]string]*simLink{}, listeners: map[string]*simListener{},
		dark: map[string]bool{}, conns: map[*simConn]struct{}{},
	}
	for i, a := range names {
		for j, b := range names {
			if a != b {
				n.links[[2]string{a, b}] = &simLink{rng: rand.New(rand.NewPCG(seed, uint64(i)<<8|uint64(j)))}
			}
		}
	}
	return n
}

// change alters the links chosen, and wakes whoever waits for one.
func (n *simNet) change(alter func(pair [2]string, l *simLink)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for pair, l := range n.links {
		was := l.cut
		alter(pair, l)
		if was && !l.cut {
			l.open = time.Now().Add(time.Duration(l.rng.Int64N(int64(2 * retransmit))))
		}
	}
	for c := range n.conns {
		c.wake()
	}
}

func (n *simNet) heal() {
	n.change(func(_ [2]string, l *simLink) { l.cut, l.delay, l.loss = false, 0, 0 })
}

// chunk is what one write put on the wire, or its end.
type chunk struct {
	at   time.Time
	data []byte
	end  error // of the connection: io.EOF, or that it was reset
}

// simConn is one end of a connection; peer is the other.
type simConn struct {
	net            *simNet
	from, to       string
	peer           *simConn
	in             []chunk       // guarded by net.mu, as all below
	last           time.Time     // when the newest chunk in in arrives
	changed        chan struct{} // closed when a reader should look again
	closed         bool
	dead           bool // the process is gone
	readBy, sendBy time.Time
}

func (n *simNet) pair(from, to string) (a, b *simConn) {
	a = &simConn{net: n, from: from, to: to, changed: make(chan struct{})}
	b = &simConn{net: n, from: to, to: from, changed: make(chan struct{}), peer: a}
	a.peer = b
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	return a, b
}

// wake has readers look again. The caller holds net.mu.
func (c *simConn) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// put sends to the other end. The caller holds net.mu.
func (c *simConn) put(data []byte, end error) {
	l := c.net.links[[2]string{c.from, c.to}]
	at := time.Now().Add(100*time.Microsecond + time.Duration(l.rng.Int64N(int64(500*time.Microsecond))) + l.delay)
	for l.loss > 0 && l.rng.Float64() < l.loss {
		at = at.Add(retransmit)
	}
	if at.Before(c.peer.last) {
		at = c.peer.last
	}
	c.peer.last = at
	c.peer.in = append(c.peer.in, chunk{at, data, end})
	c.peer.wake()
}

func (c *simConn) Write(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	switch {
	case c.closed || c.dead:
		return 0, net.ErrClosed
	case !c.sendBy.IsZero() && !time.Now().Before(c.sendBy):
		return 0, os.ErrDeadlineExceeded
	case c.peer.closed || c.peer.dead:
		// The other kernel, if there is one, knows of no such connection.
		if !c.net.dark[c.to] {
			c.peer.put(nil, syscall.ECONNRESET)
		}
		return len(b), nil
	}
	c.put(append([]byte(nil), b...), nil)
	return len(b), nil
}

func (c *simConn) Read(b []byte) (int, error) {
	for {
		n, again, err := c.tryRead(b)
		if again == nil {
			return n, err
		}
		again()
	}
}

// tryRead takes what has arrived, or returns how to wait for more.
func (c *simConn) tryRead(b []byte) (int, func(), error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	now := time.Now()
	if c.closed || c.dead {
		return 0, nil, net.ErrClosed
	}
	var until time.Time
	if len(c.in) > 0 {
		l, head := c.net.links[[2]string{c.to, c.from}], &c.in[0]
		at := head.at
		if at.Before(l.open) {
			at = l.open
		}
		switch {
		case l.cut:
		case at.After(now):
			until = at
		case head.end != nil:
			return 0, nil, head.end
		default:
			n := copy(b, head.data)
			if head.data = head.data[n:]; len(head.data) == 0 {
				c.in = c.in[1:]
			}
			return n, nil, nil
		}
	}
	if !c.readBy.IsZero() {
		if !now.Before(c.readBy) {
			return 0, nil, os.ErrDeadlineExceeded
		}
		if until.IsZero() || c.readBy.Before(until) {
			until = c.readBy
		}
	}
	changed := c.changed
	return 0, func() {
		if until.IsZero() {
			<-changed
			return
		}
		timer := time.NewTimer(until.Sub(now))
		defer timer.Stop()
		select {
		case <-changed:
		case <-timer.C:
		}
	}, nil
}

func (c *simConn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if !c.closed && !c.dead {
		c.closed = true
		c.put(nil, io.EOF)
		c.wake()
		delete(c.net.conns, c)
	}
	return nil
}

func (c *simConn) SetReadDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.readBy = t
	c.wake()
	return nil
}

func (c *simConn) SetWriteDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.sendBy = t
	return nil
}

func (c *simConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *simConn) LocalAddr() net.Addr  { return advertised(c.from) }
func (c *simConn) RemoteAddr() net.Addr { return advertised(c.to) }

// crash ends a node's connections. Without power nobody is told; else the
// kernel resets them.
func (n *simNet) crash(name string, power bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dark[name] = power
	if l := n.listeners[name]; l != nil {
		delete(n.listeners, name)
		close(l.closed)
	}
	for c := range n.conns {
		if c.from == name {
			if !power && !c.peer.dead && !c.peer.closed {
				c.put(nil, syscall.ECONNRESET)
			}
			c.dead = true
			c.wake()
			delete(n.conns, c)
		}
	}
}

// simListener takes a node's connections.
type simListener struct {
	net     *simNet
	name    string
	backlog chan net.Conn
	closed  chan struct{}
}

func (n *simNet) listen(name string) *simListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &simListener{net: n, name: name, backlog: make(chan net.Conn, 256), closed: make(chan struct{})}
	n.listeners[name] = l
	n.dark[name] = false
	return l
}

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *simListener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.net.listeners[l.name] == l {
		delete(l.net.listeners, l.name)
		close(l.closed)
	}
	return nil
}

func (l *simListener) Addr() net.Addr { return advertised(l.name) }

// dial is the dial function of a node. As long as a first segment or its answer
// is lost, it tries again.
func (n *simNet) dial(from string, names map[string]string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		to := names[address]
		for {
			conn, wait, err := n.tryDial(from, to)
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				if conn != nil {
					conn.Close()
				}
				return nil, ctx.Err()
			case <-timer.C:
			}
			if conn != nil || err != nil {
				return conn, err
			}
		}
	}
}

func (n *simNet) tryDial(from, to string) (conn net.Conn, wait time.Duration, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	there, back := n.links[[2]string{from, to}], n.links[[2]string{to, from}]
	roundTrip := time.Millisecond + there.delay + back.delay
	l := n.listeners[to]
	switch {
	case there.cut || back.cut || n.dark[to] || there.rng.Float64() < there.loss+back.loss:
		return nil, retransmit, nil
	case l == nil:
		return nil, roundTrip, syscall.ECONNREFUSED
	}
	a, b := n.pair(from, to)
	select {
	case l.backlog <- b:
		return a, roundTrip, nil
	default:
		return nil, roundTrip, syscall.ECONNREFUSED
	}
}
