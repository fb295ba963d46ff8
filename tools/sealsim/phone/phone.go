// Package phone simulates the terminal: a SIM in a handset that attaches
// through the carrier, or over WireGuard where the carrier fails, with one IP
// stack over both; a Wi-Fi hotspot for the barrel; and the app that uses a seal.
// It changes between the paths when it is told (SwitchToFallback, Use), or as package
// pathwatch decides (Roam).
//
// The addresses and the connections of the stack outlive a change of the path.
// Both the phone's own packets and those that the hotspot translates for the
// barrel take the path that is active.
//
// What the phone gets of IPv4 and IPv6 is up to SIM.PDNType and the gateway. With
// both it uses IPv4 unless told otherwise; the fallback path has IPv4 only.
package phone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

// Errors of the paths.
var (
	ErrNoPath     = errors.New("the phone is on no path")
	ErrNoFallback = errors.New("the phone has no fallback path")
	ErrClosed     = errors.New("the phone is switched off")
)

// Path is what carries the phone's packets.
type Path string

// The paths.
const (
	NoPath       Path = "none"
	CarrierPath  Path = "carrier"
	FallbackPath Path = "fallback"
)

// Operator is the mobile network; *carrier.Carrier is one.
type Operator interface {
	Attach(ctx context.Context, who carrier.Subscriber) (*carrier.Bearer, error)
}

// Config is a SIM, a handset and what is installed on it.
type Config struct {
	SIM      carrier.Subscriber
	Operator Operator
	// Gateway and Gateway6 are the seal gateway's addresses inside the tunnel;
	// one of them may be the zero Addr.
	Gateway, Gateway6 netip.Addr
	// PreferIPv6 makes a phone that has both families speak IPv6 to the gateway.
	PreferIPv6 bool
	// Fallback is the WireGuard path; nil if the phone has none.
	Fallback *Fallback
	// Hotspot is the phone's address on its own Wi-Fi network; the zero
	// Prefix means 192.168.43.1/24.
	Hotspot netip.Prefix
	// MappingTimeout of the hotspot's NAT; 0 means two minutes.
	MappingTimeout time.Duration
	App            AppConfig
	// Clock is the handset's, time.Now if nil.
	Clock  func() time.Time
	Logger *slog.Logger
}

// Phone is a handset that is switched on.
type Phone struct {
	cfg     Config
	log     *slog.Logger
	stack   *ipstack.Stack
	hotspot *wifi.AccessPoint
	app     *App
	path    atomic.Pointer[func([]byte)] // of the active path; nil: none
	roamer  atomic.Pointer[roamer]       // nil: who uses the phone decides
	ctx     context.Context              // ends with Close
	stop    context.CancelFunc
	tasks   sync.WaitGroup

	procedure sync.Mutex // one attach, detach or switch at a time

	mu       sync.Mutex
	active   Path
	changed  chan struct{} // closed when active changes, then replaced
	bearer   *carrier.Bearer
	tunnel   *tunnel
	lease    *lease                           // of the fallback path; nil: none was asked for
	mtus     [2]int                           // of the carrier's path and the fallback; 0: not told
	probes   map[uint64]chan wire.ProbeAnswer // that Probe waits for
	stations map[string]ident.MAC             // by barrel, as the gateway told at the association
}

// New switches a phone on. It is on no path before Attach.
func New(cfg Config) (*Phone, error) {
	switch {
	case !cfg.Gateway.IsValid() && !cfg.Gateway6.IsValid():
		return nil, errors.New("phone: Gateway or Gateway6 is missing")
	case cfg.Gateway.IsValid() && !cfg.Gateway.Is4():
		return nil, errors.New("phone: Gateway must be an IPv4 address")
	case cfg.Gateway6.IsValid() && (!cfg.Gateway6.Is6() || cfg.Gateway6.Is4In6()):
		return nil, errors.New("phone: Gateway6 must be an IPv6 address")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if !cfg.Hotspot.IsValid() {
		cfg.Hotspot = netip.MustParsePrefix("192.168.43.1/24")
	}
	stack, err := ipstack.New(netip.Prefix{}, 0)
	if err != nil {
		return nil, fmt.Errorf("phone: %w", err)
	}
	p := &Phone{cfg: cfg, log: cfg.Logger, stack: stack, active: NoPath, changed: make(chan struct{}), stations: make(map[string]ident.MAC), probes: make(map[uint64]chan wire.ProbeAnswer)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	stack.SetLink(p.send)
	p.hotspot, err = wifi.New(wifi.Config{
		Prefix: cfg.Hotspot, Authorise: p.authorise, Left: p.left,
		Uplink: p.send, Outside: stack.Address, Outside6: stack.Address6,
		MappingTimeout: cfg.MappingTimeout, Logger: cfg.Logger,
	})
	if err != nil {
		stack.Close()
		return nil, fmt.Errorf("phone: %w", err)
	}
	p.app = newApp(p)
	return p, nil
}

// send takes an outgoing packet to the active path; without one it is lost.
func (p *Phone) send(packet []byte) {
	if path := p.path.Load(); path != nil {
		(*path)(packet)
	}
}

// from takes packets that come by a path to the hotspot or to the phone itself, whichever
// path is active.
func (p *Phone) from(path Path) (deliver func(packet []byte)) {
	return func(packet []byte) {
		if !p.probed(path, packet) && !p.hotspot.Inbound(packet) {
			p.stack.Deliver(packet)
		}
	}
}

// App is the app on the phone.
func (p *Phone) App() *App { return p.app }

// Hotspot is the phone's Wi-Fi network.
func (p *Phone) Hotspot() *wifi.AccessPoint { return p.hotspot }

// Stack is the phone's own IP stack inside the tunnel.
func (p *Phone) Stack() *ipstack.Stack { return p.stack }

// Address is the phone's address inside the tunnel that it speaks to the gateway
// from, the zero Addr before it got one.
func (p *Phone) Address() netip.Addr {
	own, _ := p.way()
	return own
}

// way is the phone's address and the gateway's in the family that the phone
// uses now.
func (p *Phone) way() (own, gateway netip.Addr) {
	four, six := p.stack.Address(), p.stack.Address6()
	active, _ := p.Path()
	with4 := four.IsValid() && p.cfg.Gateway.IsValid()
	with6 := six.IsValid() && p.cfg.Gateway6.IsValid() && active != FallbackPath
	switch {
	case with6 && (p.cfg.PreferIPv6 || !with4):
		return six, p.cfg.Gateway6
	case p.cfg.Gateway.IsValid():
		return four, p.cfg.Gateway
	}
	return six, p.cfg.Gateway6
}

// Path tells which path is active, and returns a channel that is closed when
// another one is.
func (p *Phone) Path() (active Path, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active, p.changed
}

// setPath makes a path the active one; a nil send is none. The caller holds mu.
func (p *Phone) setPath(path Path, send func([]byte)) {
	if send == nil {
		p.path.Store(nil)
	} else {
		p.path.Store(&send)
	}
	if path == p.active {
		return
	}
	p.active = path
	close(p.changed)
	p.changed = make(chan struct{})
	p.log.Info("path changed", "path", path, "address", p.stack.Address(), "address6", p.stack.Address6())
}

// Bearer is the carrier's bearer, nil if there is none.
func (p *Phone) Bearer() *carrier.Bearer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bearer
}

// Ping asks for an echo of the gateway until it comes, and returns how long it
// took.
func (p *Phone) Ping(ctx context.Context) (time.Duration, error) {
	_, gateway := p.way()
	return p.stack.Ping(ctx, gateway)
}

// Close switches the phone off, without a word to anybody.
func (p *Phone) Close() {
	p.stop()
	p.app.close()
	p.hotspot.Close()
	p.mu.Lock()
	tunnel := p.tunnel
	p.tunnel, p.bearer = nil, nil
	p.setPath(NoPath, nil)
	p.mu.Unlock()
	if tunnel != nil {
		tunnel.close()
	}
	p.stack.Close()
	p.tasks.Wait()
}
