package barrel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v2"

	"github.com/sealedge/sealedge/edge/barrel/rfc7905"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// gateway is a stand-in for the real one: CoAP over DTLS on a stack of its own.
type gateway struct {
	t      *testing.T
	stack  *ipstack.Stack
	socket net.PacketConn
	config *dtls.Config
	tasks  sync.WaitGroup
	events chan string // what arrives: "hb", "receipt", "settle", "event:<kind>", "lock:<id>"

	mu       sync.Mutex
	peers    map[string]*peerConn
	sessions []*coap.Endpoint // newest last
	silent   bool             // answers no heartbeat
	noQuorum bool             // takes no reports
	lease    time.Duration
	last     time.Duration    // the lease of the next heartbeat, after which it is silent; 0: it goes on
	locks    []wire.LockOrder // with the next heartbeats
	signed   [][]byte         // receipts and statements taken
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	stack, err := ipstack.New(netip.PrefixFrom(gatewayAt.Addr(), 32), 0)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := stack.ListenUDP(gatewayAt.Port())
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{
		t: t, stack: stack, socket: socket, peers: make(map[string]*peerConn),
		events: make(chan string, 1024), lease: 10 * time.Second,
		config: &dtls.Config{PSK: func(identity []byte) ([]byte, error) {
			if string(identity) != "barrel-1" {
				return nil, net.ErrClosed
			}
			return []byte("a key of many bytes"), nil
		}},
	}
	g.tasks.Go(g.serve)
	t.Cleanup(func() {
		g.forget()
		_ = socket.Close()
		g.tasks.Wait()
		stack.SetLink(nil)
		stack.Close()
	})
	return g
}

// certified makes the gateway take certificates instead of keys.
func (g *gateway) certified(own tls.Certificate, clients *x509.CertPool) {
	g.config = &dtls.Config{Certificates: []tls.Certificate{own}, ClientAuth: dtls.RequireAndVerifyClientCert, ClientCAs: clients}
}

// serve gives every peer a connection; what isn't the start of a handshake
// needs one that is known.
func (g *gateway) serve() {
	buf := make([]byte, 65535)
	for {
		n, from, err := g.socket.ReadFrom(buf)
		if err != nil {
			return
		}
		g.mu.Lock()
		p := g.peers[from.String()]
		if p == nil && buf[0] == 22 && n > 13 && buf[13] == 1 { // a ClientHello
			p = &peerConn{socket: g.socket, to: from, in: make(chan []byte, 64), closed: make(chan struct{})}
			g.peers[from.String()] = p
			g.tasks.Go(func() { g.shake(p) })
		}
		g.mu.Unlock()
		if p != nil {
			select {
			case p.in <- append([]byte(nil), buf[:n]...):
			default:
			}
		}
	}
}

func (g *gateway) shake(p *peerConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	config := *g.config
	conn, err := dtls.ServerWithContext(ctx, rfc7905.Guard(p), rfc7905.Server(&config))
	if err != nil {
		_ = p.Close()
		return
	}
	endpoint := coap.NewConn(conn, coap.Config{Handler: g.handle, AckTimeout: 300 * time.Millisecond})
	g.mu.Lock()
	g.sessions = append(g.sessions, endpoint)
	g.mu.Unlock()
}

// forget loses every association, as a failover does, without a word.
func (g *gateway) forget() {
	g.mu.Lock()
	sessions, peers := g.sessions, g.peers
	g.sessions, g.peers = nil, make(map[string]*peerConn)
	g.mu.Unlock()
	for _, p := range peers {
		p.mute()
	}
	for _, s := range sessions {
		_ = s.Close()
	}
	for _, p := range peers {
		_ = p.Close()
	}
}

func (g *gateway) handle(_ context.Context, r coap.Request) coap.Response {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen, answer := "", coap.Response{Code: coap.Changed}
	switch r.Path {
	case wire.PathHeartbeat:
		seen = "hb"
		if g.silent {
			return coap.Response{Code: coap.ServiceUnavailable}
		}
		lease := g.lease
		if g.last > 0 {
			lease, g.last, g.silent = g.last, 0, true
		}
		answer.Format = wire.ContentCBOR
		answer.Payload = wire.MarshalCBOR(wire.HeartbeatAnswer{
			LeaseMillis: uint32(lease.Milliseconds()), Time: time.Now().UnixMilli(), Locks: g.locks,
		})
		g.locks = nil
	case wire.PathBarrelReceipt, wire.PathBarrelSettle:
		if g.noQuorum {
			return coap.Response{Code: coap.ServiceUnavailable}
		}
		seen = r.Path[1:]
		g.signed = append(g.signed, r.Payload)
	case wire.PathBarrelEvent:
		var e wire.BarrelEvent
		if err := wire.UnmarshalCBOR(r.Payload, &e); err != nil {
			g.t.Error(err)
		}
		seen = "event:" + e.Kind
	case wire.PathBarrelLock:
		var ack wire.LockAck
		if err := wire.UnmarshalCBOR(r.Payload, &ack); err != nil {
			g.t.Error(err)
		}
		seen = "locked"
	}
	g.events <- seen
	return answer
}

// until waits until something has arrived.
func (g *gateway) until(want string) {
	g.t.Helper()
	for {
		select {
		case got := <-g.events:
			if got == want {
				return
			}
		case <-g.t.Context().Done():
			g.t.Fatalf("%s never came", want)
		}
	}
}

// ask sends a request to the barrel over the newest session.
func (g *gateway) ask(r coap.Request) (coap.Response, error) {
	g.mu.Lock()
	session := g.sessions[len(g.sessions)-1]
	g.mu.Unlock()
	return session.Do(g.t.Context(), nil, r)
}

func (g *gateway) set(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
}

// peerConn is one peer's part of a socket.
type peerConn struct {
	socket net.PacketConn
	to     net.Addr
	in     chan []byte
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	muted  bool
}

func (p *peerConn) Read(b []byte) (int, error) {
	select {
	case d := <-p.in:
		return copy(b, d), nil
	case <-p.closed:
		return 0, net.ErrClosed
	}
}

func (p *peerConn) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.muted {
		return len(b), nil
	}
	return p.socket.WriteTo(b, p.to)
}

func (p *peerConn) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = true
}

func (p *peerConn) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *peerConn) LocalAddr() net.Addr              { return p.socket.LocalAddr() }
func (p *peerConn) RemoteAddr() net.Addr             { return p.to }
func (p *peerConn) SetDeadline(time.Time) error      { return nil }
func (p *peerConn) SetReadDeadline(time.Time) error  { return nil }
func (p *peerConn) SetWriteDeadline(time.Time) error { return nil }
