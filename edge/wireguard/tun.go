package wireguard

import (
	"net/netip"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/tun"
)

// queueLen is how many packets may wait to be encrypted.
const queueLen = 1024

// tunBatch is how many packets the device takes at once.
const tunBatch = 32

// tunnel is the device's inner side: what a network interface would be.
type tunnel struct {
	mtu    int
	out    chan *packet // to the device
	write  func(pkt []byte)
	events chan tun.Event
	once   sync.Once
	done   chan struct{}
}

// packet is one packet on its way down, in a buffer of the pool.
type packet struct{ b []byte }

var packets = sync.Pool{New: func() any { return &packet{make([]byte, 0, 2048)} }}

var _ tun.Device = (*tunnel)(nil)

// newTunnel makes a tunnel that calls write with each packet that comes up.
func newTunnel(mtu int, write func(pkt []byte)) *tunnel {
	return &tunnel{
		mtu: mtu, write: write,
		out:    make(chan *packet, queueLen),
		events: make(chan tun.Event),
		done:   make(chan struct{}),
	}
}

// send queues a copy of pkt for the device and tells whether there was room.
func (t *tunnel) send(pkt []byte) bool {
	p := packets.Get().(*packet)
	p.b = append(p.b[:0], pkt...)
	select {
	case t.out <- p:
		return true
	default:
		packets.Put(p)
		return false
	}
}

// Read waits for packets to encrypt.
func (t *tunnel) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	var p *packet
	select {
	case p = <-t.out:
	case <-t.done:
		return 0, os.ErrClosed
	}
	for n := 0; ; {
		sizes[n] = copy(bufs[n][offset:], p.b)
		packets.Put(p)
		if n++; n == len(bufs) {
			return n, nil
		}
		select {
		case p = <-t.out:
		default:
			return n, nil
		}
	}
}

// Write takes packets that were decrypted and whose source was verified.
func (t *tunnel) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		t.write(b[offset:])
	}
	return len(bufs), nil
}

// Close ends Read.
func (t *tunnel) Close() error {
	t.once.Do(func() {
		close(t.done)
		close(t.events)
	})
	return nil
}

// Events never has one: the device is brought up and down by Endpoint.
func (t *tunnel) Events() <-chan tun.Event { return t.events }

func (t *tunnel) MTU() (int, error)   { return t.mtu, nil }
func (*tunnel) BatchSize() int        { return tunBatch }
func (*tunnel) Name() (string, error) { return "sealedge", nil }
func (*tunnel) File() *os.File        { return nil }

// Where addresses stand in an IPv4 header.
func source(pkt []byte) netip.Addr      { return netip.AddrFrom4([4]byte(pkt[12:16])) }
func destination(pkt []byte) netip.Addr { return netip.AddrFrom4([4]byte(pkt[16:20])) }
