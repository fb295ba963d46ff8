// Package gtpc owns the GTP-C socket (UDP 2123), on which peers speak GTPv2-C
// and GTPv1-C: it lets in what the GTP firewall allows, matches requests with
// answers, repeats what was lost, watches the paths, and carries out the session
// procedures of apn/session against the replicated state.
//
// Server is the transport. A reader takes datagrams off the socket; it screens
// each before anything is spent on it, parses the rest and gives them to one
// goroutine, the loop. The loop owns every transaction and every timer and is the
// only one that writes to the socket; a bounded number of workers run the
// Handler, which may wait for the cluster. A request that was sent twice is
// carried out once (TS 29.274 7.6): while it is being worked on its duplicates
// are absorbed, and afterwards they get the same bytes again.
//
// Under overload Creates wait for everything else, and are refused as soon as
// too many wait or the oldest has waited too long. All that peers can make the
// server remember is bounded.
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
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/policy"
)

// Conn is a UDP socket, as *net.UDPConn is one. Close ends a blocked read.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (n int, err error)
	Close() error
}

// Handler carries out a request. It is called by several goroutines at once.
type Handler interface {
	Handle(ctx context.Context, peer netip.AddrPort, m gtp.Message) Reply
}

// Reply is what a request leads to: Datagram is the answer, or Update the request
// that a command triggers instead of one. Neither says nothing for now: the
// peer's retransmission will be handled as if it were the first.
type Reply struct {
	Datagram []byte
	Update   *gtp.UpdateBearerRequest
	Cause    gtp.Cause // of the answer; 0: none
	IMSI     string    // whom it is about, for traces; may be empty
	Comment  string    // why, for people
}

// Config configures a Server. Zero values get the defaults that are named. The
// functions are called by the server's own goroutines: they must be quick, and
// must not call the Server.
type Config struct {
	// RestartCounter is the gateway address's own (TS 23.007 18), sent in Echo
	// messages. It is required, and has to be the replicated state's, which the
	// answers to session requests carry: a peer that hears two different counters
	// believes that its sessions are lost.
	RestartCounter func() uint8
	// Holds tells whether this node may speak for the gateway address at this
	// moment; what would be sent while it doesn't is discarded, because another
	// node may know better. Nil: always.
	Holds func() bool
	// AllowedPeers may speak GTP-C with the gateway. Empty: nobody.
	AllowedPeers []netip.Prefix
	// Rules is the policy in force, whose carriers say more closely which peer
	// may say what. It is asked for several times a second at most. Nil: there
	// are none.
	Rules func() *policy.Rules
	// CreateRate is how many Creates a second are read from all peers together;
	// what comes faster is dropped. 10,000.
	CreateRate int
	// T3 is how long an answer to a request of ours is waited for, N3 how often
	// the request is sent in all (TS 29.274 7.6). 3 s and 4 times.
	T3 time.Duration
	N3 int
	// Workers run the Handler at the same time; an eighth of them take no Create.
	// Queue requests more may wait, and as many Creates.
	// A worker mostly waits for the log, which takes what waits with one write: few
	// workers make short writes. 256 and 1024.
	Workers, Queue int
	// QueueTime is how long a Create may wait for a worker before it is refused.
	// 500 ms.
	QueueTime time.Duration
	// Full tells that there is no room for further sessions: Creates are refused
	// with "no resources". Nil: there always is.
	Full func() bool
	// Answers are remembered for AnswerTime, at most AnswerCount of them and
	// AnswerBytes in all. 60 s, 16384 and 16 MiB.
	AnswerTime  time.Duration
	AnswerCount int
	AnswerBytes int
	// EchoInterval is how often peers that EchoPeers names are asked whether
	// they live: 0 is never, and less than a minute is a minute (as TS 29.281
	// 7.2.1 has it for the user plane).
	EchoInterval time.Duration
	EchoPeers    func() []EchoPeer
	// OnPathFailed hears of a peer in EchoPeers that has fallen silent: once,
	// until OnPathRestored hears that something came from it again. Nil: nobody
	// does.
	OnPathFailed, OnPathRestored func(peer netip.Addr)
	// OnPeerRestart hears the restart counters in Echo Responses, which only the
	// peer can have sent, or who sees its traffic: the first that a peer tells in
	// a Serve, every one that differs from the one before, and the same one once a
	// minute at most. Whether it shows a restart is for the replicated record to
	// say.
	OnPeerRestart func(peer netip.Addr, counter uint8)
	// OnRestartClaimed is OnPeerRestart for Echo Requests, and for answers to other
	// requests of ours (TS 29.274 7.2.0), which anybody can send in a peer's
	// name. If it matters, see Server.AskCounter, which it may call.
	OnRestartClaimed func(peer netip.Addr, counter uint8)
	// Observe hears of every message that the firewall let in, and of every one
	// sent; of requests once it is known whom they are about. Nil: nobody traces.
	Observe func(Event)
	// Answered hears how long a peer's request took, from its arrival to its answer,
	// and the answer's cause; not of one that gets no answer, or an update of ours first.
	// It must not block. Nil: nobody measures.
	Answered func(procedure, cause string, took time.Duration)
	// Tracer makes a trace of a peer's request, whose span the Handler finds in its
	// context; nil: none. It must not block.
	Tracer trace.Tracer
	Logger *slog.Logger
}

// Errors of requests that the gateway sends.
var (
	ErrNotServing  = errors.New("gtpc: this node doesn't hold the GTP address")
	ErrNoAnswer    = errors.New("gtpc: the peer did not answer")
	ErrPeerVersion = errors.New("gtpc: the peer does not speak the version of GTP that the session has")
	ErrNoPath      = errors.New("gtpc: the session has no path through a carrier")
)

// Server speaks GTP-C on one socket at a time.
type Server struct {
	cfg     Config
	handler Handler
	log     *slog.Logger
	bounds  atomic.Pointer[bounds]
	counts  counters
	tallies tallies

	mu   sync.Mutex
	loop *loop // of the Serve that is running; nil when none is
}

// New makes a server. handler must not be nil, nor cfg.RestartCounter.
func New(cfg Config, handler Handler) *Server {
	defaults(&cfg.T3, 3*time.Second)
	defaults(&cfg.N3, 4)
	defaults(&cfg.CreateRate, 10000)
	defaults(&cfg.Workers, 256)
	defaults(&cfg.Queue, 1024)
	defaults(&cfg.QueueTime, 500*time.Millisecond)
	defaults(&cfg.AnswerTime, time.Minute)
	defaults(&cfg.AnswerCount, 16384)
	defaults(&cfg.AnswerBytes, 16<<20)
	if cfg.EchoInterval > 0 {
		cfg.EchoInterval = max(cfg.EchoInterval, time.Minute)
	}
	if cfg.EchoPeers == nil {
		cfg.EchoInterval = 0
	}
	if cfg.Holds == nil {
		cfg.Holds = func() bool { return true }
	}
	if cfg.Full == nil {
		cfg.Full = func() bool { return false }
	}
	if cfg.RestartCounter == nil {
		panic("gtpc: Config.RestartCounter is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, handler: handler, log: cfg.Logger}
	s.Bound(cfg.AllowedPeers, cfg.CreateRate)
	return s
}

// Bound puts others in the place of Config.AllowedPeers and Config.CreateRate, from the
// next message on. The sessions of a peer that is no more among them stay.
func (s *Server) Bound(allowed []netip.Prefix, createRate int) {
	b := &bounds{allowed: allowed, names: map[netip.Prefix]string{}, rate: perSecond(createRate)}
	for _, p := range allowed {
		b.names[p] = p.String()
	}
	s.bounds.Store(b)
}

// bounds are what may be set anew while a server runs. They are never changed.
type bounds struct {
	allowed []netip.Prefix
	names   map[netip.Prefix]string
	rate    pace // of Creates of all peers together
}

func defaults[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Counters returns how many datagrams met which fate, by reason.
func (s *Server) Counters() map[string]uint64 { return s.counts.snapshot() }
