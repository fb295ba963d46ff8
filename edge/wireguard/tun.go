package wireguard

import (
	"net/netip"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/tun"
)

// burst is how many packets the device takes, encrypts and gives at once. Each device
// keeps twice as many buffers of 64 KiB for it.
const burst = 64

// queueLen is how many packets may wait to be encrypted.
const queueLen = 1024

// tunnel is the device's inner side: what a network interface would be.
type tunnel struct {
	mtu    int
	write  func(bufs [][]byte, offset int)
	events chan tun.Event
	once   sync.Once
	done   chan struct{}
	more   chan struct{} // has one while the queue may have packets

	mu    sync.Mutex
	queue [queueLen]*packet // guarded by mu: a ring
	head  int               // guarded by mu: the oldest packet
	n     int               // guarded by mu: how many there are
}

// packet is one packet on its way down, in a buffer of the pool.
type packet struct {
	b []byte
	// again: the packet is queued for another device too, and counts there.
	again bool
}

var packets = sync.Pool{New: func() any { return &packet{b: make([]byte, 0, 2048)} }}

var _ tun.Device = (*tunnel)(nil)

// newTunnel makes a tunnel that calls write with the packets of one peer that came up,
// each of which begins at offset in its buffer.
func newTunnel(mtu int, write func(bufs [][]byte, offset int)) *tunnel {
	return &tunnel{
		mtu: mtu, write: write,
		events: make(chan tun.Event),
		done:   make(chan struct{}),
		more:   make(chan struct{}, 1),
	}
}

// copied returns a packet of the pool with a copy of b.
func copied(b []byte) *packet {
	p := packets.Get().(*packet)
	p.b, p.again = append(p.b[:0], b...), false
	return p
}

// outcome is what became of packets on their way down.
type outcome struct{ queued, bytes, dropped int }

// send queues packets of the pool for the device; they are the tunnel's from then on.
func (t *tunnel) send(pkts ...*packet) (o outcome) {
	t.mu.Lock()
	n := min(len(pkts), queueLen-t.n)
	for i, p := range pkts {
		if i < n {
			t.queue[(t.head+t.n+i)%queueLen] = p
		}
		switch {
		case p.again:
		case i < n:
			o.queued, o.bytes = o.queued+1, o.bytes+len(p.b)
		default:
			o.dropped++
		}
	}
	t.n += n
	t.mu.Unlock()
	select {
	case t.more <- struct{}{}:
	default:
	}
	for _, p := range pkts[n:] {
		packets.Put(p)
	}
	return o
}

// take moves packets from the queue to out, and tells how many.
func (t *tunnel) take(out []*packet) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(out), t.n)
	for i := range n {
		at := (t.head + i) % queueLen
		out[i], t.queue[at] = t.queue[at], nil
	}
	t.head, t.n = (t.head+n)%queueLen, t.n-n
	if t.n > 0 {
		select {
		case t.more <- struct{}{}:
		default:
		}
	}
	return n
}

// Read waits for packets to encrypt.
func (t *tunnel) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	var taken [burst]*packet
	for {
		select {
		case <-t.more:
		case <-t.done:
			return 0, os.ErrClosed
		}
		n := t.take(taken[:min(len(bufs), burst)])
		for i, p := range taken[:n] {
			sizes[i] = copy(bufs[i][offset:], p.b)
			packets.Put(p)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// Write takes packets of one peer that were decrypted and whose source was verified.
func (t *tunnel) Write(bufs [][]byte, offset int) (int, error) {
	t.write(bufs, offset)
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
func (*tunnel) BatchSize() int        { return burst }
func (*tunnel) Name() (string, error) { return "sealedge", nil }
func (*tunnel) File() *os.File        { return nil }

// Where addresses stand in an IPv4 header.
func source(pkt []byte) netip.Addr      { return netip.AddrFrom4([4]byte(pkt[12:16])) }
func destination(pkt []byte) netip.Addr { return netip.AddrFrom4([4]byte(pkt[16:20])) }
