package fallback

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// Timeouts and limits of a connection. Who is slow is shown out: this faces the internet.
const (
	readTimeout    = 10 * time.Second // of the handshake, and of a whole request
	requestTimeout = 15 * time.Second // from reading a request to its answer
	idleTimeout    = 30 * time.Second
	graceTimeout   = 2 * time.Second // for answers under way at the end
	maxHeader      = 8 << 10
)

// Serve answers on a public listener until ctx ends, then returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
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
	err := srv.Serve(tls.NewListener(newGate(l, s.cfg.Connections, s.count), s.tls()))
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

// tls asks for a client certificate and leaves judging it to the request: the allow-list
// pins it, not a CA. Each connection is a handshake of its own, whose exported key binds
// a proof to it.
func (s *Server) tls() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequestClientCert,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cfg.Certificate() },
	}
}

// ServeHTTP answers what came over the public listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("request failed", "panic", v, "stack", string(debug.Stack()))
			wire.NewProblem(wire.CodeInternal, "").Write(w)
		}
	}()
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	answer, p := s.serve(ctx, w, r)
	if p != nil {
		p.Write(w)
		return
	}
	defer clear(answer.PresharedKey)
	b, err := json.Marshal(answer)
	if err != nil {
		s.log.Error("request failed", "err", err)
		wire.NewProblem(wire.CodeInternal, "").Write(w)
		return
	}
	defer clear(b)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(b) // the terminal may be gone
}

func (s *Server) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) (*wire.ConnectionAnswer, *wire.Problem) {
	from := source(r.RemoteAddr)
	p := s.limits.source(from, time.Now())
	if p == nil {
		p = routed(w, r)
	}
	var req wire.ConnectionRequest
	if p == nil {
		p = decode(r, &req)
	}
	if p != nil {
		s.count(string(p.Code))
		return nil, p
	}
	return s.answer(ctx, Request{Wire: req, TLS: r.TLS, From: from})
}

// routed is nil for the one thing that can be asked.
func routed(w http.ResponseWriter, r *http.Request) (p *wire.Problem) {
	switch {
	case r.URL.Path != wire.PathConnections:
		p = wire.NewProblem(wire.CodeNotFound, "")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		p = wire.NewProblem(wire.CodeMethodNotAllowed, "")
	default:
		return nil
	}
	p.Hint = "POST " + wire.PathConnections + " is all that there is; see docs/api/fallback.yaml."
	return p
}

func decode(r *http.Request, req *wire.ConnectionRequest) *wire.Problem {
	if t := r.Header.Get("Content-Type"); t != "" && !strings.HasPrefix(t, "application/json") {
		return bad("Content-Type: want application/json.")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, wire.MaxConnectionRequest+1))
	defer clear(body)
	if len(body) > wire.MaxConnectionRequest {
		p := wire.NewProblem(wire.CodeTooLarge, "")
		p.Hint = "Send at most 4 KiB."
		return p
	}
	if err != nil || wire.DecodeRequest(bytes.NewReader(body), req) != nil { // whose words might quote a password
		return bad("Want one JSON object with the members of a connection request, and no other.")
	}
	return nil
}

// source is the address that a connection comes from; the zero Addr if it is none.
func source(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
