package wireguard

import (
	"crypto/ecdh"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// BenchmarkUplink is what a packet costs the gateway after it was decrypted.
func BenchmarkUplink(b *testing.B) {
	e, err := New(Config{Uplink: func([][]byte) {}, Answer: echoProbe})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	setKeys(b, e, gatewaySeed)
	_, pub := key(b, 1)
	if err := e.SetPeers([]Peer{{PublicKey: pub, Address: phoneA, Active: true}}); err != nil {
		b.Fatal(err)
	}
	k := (*e.keys.Load())[0]
	bufs, work := make([][]byte, burst), make([][]byte, burst)
	for i := range bufs {
		bufs[i] = make([]byte, device.MaxMessageSize)[:16+1000]
		copy(bufs[i][16:], ip(phoneA, gateway, 1000, 1))
		stamp(bufs[i][:cap(bufs[i])][k.bind.room:], attacker(1))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		copy(work, bufs)
		k.tun.Write(work, 16)
		n += burst
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "packets/s")
}

// BenchmarkHandshakes is how many handshakes a second the gateway answers, each of
// another peer, over a real socket. Few are under way at once, so that none has to show
// a cookie; making them isn't counted.
func BenchmarkHandshakes(b *testing.B) {
	const peers, window = 512, 64
	e, err := New(Config{Uplink: func([][]byte) {}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	setKeys(b, e, gatewaySeed)
	_, gw := key(b, gatewaySeed)
	private := make([][32]byte, peers)
	var listed []Peer
	for i := range peers {
		private[i] = [32]byte{0, byte(i), byte(i >> 8), 1}
		listed = append(listed, Peer{PublicKey: publicOf(b, private[i]), Address: netip.AddrFrom4([4]byte{10, 90, byte(i >> 8), byte(i)})})
	}
	if err := e.SetPeers(listed); err != nil {
		b.Fatal(err)
	}
	if err := e.Listen(b.Context(), netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
		b.Fatal(err)
	}
	c, _ := loopbackConn(b)
	answers := make(chan byte, window)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n > 0 {
				answers <- buf[0]
			}
		}
	}()
	at := e.socket.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	msgs := make([][]byte, peers)
	n := 0
	for b.Loop() {
		b.StopTimer()
		for i := range msgs {
			msgs[i] = initiation(b, private[i], gw, uint32(i), time.Now())
		}
		b.StartTimer()
		waiting := 0
		take := func() {
			select {
			case kind := <-answers:
				if kind != device.MessageResponseType {
					b.Fatalf("answered with a message of type %d", kind)
				}
				waiting, n = waiting-1, n+1
			case <-time.After(patience):
				b.Fatal("an answer is missing")
			}
		}
		for _, msg := range msgs {
			if _, err := c.WriteToUDPAddrPort(msg, at); err != nil {
				b.Fatal(err)
			}
			if waiting++; waiting == window {
				take()
			}
		}
		for waiting > 0 {
			take()
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "handshakes/s")
}

// BenchmarkLoopback is a packet through both devices and real sockets; the
// phone's share of the work is in it. A window of packets keeps queues from
// running over.
func BenchmarkLoopback(b *testing.B) {
	const window = 512
	for _, bench := range []struct {
		name string
		size int
		keys []byte
	}{
		{"64", 64, []byte{gatewaySeed}},
		{"1400", 1400, []byte{gatewaySeed}},
		{"1400/two-keys", 1400, []byte{newSeed, gatewaySeed}},
	} {
		b.Run("up/"+bench.name, func(b *testing.B) {
			var got atomic.Int64
			tick := make(chan struct{}, window)
			e, p := overUDP(b, func(pkts [][]byte) {
				for range pkts {
					if got.Add(1)%window == 0 {
						tick <- struct{}{}
					}
				}
			})
			setKeys(b, e, bench.keys...)
			pkt := ip(phoneA, gateway, bench.size, 1)
			b.SetBytes(int64(bench.size))
			b.ReportAllocs()
			for i := 0; b.Loop(); {
				p.send(pkt)
				if i++; i%window == 0 {
					wait(b, tick)
				}
			}
		})
		b.Run("down/"+bench.name, func(b *testing.B) {
			tick := make(chan struct{}, window)
			e, p := overUDP(b, func([][]byte) { tick <- struct{}{} })
			setKeys(b, e, bench.keys...)
			p.send(ip(phoneA, gateway, 64, 0)) // now the gateway knows where the phone is
			wait(b, tick)
			all := make([][]byte, window/8)
			for i := range all {
				all[i] = ip(gateway, phoneA, bench.size, 1)
			}
			b.SetBytes(int64(bench.size))
			for i := 0; b.Loop(); {
				if i++; i%window != 0 {
					continue
				}
				for range window / len(all) {
					if err := e.SendAll(all); err != nil {
						b.Fatal(err)
					}
				}
				for range window {
					select {
					case <-p.got:
					case <-time.After(patience):
						b.Fatal("packets were lost")
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

// publicOf is the public half of a key.
func publicOf(t testing.TB, private [32]byte) [32]byte {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(k.PublicKey().Bytes())
}

// loopbackConn opens a socket of this machine.
func loopbackConn(t testing.TB) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := ListenUDP(net.ListenConfig{})(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn), c.LocalAddr().(*net.UDPAddr).AddrPort()
}
