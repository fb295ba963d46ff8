package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/edge/inner"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/bundle"
)

// pathFunc is a way to a terminal.
type pathFunc func(pkt []byte) error

func (f pathFunc) Send(pkt []byte) error { return f(pkt) }

// What is sent as load is what the inner network lets through: echoes are
// answered, datagrams arrive at the barrels' port.
func TestPacketsAreLetThrough(t *testing.T) {
	n, err := inner.New(inner.Config{Addresses: []netip.Addr{innerGateway}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	phone := netip.MustParseAddr("10.90.0.7")
	replies := 0
	n.SetRoute(netip.PrefixFrom(phone, 32), pathFunc(func(pkt []byte) error {
		if isEchoReply(pkt) {
			replies++
		}
		return nil
	}))
	port, err := n.ListenUDP(wire.BarrelPort)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range packetSizes {
		n.Deliver(echo(phone, size))
		n.Deliver(datagram(phone, size))
		if err := port.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, _, err := port.ReadFrom(make([]byte, 2000))
		if err != nil || got != size-ipHeader-udpHeader {
			t.Errorf("a datagram of %d bytes carries %d, %v", size, got, err)
		}
	}
	if replies != len(packetSizes) {
		t.Errorf("%d echoes were answered, want %d", replies, len(packetSizes))
	}
}

func TestWindow(t *testing.T) { synctest.Test(t, testWindow) }

func testWindow(t *testing.T) {
	w := newWindow(4)
	var under, most atomic.Int64
	bursts, _, err := w.run(20*time.Millisecond, 2, func() error {
		most.Store(max(most.Load(), under.Add(2)))
		go func() {
			time.Sleep(time.Millisecond) // of the bubble: the way there and back
			for range 2 {
				under.Add(-1)
				w.returned()
			}
		}()
		return nil
	})
	if err != nil || w.lost != 0 || w.back.Load() != int64(2*bursts) || most.Load() > 4 {
		t.Errorf("%v: %d of %d marks came back, %d lost, %d at once", err, w.back.Load(), 2*bursts, w.lost, most.Load())
	}
	if bursts, _, _ = w.run(time.Nanosecond, 2, func() error { return nil }); w.lost != int64(2*bursts) {
		t.Errorf("%d marks lost of %d that nobody answered", w.lost, 2*bursts)
	}
	broken := errors.New("broken")
	if _, _, err := w.run(time.Minute, 2, func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a burst that fails: %v", err)
	}
}

func TestRound(t *testing.T) {
	var under, most atomic.Int64
	m, err := round{outstanding: 3, most: 30, time: time.Minute}.run(t.Context(), func(context.Context, int) (time.Duration, error) {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		return time.Second, nil
	})
	if err != nil || m.calls != 30 || most.Load() > 3 || quantile(m.latencies, 1) != time.Second {
		t.Errorf("%d calls, %d at once, %v", m.calls, most.Load(), err)
	}
	broken := errors.New("broken")
	if _, err := (round{3, 30, time.Minute}).run(t.Context(), func(context.Context, int) (time.Duration, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("a call that fails: %v", err)
	}
}

// The population is one that the machine takes, and a snapshot keeps.
func TestPopulation(t *testing.T) {
	dir := t.TempDir()
	s, err := newSite(filepath.Join(dir, "site"), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := populate(s.layout.Policy, 300, nil)
	if err != nil {
		t.Fatal(err)
	}
	sessions := 0
	for range m.Sessions() {
		sessions++
	}
	if sessions != 300 {
		t.Errorf("%d sessions", sessions)
	}
	if _, err := snapshotAndRestore(m, filepath.Join(dir, "snapshot")); err != nil {
		t.Error(err)
	}
}

// A node that joins gets all sessions, a vote and the audit chain, twice.
func TestNewcomer(t *testing.T) {
	b := &bench{dir: t.TempDir(), runs: 2, progress: io.Discard}
	if err := b.newcomer(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
	f := b.result.Figures[0]
	if f.Runs != 2 || f.value("has the state") <= 0 || f.value("votes") < f.value("has the state") {
		t.Errorf("%+v", f)
	}
}

// gatewayOf answers Creates over GTPv2, as often as it is asked, except for the
// first request of all, which it loses.
func gatewayOf(t *testing.T, cause byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		b := make([]byte, 2048)
		for first := true; ; first = false {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if first || n < 12 {
				continue
			}
			answer := append([]byte{0x48, b[1] + 1, 0, 0, 0, 0, 0, 0}, b[8:12]...)
			answer = ieV2(answer, 2, 0, []byte{cause, 0})
			_, _ = conn.WriteToUDPAddrPort(ieV2(answer, 87, 1, tunnelEnd(7, 77, gatewayAddress)), from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-served })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// A request that is lost is sent again, and every call counts once.
func TestAttachers(t *testing.T) {
	a, err := newAttachers(2, netip.MustParseAddr("127.0.0.1"), gatewayOf(t, 16), 0, 300)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	m, err := a.attach(t.Context(), round{outstanding: 64, most: 300, time: time.Minute})
	if err != nil || m.calls != 300 || m.repeats < 1 || slices.Contains(a.control, 0) { // more, on a busy machine
		t.Errorf("%d calls, %d sent again, %v", m.calls, m.repeats, err)
	}
	if err := a.detach(t.Context()); err != nil || slices.Max(a.control) != 0 {
		t.Errorf("detach: %v", err)
	}
}

// What comes at a rate of its own isn't sent again: it is lost.
func TestPacedAttachers(t *testing.T) {
	for cause, refuses := range map[byte]bool{16: false, 73: true} {
		a, err := newAttachers(2, netip.MustParseAddr("127.0.0.1"), gatewayOf(t, cause), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.attachPaced(t.Context(), 5_000, time.Minute)
		refused := 0
		if refuses {
			refused = 100 - m.lost
		}
		// On a busy machine more may come too late, or late.
		if err != nil || m.calls != 100 || m.lost < 1 || m.refused != refused || quantile(m.latencies, 1) < pacedPatience {
			t.Errorf("cause %d: %d calls, %d lost, %d refused, %v", cause, m.calls, m.lost, m.refused, err)
		}
		a.close()
	}
}

// The policy of the flood is one that is read.
func TestFloodCarriers(t *testing.T) {
	s, err := newSite(filepath.Join(t.TempDir(), "site"), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		t.Fatal(err)
	}
	rules, _, err := bundle.Parse("policy.yaml", append(doc, floodCarriers...))
	if err != nil {
		t.Fatal(err)
	}
	for peer, name := range map[netip.Addr]string{carrierAddress: "bench", foreignPeer: "foreign", hastyPeer: "hasty"} {
		if c, ok := rules.CarrierOf(peer); !ok || c.Name != name {
			t.Errorf("%v is of %+v", peer, c)
		}
	}
}

// What an earlier run gave up is nobody's answer in the next.
func TestAskerForgets(t *testing.T) {
	a, err := newAttachers(2, netip.MustParseAddr("127.0.0.1"), gatewayOf(t, 73), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if _, err := a.attach(t.Context(), round{outstanding: 100, most: 100, time: time.Minute}); err == nil {
		t.Error("a refusal is no error")
	}
	if m, err := a.run(t.Context(), plan{
		round:   round{outstanding: 1, most: 1, time: time.Minute},
		request: func(int) []byte { return a.version.remove(1) }, answered: func(int, []byte) error { return nil },
	}); err != nil || m.calls != 1 {
		t.Errorf("%d calls, %v", m.calls, err)
	}
}
