package gtpu

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// The sizes of inner packets that performance is told for.
var sizes = []int{64, 512, 1400}

// population is how many tunnels the benchmarks run among.
const population = 100_000

func nth(i int) Tunnel {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0x0a400000+uint32(i))
	return Tunnel{
		Session: uint64(i), Local: uint32(i+1) * 0x9e3779b1, Peer: uint32(i + 1), Active: true,
		PeerAddr: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Inner: netip.AddrFrom4(a),
		Prefix6:     netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, a[0], a[1], a[2], a[3]}),
		InterfaceID: interfaceID(uint64(i)),
	}
}

func populate(p *Plane, n int) {
	var plan Plan
	for i := range n {
		plan.Put = append(plan.Put, nth(i))
	}
	p.Carry(plan)
}

// packet makes a TCP packet of one family.
func packet(src, dst netip.Addr, size int) []byte {
	b := make([]byte, size)
	if src.Is6() {
		b[0], b[6], b[7] = 0x60, protocolTCP, 64
		binary.BigEndian.PutUint16(b[4:], uint16(size-ipv6HeaderLen))
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return b
	}
	b[0], b[8], b[9] = 0x45, 64, protocolTCP
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	return b
}

func datagramOf(t Tunnel, pkt []byte) []byte {
	d := binary.BigEndian.AppendUint16([]byte{0x30, 255}, uint16(len(pkt)))
	return append(binary.BigEndian.AppendUint32(d, t.Local), pkt...)
}

var gatewayInner = netip.MustParseAddr("10.90.0.1")

// families are what terminals speak inside.
var families = []struct {
	name    string
	gateway netip.Addr
	of      func(Tunnel) netip.Addr
}{
	{"IPv4", gatewayInner, func(t Tunnel) netip.Addr { return t.Inner }},
	{"IPv6", netip.MustParseAddr("2001:db8:ffff::1"), func(t Tunnel) netip.Addr { return t.Prefix6.Next() }},
}

// rates are no maximum bit rate, and one that lets everything through.
var rates = []struct {
	name string
	kbps uint32
}{{"unlimited", 0}, {"limited", math.MaxUint32}}

// perPacket runs a benchmark for each family, rate and size, among 100,000
// tunnels.
func perPacket(b *testing.B, run func(b *testing.B, p *Plane, gateway netip.Addr, terminal func(i int) (Tunnel, netip.Addr), size int)) {
	for _, rate := range rates {
		p := New(Config{Uplink: func([]byte) {}})
		var plan Plan
		for i := range population {
			t := nth(i)
			t.UpKbps, t.DownKbps = rate.kbps, rate.kbps
			plan.Put = append(plan.Put, t)
		}
		p.Carry(plan)
		p.socket.Store(&socket{conn: &sink{}})
		for _, f := range families {
			for _, size := range sizes {
				b.Run(fmt.Sprint(f.name, "/", rate.name, "/", size), func(b *testing.B) {
					b.SetBytes(int64(size))
					b.ReportAllocs()
					run(b, p, f.gateway, func(i int) (Tunnel, netip.Addr) { return nth(i * 97), f.of(nth(i * 97)) }, size)
					if n := p.count[dropAMBRUp].n.Load() + p.count[dropAMBRDown].n.Load() + p.count[dropInnerSource].n.Load(); n != 0 {
						b.Errorf("%d packets were dropped", n)
					}
				})
			}
		}
	}
}

// BenchmarkUplink is the cost of one G-PDU without the socket and the clock,
// which is read once a batch.
func BenchmarkUplink(b *testing.B) {
	from := netip.MustParseAddrPort("127.0.0.1:2152")
	perPacket(b, func(b *testing.B, p *Plane, gateway netip.Addr, terminal func(int) (Tunnel, netip.Addr), size int) {
		var ds [1024][]byte
		for i := range ds {
			t, addr := terminal(i)
			ds[i] = datagramOf(t, packet(addr, gateway, size))
		}
		s := p.socket.Load()
		now := p.clock()
		for i := 0; b.Loop(); i++ {
			if i%batchSize == 0 {
				now = p.clock()
			}
			p.receive(s, from, ds[i%len(ds)], now)
		}
	})
}

// BenchmarkDownlink is the cost of one packet down without the socket.
func BenchmarkDownlink(b *testing.B) {
	perPacket(b, func(b *testing.B, p *Plane, gateway netip.Addr, terminal func(int) (Tunnel, netip.Addr), size int) {
		var pkts [1024][]byte
		for i := range pkts {
			_, addr := terminal(i)
			pkts[i] = packet(gateway, addr, size)
		}
		for i := 0; b.Loop(); i++ {
			if err := p.Send(pkts[i%len(pkts)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBucket is the cost of a maximum bit rate for one packet.
func BenchmarkBucket(b *testing.B) {
	var u bucket
	l := newLimit(math.MaxUint32)
	now := int64(1)
	for b.Loop() {
		now += 1000
		if !u.take(now, l, 1400) {
			b.Fatal("dropped")
		}
	}
}

// sockets makes a served plane and a peer's socket on loopback.
func sockets(b *testing.B, p *Plane) (peer *net.UDPConn, at netip.AddrPort) {
	b.Helper()
	listen := func() *net.UDPConn {
		c, err := Listen(b.Context(), net.ListenConfig{}, netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		return c
	}
	peer = listen()
	conn := listen()
	p.cfg.PeerPort = peer.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	populate(p, population)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, conn) }()
	b.Cleanup(func() { cancel(); <-done })
	for p.socket.Load() == nil {
		runtime.Gosched()
	}
	return peer, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// BenchmarkLoopbackUplink sends G-PDUs over loopback sockets and waits until
// all arrived; the sender's cost is in it. A window of packets keeps the
// socket's buffer from running over.
func BenchmarkLoopbackUplink(b *testing.B) {
	const window = 128
	var got atomic.Int64
	tick := make(chan struct{}, 1)
	p := New(Config{Uplink: func([]byte) {
		if got.Add(1)%window == 0 {
			tick <- struct{}{}
		}
	}})
	peer, at := sockets(b, p)
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			t := nth(4711)
			d := datagramOf(t, packet(t.Inner, gatewayInner, size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			got.Store(0)
			sent := 0
			for b.Loop() {
				if _, err := peer.WriteToUDPAddrPort(d, at); err != nil {
					b.Fatal(err)
				}
				if sent++; sent%window == 0 {
					select {
					case <-tick:
					case <-time.After(10 * time.Second):
						b.Fatal("packets were lost")
					}
				}
			}
			for got.Load() < int64(sent) {
				runtime.Gosched()
			}
		})
	}
}

// BenchmarkLoopbackDownlink sends packets down over loopback sockets, alone
// and 64 at a time. The peer doesn't read: its buffer running over costs the
// sender nothing.
func BenchmarkLoopbackDownlink(b *testing.B) {
	p := New(Config{Uplink: func([]byte) {}})
	sockets(b, p)
	for _, size := range sizes {
		pkt := packet(gatewayInner, nth(4711).Inner, size)
		b.Run(fmt.Sprint("Send/", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Send(pkt); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("SendBatch/", size), func(b *testing.B) {
			pkts := make([][]byte, batchSize)
			for i := range pkts {
				pkts[i] = pkt
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%batchSize == 0 {
					if _, err := p.SendBatch(pkts); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkCarry is the cost of one session's change among 100,000.
func BenchmarkCarry(b *testing.B) {
	p := New(Config{Uplink: func([]byte) {}})
	populate(p, population)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t := nth(population + i%1000)
		p.Carry(Plan{Put: []Tunnel{t}})
		p.Carry(Plan{Delete: []Tunnel{t}})
	}
}

// BenchmarkMemory tells the bytes that a tunnel costs.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		p := New(Config{Uplink: func([]byte) {}})
		for i := range population {
			p.Carry(Plan{Put: []Tunnel{nth(i)}})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/population, "B/tunnel")
		runtime.KeepAlive(p)
	}
}
