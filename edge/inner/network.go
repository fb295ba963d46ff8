package inner

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
)

// ErrClosed is returned by a Network that was closed.
var ErrClosed = errors.New("inner network is closed")

// Config is what a Network needs.
type Config struct {
	// Addresses are the gateway's inner addresses, IPv4, one an APN.
	Addresses []netip.Addr
	// MTU is the largest inner packet in bytes, 1400 unless set. TCP offers a
	// segment size of 40 less.
	MTU int
	// Queue bounds the packets on their way out, 4096 unless set.
	Queue int
	// ConnsPerTerminal bounds the open TCP connections of one inner address,
	// 64 unless set.
	ConnsPerTerminal int
	// Logger gets what an operator should see; nil discards it.
	Logger *slog.Logger
}

// Path takes packets to a terminal: a carrier's tunnel or the fallback. pkt is
// an IPv4 packet and the caller's again when Send returns.
type Path interface {
	Send(pkt []byte) error
}

// BatchPath is a Path that can take several packets at less cost. It returns
// how many were sent, and the first error.
type BatchPath interface {
	Path
	SendBatch(pkts [][]byte) (int, error)
}

// Network is the inner network. Make one with New, end it with Close.
type Network struct {
	cfg Config
}

// New starts a network. Nothing is reachable until Listen calls open ports.
func New(cfg Config) (*Network, error) { return &Network{cfg: cfg}, nil }

// Deliver takes an IPv4 packet from an access path that verified its source.
// pkt is the caller's again when Deliver returns. Any goroutine may call it.
func (n *Network) Deliver(pkt []byte) {}

// ListenTCP opens a TCP port on every inner address of the gateway.
func (n *Network) ListenTCP(port uint16) (net.Listener, error) { return nil, ErrClosed }

// ListenUDP opens a UDP port on every inner address of the gateway.
func (n *Network) ListenUDP(port uint16) (net.PacketConn, error) { return nil, ErrClosed }

// SetRoute sends packets for addr by p from now on, and lets addr speak to the
// gateway. It replaces an earlier route.
func (n *Network) SetRoute(addr netip.Addr, p Path) {}

// DelRoute forgets addr: packets to it and from it are dropped. Its TCP
// connections are reset.
func (n *Network) DelRoute(addr netip.Addr) {}

// Counters returns how many packets and bytes went each way and how many were
// dropped for which reason.
func (n *Network) Counters() map[string]uint64 { return nil }

// Close ends the network, its listeners and its connections.
func (n *Network) Close() error { return nil }
