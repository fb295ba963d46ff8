package wireguard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"golang.zx2c4.com/wireguard/device"
)

// Port is where terminals expect the fallback path unless configured.
const Port = 51820

// DefaultMTU is that of the inner network, so that a terminal sees one MTU
// whatever path it comes by.
const DefaultMTU = 1400

// Errors of Send and Listen.
var (
	ErrNotListening = errors.New("wireguard: not listening: this node doesn't hold the gateway address")
	ErrNoPeer       = errors.New("wireguard: no peer with the packet's destination address")
	ErrNoKey        = errors.New("wireguard: the gateway has no key")
	ErrQueueFull    = errors.New("wireguard: downlink queue is full")
	ErrPacket       = errors.New("wireguard: not an IPv4 packet within the MTU")
	ErrClosed       = errors.New("wireguard: endpoint is closed")
)

// Config is what an Endpoint needs. Uplink must be set.
type Config struct {
	// MTU is the largest inner packet in bytes, DefaultMTU unless set.
	MTU int
	// Uplink gets inner IPv4 packets of one peer, whose source was verified. The
	// slices are the endpoint's again when the call returns. Calls come from
	// several goroutines at once, one for each peer.
	Uplink func(pkts [][]byte)
	// OnAuthenticated hears that a terminal has come to this path: the first
	// data packet of a peer after it was added, after Listen, after Silence
	// without one, and, while the peer isn't marked Active, again after each
	// Silence. Keepalives say nothing: a terminal on the carrier may keep this
	// path warm. Active or not, it also hears of data from another outer address
	// than it heard of last, at most once per Silence. from is that address. It
	// must not block.
	OnAuthenticated func(pub [32]byte, from netip.AddrPort)
	// Answer appends the answer to a packet that is for the path itself, a probe,
	// to dst; of any other packet it returns nil, and that goes to Uplink. What it
	// answers goes back to the peer by this path. Nil: there are no probes.
	Answer func(dst, pkt []byte, peer [32]byte) []byte
	// Holds tells whether this node may speak for the gateway address at this
	// moment; nothing is sent while it doesn't. Nil: always.
	Holds func() bool
	// Silence is how long a peer sends nothing before it counts as gone, and
	// the space between reports on one peer; 5 s unless set.
	Silence time.Duration
	// Listen opens the socket; nil means UDP. Tests put a network of their own
	// here.
	Listen func(ctx context.Context, addr netip.AddrPort) (Conn, error)
	// Logger gets what an operator should see; nil discards it.
	Logger *slog.Logger
}

// Endpoint is the gateway's side of the fallback path. Make one with New, end
// it with Close.
type Endpoint struct {
	cfg   Config
	log   *slog.Logger
	start time.Time // origin of the endpoint's clock
	count counters
	warns rate.Sometimes

	owners owners
	keys   atomic.Pointer[[]*serverKey] // newest first; written under control

	changing sync.Mutex // held by SetKeys
	devices  uint32     // guarded by changing: how many there ever were

	// control is held by whoever changes devices that are in use: SetKeys, SetPeers,
	// Listen, Unlisten, Close.
	control   sync.Mutex
	closed    bool      // guarded by control
	socket    *socket   // guarded by control; nil while not listening
	calls     *callBack // guarded by control; of the socket
	listening atomic.Bool

	mu     sync.RWMutex
	byAddr map[netip.Addr]*peer // guarded by mu, written under control
	byKey  map[[32]byte]*peer   // guarded by control
}

// New makes an endpoint that isn't listening and has neither keys nor peers.
func New(cfg Config) (*Endpoint, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.MTU < 576 || cfg.MTU > device.MaxContentSize {
		return nil, fmt.Errorf("wireguard: MTU %d: want 576 to %d", cfg.MTU, device.MaxContentSize)
	}
	if cfg.Silence == 0 {
		cfg.Silence = 5 * time.Second
	}
	if cfg.Listen == nil {
		cfg.Listen = ListenUDP(net.ListenConfig{})
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{
		cfg:    cfg,
		log:    cfg.Logger,
		start:  time.Now(),
		warns:  rate.Sometimes{First: 5, Interval: 10 * time.Second},
		byAddr: make(map[netip.Addr]*peer),
		byKey:  make(map[[32]byte]*peer),
	}
	e.keys.Store(new([]*serverKey))
	return e, nil
}

// nameless replaces peers among a log line's arguments: they print a part of
// their key.
func nameless(args []any) []any {
	clean := make([]any, len(args))
	for i, a := range args {
		clean[i] = a
		if _, ok := a.(*device.Peer); ok {
			clean[i] = "a peer"
		}
	}
	return clean
}

// warn logs what a peer can cause again and again, so not every time.
func (e *Endpoint) warn(msg string, args ...any) {
	e.warns.Do(func() { e.log.Warn(msg, args...) })
}

// Listen opens the socket at addr and begins to serve it; ctx bounds the
// opening only. An endpoint that listens already lets go of its socket first;
// if Listen fails it doesn't listen. Peers whose outer address is known are called
// back, see callBack.
func (e *Endpoint) Listen(ctx context.Context, addr netip.AddrPort) error {
	e.control.Lock()
	defer e.control.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.unlisten()
	c, err := e.cfg.Listen(ctx, addr)
	if err != nil {
		return fmt.Errorf("wireguard: listen at %v: %w", addr, err)
	}
	// Whoever comes now comes anew.
	for _, p := range e.byKey {
		p.lastData.Store(0)
		p.lastHeard.Store(0)
		p.via.Store(nil)
	}
	e.socket = newSocket(c, &e.count, e.warn)
	keys := *e.keys.Load()
	for _, k := range keys {
		if err := k.up(e.socket); err != nil {
			e.unlisten()
			return fmt.Errorf("wireguard: listen at %v: %w", addr, err)
		}
	}
	e.listening.Store(true)
	e.calls = newCallBack(keys, e.byKey)
	return nil
}

// Unlisten closes the socket and forgets the sessions with peers (another node
// has none of their keys, and they shake hands again); peers stay configured.
func (e *Endpoint) Unlisten() {
	e.control.Lock()
	defer e.control.Unlock()
	e.unlisten()
}

func (e *Endpoint) unlisten() {
	if e.socket == nil {
		return
	}
	e.listening.Store(false)
	e.calls.stop()
	e.calls = nil
	for _, k := range *e.keys.Load() {
		if err := k.dev.Down(); err != nil {
			e.log.Warn("wireguard: device down", "error", err)
		}
	}
	if err := e.socket.close(); err != nil {
		e.log.Warn("wireguard: close socket", "error", err)
	}
	e.socket = nil
}

// Close ends the endpoint.
func (e *Endpoint) Close() error {
	e.control.Lock()
	defer e.control.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.unlisten()
	for _, k := range *e.keys.Load() {
		k.retire()
	}
	e.keys.Store(new([]*serverKey))
	for _, p := range e.byKey {
		clear(p.psk[:])
	}
	return nil
}
