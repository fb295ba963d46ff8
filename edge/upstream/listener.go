package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// Cluster is what the listener needs of the Raft node.
type Cluster interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	View(fn func(*state.Machine))
}

// ListenerConfig is what a Listener is composed of.
type ListenerConfig struct {
	Cluster Cluster
	// Push tells barrel and terminal of a lock at once. It must not wait. The
	// lock isn't in the log yet: its id is 0.
	Push func(*command.Lock)
	// TLS holds the intranet certificate of this node and, in ClientCAs, the CA
	// of the seal server's client certificate.
	TLS *tls.Config
	// Names are the URI or DNS names of client certificates (RFC 5280 4.2.1.6)
	// that may send disconnects. The common name isn't looked at.
	Names  []string
	Logger *slog.Logger
}

// Timeouts and limits of a Listener.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	// commitTimeout leaves the seal server, which waits 5 s, time for the answer.
	commitTimeout = 3 * time.Second
	maxHeader     = 16 << 10
	maxInFlight   = 32
)

// Listener takes disconnects from the seal server, on an intranet address of
// each node. Every node takes them: one that doesn't lead pushes to what is
// connected to it, and forwards the command.
type Listener struct {
	cfg    ListenerConfig
	mux    *http.ServeMux
	flight chan struct{} // holds a token for each request that is worked on
}

// NewListener checks cfg and makes a listener; Serve sets it to work.
func NewListener(cfg ListenerConfig) (*Listener, error) {
	switch {
	case cfg.Cluster == nil || cfg.Push == nil || cfg.Logger == nil:
		return nil, errors.New("upstream: the listener needs a cluster, a push and a logger")
	case cfg.TLS == nil || cfg.TLS.ClientCAs == nil:
		return nil, errors.New("upstream: the listener needs a TLS configuration with the CA of the seal server's certificate")
	case len(cfg.Names) == 0 || slices.Contains(cfg.Names, ""):
		return nil, errors.New("upstream: name the certificate that may send disconnects (its URI or DNS name)")
	}
	l := &Listener{cfg: cfg, mux: http.NewServeMux(), flight: make(chan struct{}, maxInFlight)}
	l.mux.HandleFunc("POST "+wire.PathDisconnects, l.disconnect)
	l.mux.HandleFunc(wire.PathDisconnects, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", http.MethodPost)
		wire.NewProblem(wire.CodeMethodNotAllowed, "").Write(w)
	})
	l.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		wire.NewProblem(wire.CodeNotFound, "").Write(w)
	})
	return l, nil
}

// Serve answers on a listener until ctx ends, then returns nil; requests under
// way are given commitTimeout to end.
func (l *Listener) Serve(ctx context.Context, on net.Listener) error {
	srv := &http.Server{
		Handler:           l,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(l.cfg.Logger.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(tls.NewListener(on, l.tls()))
	if stop() { // the listener failed by itself
		_ = srv.Close()
		return fmt.Errorf("upstream: listener: %w", err)
	}
	<-stopped
	return nil
}

func (l *Listener) tls() *tls.Config {
	c := l.cfg.TLS.Clone()
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = []string{"http/1.1"}
	return c
}

// ServeHTTP lets only the seal server in, and not too much of it at once.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || !named(r.TLS.VerifiedChains[0][0], l.cfg.Names) {
		l.cfg.Logger.Warn("refused a client of the intranet listener: its certificate has none of the names", "from", r.RemoteAddr)
		wire.NewProblem(wire.CodeDeviceCertificate, "This certificate may not send disconnects.").Write(w)
		return
	}
	select {
	case l.flight <- struct{}{}:
		defer func() { <-l.flight }()
	default:
		p := wire.NewProblem(wire.CodeRateLimited, "")
		p.RetryAfterSeconds = 1
		p.Write(w)
		return
	}
	l.mux.ServeHTTP(w, r)
}

func named(cert *x509.Certificate, names []string) bool {
	for _, u := range cert.URIs {
		if slices.Contains(names, u.String()) {
			return true
		}
	}
	return slices.ContainsFunc(cert.DNSNames, func(n string) bool { return slices.Contains(names, n) })
}

// disconnect is POST /v1/disconnects (sealuse step 10). It pushes before it
// proposes, because what revokes waits for no quorum, and answers 200 only when
// the disconnect is in the log: any other answer makes the seal server repeat
// it, here or at another node, which pushes again and gives the same lock.
func (l *Listener) disconnect(w http.ResponseWriter, r *http.Request) {
	var d wire.Disconnect
	if err := wire.DecodeRequest(r.Body, &d); err != nil {
		wire.NewProblem(wire.CodeBadRequest, words(err.Error())+".").Write(w)
		return
	}
	c, bad := sealuse.Disconnect(d)
	if bad != nil {
		bad.Write(w)
		return
	}
	log := l.cfg.Logger.With("disconnect", d.ID, "order", d.Order, "use", d.Use)
	for _, lock := range l.affected(d) {
		l.cfg.Push(lock)
		log.Info("lock pushed", "barrel", lock.Barrel)
	}
	ctx, cancel := context.WithTimeout(r.Context(), commitTimeout)
	defer cancel()
	res, err := l.cfg.Cluster.Propose(ctx, c)
	if err != nil {
		log.Warn("disconnect pushed but not committed: the seal server has to repeat it", "err", err)
		p := sealuse.FromError(err)
		if p.Status < 500 || p.Code == wire.CodeInternal {
			p = wire.NewProblem(wire.CodeOutcomeUnknown, "")
		}
		p.RetryAfterSeconds = 1
		p.Write(w)
		return
	}
	lock := new(command.Lock)
	if p := sealuse.FromResult(res); p != nil {
		log.Warn("disconnect refused", "code", res.GetCode(), "why", res.GetMessage())
		p.Write(w)
		return
	} else if err := res.Into(lock); err != nil {
		wire.NewProblem(wire.CodeInternal, "").Write(w)
		return
	}
	log.Info("disconnect committed", "lock", lock.Id, "barrel", lock.Barrel)
	answer := wire.DisconnectAnswer{Locks: []uint64{}, Committed: true}
	if lock.Id != 0 { // 0: the order ended before any use of it
		answer.Locks = append(answer.Locks, lock.Id)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the server may be gone: it repeats
}

// affected are the locks that a disconnect is going to make, as far as this
// node knows the uses.
func (l *Listener) affected(d wire.Disconnect) (locks []*command.Lock) {
	lock := func(u *command.Use) {
		locks = append(locks, &command.Lock{
			Barrel: u.Barrel, Imsi: u.Imsi, Use: u.Id, Order: u.Order, Reason: words(d.Reason), SourceId: d.ID,
		})
	}
	l.cfg.Cluster.View(func(m *state.Machine) {
		named := m.Use(d.Use)
		if named != nil {
			lock(named)
		}
		for u := range m.UsesOfOrder(d.Order) {
			if u.State == command.UseState_RESERVED && u.Id != named.GetId() {
				lock(u)
			}
		}
	})
	return locks
}
