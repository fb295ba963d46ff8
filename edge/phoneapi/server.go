package phoneapi

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// Config is what the server is composed of. All of it is needed, but for Connect and Used.
type Config struct {
	Cluster  Cluster
	Rules    func() *policy.Rules // in force now; nil when there are none
	Server   SealServer
	Evidence EvidenceStore
	Barrels  Barrels
	Hotspot  Hotspot
	GrantKey ed25519.PrivateKey // the cluster's, the same on every node
	// Unwrap opens the secret of a terminal's credentials, which is wrapped for
	// "chap:" and its IMSI (edge/keywrap).
	Unwrap func(owner string, wrapped []byte) ([]byte, error)
	// Connect answers a connection request of the terminal of a session; edge/fallback
	// does. nil: there is no fallback path.
	Connect func(ctx context.Context, req wire.ConnectionRequest, conn *tls.ConnectionState, from netip.Addr, session *command.Session) (*wire.ConnectionAnswer, *wire.Problem)
	// Certificate is the gateway's, for its inner addresses. It is asked for at
	// every handshake, so that a renewed one is taken up.
	Certificate func() (*tls.Certificate, error)
	Leading     func() bool // this node speaks for the cluster: see Run
	// Used hears how long a request for a use took, and how it ended: "granted", or the
	// problem's code. nil: nobody measures.
	Used   func(outcome string, took time.Duration)
	Traces Traces
	Logger *slog.Logger
}

// Timeouts and limits of the connections.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 15 * time.Second // of everything but uploads and events
	idleTimeout    = 2 * time.Minute  // of a connection between requests
	stallTimeout   = 30 * time.Second // of an upload that brings no byte, a stream that takes none
	uploadTimeout  = 10 * time.Minute // of one PATCH
	graceTimeout   = 2 * time.Second  // for answers under way at the end
	maxHeader      = 16 << 10
	maxConns       = 16 // of one terminal
)

// Server answers terminals. It keeps nothing that an answer depends on.
type Server struct {
	cfg     Config
	log     *slog.Logger
	routes  []route
	mux     *http.ServeMux
	limits  *limiter // requests by terminal
	logins  *limiter // attempts by terminal
	record  *recorder
	streams *streams
	counts  *counters
}

// New makes a server; Serve and Run set it to work.
func New(cfg Config) *Server {
	s := &Server{
		cfg: cfg, log: cfg.Logger,
		limits:  newLimiter(50*time.Millisecond, 40),
		logins:  newLimiter(3*time.Second, 5),
		streams: newStreams(),
		counts:  newCounters(),
	}
	s.record = newRecorder(cfg.Logger)
	s.routes = s.table()
	s.mux = dispatch(s.routes)
	return s
}

// Counters tells how many requests were answered, by the problem's code, or
// "ok", and how many devices that may be on no hotspot came to one.
func (s *Server) Counters() map[string]uint64 { return s.counts.all() }

// Serve answers on a listener of the inner network until ctx ends, then returns
// nil. It may be called again with another listener after the gateway's address
// came back to this node.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	conns := &connCount{by: make(map[netip.Prefix]int)}
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         conns.track,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// One protocol: what HTTP/2 would save on a private link is not worth
		// its surface.
		Protocols: new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTimeout)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(tls.NewListener(l, s.tls()))
	if stop() { // the listener failed by itself
		_ = srv.Close()
		return err
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tls asks for a client certificate but leaves judging it to the request: which
// one it has to be depends on whose session it is, and the allow-list pins it,
// not a CA. The handshake proves that the terminal has its key.
func (s *Server) tls() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.cfg.Certificate()
		},
	}
}

// connCount bounds the connections of each terminal.
type connCount struct {
	mu sync.Mutex
	by map[netip.Prefix]int // guarded by mu, by holder
}

func (c *connCount) track(conn net.Conn, st http.ConnState) {
	from := sealuse.Holder(source(conn.RemoteAddr().String()))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch st {
	case http.StateNew:
		if c.by[from]++; c.by[from] > maxConns {
			_ = conn.Close() // StateClosed follows
		}
	case http.StateClosed, http.StateHijacked:
		if c.by[from]--; c.by[from] <= 0 {
			delete(c.by, from)
		}
	}
}

// source is the address that a connection comes from; the zero Addr if it is
// none.
func source(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
