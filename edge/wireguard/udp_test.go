package wireguard

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds waits for what must happen; it is never waited for in a
// passing test.
const patience = 20 * time.Second

// overUDP makes an endpoint and a phone on real sockets.
func overUDP(t testing.TB, uplink func([][]byte)) (*Endpoint, *phone) {
	t.Helper()
	_, pub := key(t, 1)
	e, err := New(Config{Uplink: uplink})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	setKeys(t, e, gatewaySeed)
	if err := e.SetPeers([]Peer{{PublicKey: pub, Address: phoneA, Active: true}}); err != nil {
		t.Fatal(err)
	}
	if err := e.Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	at := e.socket.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	c, err := ListenUDP(net.ListenConfig{})(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	p := newPhone(t, 1, gatewaySeed, c, at, 0)
	t.Cleanup(p.close)
	return e, p
}

// Over real sockets, both ways, at every size that the MTU allows; and an
// address that is taken is an error.
func TestOverUDP(t *testing.T) {
	up := make(chan []byte, 1)
	e, p := overUDP(t, func(pkts [][]byte) {
		for _, pkt := range pkts {
			up <- bytes.Clone(pkt)
		}
	})
	for _, size := range []int{20, 21, 64, 512, DefaultMTU - 1, DefaultMTU} {
		pkt := ip(phoneA, gateway, size, byte(size))
		p.send(pkt)
		select {
		case got := <-up:
			if !bytes.Equal(got, pkt) {
				t.Errorf("uplink of %d octets came as %d", size, len(got))
			}
		case <-time.After(patience):
			t.Fatalf("uplink of %d octets didn't come", size)
		}
		pkt = ip(gateway, phoneA, size, byte(size))
		if err := e.Send(pkt); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-p.got:
			if !bytes.Equal(got, pkt) {
				t.Errorf("downlink of %d octets came as %d", size, len(got))
			}
		case <-time.After(patience):
			t.Fatalf("downlink of %d octets didn't come", size)
		}
	}
	taken, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := e.Listen(t.Context(), taken.LocalAddr().(*net.UDPAddr).AddrPort()); err == nil {
		t.Error("Listen took an address in use")
	}
}

// The endpoint is changed from all sides while packets go.
func TestConcurrentUse(t *testing.T) {
	e, p := overUDP(t, func([][]byte) {})
	at := e.socket.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	_, pub := key(t, 1)
	_, pubB := key(t, 2)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = e.Send(ip(gateway, phoneA, 100, 1))
					p.send(ip(phoneA, gateway, 100, 1))
				}
			}
		})
	}
	for i := range 20 {
		peers := []Peer{{PublicKey: pub, Address: phoneA, Active: i%2 == 0}}
		if i%3 == 0 {
			peers = append(peers, Peer{PublicKey: pubB, Address: phoneB})
		}
		if i%5 == 0 {
			peers = nil
		}
		if err := e.SetPeers(peers); err != nil {
			t.Error(err)
		}
		if i%4 == 0 {
			e.Unlisten()
		}
		if err := e.Listen(t.Context(), at); err != nil {
			t.Error(err)
		}
		e.Counters()
	}
	close(stop)
	wg.Wait()
}

// Whatever arrives at the port, the endpoint goes on.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{})
	for kind := byte(0); kind < 6; kind++ {
		for _, size := range []int{4, 32, 64, 92, 148} {
			b := make([]byte, size)
			b[0] = kind
			f.Add(b)
		}
	}
	net := newEther()
	e, err := New(Config{Listen: net.listen, Uplink: func([][]byte) { panic("a packet of nobody came up") }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	setKeys(f, e, gatewaySeed)
	_, pub := key(f, 1)
	if err := e.SetPeers([]Peer{{PublicKey: pub, Address: phoneA}}); err != nil {
		f.Fatal(err)
	}
	if err := e.Listen(f.Context(), gatewayAt); err != nil {
		f.Fatal(err)
	}
	c, err := net.listen(f.Context(), netip.MustParseAddrPort("192.0.2.1:1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := c.WriteToUDPAddrPort(b, gatewayAt); err != nil {
			t.Fatal(err)
		}
		if n := e.Counters()["panic"]; n != 0 {
			t.Fatal("panicked")
		}
	})
}

// BenchmarkLoopback is a packet through both devices and real sockets; the
// phone's share of the work is in it. A window of packets keeps queues from
// running over.
func BenchmarkLoopback(b *testing.B) {
	const window = 64
	for _, size := range []int{64, 512, 1400} {
		b.Run(fmt.Sprint("up/", size), func(b *testing.B) {
			var got atomic.Int64
			tick := make(chan struct{}, 1)
			_, p := overUDP(b, func(pkts [][]byte) {
				if n := int64(len(pkts)); got.Add(n)/window != (got.Load()-n)/window {
					tick <- struct{}{}
				}
			})
			pkt := ip(phoneA, gateway, size, 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); {
				p.send(pkt)
				if i++; i%window == 0 {
					wait(b, tick)
				}
			}
		})
		b.Run(fmt.Sprint("down/", size), func(b *testing.B) {
			tick := make(chan struct{}, 1)
			e, p := overUDP(b, func([][]byte) { tick <- struct{}{} })
			p.send(ip(phoneA, gateway, 64, 0)) // now the gateway knows where the phone is
			wait(b, tick)
			pkt := ip(gateway, phoneA, size, 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); {
				if err := e.Send(pkt); err != nil {
					b.Fatal(err)
				}
				if i++; i%window == 0 {
					for range window {
						select {
						case <-p.got:
						case <-time.After(patience):
							b.Fatal("packets were lost")
						}
					}
				}
			}
		})
	}
}

func wait(b *testing.B, tick <-chan struct{}) {
	b.Helper()
	select {
	case <-tick:
	case <-time.After(patience):
		b.Fatal("packets were lost")
	}
}
