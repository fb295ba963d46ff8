package wireguard

import (
	"context"
	"encoding/hex"
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
	ErrQueueFull    = errors.New("wireguard: downlink queue is full")
	ErrPacket       = errors.New("wireguard: not an IPv4 packet within the MTU")
	ErrClosed       = errors.New("wireguard: endpoint is closed")
)

// Conn is a bound UDP socket; a *net.UDPConn is one.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

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
	bind  *bind
	tun   *tunnel
	dev   *device.Device

	// control is held by whoever changes the device: SetPeers, Listen,
	// Unlisten, Close.
	control   sync.Mutex
	closed    bool // guarded by control
	listening atomic.Bool

	mu     sync.RWMutex
	byAddr map[netip.Addr]*peer // guarded by mu, written under control
	byKey  map[[32]byte]*peer   // guarded by control
}

// New makes an endpoint that isn't listening and has no peers.
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
	e.bind = &bind{count: &e.count, warn: e.warn, holds: cfg.Holds}
	e.tun = newTunnel(cfg.MTU, e.uplink)
	e.dev = device.NewDevice(e.tun, e.bind, &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf: func(format string, args ...any) {
			e.count.add(deviceErrors, 1)
			e.warn("wireguard: " + fmt.Sprintf(format, nameless(args)...))
		},
	})
	return e, nil
}

// SetKeys makes private the gateway's Curve25519 keys, newest first: one, or two while
// one replaces another. Sessions of a key that stays go on; those of one that goes end.
// The caller zeroes its own copies.
func (e *Endpoint) SetKeys(private ...[32]byte) error {
	e.control.Lock()
	defer e.control.Unlock()
	if e.closed {
		return ErrClosed
	}
	var key device.NoisePrivateKey
	if err := key.FromHex(hex.EncodeToString(private[0][:])); err != nil {
		return errors.New("wireguard: private key is malformed") // without the key
	}
	return e.dev.SetPrivateKey(key)
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

// ListenUDP is a Config.Listen that opens its sockets with lc.
func ListenUDP(lc net.ListenConfig) func(ctx context.Context, addr netip.AddrPort) (Conn, error) {
	return func(ctx context.Context, addr netip.AddrPort) (Conn, error) {
		c, err := lc.ListenPacket(ctx, "udp", addr.String())
		if err != nil {
			return nil, err
		}
		u := c.(*net.UDPConn)
		// A smaller buffer than asked for loses packets sooner and nothing else.
		_ = u.SetReadBuffer(4 << 20)
		_ = u.SetWriteBuffer(4 << 20)
		return u, nil
	}
}

// Listen opens the socket at addr and begins to serve it; ctx bounds the
// opening only. An endpoint that listens already lets go of its socket first;
// if Listen fails it doesn't listen.
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
	}
	e.bind.prepare(c)
	if err := e.dev.Up(); err != nil {
		e.bind.prepare(nil)
		c.Close()
		return fmt.Errorf("wireguard: listen at %v: %w", addr, err)
	}
	e.listening.Store(true)
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
	if !e.listening.Swap(false) {
		return
	}
	if err := e.dev.Down(); err != nil {
		e.log.Warn("wireguard: close socket", "error", err)
	}
}

// Close ends the endpoint.
func (e *Endpoint) Close() error {
	e.control.Lock()
	defer e.control.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.listening.Store(false)
	e.dev.Close()
	return nil
}

// Send queues an inner IPv4 packet for the peer with its destination address.
// pkt is the caller's again when Send returns. Any goroutine may call it.
func (e *Endpoint) Send(pkt []byte) error {
	if !e.listening.Load() {
		e.count.add(dropNotListening, 1)
		return ErrNotListening
	}
	if len(pkt) < ipv4HeaderLen || len(pkt) > e.cfg.MTU || pkt[0]>>4 != 4 {
		e.count.add(dropMalformed, 1)
		return ErrPacket
	}
	if e.peerAt(destination(pkt)) == nil {
		e.count.add(dropNoPeer, 1)
		return ErrNoPeer
	}
	if !e.tun.send(pkt) {
		e.count.add(dropQueueFull, 1)
		return ErrQueueFull
	}
	e.count.add(downlinkPackets, 1)
	e.count.add(downlinkBytes, len(pkt))
	return nil
}

// SendAll queues packets as Send does each of them; the error joins theirs.
func (e *Endpoint) SendAll(pkts [][]byte) error {
	var errs []error
	for _, pkt := range pkts {
		if err := e.Send(pkt); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// LastHeard tells when the peer with an inner address last sent something: data, or a
// probe.
func (e *Endpoint) LastHeard(addr netip.Addr) (time.Time, bool) {
	p := e.peerAt(addr)
	if p == nil || p.lastData.Load() == 0 {
		return time.Time{}, false
	}
	return e.start.Add(time.Duration(p.lastData.Load())), true
}

const ipv4HeaderLen = 20
