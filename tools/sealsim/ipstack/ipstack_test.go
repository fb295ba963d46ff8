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

	near6 = netip.MustParsePrefix("fd00:90:0:7::a1/64")
	far6  = netip.MustParsePrefix("fd00:90::1/128")
)

// wire makes two stacks.
func wire(t *testing.T) (a, b *Stack) {
	t.Helper()
	return open(t, near), open(t, far)
}

// wire6 makes two stacks of which the first has IPv6 alone.
func wire6(t *testing.T) (a, b *Stack) {
	t.Helper()
	a, b = open(t, netip.Prefix{}), open(t, far)
	if err := errors.Join(a.SetAddress6(near6), b.SetAddress6(far6)); err != nil {
		t.Fatal(err)
	}
	join(a, b)
	return a, b
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

func TestIPv6(t *testing.T) {
	a, b := wire6(t)
	if a.Address().IsValid() || a.Address6() != near6.Addr() || b.Address() != far.Addr() || b.Address6() != far6.Addr() {
		t.Errorf("addresses %v and %v, %v and %v", a.Address(), a.Address6(), b.Address(), b.Address6())
	}
	if _, err := a.Ping(t.Context(), far6.Addr()); err != nil {
		t.Error(err)
	}
	listener, err := b.ListenTCP(443)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, conn.RemoteAddr().String())
			_ = conn.Close()
		}
	}()
	for network, works := range map[string]bool{"tcp": true, "tcp6": true, "tcp4": false} {
		conn, err := a.DialContext(t.Context(), network, "[fd00:90::1]:443")
		if (err == nil) != works {
			t.Errorf("%s: %v", network, err)
		}
		if err != nil {
			continue
		}
		seen, err := io.ReadAll(conn)
		if got, _ := netip.ParseAddrPort(string(seen)); err != nil || got.Addr() != near6.Addr() {
			t.Errorf("%s: the other end saw %q, %v", network, seen, err)
		}
	}
	server, err := b.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := a.DialUDP(netip.AddrPortFrom(far6.Addr(), 5684))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := udp.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if _, err := server.WriteTo([]byte("there"), from); err != nil {
		t.Fatal(err)
	}
	if n, err := udp.Read(buf); err != nil || string(buf[:n]) != "there" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// A listener serves both families at once.
func TestListenersOfBothFamilies(t *testing.T) {
	a, b := wire6(t)
	if err := a.SetAddress(near); err != nil {
		t.Fatal(err)
	}
	server, err := b.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []netip.Addr{far.Addr(), far6.Addr()} {
		if _, err := a.Ping(t.Context(), at); err != nil {
			t.Error(err)
		}
		udp, err := a.DialUDP(netip.AddrPortFrom(at, 5684))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := udp.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		_, from, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.WriteTo([]byte("there"), from); err != nil {
			t.Fatal(err)
		}
		if n, err := udp.Read(buf); err != nil || string(buf[:n]) != "there" {
			t.Errorf("%v: %q, %v", at, buf[:n], err)
		}
	}
}

func TestAddressesOfTheirFamily(t *testing.T) {
	s := open(t, near)
	if err := s.SetAddress(near6); err == nil {
		t.Error("an IPv6 address was taken for IPv4")
	}
	for _, not6 := range []string{"10.90.0.9/32", "::ffff:10.90.0.9/64"} {
		if err := s.SetAddress6(netip.MustParsePrefix(not6)); err == nil {
			t.Errorf("%s was taken for IPv6", not6)
		}
	}
	if _, err := New(near6, 0); err == nil {
		t.Error("an IPv6 address was taken for IPv4")
	}
	if err := errors.Join(s.SetAddress6(near6), s.SetAddress(netip.Prefix{}), s.SetAddress(netip.Prefix{})); err != nil {
		t.Fatal(err)
	}
	if s.Address().IsValid() || s.Address6() != near6.Addr() {
		t.Errorf("addresses %v and %v", s.Address(), s.Address6())
	}
	if _, err := s.DialUDP(netip.AddrPortFrom(far.Addr(), 9)); err == nil {
		t.Error("IPv4 without an address")
	}
}

func FuzzDeliver(f *testing.F) {
	s, err := New(near, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	if err := s.SetAddress6(near6); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x00\x00\x0a\x5a\x00\x01\x0a\x5a\x00\x07\x08\x00\xf7\xff\x00\x00\x00\x00"))
	f.Add([]byte{0x45})
	f.Add([]byte("\x60\x00\x00\x00\x00\x08\x3a\x40\xfd\x00\x00\x90\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\xfd\x00\x00\x90\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\xa1\x80\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte{0x60})
	f.Fuzz(func(_ *testing.T, packet []byte) { s.Deliver(packet) })
}
