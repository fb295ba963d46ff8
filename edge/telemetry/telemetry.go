// Package telemetry tells the tools of whoever runs a node how it fares: metrics for
// Prometheus, whether it lives and whether it is ready for an orchestrator, and, on
// loopback only, profiles of the process.
//
// Metrics and health are served without TLS or credentials to whoever reaches the
// address, so nothing in them names a subscriber, terminal, barrel, order, person or IP
// address. Labels have values out of small sets: names in the configuration, and what
// the program itself counts by. See docs/metrics.md, which is made of the definitions
// here.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Config is what a Server tells.
type Config struct {
	Source    Source
	Durations *Durations // nil: nothing is measured
	Checks    []Check    // of readiness, in the order in which they are shown
	// Notes is what else an operator should know, and readiness doesn't hang on; nil:
	// nothing. It is shown beside the checks.
	Notes  func() []string
	Logger *slog.Logger
}

// Server answers /metrics, /livez and /readyz.
type Server struct {
	log *slog.Logger
	mux *http.ServeMux
}

// Timeouts and limits of a connection.
const (
	readTimeout = 5 * time.Second
	idleTimeout = 2 * time.Minute
	graceTime   = time.Second // for answers under way at the end
	maxHeader   = 16 << 10
	connections = 64
	scrapes     = 2                // at a time; beyond it: 503
	scrapeTime  = 10 * time.Second // of one
)

// New returns a Server that doesn't serve yet.
func New(cfg Config) *Server {
	s := &Server{log: cfg.Logger, mux: http.NewServeMux()}
	h := &health{checks: cfg.Checks, notes: cfg.Notes}
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(registry(cfg.Source, cfg.Durations, h), promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelError), MaxRequestsInFlight: scrapes, Timeout: scrapeTime,
	}))
	s.mux.HandleFunc("GET /livez", livez)
	s.mux.HandleFunc("GET /readyz", h.readyz)
	return s
}

// registry holds all that is exported, under one prefix.
func registry(src Source, d *Durations, h *health) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(src, h), processCollector())
	if d != nil {
		r.MustRegister(d.append, d.apply, d.propose, d.procedure, d.use)
	}
	prometheus.WrapRegistererWithPrefix(prefix, r).MustRegister(goCollector())
	return r
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// Serve answers on l until ctx ends, then returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return serve(ctx, l, s, scrapeTime+readTimeout, s.log)
}

func serve(ctx context.Context, l net.Listener, h http.Handler, writeTimeout time.Duration, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), Protocols: new(http.Protocols),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	srv.Protocols.SetHTTP1(true)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(netutil.LimitListener(l, connections))
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
