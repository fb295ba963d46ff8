package fallback

import (
	"net"
	"net/netip"
	"sync"

	"github.com/sealedge/sealedge/edge/sealuse"
)

// gate bounds the open connections, of all and of one source. One too many is closed at
// once: it costs neither a handshake nor a place in the queue.
type gate struct {
	net.Listener
	most, each int
	count      func(string)

	mu   sync.Mutex
	all  int                  // guarded by mu
	from map[netip.Prefix]int // guarded by mu
}

func newGate(l net.Listener, most int, count func(string)) *gate {
	return &gate{Listener: l, most: most, each: max(1, most/16), count: count, from: map[netip.Prefix]int{}}
}

// Accept waits for a connection that there is room for.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := sealuse.Holder(source(c.RemoteAddr().String()))
		if g.enter(from) {
			return &admitted{Conn: c, leave: sync.OnceFunc(func() { g.leave(from) })}, nil
		}
		g.count("no-room")
		_ = c.Close()
	}
}

func (g *gate) enter(from netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.most || g.from[from] >= g.each {
		return false
	}
	g.all++
	g.from[from]++
	return true
}

func (g *gate) leave(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.from[from]--; g.from[from] == 0 {
		delete(g.from, from)
	}
}

// admitted is a connection that counts until it is closed.
type admitted struct {
	net.Conn
	leave func()
}

func (a *admitted) Close() error {
	defer a.leave()
	return a.Conn.Close()
}
