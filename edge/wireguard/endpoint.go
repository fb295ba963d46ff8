package wireguard

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Port is where terminals expect the fallback path unless configured.
const Port = 51820

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

// Config is what an Endpoint needs. PrivateKey and Uplink must be set.
type Config struct {
	// PrivateKey is the gateway's Curve25519 key, the same on every node.
	PrivateKey [32]byte
	// MTU is the largest inner packet in bytes, 1400 unless set.
	MTU int
	// Uplink gets each inner IPv4 packet whose source was verified. The slice
	// is the endpoint's again when the call returns. Calls come from several
	// goroutines at once.
	Uplink func(pkt []byte)
	// OnAuthenticated hears that a terminal has come to this path: the first
	// data packet of a peer after it was added, after Listen, after Silence
	// without one, and, while the peer isn't marked Active, again after each
	// Silence. It must not block.
	OnAuthenticated func(pub [32]byte)
	// Silence is how long a peer sends nothing before it counts as gone, and
	// the space between reports on one peer; 5 s unless set.
	Silence time.Duration
	// Listen opens the socket; nil means UDP. Tests put a network of their own
	// here.
	Listen func(ctx context.Context, addr netip.AddrPort) (Conn, error)
	// Logger gets what an operator should see; nil discards it.
	Logger *slog.Logger
}

// Peer is a terminal on the allow-list.
type Peer struct {
	PublicKey [32]byte
	Address   netip.Addr // its inner address, IPv4
	// Active: this path carries the session's downlink. While it doesn't, data
	// from the peer is reported, except in the first Silence after it stopped
	// doing so: packets still in flight then prove nothing.
	Active bool
}

// Endpoint is the gateway's side of the fallback path. Make one with New, end
// it with Close.
type Endpoint struct {
	cfg Config
}

// New makes an endpoint that isn't listening and has no peers.
func New(cfg Config) (*Endpoint, error) { return &Endpoint{cfg: cfg}, nil }

// SetPeers makes peers the whole allow-list. Only what differs from the last
// call is touched: the others keep their sessions.
func (e *Endpoint) SetPeers(peers []Peer) error { return nil }

// Listen opens the socket at addr and begins to serve it; ctx bounds the
// opening only. An endpoint that listens already moves to addr.
func (e *Endpoint) Listen(ctx context.Context, addr netip.AddrPort) error { return ErrClosed }

// Unlisten closes the socket and forgets the sessions with peers (another node
// has none of their keys, and they shake hands again); peers stay configured.
func (e *Endpoint) Unlisten() {}

// Send queues an inner IPv4 packet for the peer with its destination address.
// pkt is the caller's again when Send returns. Any goroutine may call it.
func (e *Endpoint) Send(pkt []byte) error { return ErrNotListening }

// Counters returns how many packets and bytes went each way and how many were
// dropped for which reason.
func (e *Endpoint) Counters() map[string]uint64 { return nil }

// Close ends the endpoint.
func (e *Endpoint) Close() error { return nil }
