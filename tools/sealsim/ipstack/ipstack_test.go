package ipstack

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
)

var (
	near = netip.MustParsePrefix("10.90.0.7/32")
	far  = netip.MustParsePrefix("10.90.0.1/32")
)

// wire makes two stacks.
func wire(t *testing.T) (a, b *Stack) {
	t.Helper()
	return open(t, near), open(t, far)
}

func open(t *testing.T, at netip.Prefix) *Stack {
	t.Helper()
	s, err := New(at, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func join(a, b *Stack) {
	a.SetLink(b.Deliver)
	b.SetLink(a.Deliver)
}

func TestPing(t *testing.T) {
	a, b := wire(t)
	join(a, b)
	if _, err := a.Ping(t.Context(), far.Addr()); err != nil {
		t.Fatal(err)
	}
	a.SetLink(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Ping(ctx, far.Addr()); !errors.Is(err, context.Canceled) {
		t.Errorf("without a link: %v", err)
	}
}

func TestTCPSurvivesTheChangeOfThePath(t *testing.T) {
	a, b := wire(t)
	join(a, b)
	listener, err := b.ListenTCP(443)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
		}
	}()
	conn, err := a.DialContext(t.Context(), "tcp", "10.90.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	echo := func(text string) {
		t.Helper()
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
			t.Fatalf("echo %q, %v", got, err)
		}
	}
	echo("over the first path")

	// The path goes away while data is on its way, and another takes over.
	lost := make(chan struct{})
	var once atomic.Bool
	a.SetLink(func([]byte) {
		if once.CompareAndSwap(false, true) {
			close(lost)
		}
	})
	if _, err := conn.Write([]byte("lost, ")); err != nil {
		t.Fatal(err)
	}
	<-lost
	var second atomic.Int64
	if err := a.SetAddress(near); err != nil {
		t.Fatal(err)
	}
	a.SetLink(func(p []byte) { second.Add(1); b.Deliver(p) })
	if _, err := conn.Write([]byte("then found")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("lost, then found"))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "lost, then found" {
		t.Fatalf("after the change: %q, %v", got, err)
	}
	if second.Load() == 0 {
		t.Error("nothing went over the second path")
	}
}

func TestUDP(t *testing.T) {
	a, b := wire(t)
	join(a, b)
	server, err := b.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := a.DialUDP(netip.AddrPortFrom(far.Addr(), 5684))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	port := netip.MustParseAddrPort(from.String()).Port()
	if port < FirstPort || port > LastPort {
		t.Errorf("port %d is outside of the stack's own range", port)
	}
	if _, err := server.WriteTo([]byte("there"), from); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "there" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestAddressCanChange(t *testing.T) {
	a, b := wire(t)
	join(a, b)
	other := netip.MustParsePrefix("10.90.0.8/32")
	if err := a.SetAddress(other); err != nil {
		t.Fatal(err)
	}
	if a.Address() != other.Addr() {
		t.Errorf("address %v", a.Address())
	}
	if _, err := b.Ping(t.Context(), other.Addr()); err != nil {
		t.Error(err)
	}
}

func TestDialRefusals(t *testing.T) {
	a, b := wire(t)
	join(a, b)
	if _, err := a.DialContext(t.Context(), "tcp", "10.90.0.1:81"); err == nil {
		t.Error("a closed port was connected")
	}
	if _, err := a.DialContext(t.Context(), "tcp", "gateway:443"); err == nil {
		t.Error("a name was dialled")
	}
	if _, err := a.DialContext(t.Context(), "udp", "10.90.0.1:443"); err == nil {
		t.Error("UDP was dialled as a stream")
	}
	a.SetLink(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.DialContext(ctx, "tcp", "10.90.0.1:443"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzDeliver(f *testing.F) {
	s, err := New(near, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x00\x00\x0a\x5a\x00\x01\x0a\x5a\x00\x07\x08\x00\xf7\xff\x00\x00\x00\x00"))
	f.Add([]byte{0x45})
	f.Fuzz(func(_ *testing.T, packet []byte) { s.Deliver(packet) })
}
