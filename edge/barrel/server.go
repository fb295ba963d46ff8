package barrel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// Cluster is what the server needs of the Raft node.
type Cluster interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	View(fn func(*state.Machine))
	ReadIndex(ctx context.Context) error // View after it misses nothing that was carried out before
	Changed() <-chan struct{}
}

// Config is what a Server is composed of.
type Config struct {
	Cluster Cluster
	// PSK opens the wrapped pre-shared key of a barrel's record (edge/keywrap).
	PSK func(*command.Barrel) ([]byte, error)
	// Certificate is the gateway's, with an ECDSA or Ed25519 key. It is asked
	// for at every handshake, so that a renewed one is taken up.
	Certificate func() (*tls.Certificate, error)
	// ClientCAs are those of barrels' certificates, which are pinned besides.
	ClientCAs *x509.CertPool
	// Leading tells whether this node leads and has a quorum. One that doesn't
	// gives no leases: a lease is what a barrel may stay unlocked by.
	Leading func() bool
	// Lease is how long a barrel may go without a heartbeat; 10 s by default.
	Lease  time.Duration
	Limits Limits
	Logger *slog.Logger
}

// Limits bound what peers can make the server keep. Zero means the default.
type Limits struct {
	Associations     int           // peers with an association; 4096
	Handshakes       int           // handshakes under way; 64
	PerTerminal      int           // handshakes under way of one terminal; 4
	HandshakeTimeout time.Duration // 10 s
	IdleTimeout      time.Duration // of an association without a message; 1 min
}

// Server talks to barrels. Serve carries the traffic, Run the locks.
type Server struct {
	cfg    Config
	log    *slog.Logger
	leases *leases
	counts *counters
	record chan *command.Command // decisions for the audit chain
	acks   chan struct{}         // holds a token when carriedOut has grown

	mu         sync.Mutex
	peers      map[netip.AddrPort]*peer // guarded by mu
	byBarrel   map[string]*association  // guarded by mu: the latest of each barrel
	begun      uint64                   // guarded by mu: handshakes ever
	handshakes int                      // guarded by mu: under way
	perHost    map[netip.Prefix]int     // guarded by mu: under way, by terminal (sealuse.Holder)
	carriedOut map[uint64]string        // guarded by mu: locks that barrels acknowledged, until the state has it; barrel ids
	lockedAt   map[string]time.Time     // guarded by mu: when each barrel last carried a lock out
}

// New checks cfg and makes a server.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Cluster == nil || cfg.PSK == nil || cfg.Certificate == nil || cfg.Leading == nil || cfg.Logger == nil:
		return nil, errors.New("barrel: the server needs a cluster, a PSK, a certificate, a word on leading, and a logger")
	case cfg.ClientCAs == nil:
		// Without, the library would take the host's CAs.
		return nil, errors.New("barrel: the server needs the CAs of barrels' certificates")
	}
	defaultTo(&cfg.Lease, 10*time.Second)
	defaultTo(&cfg.Limits.Associations, 4096)
	defaultTo(&cfg.Limits.Handshakes, 64)
	defaultTo(&cfg.Limits.PerTerminal, 4)
	defaultTo(&cfg.Limits.HandshakeTimeout, 10*time.Second)
	defaultTo(&cfg.Limits.IdleTimeout, time.Minute)
	return &Server{
		cfg: cfg, log: cfg.Logger,
		leases: newLeases(cfg.Lease), counts: newCounters(), record: make(chan *command.Command, 256), acks: make(chan struct{}, 1),
		peers: make(map[netip.AddrPort]*peer), byBarrel: make(map[string]*association),
		perHost: make(map[netip.Prefix]int), carriedOut: make(map[uint64]string), lockedAt: make(map[string]time.Time),
	}, nil
}

func defaultTo[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Alive tells whether a barrel holds a live lease here: its last heartbeat is
// less than Config.Lease ago and came from the terminal that it is bound to.
func (s *Server) Alive(id string) bool { return s.leases.alive(id, time.Now()) }

// Push sends a lock to its barrel at once, if that is connected here. It waits
// for nothing, least of all a quorum: a lock that is not in the log yet has the
// id 0. Whether it arrived is known by the acknowledgement only; until then Run
// sends it again out of the state.
func (s *Server) Push(l *command.Lock) {
	s.mu.Lock()
	a := s.byBarrel[l.GetBarrel()]
	s.mu.Unlock()
	if a != nil {
		a.push(l)
	}
}

// Counters tells how many datagrams, handshakes and messages were dropped, and
// why, and how many messages were answered, by response code.
func (s *Server) Counters() map[string]uint64 { return s.counts.all() }

// Serve talks to barrels on a port of the inner network until ctx ends, then
// ends every association, closes conn and returns nil. It may be called again
// with another conn after the gateway's address came back to this node, but not
// while another call goes on.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	return s.serve(ctx, conn)
}

// counters counts by reason.
type counters struct {
	mu sync.Mutex
	by map[string]uint64 // guarded by mu
}

func newCounters() *counters { return &counters{by: make(map[string]uint64)} }

func (c *counters) add(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[reason]++
}

func (c *counters) all() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.by)
}
