package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// The user of all orders, and what the orders are about.
const (
	userName   = "bench"
	password   = "a password for the bench"
	approver   = "bench-approver"
	sealType   = "contract"
	orderCount = 50 // as many as the first policy lets a contract order have
)

// orderWindow is the time window of all orders.
func orderWindow() (notBefore, notAfter time.Time) {
	now := time.Now().Truncate(time.Second)
	return now.Add(-time.Hour), now.Add(24 * time.Hour)
}

// stub is a seal server that knows everybody, approves of everything and
// answers at once: what is left is the gateway's own work. It speaks mutual
// TLS at the seal server's address, as the gateway expects.
func (s *site) stub(ctx context.Context) (shut func() error, err error) {
	pair, roots, err := s.identity("seal-server")
	if err != nil {
		return nil, err
	}
	from, until := orderWindow()
	verdict := answer(wire.VerifyAnswer{
		Pass: true, User: userName, Count: orderCount, SealType: sealType, Level: 1,
		Methods: []string{wire.MethodFingerprint, wire.MethodFace}, NotBefore: from, NotAfter: until,
	})
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathServerLogin, answer(wire.LoginAnswer{Token: "bench-token", Expires: until, Name: userName}))
	mux.HandleFunc("POST "+wire.PathServerVerify, verdict)
	mux.HandleFunc("POST "+wire.PathServerSettled, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the connection is used again
		w.WriteHeader(http.StatusNoContent)
	})
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", sealServer.String())
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), ReadHeaderTimeout: 5 * time.Second,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	return func() error {
		err := server.Close()
		if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
			return errors.Join(err, end)
		}
		return err
	}, nil
}

// answer answers every request with the same document.
func answer(v any) http.HandlerFunc {
	b, err := json.Marshal(v)
	if err != nil {
		panic("bench: " + err.Error()) // a message that can't be marshalled
	}
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // the gateway may be gone
	}
}
