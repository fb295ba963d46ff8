package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// handshakeTimeout bounds what a stranger can hold a connection open for, and
// maxHandshakes how many at once.
const (
	handshakeTimeout = 5 * time.Second
	maxHandshakes    = 64
)

// port is the node's one listening socket. It hands authenticated connections to
// Raft (it is Raft's StreamLayer) or to the node protocol.
type port struct {
	listener net.Listener
	identity *identity
	prover   prover // identity, but in tests
	cfg      *Config
	log      *slog.Logger
	self     raft.ServerID
	raftIn   chan net.Conn
	serve    func(link) // carries out one connection of the node protocol
	closed   chan struct{}
	once     sync.Once
	tasks    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // every open one, of either direction and protocol; nil when shut
}

func newPort(cfg *Config, id *identity, self raft.ServerID, serve func(link)) (*port, error) {
	l := cfg.listener
	if l == nil {
		var err error
		if l, err = cfg.Bind(cfg.Listen); err != nil {
			return nil, fmt.Errorf("cluster port: %w", err)
		}
	}
	p := &port{
		listener: l, identity: id, prover: id, cfg: cfg, log: cfg.Logger, serve: serve,
		self:   self,
		raftIn: make(chan net.Conn), closed: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	if cfg.prover != nil {
		p.prover = cfg.prover
	}
	p.tasks.Go(p.accept)
	return p, nil
}

func (p *port) accept() {
	slots := make(chan struct{}, maxHandshakes)
	for {
		conn, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Out of descriptors, most likely: give others time to close some.
			p.log.Warn("cluster port: accept failed", "error", err)
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-p.closed:
				return
			}
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		if !p.track(conn) {
			conn.Close()
			return
		}
		p.tasks.Go(func() {
			done := sync.OnceFunc(func() { <-slots })
			defer done()
			p.welcome(tracked{conn, p}, done)
		})
	}
}

// welcome authenticates a connection and hands it on. handshaken is called as
// soon as the handshake is over.
func (p *port) welcome(raw net.Conn, handshaken func()) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	conn, err := p.prover.accept(ctx, raw, p.self)
	cancel()
	if err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errOtherID) {
			level = slog.LevelDebug // the leader goes on trying
		}
		select {
		case <-p.closed:
		default:
			p.log.Log(context.Background(), level, "cluster port: connection refused", "remote", raw.RemoteAddr(), "reason", err)
		}
		raw.Close()
		return
	}
	handshaken()
	switch conn.proto {
	case protoRaft:
		select {
		case p.raftIn <- conn: // Raft closes it
		case <-p.closed:
			conn.Close()
		}
	case protoNode:
		p.serve(conn)
		conn.Close()
	default:
		// crypto/tls lets a client that offers no ALPN at all through.
		conn.Close()
	}
}

// tracked is a connection that the port closes when it shuts.
type tracked struct {
	net.Conn
	port *port
}

func (t tracked) Close() error {
	t.port.mu.Lock()
	delete(t.port.conns, t.Conn)
	t.port.mu.Unlock()
	return t.Conn.Close()
}

func (p *port) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// dialNode opens a connection for the node protocol, to whatever id has a peer's
// name now.
func (p *port) dialNode(ctx context.Context, name, address, proto string) (net.Conn, error) {
	return p.dialID(ctx, raft.ServerID(name), address, proto)
}

// dialID opens a connection to a peer for one of the two protocols. A host name
// in address is looked up every time: see dialer.
func (p *port) dialID(ctx context.Context, id raft.ServerID, address, proto string) (net.Conn, error) {
	name := memberName(id)
	raw, err := p.cfg.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if !p.track(raw) {
		raw.Close()
		return nil, net.ErrClosed
	}
	conn, err := p.prover.connect(ctx, tracked{raw, p}, id, proto)
	if err != nil {
		tracked{raw, p}.Close()
		return nil, fmt.Errorf("node %s at %s: %w", name, address, err)
	}
	return conn, nil
}

// Dial implements raft.StreamLayer. Raft's addresses are ids: see ServerAddr.
func (p *port) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id := raft.ServerID(address)
	peer, ok := p.cfg.peer(memberName(id))
	if !ok {
		return nil, fmt.Errorf("node %q is not among the configured peers: add it to the list of every node", memberName(id))
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.dialID(ctx, id, peer.Address, protoRaft)
}

// ServerAddr implements raft.ServerAddressProvider. The id goes for the address:
// where its node is found the configuration says, so that a node can move, and
// the node that is found there must be of that very id.
func (p *port) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return raft.ServerAddress(id), nil
}

// Accept implements net.Listener for Raft's streams.
func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.raftIn:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener; Raft takes it for this node's own address.
func (p *port) Addr() net.Addr { return advertised(p.self) }

// shut stops listening and breaks every connection off.
func (p *port) shut() {
	p.once.Do(func() {
		close(p.closed)
		p.listener.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.conns {
			c.Close()
		}
		p.conns = nil
	})
}

// Close implements net.Listener. It waits for the port's tasks to end.
func (p *port) Close() error {
	p.shut()
	p.tasks.Wait()
	return nil
}

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }
