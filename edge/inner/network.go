package inner

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// ErrClosed is returned by a Network that was closed.
var ErrClosed = errors.New("inner network is closed")

// DefaultMTU leaves room for GTP-U or WireGuard around an inner packet on a
// link of 1500 bytes, and is what carriers usually tell terminals.
const DefaultMTU = 1400

// The least MTUs that hosts must take: RFC 791 3.1 and RFC 8200 5.
const (
	minMTU  = 576
	minMTU6 = 1280
)

// Config is what a Network needs.
type Config struct {
	// Addresses are the gateway's inner addresses, at most one of each family
	// an APN.
	Addresses []netip.Addr
	// MTU is the largest inner packet in bytes, DefaultMTU unless set; with an
	// IPv6 address it is 1280 at least. TCP offers a segment size of 40 less, or
	// 60 over IPv6, so no segment needs a fragment.
	MTU int
	// ConnsPerTerminal bounds the open TCP connections of one IPv4 address or
	// one /64, 64 unless set; one more is reset and counts as
	// "connection-limit".
	ConnsPerTerminal int
	// Driver is the IP stack, Netstack unless set.
	Driver Driver
	// Interface is the name of the TUN device, DefaultInterface unless set.
	Interface string
	// Logger gets what an operator should see; nil discards it.
	Logger *slog.Logger
}

// Driver names an IP stack.
type Driver string

const (
	// Netstack runs in this process, needs no permission and can be there any
	// number of times.
	Netstack Driver = "netstack"
	// TUN is the kernel's. It takes CAP_NET_ADMIN and Linux, and can be there
	// once in a network namespace.
	TUN Driver = "tun"
)

// UnmarshalText wants netstack or tun.
func (d *Driver) UnmarshalText(b []byte) error {
	switch v := Driver(b); v {
	case Netstack, TUN:
		*d = v
		return nil
	}
	return fmt.Errorf("%q is no driver of the inner network; write netstack or tun", b)
}

// DefaultInterface is the name of the TUN device.
const DefaultInterface = "sealedge0"

// Path takes packets to a terminal: a carrier's tunnel or the fallback. pkt is
// an IP packet and the caller's again when Send returns. Calls come from
// several goroutines, some of which hold locks of the stack: Send must not
// deliver into the network that it was called by. A Path that has a method
// SendAll(pkts [][]byte) error gets bursts by it.
type Path interface {
	Send(pkt []byte) error
}

// batchPath is a Path that takes several packets at once, under the same terms.
// An error means that some of them, or all, are lost.
type batchPath interface {
	SendAll(pkts [][]byte) error
}

// Network is the inner network. Make one with New, end it with Close.
type Network struct {
	cfg    Config
	log    *slog.Logger
	driver driver
	with6  bool                       // there is an IPv6 address
	own    map[netip.Addr]*netip.Addr // the gateway's addresses, each with itself; never changes
	count  counters

	tcpPorts, udpPorts portSet

	mu     sync.RWMutex
	closed bool
	routes map[netip.Addr]*route             // by holder
	open   map[closer]struct{}               // listeners and UDP ports
	conns  map[netip.Addr]map[*conn]struct{} // by holder
}

type closer interface{ Close() error }

// driver is an IP stack that has the gateway's addresses. What it sends it gives
// to Network.transmit.
type driver interface {
	// packet takes what was admitted, and keeps nothing of it.
	packet(p packet)
	// train takes segments that were put together; their checksums are right.
	train(t *train)
	listenTCP(port uint16) (net.Listener, error)
	listenUDP(port uint16) (net.PacketConn, error)
	// counters adds the stack's own.
	counters(m map[string]uint64)
	close() error
}

// New starts a network. Nothing is reachable until Listen calls open ports.
func New(cfg Config) (*Network, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.MTU < minMTU || cfg.MTU > 65535 {
		return nil, fmt.Errorf("inner network: MTU %d: want %d to 65535", cfg.MTU, minMTU)
	}
	if cfg.ConnsPerTerminal == 0 {
		cfg.ConnsPerTerminal = 64
	}
	if cfg.Interface == "" {
		cfg.Interface = DefaultInterface
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("inner network: no address: want the gateway address of at least one APN")
	}
	cfg.Addresses = slices.Clone(cfg.Addresses)
	for i, a := range cfg.Addresses {
		cfg.Addresses[i] = a.Unmap()
	}
	with6 := slices.ContainsFunc(cfg.Addresses, netip.Addr.Is6)
	if with6 && cfg.MTU < minMTU6 {
		return nil, fmt.Errorf("inner network: MTU %d: IPv6 wants %d at least", cfg.MTU, minMTU6)
	}
	n := &Network{
		cfg:    cfg,
		log:    cfg.Logger,
		with6:  with6,
		own:    make(map[netip.Addr]*netip.Addr),
		routes: make(map[netip.Addr]*route),
		open:   make(map[closer]struct{}),
		conns:  make(map[netip.Addr]map[*conn]struct{}),
	}
	for _, a := range n.cfg.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.Zone() != "" {
			return nil, fmt.Errorf("inner network: address %v: want the address of a host", a)
		}
		n.own[a] = &a
	}
	var err error
	switch cfg.Driver {
	case "", Netstack:
		n.driver, err = newNetstack(n)
	case TUN:
		n.driver, err = newTUN(n)
	default:
		err = fmt.Errorf("driver %q: want %s or %s", cfg.Driver, Netstack, TUN)
	}
	if err != nil {
		return nil, fmt.Errorf("inner network: %w", err)
	}
	return n, nil
}

func (n *Network) isClosed() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.closed
}

// register notes what Close has to close.
func (n *Network) register(c closer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	n.open[c] = struct{}{}
	return nil
}

func (n *Network) unregister(c closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
}

// Close ends the network, its listeners and its connections.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	open := slices.Collect(maps.Keys(n.open))
	var conns []*conn
	for _, of := range n.conns {
		conns = slices.AppendSeq(conns, maps.Keys(of))
	}
	n.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	for _, c := range conns {
		c.abort()
	}
	return n.driver.close()
}
