// Package wifi is the air between a handset's hotspot and the devices on it:
// association by MAC, addresses, a router with NAT into the handset's tunnel for
// IPv4, and without for IPv6.
//
// There is no radio and no encryption; what counts for the gateway is who may
// associate, and what leaves through the tunnel.
package wifi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// Why a link ended, as Link.Err tells.
var (
	ErrLeft   = errors.New("the station left")
	ErrKicked = errors.New("the hotspot dropped the station")
	ErrClosed = errors.New("the hotspot is closed")
)

// ErrFull is returned when the network has no address left.
var ErrFull = errors.New("the hotspot has no address left")

// Station is a device that wants to be on the hotspot.
type Station struct {
	MAC      ident.MAC
	Hostname string
}

// Config sets a hotspot up.
type Config struct {
	// Prefix is the hotspot's own address in its network.
	Prefix netip.Prefix
	// MTU of the network in bytes; 0 means ipstack.DefaultMTU.
	MTU int
	// Authorise decides who may associate; an error refuses. Nil lets
	// everyone in. Left is told when a station is gone; nil is nobody.
	Authorise func(ctx context.Context, s Station) error
	Left      func(s Station)
	// Uplink takes packets to the tunnel. Outside is the tunnel's IPv4 address,
	// that stations' packets are translated to. Outside6 is its IPv6 address,
	// out of whose /64 stations have addresses too (RFC 7278). The zero Addr
	// means that there is none now; nil, that there never is.
	Uplink            func(packet []byte)
	Outside, Outside6 func() netip.Addr
	// MappingTimeout is how long the NAT keeps an idle mapping; 0 means two
	// minutes, the least that RFC 4787 REQ-5 allows.
	MappingTimeout time.Duration
	// Clock is time.Now if nil.
	Clock  func() time.Time
	Logger *slog.Logger
}

// AccessPoint is a running hotspot.
type AccessPoint struct {
	cfg  Config
	host *ipstack.Stack

	mu     sync.Mutex
	nat    *nat
	links  map[netip.Addr]*Link
	closed bool
	left   sync.WaitGroup // calls of Left
}

// New opens a hotspot.
func New(cfg Config) (*AccessPoint, error) {
	if !cfg.Prefix.Addr().Is4() || cfg.Prefix.Bits() > 30 {
		return nil, fmt.Errorf("wifi: %v is no IPv4 network for stations", cfg.Prefix)
	}
	if cfg.MappingTimeout <= 0 {
		cfg.MappingTimeout = 2 * time.Minute
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	host, err := ipstack.New(cfg.Prefix, cfg.MTU)
	if err != nil {
		return nil, err
	}
	a := &AccessPoint{cfg: cfg, host: host, nat: newNAT(cfg.MappingTimeout), links: make(map[netip.Addr]*Link)}
	host.SetLink(func(packet []byte) { a.toStation(packet) })
	return a, nil
}

// Host is the handset's own stack on the hotspot.
func (a *AccessPoint) Host() *ipstack.Stack { return a.host }

// Join associates a station, once the handset's gateway lets it in. A station
// that is on the hotspot already is joined anew.
func (a *AccessPoint) Join(ctx context.Context, s Station) (*Link, error) {
	if s.MAC.IsZero() {
		return nil, errors.New("wifi: a station needs a MAC")
	}
	if a.cfg.Authorise != nil {
		if err := a.cfg.Authorise(ctx, s); err != nil {
			return nil, fmt.Errorf("association refused: %w", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, ErrClosed
	}
	for _, l := range a.links {
		if l.station.MAC == s.MAC {
			a.remove(l, ErrLeft)
		}
	}
	address, ok := a.freeAddress()
	if !ok {
		return nil, ErrFull
	}
	l := &Link{ap: a, station: s, address: address, done: make(chan struct{})}
	a.links[address] = l
	a.cfg.Logger.Info("station joined", "mac", s.MAC, "hostname", s.Hostname, "address", address)
	return l, nil
}

// freeAddress is the lowest one above the hotspot's own.
func (a *AccessPoint) freeAddress() (netip.Addr, bool) {
	for at := a.cfg.Prefix.Addr().Next(); a.cfg.Prefix.Contains(at.Next()); at = at.Next() {
		if _, taken := a.links[at]; !taken {
			return at, true
		}
	}
	return netip.Addr{}, false
}

// remove ends a link; the caller holds mu.
func (a *AccessPoint) remove(l *Link, why error) {
	if a.links[l.address] != l {
		return
	}
	delete(a.links, l.address)
	a.nat.forget(l.address)
	l.err = why
	close(l.done)
	a.cfg.Logger.Info("station left", "mac", l.station.MAC, "reason", why)
	if left := a.cfg.Left; left != nil {
		// It asks the gateway, which may take its time.
		a.left.Go(func() { left(l.station) })
	}
}

// Kick drops a station; it tells whether it was there.
func (a *AccessPoint) Kick(mac ident.MAC) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.links {
		if l.station.MAC == mac {
			a.remove(l, ErrKicked)
			return true
		}
	}
	return false
}

// AddressOf returns a station's address on the hotspot.
func (a *AccessPoint) AddressOf(mac ident.MAC) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.links {
		if l.station.MAC == mac {
			return l.address, true
		}
	}
	return netip.Addr{}, false
}

// Close ends every link and the host's stack.
func (a *AccessPoint) Close() {
	a.mu.Lock()
	a.closed = true
	for _, l := range a.links {
		a.remove(l, ErrClosed)
	}
	a.mu.Unlock()
	a.left.Wait()
	a.host.Close()
}

// Inbound takes a packet from the tunnel and tells whether it was for a station;
// otherwise it is unchanged and the handset's own.
func (a *AccessPoint) Inbound(packet []byte) bool {
	if len(packet) > 0 && packet[0]>>4 == 6 {
		return a.inbound6(packet)
	}
	a.mu.Lock()
	station, err := a.nat.in(packet, a.cfg.Clock())
	l := a.links[station]
	a.mu.Unlock()
	if err != nil {
		return false
	}
	if l != nil {
		l.deliver(packet)
	}
	return true
}

// fromStation routes a packet that a station sent.
func (a *AccessPoint) fromStation(l *Link, packet []byte) {
	if len(packet) > 0 && packet[0]>>4 == 6 {
		a.fromStation6(l, packet)
		return
	}
	if len(packet) < 20 || packet[0]>>4 != 4 || netip.AddrFrom4([4]byte(packet[12:16])) != l.address {
		return // not IPv4, or somebody else's address
	}
	to := netip.AddrFrom4([4]byte(packet[16:20]))
	if to == a.cfg.Prefix.Addr() {
		a.host.Deliver(packet)
		return
	}
	if a.cfg.Prefix.Contains(to) || a.cfg.Outside == nil || a.cfg.Uplink == nil {
		return // station to station doesn't pass
	}
	outside := a.cfg.Outside()
	if !outside.Is4() {
		return
	}
	a.mu.Lock()
	err := a.nat.out(packet, outside, a.cfg.Clock())
	a.mu.Unlock()
	if err != nil {
		a.cfg.Logger.Debug("packet of a station dropped", "station", l.address, "to", to, "error", err)
		return
	}
	a.cfg.Uplink(packet)
}

// toStation takes a packet of the host to a station.
func (a *AccessPoint) toStation(packet []byte) {
	if len(packet) < 20 {
		return
	}
	a.mu.Lock()
	l := a.links[netip.AddrFrom4([4]byte(packet[16:20]))]
	a.mu.Unlock()
	if l != nil {
		l.deliver(packet)
	}
}
