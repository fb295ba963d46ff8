// Package gtpc owns the GTP-C sockets (UDP 2123): it lets allow-listed peers in,
// matches requests with answers, repeats what was lost, and carries out the
// session procedures of apn/session against the replicated state.
//
// Server is the transport. One goroutine, the loop, owns every transaction and
// every timer and is the only one that writes to the socket; a reader feeds it
// with parsed messages, and a bounded number of workers run the Handler, which
// may wait for the cluster. A request that was sent twice is carried out once
// (TS 29.274 7.6): while it is being worked on its duplicates are absorbed, and
// afterwards they get the same bytes again.
//
// Procedures is the Handler of the product. Duplicates that arrive at another
// node after a failover are its affair: the replicated state remembers results
// by request id.
//
// Nothing that a peer sends is ever silently lost: it is answered, or counted
// under a named reason, and logged at a bounded rate.
package gtpc

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// Conn is a UDP socket, as *net.UDPConn is one. Close ends a blocked read.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (n int, err error)
	Close() error
}

// Handler carries out a request: gtp.CreateSessionRequest, ModifyBearerRequest,
// DeleteSessionRequest, Other or Faulty. It returns the answer's bytes, or nil
// to say nothing now: the peer's retransmission will be handled as if it were
// the first. It is called by several goroutines at once.
type Handler interface {
	Handle(ctx context.Context, peer netip.AddrPort, m gtp.Message) (response []byte)
}

// Config configures a Server. Zero values get the defaults that are named.
type Config struct {
	// RestartCounter is the gateway address's own (TS 23.007 18), sent in Echo
	// messages; it must be quick. It is required, and has to be the replicated
	// state's, which the answers to session requests carry: a peer that hears
	// two different counters believes that its sessions are lost.
	RestartCounter func() uint8
	// Holds tells whether this node may speak for the gateway address at this
	// moment; what would be sent while it doesn't is discarded, because another
	// node may know better. Nil: always.
	Holds func() bool
	// AllowedPeers may speak GTP-C with the gateway. Empty: nobody.
	AllowedPeers []netip.Prefix
	// T3 is how long an answer to a request of ours is waited for, N3 how often
	// the request is sent in all (TS 29.274 7.6). 3 s and 4 times.
	T3 time.Duration
	N3 int
	// Workers run the Handler at the same time; Queue requests more may wait.
	// 64 and 1024.
	Workers, Queue int
	// Answers are remembered for AnswerTime, at most AnswerCount of them.
	// 60 s and 16384.
	AnswerTime  time.Duration
	AnswerCount int
	// EchoInterval is how often peers that EchoPeers names are asked whether
	// they live: 0 is never, and less than a minute is a minute (as TS 29.281
	// 7.2.1 has it for the user plane).
	EchoInterval time.Duration
	EchoPeers    func() []netip.Addr
	Logger       *slog.Logger
}

// Errors of requests that the gateway sends.
var (
	ErrNotServing  = errors.New("gtpc: this node doesn't hold the GTP address")
	ErrNoAnswer    = errors.New("gtpc: the peer did not answer")
	ErrPeerVersion = errors.New("gtpc: the peer does not speak GTPv2")
	ErrNoPath      = errors.New("gtpc: the session has no path through a carrier")
)

// Server speaks GTP-C on one socket at a time.
type Server struct {
	cfg     Config
	handler Handler
	log     *slog.Logger
	counts  counters

	mu   sync.Mutex
	loop *loop // of the Serve that is running; nil when none is
}

// New makes a server. handler must not be nil, nor cfg.RestartCounter.
func New(cfg Config, handler Handler) *Server {
	defaults(&cfg.T3, 3*time.Second)
	defaults(&cfg.N3, 4)
	defaults(&cfg.Workers, 64)
	defaults(&cfg.Queue, 1024)
	defaults(&cfg.AnswerTime, time.Minute)
	defaults(&cfg.AnswerCount, 16384)
	if cfg.EchoInterval > 0 {
		cfg.EchoInterval = max(cfg.EchoInterval, time.Minute)
	}
	if cfg.EchoPeers == nil {
		cfg.EchoInterval = 0
	}
	if cfg.Holds == nil {
		cfg.Holds = func() bool { return true }
	}
	if cfg.RestartCounter == nil {
		panic("gtpc: Config.RestartCounter is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, handler: handler, log: cfg.Logger}
}

func defaults[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Counters returns how many datagrams met which fate, by reason.
func (s *Server) Counters() map[string]uint64 { return s.counts.snapshot() }
