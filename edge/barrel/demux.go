package barrel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/dtls/v2/pkg/protocol"
	"github.com/pion/dtls/v2/pkg/protocol/handshake"
	"github.com/pion/dtls/v2/pkg/protocol/recordlayer"

	"github.com/sealedge/sealedge/edge/sealuse"
)

// maxDatagram is the longest datagram that is read; a longer one arrives cut
// and is dropped, because its last record isn't whole.
const maxDatagram = 4096

// maxReadErrors in a row mean that the socket is broken.
const maxReadErrors = 100

// peer is what an address has here. A new handshake doesn't disturb the
// association that is there: anybody can begin one, and only its success shows
// that the peer has begun anew (RFC 6347 4.2.8).
type peer struct {
	association *association // nil before the first handshake succeeded
	attempt     *link        // a handshake under way; nil when there is none
}

// serve reads the socket and hands datagrams to their peers.
func (s *Server) serve(ctx context.Context, conn net.PacketConn) error {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer conn.Close()
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		s.endAll() // says goodbye while the socket is still there
		_ = conn.Close()
	})
	defer stop()
	buf := make([]byte, maxDatagram)
	for failed := 0; ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if failed++; failed == maxReadErrors || errors.Is(err, net.ErrClosed) {
				s.endAll()
				return fmt.Errorf("barrel: the port can't be read: %w", err)
			}
			s.counts.add("read-error") // of one datagram, such as a refused answer
			continue
		}
		failed = 0
		if u, ok := from.(*net.UDPAddr); ok {
			addr := u.AddrPort()
			s.route(ctx, &tasks, conn, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), buf[:n])
		}
	}
}

// route finds who a datagram is for. While a handshake goes on, a protected
// record may be of the old association or of the new one, which only the keys
// can tell: both get it.
func (s *Server) route(ctx context.Context, tasks *sync.WaitGroup, conn net.PacketConn, from netip.AddrPort, datagram []byte) {
	c, ok := classify(datagram)
	if !ok {
		s.counts.add("drop-malformed")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[from]
	if c.hello && (p == nil || p.attempt == nil) {
		if reason := s.room(p, sealuse.Holder(from.Addr())); reason != "" {
			s.counts.add(reason)
		} else {
			if p == nil {
				p = new(peer)
				s.peers[from] = p
			}
			l := newLink(conn, net.UDPAddrFromAddrPort(from))
			p.attempt = l
			s.handshakes++
			s.perHost[sealuse.Holder(from.Addr())]++
			s.begun++
			order := s.begun
			tasks.Go(func() { s.attempt(ctx, from, l, order) })
		}
	}
	if p == nil {
		s.counts.add("drop-unknown-peer")
		return
	}
	// Each gets a copy: the library decrypts in place.
	if p.attempt != nil && !p.attempt.deliver(append([]byte(nil), datagram...)) {
		s.counts.add("drop-queue-full")
	}
	if p.association != nil && c.protected && !p.association.link.deliver(append([]byte(nil), datagram...)) {
		s.counts.add("drop-queue-full")
	}
}

// room tells why no further handshake can begin; "" if one can. s.mu is held.
func (s *Server) room(p *peer, host netip.Prefix) (reason string) {
	switch l := s.cfg.Limits; {
	case s.handshakes >= l.Handshakes:
		return "drop-handshakes"
	case s.perHost[host] >= l.PerTerminal:
		return "drop-handshakes-of-terminal"
	case p == nil && len(s.peers) >= l.Associations:
		return "drop-associations"
	}
	return ""
}

// attempt carries out one handshake and, if it succeeds, the association that
// comes of it. Of two associations of one barrel, the one whose handshake was
// begun later stays: order says when.
func (s *Server) attempt(ctx context.Context, from netip.AddrPort, l *link, order uint64) {
	a, err := s.handshake(ctx, from, l)
	if err != nil {
		_ = l.Close()
	}
	s.mu.Lock()
	s.handshakes--
	host := sealuse.Holder(from.Addr())
	if s.perHost[host]--; s.perHost[host] == 0 {
		delete(s.perHost, host)
	}
	p := s.peers[from]
	p.attempt = nil
	if err != nil {
		if p.association == nil {
			delete(s.peers, from)
		}
		s.mu.Unlock()
		return
	}
	a.order = order
	atAddress, older := p.association, s.byBarrel[a.id.barrel]
	p.association = a
	if older == nil || older.order < order {
		s.byBarrel[a.id.barrel] = a
	} else {
		older = a
	}
	s.mu.Unlock()
	if atAddress != nil {
		atAddress.link.mute()
		atAddress.cut("another association of its address")
	}
	if older != nil {
		older.cut("another association of the barrel")
	}
	s.log.Info("barrel connected", "barrel", a.id.barrel, "from", from, "by", a.id.how())
	a.run(ctx)
	s.log.Info("barrel disconnected", "barrel", a.id.barrel, "from", from, "why", a.why())
	s.forget(a)
}

// forget removes an association, unless another has taken its place.
func (s *Server) forget(a *association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byBarrel[a.id.barrel] == a {
		delete(s.byBarrel, a.id.barrel)
	}
	if p := s.peers[a.from]; p != nil && p.association == a {
		if p.association = nil; p.attempt == nil {
			delete(s.peers, a.from)
		}
	}
}

// endAll ends every association, and the leases with them.
func (s *Server) endAll() {
	all := s.associations()
	for _, a := range all {
		a.cut("the gateway closes the port")
	}
	for _, a := range all {
		<-a.done
	}
	s.leases.clear()
}

// associations lists those that are there.
func (s *Server) associations() (all []*association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if p.association != nil {
			all = append(all, p.association)
		}
	}
	return all
}

// class is what can be told of a datagram without keys.
type class struct {
	hello     bool // begins with a ClientHello
	protected bool // has a record that is protected
}

// classify reads a datagram's records; ok is false if they aren't whole.
func classify(datagram []byte) (c class, ok bool) {
	for i, rest := 0, datagram; len(rest) > 0; i++ {
		if len(rest) <= recordlayer.HeaderSize {
			return class{}, false
		}
		body := rest[recordlayer.HeaderSize:]
		n := int(binary.BigEndian.Uint16(rest[recordlayer.HeaderSize-2:]))
		if n > len(body) {
			return class{}, false
		}
		switch epoch := binary.BigEndian.Uint16(rest[3:]); {
		case epoch > 0:
			c.protected = true
		case i == 0:
			c.hello = protocol.ContentType(rest[0]) == protocol.ContentTypeHandshake &&
				n > handshake.HeaderLength && handshake.Type(body[0]) == handshake.TypeClientHello
		}
		rest = body[n:]
	}
	return c, len(datagram) > 0
}
