package wireguard

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

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
