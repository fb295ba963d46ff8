package gtpu_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/gtpu"
)

var (
	local    = netip.MustParseAddrPort("127.0.10.1:2152")
	sgw      = netip.MustParseAddrPort("127.0.20.1:2152")
	stranger = netip.MustParseAddrPort("192.0.2.66:2152")
	gateway  = netip.MustParseAddr("10.90.0.1")
)

type datagram struct {
	at   time.Time
	addr netip.AddrPort
	b    []byte
}

func (d datagram) String() string { return fmt.Sprintf("%x to %v", d.b, d.addr) }

// network is a socket without a network: what is put in arrives, what is
// written is kept.
type network struct {
	in     chan datagram
	closed chan struct{}
	mu     sync.Mutex
	out    []datagram // guarded by mu; read after synctest.Wait
}

func newNetwork() *network {
	return &network{in: make(chan datagram), closed: make(chan struct{})}
}

func (n *network) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-n.in:
		return copy(b, d.b), d.addr, nil
	case <-n.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (n *network) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out = append(n.out, datagram{time.Now(), to, append([]byte(nil), b...)})
	gtptest.Sent(gtptest.UserPort, b)
	return len(b), nil
}

func (n *network) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(local) }

func (n *network) Close() error {
	select {
	case <-n.closed:
	default:
		close(n.closed)
	}
	return nil
}

// rig is a plane on a network, with what it reported.
type rig struct {
	*gtpu.Plane
	net    *network
	mu     sync.Mutex
	uplink [][]byte // guarded by mu
	errors []uint64
	paths  []uint64
	before map[string]uint64
	stop   func() // ends the serving
}

// bubble runs a scenario with a served plane on a clock of its own.
func bubble(t *testing.T, cfg gtpu.Config, scenario func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{net: newNetwork()}
		cfg.Uplink = func(pkt []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.uplink = append(r.uplink, append([]byte(nil), pkt...))
		}
		cfg.OnErrorIndication = func(s uint64, _ uint32) { r.errors = append(r.errors, s) }
		cfg.OnUplinkPath = func(s uint64) { r.paths = append(r.paths, s) }
		cfg.Outer = append(cfg.Outer, local.Addr())
		r.Plane = gtpu.New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Serve(ctx, r.net) }()
		synctest.Wait()
		r.before = r.Counters()
		r.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		scenario(t, r)
		r.stop()
	})
}

// uplinked returns the packets that came up.
func (r *rig) uplinked() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.uplink)
}

func (r *rig) forgetUplink() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uplink = nil
}

// arrive delivers a datagram and waits until it was handled.
func (r *rig) arrive(from netip.AddrPort, b []byte) {
	r.net.in <- datagram{time.Now(), from, b}
	synctest.Wait()
}

// pass lets time pass, and what is due then be done.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// counted checks which counters rose since the last call, and by how much.
func (r *rig) counted(t *testing.T, want map[string]uint64) {
	t.Helper()
	now := r.Counters()
	for name, n := range now {
		if rose := n - r.before[name]; rose != want[name] {
			t.Errorf("counter %s rose by %d, want %d", name, rose, want[name])
		}
	}
	for name := range want {
		if _, ok := now[name]; !ok {
			t.Errorf("no counter is called %q", name)
		}
	}
	r.before = now
}

// written takes what was sent since the last call.
func (r *rig) written() []datagram {
	synctest.Wait()
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	out := r.net.out
	r.net.out = nil
	return out
}

// ip makes an IPv4 packet. The checksum is left out: the plane doesn't look.
func ip(src, dst netip.Addr, proto byte, payload ...byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	b[8], b[9] = 64, proto
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	return append(b, payload...)
}

// udp makes a UDP packet to a port.
func udp(src, dst netip.Addr, port uint16, payload ...byte) []byte {
	h := binary.BigEndian.AppendUint16([]byte{0x30, 0x39}, port)
	h = binary.BigEndian.AppendUint16(h, uint16(8+len(payload)))
	return ip(src, dst, 17, append(append(h, 0, 0), payload...)...)
}

// gpdu puts a payload into a G-PDU without optional fields, written out here
// so that a mistake in the codec doesn't hide itself.
func gpdu(teid uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x30, 255}, uint16(len(payload)))
	b = binary.BigEndian.AppendUint32(b, teid)
	return append(b, payload...)
}

func inner(id byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 90, 0, id}) }
