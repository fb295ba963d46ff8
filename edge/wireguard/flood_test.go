package wireguard

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// attacker is an outer address of somebody, of as many as there are numbers.
func attacker(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 4500)
}

func kind(b []byte) byte { return b[0] }

// The crafted messages of these tests are what a gateway takes.
func TestInitiator(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		private, _ := key(t, 1)
		_, gw := key(t, gatewaySeed)
		answers := r.ether.tapped(func(from, _ netip.AddrPort, _ []byte) bool { return from == gatewayAt })
		r.ether.send(attacker(1), gatewayAt, initiation(t, private, gw, 77, time.Now()))
		synctest.Wait()
		got := answers()
		if len(got) != 1 || kind(got[0]) != device.MessageResponseType || binary.LittleEndian.Uint32(got[0][8:]) != 77 {
			t.Errorf("answered with %x", got)
		}
	})
}

// While handshakes come from everywhere, whoever can't show that he is where he says
// gets a cookie and no work is done for him; a phone comes in all the same.
func TestFloodOfInitiations(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		_, gw := key(t, gatewaySeed)
		flood := make([][]byte, 600)
		for i := range flood {
			flood[i] = junk(gw)
		}
		send := func() {
			for i, b := range flood {
				r.ether.send(attacker(i), gatewayAt, b)
			}
		}
		for range 100 {
			send()
			synctest.Wait()
			if r.Counters()["cookie-replies-sent"] > 0 {
				break
			}
		}
		if r.Counters()["cookie-replies-sent"] == 0 {
			t.Fatal("no cookies: the gateway took it all for handshakes")
		}
		var second, larger int
		r.ether.mu.Lock()
		r.ether.tap = func(from, to netip.AddrPort, b []byte) {
			switch {
			case from == placeOf(1) && kind(b) == device.MessageInitiationType && !bytes.Equal(b[132:], make([]byte, 16)):
				second++
			case from == gatewayAt && to.Port() == 4500 && len(b) > device.MessageCookieReplySize:
				larger++
			}
		}
		r.ether.mu.Unlock()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(200 * time.Millisecond):
					send()
				}
			}
		})
		a := r.phone(t, 1, 0)
		a.send(ip(phoneA, gateway, 60, 1))
		time.Sleep(7 * time.Second) // it has a cookie, and tries again after 5 s
		if !r.works(t, a, phoneA) {
			t.Error("the phone isn't in")
		}
		close(stop)
		wg.Wait()
		synctest.Wait()
		if second == 0 {
			t.Error("the phone was asked for no cookie: the test shows nothing")
		}
		if larger != 0 {
			t.Errorf("%d answers larger than a cookie went to addresses that showed nothing", larger)
		}
		if n := r.Counters()["responses-sent"]; n != 1 {
			t.Errorf("%d handshakes, want the phone's", n)
		}
	})
}

// session makes a phone's session and returns datagrams of it: the initiation, and a
// packet of data that was sent.
func (r *rig) session(t *testing.T) (a *phone, initiation, transport []byte) {
	t.Helper()
	setPeers(t, r, peerOf(t, 1, phoneA, true))
	sent := r.ether.tapped(func(from, _ netip.AddrPort, _ []byte) bool { return from == placeOf(1) })
	a = r.phone(t, 1, 0)
	a.send(ip(phoneA, gateway, 100, 1))
	if got := r.uplinked(); len(got) != 1 {
		t.Fatal("no path to begin with")
	}
	for _, b := range sent() {
		switch kind(b) {
		case device.MessageInitiationType:
			initiation = b
		case device.MessageTransportType:
			transport = b
		}
	}
	if initiation == nil || transport == nil {
		t.Fatal("nothing was seen of the handshake")
	}
	return a, initiation, transport
}

// What pretends to be of a live session, from anywhere, comes to nothing: nothing comes
// up, the session goes on, and what is sent to the phone isn't led away.
func TestFloodOfForgeries(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		a, _, real := r.session(t)
		setKeys(t, r.Endpoint, newSeed, gatewaySeed)
		_, gw := key(t, gatewaySeed)
		fromGateway := r.ether.tapped(func(from, to netip.AddrPort, _ []byte) bool { return from == gatewayAt && to != placeOf(1) })
		send := func(i int, b []byte) {
			from := attacker(i)
			if i%3 == 0 {
				from = placeOf(1) // also as if from the phone itself
			}
			r.ether.send(from, gatewayAt, b)
			if i%500 == 0 {
				synctest.Wait() // so that none is lost on the way
			}
		}
		for i := range 3000 { // with the session's index
			b := bytes.Clone(real)
			switch i % 3 {
			case 0: // another counter
				binary.LittleEndian.PutUint64(b[8:], uint64(i+2))
			case 1: // another content
				rand.Read(b[16:])
			case 2: // cut, or longer
				b = append(b, b...)[:i%(2*len(real))]
			}
			send(i, b)
		}
		for size := range 160 { // of each type at each length
			for typ := range byte(8) {
				b := make([]byte, size)
				rand.Read(b)
				if size >= 4 {
					copy(b, []byte{typ, 0, 0, 0})
				}
				send(size*8+int(typ), b)
			}
		}
		for i := range 300 { // handshakes of nobody
			send(i, junk(gw))
		}
		send(1, make([]byte, 65507))
		synctest.Wait()
		if got := r.uplinked(); len(got) != 0 {
			t.Errorf("%d packets came up", len(got))
		}
		for _, b := range fromGateway() {
			if kind(b) != device.MessageCookieReplyType {
				t.Fatalf("answered with %x", b)
			}
		}
		if n := r.Counters(); n["responses-sent"] != 1 || n["panic"] != 0 || n["too-long"] == 0 {
			t.Errorf("counters %v", n)
		}
		if !r.works(t, a, phoneA) {
			t.Error("the session was disturbed")
		}
	})
}

// Datagrams that were overheard and are sent again, from elsewhere, come to nothing.
func TestReplays(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		a, first, transport := r.session(t)
		elsewhere := r.ether.tapped(func(from, to netip.AddrPort, _ []byte) bool { return from == gatewayAt && to != placeOf(1) })
		for _, wait := range []time.Duration{0, time.Second, 2 * time.Minute} {
			time.Sleep(wait)
			for range 3 {
				r.ether.send(attacker(1), gatewayAt, first)
				r.ether.send(attacker(1), gatewayAt, transport)
			}
			if got := r.uplinked(); len(got) != 0 {
				t.Errorf("after %v: %d packets came up again", wait, len(got))
			}
			if err := r.Send(ip(gateway, phoneA, 60, 1)); err != nil {
				t.Fatal(err)
			}
			if got := a.take(); len(got) != 1 {
				t.Errorf("after %v: the phone got %d packets, want 1", wait, len(got))
			}
			if got := elsewhere(); len(got) != 0 {
				t.Errorf("after %v: %d datagrams went to who sent again", wait, len(got))
			}
		}
	})
}

// A node that takes over knows nothing of handshakes before it. One that was overheard
// and is sent again is answered there, once; it makes no session, and what is sent to
// the phone is on its way again with the phone's next datagram.
func TestReplayToAnotherNode(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		a, first, transport := r.session(t)
		r.Unlisten()
		other := r.node(t, gatewaySeed)
		defer other.Close()
		w := peerOf(t, 1, phoneA, true)
		w.Endpoint = placeOf(1)
		setPeers(t, other, w)
		other.listen(t)
		if !other.works(t, a, phoneA) {
			t.Fatal("the phone isn't back")
		}
		time.Sleep(time.Second)
		elsewhere := r.ether.tapped(func(from, to netip.AddrPort, _ []byte) bool { return from == gatewayAt && to == attacker(1) })
		for range 3 {
			r.ether.send(attacker(1), gatewayAt, first)
			r.ether.send(attacker(1), gatewayAt, transport)
			time.Sleep(time.Second)
		}
		if got := other.uplinked(); len(got) != 0 {
			t.Errorf("%d packets came up", len(got))
		}
		answers := 0
		for _, b := range elsewhere() {
			if kind(b) == device.MessageResponseType {
				answers++
			}
		}
		if answers != 1 {
			t.Errorf("%d answers, want 1", answers)
		}
		if !other.works(t, a, phoneA) {
			t.Error("the phone's session is gone")
		}
		if got := elsewhere(); len(got) != 0 {
			t.Errorf("%d datagrams went elsewhere after the phone's own", len(got))
		}
	})
}

// A peer speaks from its own address only, also between packets that are its own.
func TestForeignSources(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true), peerOf(t, 2, phoneB, true))
		a, b := r.phone(t, 1, 0), r.phone(t, 2, 0)
		if !r.works(t, a, phoneA) || !r.works(t, b, phoneB) {
			t.Fatal("no path to begin with")
		}
		heard, _ := r.LastHeard(phoneB)
		time.Sleep(time.Second)
		own := ip(phoneA, gateway, 60, 1)
		six := make([]byte, 60)
		six[0], six[5] = 0x60, 20
		longer := ip(phoneA, gateway, 60, 1)
		longer[3] = 200 // than it is
		var batch []*packet
		for _, pkt := range [][]byte{
			own, ip(phoneB, gateway, 60, 2), own, ip(gateway, phoneB, 60, 3), six, {0x45}, longer, make([]byte, 40), own,
		} {
			batch = append(batch, copied(pkt))
		}
		a.tun.send(batch...)
		if got := r.uplinked(); !same(got, own, own, own) {
			t.Errorf("came up: %x", got)
		}
		if at, _ := r.LastHeard(phoneB); at != heard {
			t.Error("B was heard, though A spoke in its name")
		}
	})
}

// An address may pass from one peer to another while packets are being decrypted: what
// is given up at once is of one address all the same.
func TestMovedWhileDecrypted(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true), peerOf(t, 2, phoneB, true))
		a, b, nobody := ip(phoneA, gateway, 60, 1), ip(phoneB, gateway, 60, 2), ip(netip.MustParseAddr("10.90.0.9"), gateway, 60, 3)
		k := (*r.keys.Load())[0]
		for _, c := range []struct{ in, want [][]byte }{
			{[][]byte{a, b, a}, [][]byte{a, a}},
			{[][]byte{nobody, b, a}, [][]byte{b}},
			{[][]byte{nobody}, nil},
			{[][]byte{a[:19], {}, b}, [][]byte{b}},
		} {
			var bufs [][]byte
			for _, pkt := range c.in {
				bufs = append(bufs, append(make([]byte, 16), pkt...))
			}
			k.tun.Write(bufs, 16)
			if got := r.uplinked(); !same(got, c.want...) {
				t.Errorf("up came %x, want %x", got, c.want)
			}
		}
	})
}
