package main

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/inner"
	"github.com/sealedge/sealedge/edge/wire"
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

func TestWindow(t *testing.T) {
	w := newWindow(4)
	var under, most atomic.Int64
	bursts, _, err := w.run(20*time.Millisecond, 2, func() error {
		most.Store(max(most.Load(), under.Add(2)))
		go func() {
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
	m, err := populate(s.layout.Policy, 300)
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
