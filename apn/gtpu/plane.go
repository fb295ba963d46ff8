package gtpu

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Port is the UDP port of GTP-U (TS 29.281 4.4.2).
const Port = 2152

// Errors of Send. They are sentinels: a flood of packets without a tunnel
// costs no allocation.
var (
	ErrNoTunnel   = errors.New("gtpu: no tunnel for the packet's destination")
	ErrNotServing = errors.New("gtpu: no socket: this node doesn't hold the gateway address")
	ErrPacket     = errors.New("gtpu: not an IP packet that may go into a tunnel")
	ErrSuspended  = errors.New("gtpu: the carrier has suspended the session")
	ErrRate       = errors.New("gtpu: over the session's maximum bit rate")
	ErrFenced     = errors.New("gtpu: another node may hold the gateway address by now")
)

// Config is what a Plane needs. Only Uplink must be set.
type Config struct {
	// Uplink gets each inner packet, IPv4 or IPv6, whose source was verified.
	// The slice is the plane's again when the call returns. Two goroutines of a
	// Serve call it: one reads the socket, the other has packets that waited.
	Uplink func(pkt []byte)
	// Holds tells whether this node may speak for the gateway address at this
	// moment; nothing is sent while it doesn't. Nil: always. It is asked for
	// each packet or batch of packets.
	Holds func() bool
	// OnErrorIndication hears that the peer of a session has lost its side of
	// the tunnel whose end here is local. At most one call a tunnel in
	// ReportInterval. It must not block, nor must OnUplinkPath: packets wait for
	// them.
	OnErrorIndication func(session uint64, local uint32)
	// OnUplinkPath hears that a terminal sends IPv4 through the carrier though
	// another path is the active one. At most one call a session in
	// ReportInterval, and none in the first ReportInterval after the switch
	// away from the carrier: packets still in flight then prove nothing.
	OnUplinkPath func(session uint64)
	// Answer makes the answer to an inner packet, verified as Uplink's are, that
	// the plane is to answer itself, and appends it to dst, which is empty: a
	// terminal's question about this path (nil: it is no such question). The
	// answer goes down the tunnel that the packet came up, whichever path is the
	// active one; a question is nobody's activity. At most ProbeRate a second a
	// session. It must not block.
	Answer func(dst, pkt []byte, session uint64) []byte
	// AllowedPeers may send G-PDUs into any tunnel (the user-plane peer moves
	// at handover before the control plane says so), and get answers to Echo
	// and Error Indications. The peers of tunnels are always allowed.
	AllowedPeers []netip.Prefix
	// Address is the gateway's as peers know it, which Error Indications name (TS
	// 29.281 7.3.1). Invalid: the socket's own, or the first of Outer when that is bound
	// to all.
	Address netip.Addr
	// Outer are the gateway's own addresses outside the tunnels. Inner packets
	// to them are dropped.
	Outer []netip.Addr
	// PeerPort is where G-PDUs are sent, 2152 unless set (tests set it).
	PeerPort uint16
	// ReportInterval spaces reports on one session, 2 s unless set.
	ReportInterval time.Duration
	// Answers bounds Error Indications and other answers a second, 100 unless
	// set; what is over it counts as "answer-limit". Echo Responses to the peers
	// of tunnels have limits of their own.
	Answers int
	// MTU is the link's in Router Advertisements: 1400 unless set, at least 1280.
	MTU uint32
	// SequenceNumbers has G-PDUs leave with sequence numbers, which count from 0
	// in each of the peer's tunnels (TS 29.281 5.1).
	SequenceNumbers bool
	// EchoInterval spaces Echo Requests to each peer that has tunnels (TS 29.281
	// 7.2.1): 0 sends none, anything else is at least a minute.
	EchoInterval time.Duration
	// T3 is how long an Echo Response is waited for, 3 s unless set; N3 how often
	// a request is sent before its path counts as failed, 4 unless set.
	T3 time.Duration
	N3 int
	// OnPathFailed and OnPathRestored hear once of each change of the path to a
	// peer. A failed path whose last tunnel goes is forgotten without a word.
	// They must not block.
	OnPathFailed, OnPathRestored func(peer netip.Addr)
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
	cfg     Config
	log     *slog.Logger
	start   time.Time // origin of the plane's clock
	answers *rate.Limiter
	outer4  []uint32
	outer6  [][16]byte
	count   counters
	shaper  shaper

	// The packet path reads these without a lock; Carry writes them.
	index     [numKeys]*index
	allowlist atomic.Pointer[[]netip.Prefix] // see Bound
	socket    atomic.Pointer[socket]         // nil while no Serve runs

	// mu is held by Carry for writing, and for reading by what is rare on the
	// packet path: answers and Error Indications.
	mu     sync.RWMutex
	peers  map[netip.Addr]*peer
	byPeer map[peerKey]*flow
	made   []newTunnel          // to be sent their first Router Advertisement, oldest first
	paths  map[netip.Addr]*path // to peers that are asked for an Echo, at most maxPaths
	echoes uint16               // sequence number of the last Echo Request
}

// peerKey is the peer's end of a tunnel, which an Error Indication names.
type peerKey struct {
	addr [4]byte
	teid uint32
}

// New makes a Plane without tunnels.
func New(cfg Config) *Plane {
	if cfg.PeerPort == 0 {
		cfg.PeerPort = Port
	}
	if cfg.Holds == nil {
		cfg.Holds = func() bool { return true }
	}
	if cfg.ReportInterval == 0 {
		cfg.ReportInterval = 2 * time.Second
	}
	if cfg.Answers == 0 {
		cfg.Answers = 100
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1400
	}
	cfg.MTU = max(cfg.MTU, minMTU6)
	if cfg.EchoInterval > 0 {
		cfg.EchoInterval = max(cfg.EchoInterval, minEchoInterval)
	}
	if cfg.T3 == 0 {
		cfg.T3 = 3 * time.Second
	}
	if cfg.N3 == 0 {
		cfg.N3 = 4
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Plane{
		cfg:     cfg,
		log:     cfg.Logger,
		start:   time.Now(),
		answers: rate.NewLimiter(rate.Limit(cfg.Answers), cfg.Answers),
		peers:   make(map[netip.Addr]*peer),
		byPeer:  make(map[peerKey]*flow),
		paths:   make(map[netip.Addr]*path),
		shaper:  shaper{wake: make(chan struct{}, 1)},
	}
	p.allowlist.Store(&cfg.AllowedPeers)
	for by := range p.index {
		p.index[by] = newIndex(by)
	}
	for _, a := range cfg.Outer {
		if a.Unmap().Is4() {
			p.outer4 = append(p.outer4, key4(a))
		} else {
			p.outer6 = append(p.outer6, a.As16())
		}
	}
	return p
}

// find returns the flow with a key, nil when there is none. It takes no lock.
func (p *Plane) find(by int, key uint64) *flow { return p.index[by].get(key) }

// key4 is an IPv4 address as a number, in the order of its bytes.
func key4(a netip.Addr) uint32 {
	b := a.Unmap().As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// key6 is the upper half of an IPv6 address as a number.
func key6(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:])
}

// clock is the plane's time in nanoseconds, never 0.
func (p *Plane) clock() int64 { return int64(time.Since(p.start)) + 1 }

// at is the time at which the clock showed now.
func (p *Plane) at(now int64) time.Time { return p.start.Add(time.Duration(now - 1)) }

// due tells whether a report may be made now, and notes that it was.
func (p *Plane) due(last *atomic.Int64, now int64) bool {
	was := last.Load()
	if was != 0 && now-was < int64(p.cfg.ReportInterval) {
		return false
	}
	return last.CompareAndSwap(was, now)
}

// knows tells whether addr may ask the gateway anything: it is a tunnel's peer
// or on the allow-list.
func (p *Plane) knows(addr netip.Addr) bool {
	if p.allowed(addr) {
		return true
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.peers[addr] != nil
}

func (p *Plane) allowed(addr netip.Addr) bool {
	return slices.ContainsFunc(*p.allowlist.Load(), func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Bound puts others in the place of Config.AllowedPeers and Config.Answers, from the
// next packet on.
func (p *Plane) Bound(allowed []netip.Prefix, answers int) {
	p.allowlist.Store(&allowed)
	p.answers.SetLimit(rate.Limit(answers))
	p.answers.SetBurst(answers)
}
