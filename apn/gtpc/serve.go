package gtpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"

	"github.com/sealedge/sealedge/apn/gtp"
)

// Serve speaks on conn until ctx is done, which returns nil, or the socket
// fails for good. It closes conn and leaves nothing running. Afterwards it can
// be called again with another conn, when the address has come back.
//
// What one Serve remembers of transactions the next doesn't know: in between
// another node may have held the address, and the replicated state is then the
// better memory.
func (s *Server) Serve(ctx context.Context, conn Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := newLoop(s, conn)
	s.mu.Lock()
	if s.loop != nil {
		s.mu.Unlock()
		conn.Close()
		return errors.New("gtpc: already serving")
	}
	s.loop = l
	s.mu.Unlock()

	var wg sync.WaitGroup
	for range s.cfg.Workers {
		wg.Go(func() { s.work(ctx, l) })
	}
	wg.Go(func() { cancel(s.read(ctx, conn, l)) })
	l.run(ctx)
	conn.Close() // ends the reader's wait

	s.mu.Lock()
	s.loop = nil
	s.mu.Unlock()
	wg.Wait()
	l.abandon()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// arrival is one datagram that deserves the loop's attention.
type arrival struct {
	peer netip.AddrPort
	m    gtp.Message
	raw  []byte // for the log of a panic
}

// read takes datagrams off the socket, keeps strangers out and parses. It is
// the only reader; it returns when the socket is closed or fails.
func (s *Server) read(ctx context.Context, conn Conn, l *loop) error {
	buf := make([]byte, datagramSize)
	failed := 0
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("gtpc: socket closed under us: %w", err)
		case err != nil:
			// An ICMP error that a write of ours brought about is reported by the
			// next read; it says nothing about the socket.
			s.counts.add(countReadError, func() { s.log.Warn("GTP-C read failed", "err", err) })
			if failed++; failed > maxConsecutiveErrors {
				return fmt.Errorf("gtpc: %d reads in a row failed: %w", failed, err)
			}
			continue
		}
		failed = 0
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		s.counts.add(countReceived, nil)
		if !s.allowed(from.Addr()) {
			s.drop(countPeerNotAllowed, from, nil, nil)
			continue
		}
		raw := append([]byte(nil), buf[:n]...)
		m, err := gtp.Parse(raw)
		if m == nil {
			reason := "unreadable"
			var e *gtp.Error
			if errors.As(err, &e) {
				reason = e.Reason
			}
			s.drop(reason, from, raw, err)
			continue
		}
		select {
		case l.arrivals <- arrival{from, m, raw}:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) allowed(a netip.Addr) bool {
	for _, p := range s.cfg.AllowedPeers {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// drop counts a datagram that gets no answer.
func (s *Server) drop(reason string, from netip.AddrPort, raw []byte, err error) {
	s.counts.add(reason, func() {
		s.log.Warn("GTP-C datagram discarded", "reason", reason, "peer", from, "err", err, "bytes", excerpt(raw))
	})
}

// excerpt is hex, made only when a line is written.
type excerpt []byte

// LogValue implements slog.LogValuer.
func (e excerpt) LogValue() slog.Value {
	return slog.StringValue(hex.EncodeToString(e[:min(len(e), loggedBytes)]))
}

// job is a request for a worker; outcome is what it made of it.
type job struct {
	key     key
	arrival arrival
}

type outcome struct {
	key      key
	response []byte
}

// work runs the handler until the loop stops giving jobs out.
func (s *Server) work(ctx context.Context, l *loop) {
	for {
		select {
		case j := <-l.jobs:
			response := s.handle(ctx, j)
			select {
			case l.outcomes <- outcome{j.key, response}:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// handle survives a panic of the handler: one bad request must not end the
// sessions of all others.
func (s *Server) handle(ctx context.Context, j job) (response []byte) {
	defer func() {
		if p := recover(); p != nil {
			response = nil
			stack := string(debug.Stack())
			s.counts.add(countHandlerPanic, func() {
				s.log.Error("GTP-C request made a handler panic", "panic", fmt.Sprint(p), "peer", j.arrival.peer,
					"bytes", excerpt(j.arrival.raw), "stack", stack)
			})
		}
	}()
	return s.handler.Handle(ctx, j.arrival.peer, j.arrival.m)
}
