package wireguard

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

const gatewaySeed = 9

// rig is an endpoint on a network in memory, with what it gave out.
type rig struct {
	*Endpoint
	ether *ether

	mu      sync.Mutex
	uplinks [][]byte
	came    [][32]byte
	from    netip.AddrPort // of the last report
}

// uplink keeps packets that came up.
func (r *rig) uplink(pkts [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pkt := range pkts {
		r.uplinks = append(r.uplinks, bytes.Clone(pkt))
	}
}

func setKeys(t testing.TB, e *Endpoint, seeds ...byte) {
	t.Helper()
	var keys [][32]byte
	for _, seed := range seeds {
		private, _ := key(t, seed)
		keys = append(keys, private)
	}
	if err := e.SetKeys(keys...); err != nil {
		t.Fatal(err)
	}
	keepAll(t, e)
}

func (r *rig) uplinked() [][]byte {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.uplinks
	r.uplinks = nil
	return u
}

func (r *rig) reported() [][32]byte {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.came
	r.came = nil
	return c
}

// bubble runs a scenario with a listening endpoint on a clock of its own.
func bubble(t *testing.T, cfg Config, scenario func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{ether: newEther()}
		cfg.Listen = r.ether.listen
		cfg.Uplink = r.uplink
		cfg.OnAuthenticated = func(pub [32]byte, from netip.AddrPort) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.from = from
			r.came = append(r.came, pub)
		}
		var err error
		if r.Endpoint, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		setKeys(t, r.Endpoint, gatewaySeed)
		if err := r.Listen(t.Context(), gatewayAt); err != nil {
			t.Fatal(err)
		}
		scenario(t, r)
	})
}

// node makes another node of the same cluster, which isn't listening.
func (r *rig) node(t *testing.T, keys ...byte) *rig {
	t.Helper()
	other := &rig{ether: r.ether}
	var err error
	if other.Endpoint, err = New(Config{Listen: r.ether.listen, Uplink: other.uplink}); err != nil {
		t.Fatal(err)
	}
	setKeys(t, other.Endpoint, keys...)
	return other
}

func (r *rig) listen(t *testing.T) {
	t.Helper()
	if err := r.Listen(t.Context(), gatewayAt); err != nil {
		t.Fatal(err)
	}
}

// placeOf is the outer address of a phone.
func placeOf(seed byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, seed}), 40000)
}

// phone attaches a phone at an outer address of its own.
func (r *rig) phone(t *testing.T, seed byte, keepalive int) *phone {
	t.Helper()
	return r.phoneOf(t, seed, gatewaySeed, keepalive)
}

// phoneOf attaches a phone that knows the gateway by a certain key.
func (r *rig) phoneOf(t *testing.T, seed, gatewaySeed byte, keepalive int) *phone {
	t.Helper()
	c, err := r.ether.listen(t.Context(), placeOf(seed))
	if err != nil {
		t.Fatal(err)
	}
	p := newPhone(t, seed, gatewaySeed, c, gatewayAt, keepalive)
	p.end = c.(*end)
	keep(t, p.dev, gatewaySeed)
	t.Cleanup(p.close)
	return p
}

// kept holds every peer that ever was in a bubble. The device drains a peer's
// queues in a finalizer, which runs outside the bubble, where the bubble's
// channels may not be touched; so none of them may become garbage.
var kept []*device.Peer

func keep(t testing.TB, dev *device.Device, seed byte) {
	_, pub := key(t, seed)
	kept = append(kept, dev.LookupPeer(pub))
}

func keepAll(t testing.TB, e *Endpoint) {
	for _, k := range *e.keys.Load() {
		for seed := range byte(4) {
			keep(t, k.dev, seed)
		}
	}
}

func peerOf(t *testing.T, seed byte, addr netip.Addr, active bool) Peer {
	t.Helper()
	_, pub := key(t, seed)
	return Peer{PublicKey: pub, Address: addr, Active: active}
}

func setPeers(t *testing.T, r *rig, peers ...Peer) {
	t.Helper()
	err := r.SetPeers(peers)
	keepAll(t, r.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
}

// take returns the packets that came down to a phone.
func (p *phone) take() [][]byte {
	synctest.Wait()
	var got [][]byte
	for {
		select {
		case b := <-p.got:
			got = append(got, b)
		default:
			return got
		}
	}
}

func same(got [][]byte, want ...[]byte) bool {
	return slices.EqualFunc(got, want, bytes.Equal)
}

// Packets go both ways, a listed phone's only, and only under its own address.
func TestPaths(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true), peerOf(t, 2, phoneB, true))
		a, b := r.phone(t, 1, 0), r.phone(t, 2, 0)
		stranger := r.phone(t, 3, 0)
		up := ip(phoneA, gateway, 100, 1)
		a.send(up)
		if got := r.uplinked(); !same(got, up) {
			t.Fatalf("uplink %x", got)
		}
		upB := ip(phoneB, gateway, 1400, 2)
		b.send(upB)
		if got := r.uplinked(); !same(got, upB) {
			t.Fatalf("uplink %x", got)
		}
		// Another's address, an address of nobody, another protocol.
		a.send(ip(phoneB, gateway, 100, 3))
		a.send(ip(gateway, gateway, 100, 3))
		stranger.send(ip(phoneA, gateway, 100, 3))
		if got := r.uplinked(); len(got) != 0 {
			t.Errorf("came up: %x", got)
		}
		downA, downB := ip(gateway, phoneA, 576, 4), ip(gateway, phoneB, 1400, 5)
		for _, pkt := range [][]byte{downA, downB} {
			if err := r.Send(pkt); err != nil {
				t.Fatal(err)
			}
		}
		if got := a.take(); !same(got, downA) {
			t.Errorf("A got %x", got)
		}
		if got := b.take(); !same(got, downB) {
			t.Errorf("B got %x", got)
		}
		c := r.Counters()
		if c["uplink-packets"] != 2 || c["uplink-bytes"] != 1500 || c["downlink-packets"] != 2 || c["downlink-bytes"] != 1976 {
			t.Errorf("counters %v", c)
		}
	})
}

func TestSendRefuses(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		for _, c := range []struct {
			name   string
			pkt    []byte
			err    error
			reason string
		}{
			{"empty", nil, ErrPacket, "downlink-malformed"},
			{"short", make([]byte, 19), ErrPacket, "downlink-malformed"},
			{"IPv6", append([]byte{0x60}, make([]byte, 39)...), ErrPacket, "downlink-malformed"},
			{"over the MTU", ip(gateway, phoneA, 1401, 0), ErrPacket, "downlink-malformed"},
			{"nobody", ip(gateway, phoneB, 100, 0), ErrNoPeer, "no-peer"},
		} {
			was := r.Counters()[c.reason]
			if err := r.Send(c.pkt); !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", c.name, err, c.err)
			}
			if n := r.Counters()[c.reason] - was; n != 1 {
				t.Errorf("%s: %s rose by %d", c.name, c.reason, n)
			}
		}
		r.Unlisten()
		if err := r.Send(ip(gateway, phoneA, 100, 0)); !errors.Is(err, ErrNotListening) {
			t.Errorf("not listening: %v", err)
		}
	})
}

// SetPeers changes what differs: removed phones are cut off, an address passes
// on, who stays keeps its session.
func TestSetPeers(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true), peerOf(t, 2, phoneB, true))
		a, b := r.phone(t, 1, 0), r.phone(t, 2, 0)
		a.send(ip(phoneA, gateway, 60, 1))
		b.send(ip(phoneB, gateway, 60, 1))
		if got := r.uplinked(); len(got) != 2 {
			t.Fatalf("uplink %x", got)
		}
		// The same again: nothing is torn down, so the next packet needs no
		// handshake and comes in no time.
		setPeers(t, r, peerOf(t, 2, phoneB, true), peerOf(t, 1, phoneA, true))
		a.send(ip(phoneA, gateway, 60, 2))
		if got := r.uplinked(); len(got) != 1 {
			t.Fatalf("uplink %x", got)
		}
		// They swap addresses.
		setPeers(t, r, peerOf(t, 1, phoneB, true), peerOf(t, 2, phoneA, true))
		a.send(ip(phoneA, gateway, 60, 3))
		b.send(ip(phoneB, gateway, 60, 3))
		if got := r.uplinked(); len(got) != 0 {
			t.Errorf("under the old addresses: %x", got)
		}
		a.send(ip(phoneB, gateway, 60, 4))
		if got := r.uplinked(); !same(got, ip(phoneB, gateway, 60, 4)) {
			t.Errorf("under the new address: %x", got)
		}
		down := ip(gateway, phoneA, 60, 5)
		if err := r.Send(down); err != nil {
			t.Fatal(err)
		}
		if got := b.take(); !same(got, down) {
			t.Errorf("B got %x", got)
		}
		// One is removed, and back later with a session to make.
		setPeers(t, r, peerOf(t, 2, phoneA, true))
		a.send(ip(phoneB, gateway, 60, 6))
		if got := r.uplinked(); len(got) != 0 {
			t.Errorf("a removed phone came up: %x", got)
		}
		if err := r.Send(ip(gateway, phoneB, 60, 6)); !errors.Is(err, ErrNoPeer) {
			t.Errorf("to a removed phone: %v", err)
		}
		setPeers(t, r, peerOf(t, 1, phoneB, true), peerOf(t, 2, phoneA, true))
		time.Sleep(30 * time.Second) // it notices that nobody answers, and shakes hands
		a.send(ip(phoneB, gateway, 60, 7))
		if got := r.uplinked(); len(got) == 0 || !bytes.Equal(got[len(got)-1], ip(phoneB, gateway, 60, 7)) {
			t.Errorf("back again: %x", got)
		}
	})
}

// Peers that can't be had are told, and don't stand in the way of the others.
func TestSetPeersVets(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		six := peerOf(t, 2, netip.MustParseAddr("2001:db8::2"), true)
		keyless := Peer{Address: phoneB}
		again := peerOf(t, 1, phoneB, true)
		taken := peerOf(t, 3, phoneA, true)
		err := r.SetPeers([]Peer{six, peerOf(t, 1, phoneA, true), keyless, again, taken})
		keepAll(t, r.Endpoint)
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{"IPv4", "missing", "its public key", "its address"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q doesn't tell %q", err, want)
			}
		}
		a := r.phone(t, 1, 0)
		a.send(ip(phoneA, gateway, 60, 1))
		if got := r.uplinked(); len(got) != 1 {
			t.Errorf("the good peer: %x", got)
		}
	})
}

// When a phone's coming is reported, and when not.
func TestOnAuthenticated(t *testing.T) {
	cfg := Config{Silence: 5 * time.Second}
	pkt := ip(phoneA, gateway, 60, 1)
	bubble(t, cfg, func(t *testing.T, r *rig) {
		_, pub := key(t, 1)
		expect := func(when string, n int) {
			t.Helper()
			got := r.reported()
			if len(got) != n || n > 0 && got[0] != pub {
				t.Errorf("%s: %d reports, want %d", when, len(got), n)
			}
		}
		setPeers(t, r, peerOf(t, 1, phoneA, false))
		a := r.phone(t, 1, 1) // keeps the path warm every second
		time.Sleep(3 * time.Second)
		expect("a handshake and keepalives", 0)
		a.send(pkt)
		expect("first data", 1)
		for range 4 {
			a.send(pkt)
			time.Sleep(time.Second)
		}
		expect("more within the interval", 0)
		time.Sleep(time.Second)
		a.send(pkt)
		expect("still not active: the switch may have failed", 1)

		setPeers(t, r, peerOf(t, 1, phoneA, true))
		for range 20 {
			a.send(pkt)
			time.Sleep(time.Second)
		}
		expect("data on the active path", 0)
		time.Sleep(4 * time.Second)
		a.send(pkt)
		expect("data after silence", 1)
		for range 10 {
			a.send(pkt)
			time.Sleep(time.Second)
		}

		setPeers(t, r, peerOf(t, 1, phoneA, false))
		for range 4 {
			a.send(pkt)
			time.Sleep(time.Second)
		}
		expect("in flight when the path was left", 0)
		time.Sleep(time.Second)
		a.send(pkt)
		expect("after that", 1)
	})
}

// The gateway address goes away and comes back, here or somewhere else with the
// same keys: phones shake hands again by themselves.
func TestAddressMoves(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		a := r.phone(t, 1, 0)
		pkt := ip(phoneA, gateway, 60, 1)
		a.send(pkt)
		if len(r.uplinked()) != 1 || len(r.reported()) != 1 {
			t.Fatal("no path to begin with")
		}
		if err := r.Listen(t.Context(), gatewayAt); err != nil { // again: reopens
			t.Fatal(err)
		}
		r.Unlisten()
		r.Unlisten()

		// Another node takes over.
		other := r.node(t, gatewaySeed)
		defer other.Close()
		setPeers(t, other, peerOf(t, 1, phoneA, true))
		if err := other.Listen(t.Context(), gatewayAt); err != nil {
			t.Fatal(err)
		}
		a.send(pkt) // with the old session: nobody hears it, nobody answers
		if got := other.uplinked(); len(got) != 0 {
			t.Errorf("came up under a session of another node: %x", got)
		}
		time.Sleep(20 * time.Second) // KeepaliveTimeout + RekeyTimeout, with jitter
		a.send(pkt)
		if got := other.uplinked(); len(got) == 0 {
			t.Error("the phone didn't come to the other node")
		}
		if err := r.Listen(t.Context(), gatewayAt); !errors.Is(err, errInUse) {
			t.Errorf("two nodes at one address: %v", err)
		}

		// And back.
		other.Unlisten()
		if err := r.Listen(t.Context(), gatewayAt); err != nil {
			t.Fatal(err)
		}
		a.send(pkt)
		time.Sleep(20 * time.Second)
		a.send(pkt)
		if len(r.uplinked()) == 0 || len(r.reported()) == 0 {
			t.Error("the phone didn't come back")
		}
	})
}

func TestClose(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		r.Close()
		r.Close()
		r.Unlisten()
		if err := r.Listen(t.Context(), gatewayAt); !errors.Is(err, ErrClosed) {
			t.Errorf("Listen: %v", err)
		}
		one, _ := key(t, gatewaySeed)
		if err := r.SetKeys(one); !errors.Is(err, ErrClosed) {
			t.Errorf("SetKeys: %v", err)
		}
		if err := r.SetPeers(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("SetPeers: %v", err)
		}
		if err := r.Send(ip(gateway, phoneA, 60, 1)); !errors.Is(err, ErrNotListening) {
			t.Errorf("Send: %v", err)
		}
		if c, err := r.ether.listen(context.Background(), gatewayAt); err != nil {
			t.Errorf("the socket stayed open: %v", err)
		} else {
			c.Close()
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"small MTU": {MTU: 575},
		"large MTU": {MTU: 70000},
	} {
		if e, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
			e.Close()
		}
	}
}

// No key, private, public or pre-shared, whole or in part, in any spelling, gets into
// the log or an error, whatever goes wrong.
func TestKeysAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		setKeys(t, r.Endpoint, newSeed, gatewaySeed)
		listed := []Peer{withPSK(peerOf(t, 1, phoneA, true), 0x51), withPSK(peerOf(t, 2, phoneB, true), 0x52)}
		setPeers(t, r, listed...)
		fails := func(what string, err error) {
			if err == nil {
				t.Errorf("%s: no error", what)
			}
			fmt.Fprintln(&log, err)
		}
		fails("twice the same peer", r.SetPeers(append(listed, withPSK(peerOf(t, 1, gateway, true), 0x51))))
		one, _ := key(t, gatewaySeed)
		fails("twice the same key", r.SetKeys(one, one))
		keepAll(t, r.Endpoint)
		// A peer that was never heard: the device has nowhere to send to, and
		// says so.
		if err := r.Send(ip(gateway, phoneB, 60, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		a := r.phone(t, 1, 0) // without its pre-shared key
		a.send(ip(phoneA, gateway, 60, 1))
		time.Sleep(time.Minute)
		a.set(t, gatewaySeed, pskLine(0x51))
		time.Sleep(time.Minute)
		a.send(ip(phoneA, gateway, 60, 1))
		r.uplinked()
		// Its way out is gone.
		listed[0].Endpoint = netip.MustParseAddrPort("[2001:db8::1]:1")
		setPeers(t, r, listed...)
		a.close()
		time.Sleep(10 * time.Minute)
		setKeys(t, r.Endpoint, newSeed)
		r.Close()
		if log.Len() == 0 {
			t.Fatal("nothing was logged: the test shows nothing")
		}
		var all [][32]byte
		for _, seed := range []byte{1, 2, gatewaySeed, newSeed} {
			private, public := key(t, seed)
			all = append(all, private, public)
		}
		for _, p := range listed {
			all = append(all, p.PresharedKey)
		}
		for _, k := range all {
			b64 := base64.StdEncoding.EncodeToString(k[:])
			for _, s := range []string{hex.EncodeToString(k[:4]), b64[:4], b64[39:43], fmt.Sprint(k[:3])} {
				if strings.Contains(log.String(), strings.Trim(s, "[]")) {
					t.Errorf("the log has %q of a key:\n%s", s, log.String())
				}
			}
		}
	})
}

// A node that may have been succeeded answers no handshake: the peer's session
// would be with a node that carries nothing.
func TestFenced(t *testing.T) {
	bubble(t, Config{Holds: func() bool { return false }}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		a := r.phone(t, 1, 0)
		a.send(ip(phoneA, gateway, 100, 1))
		if got := r.uplinked(); len(got) != 0 {
			t.Errorf("a session came to be: %d packets", len(got))
		}
		if n := r.Counters()["not-holder"]; n == 0 {
			t.Error("nothing was held back")
		}
	})
}
