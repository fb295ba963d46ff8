package barrel

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v2/pkg/protocol"
	"github.com/pion/dtls/v2/pkg/protocol/extension"
	"github.com/pion/dtls/v2/pkg/protocol/handshake"
	"github.com/pion/dtls/v2/pkg/protocol/recordlayer"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sealedge/sealedge/edge/barrel/rfc7905"
	"github.com/sealedge/sealedge/edge/usetest"
)

// hello is a ClientHello as a peer sends it first, without a cookie.
func hello(t testing.TB) []byte {
	t.Helper()
	r := recordlayer.RecordLayer{
		Header: recordlayer.Header{Version: protocol.Version1_2},
		Content: &handshake.Handshake{Message: &handshake.MessageClientHello{
			Version:            protocol.Version1_2,
			CipherSuiteIDs:     []uint16{uint16(rfc7905.PSK)},
			CompressionMethods: []*protocol.CompressionMethod{{}},
			Extensions:         []extension.Extension{&extension.UseExtendedMasterSecret{Supported: true}},
		}},
	}
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) inject(from netip.AddrPort, b []byte) {
	_, _ = uplink{w.net, from}.WriteTo(b, nil)
}

// A barrel that lost its power comes back on the same address, which its
// terminal's NAT kept, with nothing of what it had.
func TestReboot(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		before := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		before.beat(idle)
		for range 3 {
			d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
			wantCode(t, d.beat(idle), codes.Changed, "")
		}
		synctest.Wait()
		if n := len(w.server.associations()); n != 1 {
			t.Errorf("%d associations, want 1", n)
		}
	})
}

// While somebody merely begins handshakes on its address, a barrel goes on.
func TestBegunHandshakeDisturbsNobody(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.beat(idle)
		w.inject(at(40001), hello(t))
		for range 30 {
			wantCode(t, d.beat(idle), codes.Changed, "")
			time.Sleep(time.Second)
		}
		if c := w.server.Counters(); c["handshake-failed"] != 1 {
			t.Errorf("counters %v, want one handshake that failed", c)
		}
		if n := len(w.server.associations()); n != 1 {
			t.Errorf("%d associations, want 1", n)
		}
	})
}

// Nobody without the keys ends an association, not even from its own address:
// the alert goes in beside a record that is only made up.
func TestForgedAlert(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		alert := []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40}
		protected := append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 99, 0, 20}, make([]byte, 20)...)
		w.inject(at(40001), append(alert, protected...))
		w.inject(at(40001), alert)
		wantCode(t, d.beat(idle), codes.Changed, "")
		time.Sleep(time.Second)
		wantCode(t, d.beat(idle), codes.Changed, "")
	})
}

// A port that the NAT gives to another barrel: the address is the new one's.
func TestAddressChangesHands(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.beat(idle)
		other := w.connect(usetest.Spare, usetest.Terminal, 40001)
		wantCode(t, other.beat(idle), codes.Forbidden, "barrel-not-bound")
		again := w.connect(usetest.Barrel, usetest.Terminal, 40002)
		wantCode(t, again.beat(idle), codes.Changed, "")
		wantCode(t, other.beat(idle), codes.Forbidden, "barrel-not-bound")
	})
}

// A barrel on a new port: its old association ends.
func TestNewPort(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.connect(usetest.Barrel, usetest.Terminal, 40001)
		old := w.server.associations()[0]
		d := w.connect(usetest.Barrel, usetest.Terminal, 40002)
		if !old.endsWithin(5 * time.Second) {
			t.Error("the old association lives")
		}
		wantCode(t, d.beat(idle), codes.Changed, "")
		if !w.server.Alive(usetest.Barrel) {
			t.Error("not alive")
		}
	})
}

// The handshake survives a network that loses the first sending of every
// flight.
func TestHandshakeOverLossyNetwork(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		n := 0
		w.net.losing(func(netip.AddrPort, []byte) bool { n++; return n%2 == 1 })
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		w.net.losing(nil)
		wantCode(t, d.beat(idle), codes.Changed, "")
	})
}

func TestLimits(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.close()
		w.open(Limits{Handshakes: 6, PerTerminal: 4, Associations: 7, HandshakeTimeout: 3 * time.Second})
		other := func(port uint16) netip.AddrPort {
			return netip.AddrPortFrom(usetest.Address(usetest.Other), port)
		}
		for port := uint16(1); port <= 10; port++ {
			w.inject(at(port), hello(t))
		}
		for port := uint16(1); port <= 10; port++ {
			w.inject(other(port), hello(t))
		}
		synctest.Wait()
		c := w.server.Counters()
		if c["drop-handshakes-of-terminal"] != 6 || c["drop-handshakes"] != 8 {
			t.Errorf("counters %v, want 6 handshakes of one terminal dropped, and 8 of the other", c)
		}
		time.Sleep(4 * time.Second)
		w.server.mu.Lock()
		if len(w.server.peers) != 0 || len(w.server.perHost) != 0 || w.server.handshakes != 0 {
			t.Errorf("%d peers, %d terminals, %d handshakes are left", len(w.server.peers), len(w.server.perHost), w.server.handshakes)
		}
		w.server.mu.Unlock()
		w.connect(usetest.Barrel, usetest.Terminal, 40001)
	})
}

// A terminal with a /64 begins no more handshakes than one with an address.
func TestHandshakesAreOfTheTerminal(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.close()
		w.open(Limits{PerTerminal: 4, HandshakeTimeout: 3 * time.Second})
		for n := range byte(10) {
			w.inject(netip.AddrPortFrom(usetest.Address6(usetest.Terminal, n), 40001), hello(t))
		}
		w.inject(netip.AddrPortFrom(usetest.Address6(usetest.Other, 1), 40001), hello(t))
		synctest.Wait()
		if c := w.server.Counters(); c["drop-handshakes-of-terminal"] != 6 {
			t.Errorf("counters %v, want 6 handshakes of one terminal dropped", c)
		}
		time.Sleep(4 * time.Second)
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		if len(w.server.perHost) != 0 {
			t.Errorf("%d terminals are left", len(w.server.perHost))
		}
	})
}

func TestStrayDatagrams(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		protected := append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20}, make([]byte, 20)...)
		for _, b := range [][]byte{{}, {1, 2, 3}, make([]byte, 13), make([]byte, 2000), protected[:20], protected, hello(t)[:30]} {
			w.inject(at(1), b)
		}
		synctest.Wait()
		c := w.server.Counters()
		if c["drop-unknown-peer"] != 1 || c["drop-malformed"] != 6 {
			t.Errorf("counters %v, want 1 of an unknown peer and 6 malformed", c)
		}
	})
}

// An association that nobody talks on is given up.
func TestIdleAssociation(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.beat(idle)
		if !w.endsWithin(usetest.Barrel, 2*time.Minute) {
			t.Error("still there after two minutes")
		}
	})
}

// When the gateway's address has moved away and come back, another port is
// served, with nothing of what was.
func TestServeAgain(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.beat(idle)
		w.close()
		if n := len(w.server.associations()); n != 0 {
			t.Errorf("%d associations on a gateway that serves nobody", n)
		}
		if w.server.Alive(usetest.Barrel) {
			t.Error("alive on a gateway that serves nobody")
		}
		w.start()
		d = w.connect(usetest.Barrel, usetest.Terminal, 40001)
		wantCode(t, d.beat(idle), codes.Changed, "")
	})
}

func FuzzClassify(f *testing.F) {
	f.Add(hello(f))
	f.Add([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := recordlayer.UnpackDatagram(b)
		c, ok := classify(b)
		if want := err == nil && len(records) > 0; ok != want {
			t.Fatalf("ok %v, but the library says %v", ok, err)
		}
		if !ok && c != (class{}) {
			t.Fatalf("%+v of a malformed datagram", c)
		}
	})
}
