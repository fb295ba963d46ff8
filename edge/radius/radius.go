// Package radius answers travel routers which devices may join their Wi-Fi: MAC
// authentication over RADIUS (RFC 2865), as access points such as hostapd ask with
// macaddr_acl=2. The request names the device in User-Name and, encrypted, again in
// User-Password.
//
// It is served inside the tunnels, so that a router is known by its inner address,
// which its tunnel vouches for, and by the secret that it shares with the gateway.
// Every request must have a Message-Authenticator and every answer begins with one
// (RFC 2869 5.14, RFC 5080 2.2.3): without it an answer could be forged by whoever is
// between the two. Who fails is not answered. A request that is repeated gets the
// same answer again (RFC 5080 2.2.2).
//
// An answer counts for ReauthenticateAfter; then the access point asks again.
package radius

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
	"layeh.com/radius"

	"github.com/sealedge/sealedge/policy/ident"
)

// Port is the UDP port that RFC 2865 3 gives authentication.
const Port = 1812

// ReauthenticateAfter is how long a device that was let in stays until it is asked
// for again: the Session-Timeout (RFC 2865 5.27) of an Access-Accept. hostapd takes
// nothing below a minute.
const ReauthenticateAfter = 5 * time.Minute

// Router is who may ask.
type Router struct {
	IMSI   string // of the terminal that it is
	Secret []byte // that it shares with the gateway; not empty
}

// Config is what a Server is made of.
type Config struct {
	// Router tells whose session an inner address is.
	Router func(from netip.Addr) (Router, bool)
	// Judge tells whether a device may be on a terminal's hotspot; nil: it may. It
	// must not wait.
	Judge func(imsi string, mac ident.MAC) error
	// Holds tells whether this node speaks for the gateway at this moment. Nothing is
	// answered while it doesn't.
	Holds func() bool
	// Requests that one router may make a second, in the long run; ten times as many
	// at once.
	Requests int
	Logger   *slog.Logger
}

// Server answers routers. Make one with New.
type Server struct {
	cfg   Config
	count counters

	warns  rate.Sometimes
	recent recent                   // owned by Serve
	rates  map[string]*rate.Limiter // by IMSI; owned by Serve
}

// New makes a server.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, warns: rate.Sometimes{First: 5, Interval: time.Minute}, recent: newRecent(), rates: make(map[string]*rate.Limiter)}
}

// Serve answers on a port of the inner network until ctx ends, then returns nil. It
// closes the port. One call at a time.
func (s *Server) Serve(ctx context.Context, port net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { _ = port.Close() })
	defer stop()
	defer port.Close()
	b := make([]byte, radius.MaxPacketLength+1)
	for {
		n, addr, err := port.ReadFrom(b)
		switch {
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("radius: %w", err)
		}
		from, ok := addr.(*net.UDPAddr)
		if !ok {
			continue
		}
		if answer := s.handle(b[:n], from.AddrPort(), time.Now()); answer != nil {
			if _, err := port.WriteTo(answer, addr); err != nil {
				s.count.add(writeError) // lost, as on any way: it is asked for again
			}
		}
	}
}

// handle makes the answer to a datagram; nil: there is none.
func (s *Server) handle(b []byte, from netip.AddrPort, now time.Time) []byte {
	if !s.cfg.Holds() {
		s.count.add(dropNotHolder)
		return nil
	}
	router, ok := s.cfg.Router(from.Addr().Unmap())
	if !ok || len(router.Secret) == 0 {
		s.count.add(dropNoSession)
		return nil
	}
	if !s.rate(router.IMSI).AllowN(now, 1) {
		s.count.add(dropRate)
		return nil
	}
	req, reason := open(b, router.Secret)
	if reason != 0 {
		s.count.add(reason)
		if reason == dropAuthenticator {
			terminal, _ := ident.ParseIMSI(router.IMSI)
			s.warns.Do(func() {
				s.cfg.Logger.Warn("a router's secret is wrong: export its configuration again", "terminal", terminal)
			})
		}
		return nil
	}
	key := keyOf(from, req.raw)
	if answer := s.recent.find(key, now); answer != nil {
		s.count.add(duplicate)
		return answer
	}
	answer, err := s.answer(router, req)
	if err != nil { // a packet full of Proxy-State, to which ours doesn't fit
		s.count.add(dropFormat)
		return nil
	}
	s.recent.add(key, answer, now)
	return answer
}

func (s *Server) answer(router Router, req request) ([]byte, error) {
	switch req.Code {
	case radius.CodeStatusServer: // RFC 5997: is anybody there?
		s.count.add(status)
		return seal(req, radius.CodeAccessAccept, 0)
	case radius.CodeAccessRequest:
	}
	mac, ok := req.device()
	if !ok {
		s.count.add(rejectNoDevice)
		return seal(req, radius.CodeAccessReject, 0)
	}
	if s.cfg.Judge(router.IMSI, mac) != nil { // it says why where it is recorded
		s.count.add(reject)
		return seal(req, radius.CodeAccessReject, 0)
	}
	s.count.add(accept)
	return seal(req, radius.CodeAccessAccept, ReauthenticateAfter)
}

// maxRates is how many routers' rates are kept.
const maxRates = 1 << 14

func (s *Server) rate(imsi string) *rate.Limiter {
	l := s.rates[imsi]
	if l == nil {
		if len(s.rates) >= maxRates {
			clear(s.rates)
		}
		l = rate.NewLimiter(rate.Limit(s.cfg.Requests), 10*s.cfg.Requests)
		s.rates[imsi] = l
	}
	return l
}
