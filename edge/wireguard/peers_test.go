package wireguard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

func withPSK(p Peer, psk byte) Peer {
	if psk != 0 {
		p.PresharedKey = [32]byte(bytes.Repeat([]byte{psk}, 32))
	}
	return p
}

func pskLine(psk byte) string {
	return fmt.Sprintf("preshared_key=%x\n", bytes.Repeat([]byte{psk}, 32))
}

// A handshake takes the pre-shared key that the gateway has, also with a key that is
// added later; another one counts from the next handshake on.
func TestPresharedKey(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		listed := peerOf(t, 1, phoneA, true)
		setPeers(t, r, withPSK(listed, 5))
		for _, c := range []struct {
			psk   byte
			works bool
		}{{0, false}, {6, false}, {5, true}} {
			a := r.phone(t, 1, 0)
			a.set(t, gatewaySeed, pskLine(c.psk))
			if got := r.works(t, a, phoneA); got != c.works {
				t.Errorf("pre-shared key %d: works %v, want %v", c.psk, got, c.works)
			}
			a.close()
			time.Sleep(time.Second)
		}
		setKeys(t, r.Endpoint, newSeed, gatewaySeed)
		a := r.phoneOf(t, 1, newSeed, 0)
		a.set(t, newSeed, pskLine(5))
		if !r.works(t, a, phoneA) {
			t.Error("the new key's device doesn't know the pre-shared key")
		}

		setPeers(t, r, withPSK(listed, 7))
		if !r.works(t, a, phoneA) {
			t.Error("a live session ended with its pre-shared key")
		}
		time.Sleep(4 * time.Minute)
		if r.works(t, a, phoneA) {
			t.Error("a handshake with the pre-shared key of before")
		}
		a.set(t, newSeed, pskLine(7))
		time.Sleep(10 * time.Second) // the phone tries again
		if !r.works(t, a, phoneA) {
			t.Error("no handshake with the new pre-shared key")
		}
		setPeers(t, r, listed)
		time.Sleep(4 * time.Minute)
		a.set(t, newSeed, pskLine(0))
		if !r.works(t, a, phoneA) {
			t.Error("no handshake without a pre-shared key where there is none any more")
		}
	})
}

// Another node takes over, and the phone is back at once: the node calls it, by the
// keys that there are, at the address where it was last.
func TestCallBack(t *testing.T) {
	for name, keys := range map[string][]byte{"one key": {gatewaySeed}, "two keys": {newSeed, gatewaySeed}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, r *rig) {
				setPeers(t, r, peerOf(t, 1, phoneA, true))
				a := r.phone(t, 1, 0)
				if !r.works(t, a, phoneA) || len(r.reported()) == 0 {
					t.Fatal("no path to begin with")
				}
				other := r.node(t, keys...)
				defer other.Close()
				setPeers(t, other, peerOf(t, 1, phoneA, true)) // before it came
				w := peerOf(t, 1, phoneA, true)
				w.Endpoint = r.from
				setPeers(t, other, w)
				time.Sleep(time.Minute)
				r.Unlisten()
				other.listen(t)
				synctest.Wait()
				down := ip(gateway, phoneA, 60, 9)
				if err := other.Send(down); err != nil {
					t.Fatal(err)
				}
				if got := a.take(); !same(got, down) {
					t.Errorf("the first packet down: %x", got)
				}
				if !other.works(t, a, phoneA) {
					t.Error("the phone isn't back")
				}
				if n := other.Counters()["responses-sent"]; n != 0 {
					t.Errorf("%d handshakes were the phone's: the test shows nothing", n)
				}
			})
		})
	}
}

// The address comes onto its interface a moment after the socket is there: the call that
// couldn't be sent is made again then, and not 5 s later. One that isn't answered isn't
// made again so soon.
func TestCallBackBeforeTheAddressIsUp(t *testing.T) {
	const late = 300 * time.Millisecond
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		a := r.phone(t, 1, 0)
		if !r.works(t, a, phoneA) {
			t.Fatal("no path to begin with")
		}
		r.reported()
		other := r.node(t, gatewaySeed)
		defer other.Close()
		w := peerOf(t, 1, phoneA, true)
		w.Endpoint = r.from
		setPeers(t, other, w)
		time.Sleep(time.Minute)
		r.Unlisten()
		r.ether.mu.Lock()
		r.ether.dead = map[netip.AddrPort]error{gatewayAt: errors.New("network is unreachable")}
		r.ether.mu.Unlock()
		calls := r.ether.tapped(func(from, _ netip.AddrPort, b []byte) bool {
			return from == gatewayAt && b[0] == device.MessageInitiationType
		})
		other.listen(t)
		time.Sleep(late)
		if n := len(calls()); n != 0 {
			t.Fatalf("%d calls left an address that isn't up", n)
		}
		r.ether.mu.Lock()
		r.ether.dead = nil
		r.ether.mu.Unlock()
		time.Sleep(2 * unsentPause)
		if n := len(calls()); n != 1 {
			t.Errorf("%d calls when the address was up", n)
		}
		if !other.works(t, a, phoneA) || other.Counters()["responses-sent"] != 0 {
			t.Error("the phone isn't back by the gateway's call")
		}
	})
}

// Calls are paced, those first whose path is the active one, and end with Unlisten.
func TestCallBackPace(t *testing.T) {
	const n = 60
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.Unlisten()
		var peers []Peer
		for seed := byte(100); seed < 100+n; seed++ {
			w := peerOf(t, seed, netip.AddrFrom4([4]byte{10, 90, 1, seed}), seed%2 == 0)
			w.Endpoint = placeOf(seed)
			peers = append(peers, w)
		}
		w := peerOf(t, 1, phoneA, true) // whose place isn't known
		setPeers(t, r, append(peers, w)...)
		for _, p := range peers {
			kept = append(kept, (*r.keys.Load())[0].dev.LookupPeer(p.PublicKey))
		}
		var called []byte
		r.ether.mu.Lock()
		r.ether.tap = func(_, to netip.AddrPort, b []byte) { called = append(called, to.Addr().As4()[3]) }
		r.ether.mu.Unlock()
		calls := func() []byte {
			synctest.Wait()
			r.ether.mu.Lock()
			defer r.ether.mu.Unlock()
			return slices.Clone(called)
		}
		r.listen(t)
		if got := len(calls()); got == 0 || got > callsAtOnce {
			t.Errorf("%d calls at once, want 1 to %d", got, callsAtOnce)
		}
		time.Sleep(n / callsAtOnce * callsEvery)
		got := calls()
		if len(got) != n {
			t.Fatalf("%d calls, want %d", len(got), n)
		}
		for i, seed := range got {
			if (seed%2 == 0) != (i < n/2) {
				t.Fatalf("call %d is for peer %d: the active ones come first", i, seed)
			}
		}
		r.Unlisten()
		r.listen(t)
		r.Unlisten()
		was := len(calls())
		time.Sleep(10 * time.Minute)
		if now := len(calls()); now != was || was >= 2*n {
			t.Errorf("%d calls by Unlisten and %d later", was, now)
		}
	})
}

// A peer that moves is reported with where it is, active or not, once per Silence.
func TestRoaming(t *testing.T) {
	probe := ip(phoneA, gateway, 60, 0xee)
	cfg := Config{Silence: 5 * time.Second, Answer: echoProbe}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		a := r.phone(t, 1, 0)
		pkt := ip(phoneA, gateway, 60, 1)
		sends := func(seconds int) (reports int) {
			t.Helper()
			for range seconds {
				a.send(pkt)
				time.Sleep(time.Second)
			}
			return len(r.reported())
		}
		if n := sends(20); n != 1 || r.from != placeOf(1) {
			t.Fatalf("%d reports, the last from %v", n, r.from)
		}
		there := netip.MustParseAddrPort("198.51.100.7:1")
		a.end.move(there)
		if n := sends(20); n != 1 || r.from != there {
			t.Errorf("after it moved: %d reports, the last from %v", n, r.from)
		}
		down := ip(gateway, phoneA, 60, 2)
		if err := r.Send(down); err != nil {
			t.Fatal(err)
		}
		if got := a.take(); !same(got, down) {
			t.Errorf("what is sent to it went elsewhere")
		}
		// To and fro, as behind a network that takes another address each time.
		for i := range 4 {
			a.end.move(netip.AddrPortFrom(there.Addr(), uint16(1000+i)))
			a.send(pkt)
			time.Sleep(time.Second)
		}
		if n := len(r.reported()); n != 1 {
			t.Errorf("%d reports in four seconds, want 1", n)
		}
		time.Sleep(time.Second)
		if n := sends(4); n != 1 || r.from.Port() != 1003 {
			t.Errorf("%d reports, the last from %v", n, r.from)
		}
		// A probe is no data: it says nothing of where the path is.
		a.end.move(placeOf(1))
		for range 10 {
			a.send(pkt[:0:0]) // nothing
			a.send(probe)
			time.Sleep(time.Second)
		}
		if n := len(r.reported()); n != 0 {
			t.Errorf("%d reports of probes", n)
		}
	})
}

// echoProbe is an Answer: packets of 0xee are probes, and are answered with 0xef.
func echoProbe(dst, pkt []byte, peer [32]byte) []byte {
	if pkt[20] != 0xee {
		return nil
	}
	at := len(dst)
	dst = append(dst, pkt...)
	copy(dst[at+12:], pkt[16:20])
	copy(dst[at+16:], pkt[12:16])
	for i := at + 20; i < len(dst); i++ {
		dst[i] = 0xef
	}
	copy(dst[at+24:], peer[:8])
	return dst
}

// A probe is answered by the path that it came by, whether that is the active one or
// not; the inner network doesn't see it, and it is no news that a peer came.
func TestProbes(t *testing.T) {
	for _, active := range []bool{true, false} {
		bubble(t, Config{Answer: echoProbe}, func(t *testing.T, r *rig) {
			setKeys(t, r.Endpoint, newSeed, gatewaySeed)
			setPeers(t, r, peerOf(t, 1, phoneA, active))
			a := r.phone(t, 1, 0)
			if _, ok := r.LastHeard(phoneA); ok {
				t.Error("heard before it came")
			}
			start := time.Now()
			_, pub := key(t, 1)
			for range 3 {
				time.Sleep(2 * time.Second)
				probe := ip(phoneA, gateway, 60, 0xee)
				a.send(probe)
				if got := r.uplinked(); len(got) != 0 {
					t.Errorf("the inner network got %x", got)
				}
				if got := a.take(); !same(got, echoProbe(nil, probe, pub)) {
					t.Errorf("answered with %x", got)
				}
				if got := r.reported(); len(got) != 0 {
					t.Errorf("reported: %x", got)
				}
			}
			if at, ok := r.LastHeard(phoneA); !ok || at.Sub(start).Round(time.Second) != 6*time.Second {
				t.Errorf("last heard %v after the start, %v", at.Sub(start), ok)
			}
			if n := r.Counters()["probes"]; n != 3 {
				t.Errorf("%d probes counted", n)
			}
			// Data is heard too, and passes probes by in the same datagrams.
			time.Sleep(time.Second)
			data := ip(phoneA, gateway, 60, 1)
			a.tun.send(copied(data), copied(ip(phoneA, gateway, 60, 0xee)), copied(data))
			if got := r.uplinked(); !same(got, data, data) {
				t.Errorf("up came %x", got)
			}
			if at, _ := r.LastHeard(phoneA); at.Sub(start).Round(time.Second) != 7*time.Second {
				t.Errorf("last heard %v after the start", at.Sub(start))
			}
			if _, ok := r.LastHeard(phoneB); ok {
				t.Error("nobody was heard")
			}
			r.listen(t)
			if _, ok := r.LastHeard(phoneA); ok {
				t.Error("heard before it came again")
			}
		})
	}
}

// A peer that is taken off the list is silent when SetPeers returns: nothing comes up
// from it, and it gets nothing, of either key, not even an answer to a handshake.
func TestRevokedAtOnce(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setKeys(t, r.Endpoint, newSeed, gatewaySeed)
		setPeers(t, r, peerOf(t, 1, phoneA, true), peerOf(t, 2, phoneB, true))
		a, b := r.phoneOf(t, 1, newSeed, 1), r.phone(t, 2, 1)
		if !r.works(t, a, phoneA) || !r.works(t, b, phoneB) {
			t.Fatal("no path to begin with")
		}
		for range 100 { // under way when the list changes
			a.send(ip(phoneA, gateway, 1000, 1))
			_ = r.Send(ip(gateway, phoneA, 1000, 1))
		}
		setPeers(t, r)
		synctest.Wait()
		r.uplinked()
		gone := r.ether.tapped(func(from, to netip.AddrPort, _ []byte) bool { return from == gatewayAt })
		for _, p := range []*phone{a, b} {
			p.send(ip(phoneA, gateway, 60, 2))
			p.send(ip(phoneB, gateway, 60, 2))
		}
		if got := r.uplinked(); len(got) != 0 {
			t.Errorf("came up: %d packets", len(got))
		}
		if err := r.Send(ip(gateway, phoneA, 60, 3)); !errors.Is(err, ErrNoPeer) {
			t.Errorf("Send: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if got := gone(); len(got) != 0 {
			t.Errorf("%d datagrams were sent to revoked peers", len(got))
		}
	})
}

// Packets that fit are queued, whatever becomes of the others; the error is the first
// one's.
func TestSendAll(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true), peerOf(t, 2, phoneB, true))
		a, b := r.phone(t, 1, 0), r.phone(t, 2, 0)
		if !r.works(t, a, phoneA) || !r.works(t, b, phoneB) {
			t.Fatal("no path to begin with")
		}
		nobody := netip.MustParseAddr("10.90.0.9")
		var all, forA, forB [][]byte
		for i := range 3 * burst {
			pkt := ip(gateway, phoneA, 30+i, 0)
			binary.BigEndian.PutUint16(pkt[20:], uint16(i))
			switch i % 4 {
			case 1:
				copy(pkt[16:], phoneB.AsSlice())
				forB = append(forB, pkt)
			case 2:
				copy(pkt[16:], nobody.AsSlice())
			case 3:
				pkt = pkt[:19]
			default:
				forA = append(forA, pkt)
			}
			all = append(all, pkt)
		}
		if err := r.SendAll(all); !errors.Is(err, ErrNoPeer) {
			t.Errorf("error %v, want the first one's, %v", err, ErrNoPeer)
		}
		if got := a.take(); !same(got, forA...) {
			t.Errorf("A got %d packets, want %d in order", len(got), len(forA))
		}
		if got := b.take(); !same(got, forB...) {
			t.Errorf("B got %d packets, want %d in order", len(got), len(forB))
		}
		c := r.Counters()
		if c["no-peer"] != 3*burst/4 || c["downlink-malformed"] != 3*burst/4 || c["downlink-packets"] != uint64(2+len(forA)+len(forB)) {
			t.Errorf("counters %v", c)
		}
	})
}

// What the queue has no room for is dropped and counted, and what it took keeps its
// order.
func TestQueueOverflows(t *testing.T) {
	tun := newTunnel(DefaultMTU, nil)
	pkt := ip(gateway, phoneA, 100, 1)
	next := byte(0)
	fill := func(n int) (o outcome) {
		for range n {
			p := copied(pkt)
			p.b[20] = next
			one := tun.send(p)
			if one.queued == 1 {
				next++
			}
			o.queued, o.bytes, o.dropped = o.queued+one.queued, o.bytes+one.bytes, o.dropped+one.dropped
		}
		return o
	}
	if got := fill(queueLen + 10); got != (outcome{queueLen, queueLen * 100, 10}) {
		t.Errorf("%+v", got)
	}
	bufs, sizes := make([][]byte, burst), make([]int, burst)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	want := byte(0)
	drain := func() (n int) {
		for tun.n > 0 {
			k, err := tun.Read(bufs, sizes, 16)
			if err != nil {
				t.Fatal(err)
			}
			for i := range k {
				if sizes[i] != 100 || bufs[i][16+20] != want {
					t.Fatalf("packet %d of %d octets, want %d", bufs[i][36], sizes[i], want)
				}
				want++
			}
			n += k
		}
		return n
	}
	if _, err := tun.Read(bufs, sizes, 16); err != nil {
		t.Fatal(err)
	}
	want += burst
	if got := fill(burst + 1); got.queued != burst || got.dropped != 1 {
		t.Errorf("in the room of what was read: %+v", got)
	}
	if n := drain(); n != queueLen {
		t.Errorf("%d packets were left, want %d", n, queueLen)
	}
}
