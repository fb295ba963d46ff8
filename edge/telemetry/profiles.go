package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
)

// ServeProfiles answers /debug/pprof/ on a loopback listener until ctx ends, then
// returns nil. It refuses any other listener, which it closes: a profile tells much
// about the process, and taking one slows it down.
func ServeProfiles(ctx context.Context, l net.Listener, log *slog.Logger) error {
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = l.Close()
		return fmt.Errorf("profiles are served on loopback only, and %s is not", l.Addr())
	}
	return serve(ctx, l, profiles(), 0, log) // a profile takes as long as it is asked to
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ofLoopback(r.Host) { // a browser that a foreign name leads here
			http.Error(w, "ask by a loopback address", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// ofLoopback tells whether a host, with or without a port, is this machine by its
// loopback address or as localhost.
func ofLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
