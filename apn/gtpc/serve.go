package gtpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/policy"
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
	for i := range s.cfg.Workers {
		creates := l.creates.out
		if i < s.cfg.Workers/reservedShare {
			creates = nil // never ready: this one is kept for everything else
		}
		wg.Go(func() { s.work(ctx, l, creates) })
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
	at      time.Time
	peer    netip.AddrPort
	name    string // of the peer, in counts
	m       gtp.Message
	raw     []byte // for traces, and for the log of a panic
	dropped string // why it is not to be carried out, only to be traced; empty: it is
	// header tells that it came with an extension header of GTPv1 that nobody
	// here comprehends; m may be nil then.
	header bool
}

// read takes datagrams off the socket, keeps out what the firewall doesn't let
// in, and parses. It is the only reader; it returns when the socket is closed or
// fails.
func (s *Server) read(ctx context.Context, conn Conn, l *loop) error {
	buf := make([]byte, datagramSize)
	wall := newFirewall(s.cfg.AllowedPeers, s.cfg.CreateRate)
	rules := glimpse{rules: s.cfg.Rules}
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
		now := time.Now()
		wall.bounds = s.bounds.Load()
		a, ok := s.admit(wall, rules.at(now), now, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n])
		if !ok {
			continue
		}
		select {
		case l.arrivals <- a:
		case <-ctx.Done():
			return nil
		}
	}
}

// admit makes an arrival of a datagram, if the firewall and the parser let it.
// The arrival shares no memory with b.
func (s *Server) admit(wall *firewall, rules *policy.Rules, now time.Time, from netip.AddrPort, b []byte) (arrival, bool) {
	s.counts.add(countReceived, nil)
	carrier, reason := wall.screen(now, rules, from.Addr(), b)
	if reason != "" {
		s.drop(reason, from, nil, nil)
		return arrival{}, false
	}
	raw := append([]byte(nil), b...)
	m, err := gtp.Parse(raw)
	reason = "unreadable"
	if e, ok := errors.AsType[*gtp.Error](err); ok {
		reason = e.Reason
	}
	a := arrival{
		at: now, peer: from, name: s.peerName(carrier, from.Addr()), m: m, raw: raw,
		header: err != nil && reason == gtp.ReasonExtensionHeader,
	}
	if m == nil {
		s.drop(reason, from, raw, err)
		return a, a.header
	}
	if a.dropped = inspect(carrier, m); a.dropped == "" {
		if err = wall.named(rules, carrier, m); err != nil {
			a.dropped = countNamedNotOfPeer
		}
	}
	if a.dropped != "" {
		s.drop(a.dropped, from, nil, err) // without its octets, which may have a password in them
		return a, s.cfg.Observe != nil    // a trace shows what became of it
	}
	return a, true
}

// peerName is what a peer is called in counts: by its carrier, or else by its
// range of the allow-list.
func (s *Server) peerName(c *policy.Carrier, peer netip.Addr) string {
	if c != nil && c.Name != "" {
		return c.Name
	}
	b := s.bounds.Load()
	prefix, _ := prefixOf(b.allowed, peer)
	return b.names[prefix]
}

// drop counts a datagram that gets no answer.
func (s *Server) drop(reason string, from netip.AddrPort, raw []byte, err error) {
	s.counts.add(reason, func() {
		s.log.Warn("GTP-C datagram discarded", "reason", reason, "peer", from, "err", err, "bytes", excerpt(raw))
	})
}

// glimpse spares a reader that is in a hurry from asking for the policy each
// time. Its owner is the reader.
type glimpse struct {
	rules func() *policy.Rules // nil: there is none
	last  *policy.Rules
	until time.Time
}

// glimpseTime is how long a glimpse is good for.
const glimpseTime = 100 * time.Millisecond

func (g *glimpse) at(now time.Time) *policy.Rules {
	if g.rules != nil && !now.Before(g.until) {
		g.last, g.until = g.rules(), now.Add(glimpseTime)
	}
	return g.last
}
