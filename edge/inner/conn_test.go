package inner_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/inner"
)

func udpAddr(a netip.Addr, port uint16) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port))
}

func listen(t testing.TB, n *inner.Network, port uint16) net.Listener {
	t.Helper()
	l, err := n.ListenTCP(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func accept(t testing.TB, l net.Listener) net.Conn {
	t.Helper()
	type result struct {
		c   net.Conn
		err error
	}
	got := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		got <- result{c, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			t.Fatal(r.err)
		}
		t.Cleanup(func() { r.c.Close() })
		return r.c
	case <-time.After(patience):
		t.Fatal("no connection came")
		return nil
	}
}

// Data goes both ways whole, and no packet is longer than the MTU allows.
func TestTCP(t *testing.T) {
	for name, c := range map[string]struct {
		addresses      []netip.Addr
		phone, gateway netip.Addr
		mss            uint16
	}{
		"IPv4":             {[]netip.Addr{gateway}, phoneA, gateway, 1260},
		"IPv4 beside IPv6": {bothGateways, phoneA, gateway, 1260},
		"IPv6 beside IPv4": {bothGateways, phoneA6, gateway6, 1240},
		"IPv6":             {[]netip.Addr{gateway6}, phoneA6, gateway6, 1240},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, inner.Config{Addresses: c.addresses, MTU: 1300})
			p := newPhone(t, n, c.phone)
			l := listen(t, n, 443)
			if got := l.Addr().(*net.TCPAddr).AddrPort(); got != netip.AddrPortFrom(c.addresses[0], 443) {
				t.Errorf("listens at %v", got)
			}
			conn := p.dial(t, c.gateway, 443)
			s := accept(t, l)
			if got := s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got.Unmap() != c.phone {
				t.Errorf("remote address %v, want %v", got, c.phone)
			}
			if got, want := s.LocalAddr().String(), netip.AddrPortFrom(c.gateway, 443).String(); got != want {
				t.Errorf("local address %v, want %v", got, want)
			}
			bothWays(t, conn, s)
			p.mu.Lock()
			defer p.mu.Unlock()
			// The phone's link takes 1500: that 1300 holds both ways is the doing
			// of the segment size that the gateway offers.
			if p.mss != c.mss || p.longUp > 1300 || p.longDown > 1300 || min(p.longUp, p.longDown) < 1200 {
				t.Errorf("segment size %d, longest packets %d up, %d down; want %d and just under 1300", p.mss, p.longUp, p.longDown, c.mss)
			}
			if p.together < 2 {
				t.Errorf("packets came down one by one")
			}
			if got := n.Counters(); got["malformed"]+got["fragment"]+got["extension-header"] != 0 {
				t.Errorf("counters %v", got)
			}
		})
	}
}

// bothWays sends an image over a connection, up and then down.
func bothWays(t *testing.T, phone, gateway net.Conn) {
	t.Helper()
	image := bytes.Repeat([]byte("evidence"), 100_000)
	for _, way := range []struct {
		name     string
		from, to net.Conn
	}{{"up", phone, gateway}, {"down", gateway, phone}} {
		sent := make(chan error, 1)
		go func() {
			_, err := way.from.Write(image)
			sent <- err
		}()
		got := make([]byte, len(image))
		if err := way.to.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way.to, got); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		if err := <-sent; err != nil || !bytes.Equal(got, image) {
			t.Errorf("%s: %v, equal %v", way.name, err, bytes.Equal(got, image))
		}
	}
}

// A session changes its path: its connections go on.
func TestPathChange(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	p := newPhone(t, n, phoneA)
	l := listen(t, n, 443)
	c := p.dial(t, gateway, 443)
	s := accept(t, l)
	n.SetRoute(host(phoneA), second{p})
	if _, err := s.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "still here" {
		t.Errorf("read %q, %v", b, err)
	}
}

type second struct{ p *phone }

func (s second) Send(pkt []byte) error { return s.p.Send(pkt) }

// A session ends: whoever serves its connection is told.
func TestDelRouteResets(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	a, b := newPhone(t, n, phoneA), newPhone(t, n, phoneB)
	l := listen(t, n, 443)
	a.dial(t, gateway, 443)
	sa := accept(t, l)
	cb := b.dial(t, gateway, 443)
	sb := accept(t, l)
	failed := make(chan error, 1)
	go func() {
		_, err := sa.Read(make([]byte, 1))
		failed <- err
	}()
	n.DelRoute(host(phoneA))
	select {
	case err := <-failed:
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read after the session's end: %v, want a reset", err)
		}
	case <-time.After(patience):
		t.Fatal("a read outlived its session")
	}
	// A server asks for it once more when it lets go.
	if got, ok := sa.RemoteAddr().(*net.TCPAddr); !ok || got.AddrPort().Addr().Unmap() != phoneA {
		t.Errorf("remote address %v after the reset, want %v", sa.RemoteAddr(), phoneA)
	}
	// The other terminal is left alone.
	if _, err := cb.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := sb.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(sb, make([]byte, 1)); err != nil {
		t.Errorf("the other terminal: %v", err)
	}
}

// One terminal can't take all connections, and gets room back by closing some.
func TestConnectionLimit(t *testing.T) {
	n := newNetwork(t, inner.Config{ConnsPerTerminal: 2})
	a, b := newPhone(t, n, phoneA), newPhone(t, n, phoneB)
	l := listen(t, n, 443)
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	next := func() net.Conn {
		select {
		case c := <-accepted:
			return c
		case <-time.After(patience):
			t.Fatal("no connection came")
			return nil
		}
	}
	a.dial(t, gateway, 443)
	first := next()
	a.dial(t, gateway, 443)
	next()
	// The handshake is the stack's; the reset follows, before or after the
	// phone sees it complete.
	if third, err := a.tryDial(gateway, 443); err == nil {
		if err := third.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := third.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("third connection: %v, want a reset", err)
		}
	}
	if got := n.Counters()["connection-limit"]; got != 1 {
		t.Errorf("connection-limit = %d, want 1", got)
	}
	b.dial(t, gateway, 443)
	next().Close()
	first.Close()
	a.dial(t, gateway, 443)
	next()
}

// Datagrams go both ways; with two APNs the answer comes from the address that
// was asked.
func TestUDP(t *testing.T) {
	n := newNetwork(t, inner.Config{Addresses: []netip.Addr{gateway, gateway2}})
	p := newPhone(t, n, phoneA)
	s, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, gw := range []netip.Addr{gateway, gateway2, gateway} {
		c := p.dialUDP(t, gw, 5684) // connected: takes answers from gw only
		if _, err := c.Write([]byte("ask " + gw.String())); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		m, from, err := s.ReadFrom(b)
		if err != nil || string(b[:m]) != "ask "+gw.String() {
			t.Fatalf("ReadFrom = %q, %v", b[:m], err)
		}
		if _, err := s.WriteTo([]byte("answer"), from); err != nil {
			t.Fatal(err)
		}
		if m, err = c.Read(b); err != nil || string(b[:m]) != "answer" {
			t.Errorf("from %v: %q, %v", gw, b[:m], err)
		}
	}
	// Datagrams that came together are all read, and by all who wait.
	c := p.dialUDP(t, gateway2, 5684)
	const readers = 8
	read := make(chan error, readers)
	for range readers {
		go func() {
			_, _, err := s.ReadFrom(make([]byte, 10))
			read <- err
		}()
	}
	for range readers {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range readers {
		if err := <-read; err != nil {
			t.Fatalf("one of several readers: %v", err)
		}
	}
	// A change of path doesn't change the address that answers.
	n.SetRoute(host(phoneA), second{p})
	if _, err := s.WriteTo([]byte("pushed"), c.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Read(make([]byte, 10)); err != nil || m != 6 {
		t.Errorf("after a change of path: %d octets, %v", m, err)
	}
	for i := range 50 {
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	for i := range 50 {
		if m, _, err := s.ReadFrom(b); err != nil || m != 1 || b[0] != byte(i) {
			t.Fatalf("datagram %d: %x, %v", i, b[:m], err)
		}
	}
	if _, err := s.WriteTo(nil, &net.TCPAddr{}); err == nil {
		t.Error("a TCP address was taken")
	}
	if _, err := s.WriteTo(nil, udpAddr(netip.IPv6LinkLocalAllNodes(), 1)); err == nil {
		t.Error("an IPv6 address was taken")
	}
}

func TestUDPDeadlines(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	s, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	read := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			_, _, err := s.ReadFrom(make([]byte, 10))
			done <- err
		}()
		return done
	}
	within := func(done <-chan error, want error) {
		t.Helper()
		select {
		case err := <-done:
			if !errors.Is(err, want) {
				t.Errorf("ReadFrom: %v, want %v", err, want)
			}
		case <-time.After(patience):
			t.Fatal("ReadFrom hangs")
		}
	}
	set := func(at time.Time) {
		t.Helper()
		if err := s.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
	}
	set(time.Now().Add(-time.Second))
	within(read(), os.ErrDeadlineExceeded)
	set(time.Now().Add(time.Hour))
	waiting := read()
	set(time.Now().Add(time.Millisecond)) // while it waits
	within(waiting, os.ErrDeadlineExceeded)
	set(time.Time{})
	waiting = read()
	select {
	case err := <-waiting:
		t.Fatalf("ReadFrom without a deadline: %v", err)
	default:
	}
	s.Close()
	within(waiting, net.ErrClosed)
	within(read(), net.ErrClosed)
	if _, err := s.WriteTo([]byte("x"), udpAddr(phoneA, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteTo after Close: %v", err)
	}
	if _, err := n.ListenUDP(5684); err != nil {
		t.Errorf("the port isn't free again: %v", err)
	}
}

func TestPortsAreExclusive(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	l := listen(t, n, 443)
	if _, err := n.ListenTCP(443); err == nil {
		t.Error("TCP port taken twice")
	}
	if _, err := n.ListenUDP(443); err != nil {
		t.Errorf("UDP port of the same number: %v", err)
	}
	if _, err := n.ListenUDP(443); err == nil {
		t.Error("UDP port taken twice")
	}
	done := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	l.Close()
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v, want net.ErrClosed", err)
		}
	case <-time.After(patience):
		t.Fatal("Accept outlives Close")
	}
	listen(t, n, 443)
}

// Close ends everything that waits.
func TestClose(t *testing.T) {
	n := newNetwork(t, inner.Config{})
	p := newPhone(t, n, phoneA)
	l := listen(t, n, 443)
	u, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	p.dial(t, gateway, 443)
	s := accept(t, l)
	done := make(chan error, 3)
	go func() { _, err := l.Accept(); done <- err }()
	go func() { _, _, err := u.ReadFrom(make([]byte, 1)); done <- err }()
	go func() { _, err := s.Read(make([]byte, 1)); done <- err }()
	closed := make(chan struct{})
	go func() { n.Close(); n.Close(); close(closed) }()
	for range 3 {
		select {
		case err := <-done:
			if err == nil {
				t.Error("ended without an error")
			}
		case <-time.After(patience):
			t.Fatal("something outlives Close")
		}
	}
	<-closed
	n.Deliver(ip(phoneA, gateway, 1, echo(), nil))
	if _, err := n.ListenTCP(80); !errors.Is(err, inner.ErrClosed) {
		t.Errorf("ListenTCP after Close: %v", err)
	}
	if _, err := n.ListenUDP(80); !errors.Is(err, inner.ErrClosed) {
		t.Errorf("ListenUDP after Close: %v", err)
	}
}
