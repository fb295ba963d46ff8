package wireguard

import (
	"bytes"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// patience bounds waits for what must happen; it is never waited for in a
// passing test.
const patience = time.Minute

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
	for i := range 12 {
		peers := []Peer{{PublicKey: pub, Address: phoneA, Active: i%2 == 0, PresharedKey: [32]byte{byte(i % 4)}, Endpoint: placeOf(1)}}
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
		switch i % 6 {
		case 0:
			setKeys(t, e, newSeed, gatewaySeed)
		case 2:
			setKeys(t, e)
		case 4:
			setKeys(t, e, gatewaySeed)
		}
		e.Counters()
		e.LastHeard(phoneA)
	}
	close(stop)
	wg.Wait()
}

// Adding a key takes a while where there are many peers. That keeps nobody from taking
// one of them off the list at once, and in the end the new device knows what all know.
func TestPeersChangeWhileAKeyIsAdded(t *testing.T) {
	e, err := New(Config{Uplink: func([][]byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	setKeys(t, e, gatewaySeed)
	const n = 300
	all := make([]Peer, n)
	for i := range all {
		all[i] = Peer{PublicKey: publicOf(t, [32]byte{0, byte(i), byte(i >> 8), 1}), Address: netip.AddrFrom4([4]byte{10, 90, byte(i >> 8), byte(i)})}
	}
	if err := e.SetPeers(all); err != nil {
		t.Fatal(err)
	}
	old := (*e.keys.Load())[0].dev
	one, _ := key(t, gatewaySeed)
	two, _ := key(t, newSeed)
	added := make(chan error)
	add := func() { added <- e.SetKeys(two, one) }
	go add()
	changes, tries := 0, 1
	for i := 0; ; i++ {
		select {
		case err := <-added:
			if err != nil {
				t.Fatal(err)
			}
			if changes == 0 { // this goroutine had no processor meanwhile
				if tries++; tries > 100 {
					t.Fatal("nothing ever changes meanwhile: the test shows nothing")
				}
				if err := e.SetKeys(one); err != nil {
					t.Fatal(err)
				}
				go add()
				break
			}
			was, is := listing(t, old), listing(t, (*e.keys.Load())[0].dev)
			if len(was) == 0 || !maps.Equal(was, is) {
				t.Errorf("the old device knows %d peers, the new one %d, or they differ", len(was), len(is))
			}
			return
		default:
		}
		some := slices.Clone(all[i%50 : n-i%70])
		for j := range some {
			some[j].PresharedKey = [32]byte{byte(i), byte(j % 3)}
			some[j].Address = all[(j+i%2)%len(some)].Address
		}
		if err := e.SetPeers(some); err != nil {
			t.Fatal(err)
		}
		if len(*e.keys.Load()) == 1 {
			changes++
		}
	}
}

// listing is what a device knows of its peers, by public key.
func listing(t *testing.T, dev *device.Device) map[string]string {
	t.Helper()
	all, err := dev.IpcGet()
	if err != nil {
		t.Fatal(err)
	}
	peers := make(map[string]string)
	var of string
	for line := range strings.Lines(all) {
		switch what, _, _ := strings.Cut(line, "="); what {
		case "public_key":
			of = line
		case "preshared_key", "allowed_ip":
			peers[of] += line
		}
	}
	return peers
}

// Whatever arrives at the port, the endpoint goes on.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{})
	_, gw := key(f, gatewaySeed)
	f.Add(junk(gw))
	private, _ := key(f, 1)
	f.Add(initiation(f, private, gw, 1, time.Now()))
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
	setKeys(f, e, newSeed, gatewaySeed)
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
