package gtpu

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Port is the UDP port of GTP-U (TS 29.281 4.4.2).
const Port = 2152

// Errors of Send. They are sentinels: a flood of packets without a tunnel
// costs no allocation.
var (
	ErrNoTunnel   = errors.New("gtpu: no tunnel for the packet's destination")
	ErrNotServing = errors.New("gtpu: no socket: this node doesn't hold the gateway address")
	ErrPacket     = errors.New("gtpu: not an IPv4 packet")
)

// Config is what a Plane needs. Only Uplink must be set.
type Config struct {
	// Uplink gets each inner IPv4 packet whose source was verified. The slice
	// is the plane's again when the call returns. One call at a time for each
	// Serve.
	Uplink func(pkt []byte)
	// OnErrorIndication hears that the peer of a session has lost its side of
	// the tunnel. At most one call a session in ReportInterval.
	OnErrorIndication func(session uint64)
	// OnUplinkPath hears that a terminal sends through the carrier though
	// another path is the active one. At most one call a session in
	// ReportInterval, and none in the first ReportInterval after the switch
	// away from the carrier: packets still in flight then prove nothing.
	OnUplinkPath func(session uint64)
	// AllowedPeers may send G-PDUs into any tunnel (the user-plane peer moves
	// at handover before the control plane says so), and get answers to Echo
	// and Error Indications. The peers of tunnels are always allowed.
	AllowedPeers []netip.Prefix
	// Outer are the gateway's own addresses outside the tunnels. Inner packets
	// to them are dropped.
	Outer []netip.Addr
	// PeerPort is where G-PDUs are sent, 2152 unless set (tests set it).
	PeerPort uint16
	// ReportInterval spaces reports on one session, 2 s unless set.
	ReportInterval time.Duration
	// Answers bounds Echo Responses, Error Indications and other answers a
	// second, 100 unless set; what is over it counts as "answer-limit".
	Answers int
	// Logger gets what an operator should see; nil discards it.
	Logger *slog.Logger
}

// Conn is the socket of the user plane, bound to the gateway's GTP-U address
// and port. A *net.UDPConn is one, and on Linux is served in batches.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// Plane carries packets between tunnels and the inner network. Make one with
// New.
type Plane struct {
	cfg Config
}

// New makes a Plane without tunnels.
func New(cfg Config) *Plane { return &Plane{cfg: cfg} }

// Carry makes a plan true. It is idempotent, and calls are carried out one
// after the other. A tunnel whose peer changed gets an End Marker on its old
// way (TS 29.281 7.3.2).
func (p *Plane) Carry(plan Plan) {}

// Serve handles what arrives on conn until ctx is done or conn fails, and
// closes conn. It returns nil when ctx is done. After that it may be called
// again with another conn: tunnels stay when the gateway address goes and
// comes back.
func (p *Plane) Serve(ctx context.Context, conn Conn) error { return nil }

// Send puts an inner IPv4 packet into the tunnel of its destination address.
// pkt is the caller's again when Send returns. Any goroutine may call it.
func (p *Plane) Send(pkt []byte) error { return ErrNotServing }

// SendBatch is Send for several packets in as few system calls as possible. It
// returns how many went out, and the first error.
func (p *Plane) SendBatch(pkts [][]byte) (int, error) { return 0, ErrNotServing }

// Tunnels returns how many tunnels there are.
func (p *Plane) Tunnels() int { return 0 }

// Counters returns how many packets and bytes went each way, how many messages
// of each kind came, and how many packets were dropped for which reason.
func (p *Plane) Counters() map[string]uint64 { return nil }
