// Package carrier plays the mobile operator's side of a private APN: a serving
// node that is an SGW, speaking GTPv2-C (S5/S8), and an SGSN, speaking GTPv1-C
// (Gn/Gp), and GTP-U in both roles, to the packet gateway under test. A session
// may go from one role to the other and from one node to another. It is a client
// of its own making, with its own transactions and its own reading of the
// protocol, so that a mistake of the gateway isn't repeated here.
//
// The terminal's part of a session is played as far as the network drives it:
// stateless address autoconfiguration of IPv6, PAP and CHAP.
//
// One control socket and one user-plane socket serve every subscriber: answers
// are matched by sequence number and packets by TEID, so that one Carrier
// drives thousands of attaches at once and is fit to be a load generator.
package carrier

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// Registered ports, the first of both versions of GTP-C (TS 29.060 10.1.1,
// TS 29.274 4.3, TS 29.281 4.4.2).
const (
	ControlPort = 2123
	UserPort    = 2152
)

// ErrClosed is returned by everything after Close.
var ErrClosed = errors.New("the carrier is closed")

// Conn is a datagram socket; *net.UDPConn is one.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// Config says where the serving node lives and whom it talks to.
type Config struct {
	// Address is the serving node's own, in both planes.
	Address netip.Addr
	// Gateway is the packet gateway's address in the control plane. Its
	// user-plane address comes with each session.
	Gateway netip.Addr
	// T3 is the time before a request is sent again and N3 how often it is
	// (TS 29.060 7.6, TS 29.274 7.6); zero means 1 s and 5 times.
	T3 time.Duration
	N3 int
	// RestartCounter is ours at first, told to the gateway in Recovery IEs
	// (TS 23.007 18); see SetRestartCounter.
	RestartCounter uint8
	// Listen opens a socket; nil means UDP.
	Listen func(netip.AddrPort) (Conn, error)
	// Logger receives what happens; nil means nowhere.
	Logger *slog.Logger
}

// Stats counts datagrams since the start.
type Stats struct {
	Requests      uint64 // control requests sent, without retransmissions
	Retransmitted uint64
	Unanswered    uint64 // control requests given up after N3
	UplinkPackets uint64
	UplinkBytes   uint64
	Downlink      uint64 // inner packets delivered
	DownlinkBytes uint64
	Dropped       uint64 // datagrams received that nobody could use
}

// Carrier is a running serving node.
type Carrier struct {
	cfg     Config
	log     *slog.Logger
	control Conn
	user    Conn
	batch   batchWriter // user, when it can send many at once
	cut     atomic.Bool
	count   atomic.Uint32 // our restart counter
	closed  chan struct{}
	readers sync.WaitGroup

	stats struct {
		requests, retransmitted, unanswered   atomic.Uint64
		up, upBytes, down, downBytes, dropped atomic.Uint64
	}

	asked   transactions[*message.Generic] // by us, over GTPv2
	askedV1 transactions[*v1.Generic]      // and over GTPv1

	mu        sync.Mutex
	answered  answerCache // guarded by mu
	peerCount uint8       // the gateway's restart counter; guarded by mu
	peerKnown bool        // guarded by mu
	nextTEID  uint32      // guarded by tables
	closeOnce sync.Once
	tables    sync.RWMutex
	byControl map[uint32]*Bearer // by our control TEID; guarded by tables
	byUser    map[uint32]*Bearer // by our user-plane TEID; guarded by tables
	byRemote  map[remote]*Bearer // by the gateway's user-plane TEID; guarded by tables
}

// remote is a tunnel end at the gateway.
type remote struct {
	addr netip.Addr
	teid uint32
}

// New opens both sockets and starts to serve them.
func New(cfg Config) (*Carrier, error) {
	if !cfg.Address.Is4() || !cfg.Gateway.Is4() {
		return nil, errors.New("carrier: Address and Gateway must be IPv4 addresses")
	}
	if cfg.T3 <= 0 {
		cfg.T3 = time.Second
	}
	if cfg.N3 <= 0 {
		cfg.N3 = 5
	}
	if cfg.Listen == nil {
		cfg.Listen = listenUDP
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	control, err := cfg.Listen(netip.AddrPortFrom(cfg.Address, ControlPort))
	if err != nil {
		return nil, fmt.Errorf("carrier: control socket: %w", err)
	}
	user, err := cfg.Listen(netip.AddrPortFrom(cfg.Address, UserPort))
	if err != nil {
		_ = control.Close()
		return nil, fmt.Errorf("carrier: user-plane socket: %w", err)
	}
	c := &Carrier{
		cfg: cfg, log: log, control: control, user: user, batch: newBatchWriter(user),
		closed:    make(chan struct{}),
		nextTEID:  rand.Uint32(),
		byControl: make(map[uint32]*Bearer),
		byUser:    make(map[uint32]*Bearer),
		byRemote:  make(map[remote]*Bearer),
	}
	c.count.Store(uint32(cfg.RestartCounter))
	c.asked.begins(maxSequence)
	c.askedV1.begins(maxSequenceV1)
	c.readers.Go(c.serveControl)
	c.readers.Go(c.serveUser)
	return c, nil
}

func listenUDP(at netip.AddrPort) (Conn, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	// A load generator outruns the default buffers; the kernel caps what it
	// won't give, which is no reason to stop.
	_ = conn.SetReadBuffer(4 << 20)
	_ = conn.SetWriteBuffer(4 << 20)
	return conn, nil
}

// Cut makes the carrier's network fall silent: nothing leaves and nothing
// arrives any more, in either plane, and nobody is told. Bearers stay as they
// are until Restore.
func (c *Carrier) Cut() { c.cut.Store(true) }

// Restore ends a Cut.
func (c *Carrier) Restore() { c.cut.Store(false) }

// SetRestartCounter changes the counter that the gateway is told from now on, as
// if the node had restarted. The bearers stay, so that it can be seen what
// becomes of them at the gateway.
func (c *Carrier) SetRestartCounter(n uint8) { c.count.Store(uint32(n)) }

func (c *Carrier) restarts() uint8 { return uint8(c.count.Load()) }

// Stats returns the counters.
func (c *Carrier) Stats() Stats {
	s := &c.stats
	return Stats{
		Requests: s.requests.Load(), Retransmitted: s.retransmitted.Load(), Unanswered: s.unanswered.Load(),
		UplinkPackets: s.up.Load(), UplinkBytes: s.upBytes.Load(),
		Downlink: s.down.Load(), DownlinkBytes: s.downBytes.Load(), Dropped: s.dropped.Load(),
	}
}

// GatewayRestarts returns the packet gateway's restart counter as last told,
// and whether it told one.
func (c *Carrier) GatewayRestarts() (counter uint8, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peerCount, c.peerKnown
}

// Bearers returns how many bearers are up.
func (c *Carrier) Bearers() int {
	c.tables.RLock()
	defer c.tables.RUnlock()
	return len(c.byControl)
}

// Close stops the carrier without a word to the gateway, as a crash would.
// Bearers end with ErrClosed.
func (c *Carrier) Close() error {
	var err error
	c.closeOnce.Do(func() {
		close(c.closed)
		err = errors.Join(c.control.Close(), c.user.Close())
		c.readers.Wait()
		c.endAll(ErrClosed, func(*Bearer) bool { return true })
	})
	return err
}

// isClosed tells a socket error caused by Close from one to survive.
func (c *Carrier) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}
