package wireguard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

var (
	gatewayAt = netip.MustParseAddrPort("127.0.10.1:51820")
	gateway   = netip.MustParseAddr("10.90.0.1")
	phoneA    = netip.MustParseAddr("10.90.0.2")
	phoneB    = netip.MustParseAddr("10.90.0.3")
)

// ether is a network in memory. A datagram to an address that nobody has is
// lost, as is one for a full buffer.
type ether struct {
	mu   sync.Mutex
	ends map[netip.AddrPort]*end
	tap  func(from, to netip.AddrPort, b []byte) // guarded by mu; sees what is sent
	dead map[netip.AddrPort]error                // guarded by mu; what sending from an address fails with
}

// send puts a datagram on the network, with whatever sender.
func (n *ether) send(from, to netip.AddrPort, b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tap != nil {
		n.tap(from, to, b)
	}
	if other := n.ends[to]; other != nil {
		select {
		case other.in <- datagram{from, bytes.Clone(b)}:
		default:
		}
	}
}

// tapped keeps what is sent from now on and keep wants.
func (n *ether) tapped(keep func(from, to netip.AddrPort, b []byte) bool) (take func() [][]byte) {
	var got [][]byte
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = func(from, to netip.AddrPort, b []byte) {
		if keep(from, to, b) {
			got = append(got, bytes.Clone(b))
		}
	}
	return func() [][]byte {
		n.mu.Lock()
		defer n.mu.Unlock()
		taken := got
		got = nil
		return taken
	}
}

func newEther() *ether { return &ether{ends: make(map[netip.AddrPort]*end)} }

type datagram struct {
	from netip.AddrPort
	b    []byte
}

type end struct {
	ether  *ether
	addr   netip.AddrPort // guarded by ether.mu
	in     chan datagram
	once   sync.Once
	closed chan struct{}
}

var errInUse = errors.New("address in use")

func (n *ether) listen(_ context.Context, addr netip.AddrPort) (Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ends[addr] != nil {
		return nil, errInUse
	}
	e := &end{ether: n, addr: addr, in: make(chan datagram, 1024), closed: make(chan struct{})}
	n.ends[addr] = e
	return e, nil
}

func (e *end) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-e.in:
		return copy(b, d.b), d.from, nil
	case <-e.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (e *end) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	e.ether.mu.Lock()
	from, err := e.addr, e.ether.dead[e.addr]
	e.ether.mu.Unlock()
	if err != nil {
		return 0, err
	}
	e.ether.send(from, to, b)
	return len(b), nil
}

// move gives the end another address, as a router does that forgot about it.
func (e *end) move(to netip.AddrPort) {
	e.ether.mu.Lock()
	defer e.ether.mu.Unlock()
	delete(e.ether.ends, e.addr)
	e.addr = to
	e.ether.ends[to] = e
}

func (e *end) LocalAddr() net.Addr {
	e.ether.mu.Lock()
	defer e.ether.mu.Unlock()
	return net.UDPAddrFromAddrPort(e.addr)
}

func (e *end) Close() error {
	e.once.Do(func() {
		e.ether.mu.Lock()
		delete(e.ether.ends, e.addr)
		e.ether.mu.Unlock()
		close(e.closed)
	})
	return nil
}

// key makes a private key out of a seed, and its public key.
func key(t testing.TB, seed byte) (private, public [32]byte) {
	t.Helper()
	for i := range private {
		private[i] = seed
	}
	return private, publicOf(t, private)
}

// phone is a WireGuard client.
type phone struct {
	dev *device.Device
	tun *tunnel
	got chan []byte

	end    *end // on a network in memory
	socket *socket
	once   sync.Once
}

// send has the phone send a packet.
func (p *phone) send(pkt []byte) { p.tun.send(copied(pkt)) }

// set configures the phone's only peer, the gateway with the key of a seed.
func (p *phone) set(t *testing.T, gatewaySeed byte, lines string) {
	t.Helper()
	_, gw := key(t, gatewaySeed)
	if err := p.dev.IpcSet(fmt.Sprintf("public_key=%x\n%s", gw[:], lines)); err != nil {
		t.Fatal(err)
	}
}

// close turns the phone off.
func (p *phone) close() {
	p.dev.Close()
	p.once.Do(func() { p.socket.close() })
}

// newPhone makes a phone that takes itself for addr, on the socket c. It is
// up at once and talks to the gateway at to.
func newPhone(t testing.TB, seed, gatewaySeed byte, c Conn, to netip.AddrPort, keepalive int) *phone {
	t.Helper()
	p := &phone{got: make(chan []byte, 4096)}
	p.tun = newTunnel(DefaultMTU, func(bufs [][]byte, offset int) {
		for _, b := range bufs {
			select {
			case p.got <- bytes.Clone(b[offset:]):
			default:
			}
		}
	})
	_, public := key(t, seed)
	b := &bind{count: new(counters), mac1: newMAC1Key(public), room: roomFor(DefaultMTU), id: 1, own: new(owners)}
	s := newSocket(c, b.count, func(string, ...any) {})
	b.prepare(s)
	p.dev = device.NewDevice(p.tun, b, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	p.socket = s
	private, _ := key(t, seed)
	_, gw := key(t, gatewaySeed)
	if err := p.dev.IpcSet(fmt.Sprintf("private_key=%x\npublic_key=%x\nendpoint=%v\npersistent_keepalive_interval=%d\nallowed_ip=%v/32\n",
		private[:], gw[:], to, keepalive, gateway)); err != nil {
		t.Fatal(err)
	}
	if err := p.dev.Up(); err != nil {
		t.Fatal(err)
	}
	return p
}

// ip makes an IPv4 packet of size octets.
func ip(src, dst netip.Addr, size int, fill byte) []byte {
	b := make([]byte, size)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	for i := 20; i < size; i++ {
		b[i] = fill
	}
	return b
}
