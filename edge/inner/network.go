package inner

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// ErrClosed is returned by a Network that was closed.
var ErrClosed = errors.New("inner network is closed")

// DefaultMTU leaves room for GTP-U or WireGuard around an inner packet on a
// link of 1500 bytes, and is what carriers usually tell terminals.
const DefaultMTU = 1400

// minMTU is the least that every IPv4 host takes (RFC 791).
const minMTU = 576

// Config is what a Network needs.
type Config struct {
	// Addresses are the gateway's inner addresses, IPv4, one an APN.
	Addresses []netip.Addr
	// MTU is the largest inner packet in bytes, DefaultMTU unless set. TCP
	// offers a segment size of 40 less, so no segment needs a fragment.
	MTU int
	// ConnsPerTerminal bounds the open TCP connections of one inner address,
	// 64 unless set; one more is reset and counts as "connection-limit".
	ConnsPerTerminal int
	// Logger gets what an operator should see; nil discards it.
	Logger *slog.Logger
}

// Path takes packets to a terminal: a carrier's tunnel or the fallback. pkt is
// an IPv4 packet and the caller's again when Send returns. Calls come from
// several goroutines, some of which hold locks of the stack: Send must not
// deliver into the network that it was called by.
type Path interface {
	Send(pkt []byte) error
}

// Network is the inner network. Make one with New, end it with Close.
type Network struct {
	cfg   Config
	log   *slog.Logger
	stack *stack.Stack
	link  link
	own   map[netip.Addr]bool // the gateway's addresses; never changes
	count counters

	tcpPorts, udpPorts portSet

	mu     sync.RWMutex
	closed bool
	routes map[netip.Addr]*route
	open   map[closer]struct{}               // listeners and UDP ports
	conns  map[netip.Addr]map[*conn]struct{} // by terminal
}

// route is how a terminal is reached.
type route struct {
	path Path
	// local is the gateway address that the terminal last sent UDP to, which
	// answers come from; the zero Addr before. Any goroutine.
	local atomic.Pointer[netip.Addr]
}

type closer interface{ Close() error }

const nic tcpip.NICID = 1

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
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("inner network: no address: want the gateway address of at least one APN")
	}
	n := &Network{
		cfg:    cfg,
		log:    cfg.Logger,
		stack:  newStack(),
		own:    make(map[netip.Addr]bool),
		routes: make(map[netip.Addr]*route),
		open:   make(map[closer]struct{}),
		conns:  make(map[netip.Addr]map[*conn]struct{}),
	}
	n.link.net = n
	n.link.mtu.Store(uint32(cfg.MTU))
	if err := n.attach(); err != nil {
		n.stack.Destroy()
		return nil, fmt.Errorf("inner network: %w", err)
	}
	return n, nil
}

// attach gives the stack its interface, addresses and routes.
func (n *Network) attach() error {
	if err := n.stack.CreateNIC(nic, &n.link); err != nil {
		return fmt.Errorf("create interface: %s", err)
	}
	for _, a := range n.cfg.Addresses {
		a = a.Unmap()
		if !a.Is4() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("address %v: want an IPv4 host address", a)
		}
		n.own[a] = true
		addr := tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddrFrom4(a.As4()).WithPrefix(),
		}
		if err := n.stack.AddProtocolAddress(nic, addr, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("address %v: %s", a, err)
		}
	}
	everywhere, err := tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{}), tcpip.MaskFromBytes(make([]byte, 4)))
	if err != nil {
		return err
	}
	n.stack.SetRouteTable([]tcpip.Route{{Destination: everywhere, NIC: nic}})
	return nil
}

// SetRoute sends packets for addr by p from now on, and lets addr speak to the
// gateway. It replaces an earlier route, under which connections live on.
func (n *Network) SetRoute(addr netip.Addr, p Path) {
	r := &route{path: p}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.routes[addr.Unmap()]; old != nil {
		r.local.Store(old.local.Load())
	}
	n.routes[addr.Unmap()] = r
}

// DelRoute forgets addr: packets to it and from it are dropped. Its TCP
// connections are reset, so that whoever serves them lets go.
func (n *Network) DelRoute(addr netip.Addr) {
	addr = addr.Unmap()
	n.mu.Lock()
	delete(n.routes, addr)
	gone := slices.Collect(maps.Keys(n.conns[addr]))
	n.mu.Unlock()
	for _, c := range gone {
		c.abort()
	}
}

func (n *Network) route(addr netip.Addr) *route {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.routes[addr]
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
	n.stack.Destroy()
	return nil
}
