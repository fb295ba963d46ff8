package bind

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// freePort is one that nobody listens at, at any address.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// opened listens at a port that was free; somebody else on the machine may be quicker.
func opened(t *testing.T, own []netip.Addr, host string) (l net.Listener, port string) {
	t.Helper()
	for {
		port = freePort(t)
		l, err := Listen(own, net.JoinHostPort(host, port), slog.New(slog.DiscardHandler))
		if errors.Is(err, syscall.EADDRINUSE) && t.Context().Err() == nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return l, port
	}
}

// mine is an address of loopback that no other process tests with.
func mine() netip.Addr {
	return netip.AddrFrom4([4]byte{127, 247, byte(os.Getpid() >> 8), byte(os.Getpid())})
}

// echo answers each connection with the address that it came to.
func echo(t *testing.T, l net.Listener) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			_, _ = io.WriteString(c, c.LocalAddr().String())
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Close: %v", err)
		}
	})
}

// answers dials and tells whether the listener that is there answered.
func answers(host, port string) bool {
	at := net.JoinHostPort(host, port)
	c, err := net.DialTimeout("tcp", at, time.Minute) // nothing is lost on the way
	if err != nil {
		return false
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	return err == nil && string(said) == at
}

func TestListen(t *testing.T) {
	host6 := "::1"
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		host6 = ""
	} else {
		l.Close()
	}
	for _, c := range []struct {
		name       string
		own        []netip.Addr
		host       string
		there, not []string
	}{
		{"at its own addresses", addrs("127.0.10.9", "127.0.0.1"), "", []string{"127.0.10.9", "127.0.0.1"}, []string{"127.0.10.10", "::1"}},
		{"at those of both families", addrs("::1", "127.0.10.9"), "", []string{"127.0.10.9", "::1"}, []string{"127.0.0.1"}},
		{"at all of them", nil, "", []string{"127.0.10.9", "127.0.0.1", "::1"}, nil},
		{"at all of them all the same", addrs("127.0.10.9"), "0.0.0.0", []string{"127.0.10.9", "127.0.0.1", "::1"}, nil},
		{"where it is told to", addrs("127.0.10.9"), "127.0.0.2", []string{"127.0.0.2"}, []string{"127.0.10.9", "127.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if host6 == "" && len(c.own) > 0 && c.own[0].Is6() {
				t.Skip("no IPv6")
			}
			l, port := opened(t, c.own, c.host)
			echo(t, l)
			for _, host := range c.there {
				if (host != "::1" || host6 != "") && !answers(host, port) {
					t.Errorf("%s doesn't answer", host)
				}
			}
			for _, host := range c.not {
				if answers(host, port) {
					t.Errorf("%s answers", host)
				}
			}
		})
	}
}

// An address that the machine hasn't is told of, and what was open by then is closed.
func TestListenElsewhere(t *testing.T) {
	port := freePort(t)
	_, err := Listen([]netip.Addr{mine(), netip.MustParseAddr("192.0.2.77")}, ":"+port, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "no interface of this machine has the address 192.0.2.77") {
		t.Fatalf("%v", err)
	}
	again, err := net.Listen("tcp", net.JoinHostPort(mine().String(), port))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := Listen(addrs("127.0.10.9"), "no port", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no port is one")
	}
}

// A port that is taken at one of the addresses is not half taken.
func TestListenWhereSomebodyIs(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.10.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	if l, err := Listen(addrs("127.0.10.8", "127.0.10.9"), ":"+port, slog.New(slog.DiscardHandler)); err == nil {
		l.Close()
		t.Fatal("two listen at one place")
	}
	if answers("127.0.10.8", port) {
		t.Error("the first address is still open")
	}
}

// failing is an end that has no descriptor free once.
type failing struct {
	net.Listener
	failed bool
}

func (f *failing) Accept() (net.Conn, error) {
	if !f.failed {
		f.failed = true
		return nil, errors.New("no descriptor is free")
	}
	return f.Listener.Accept()
}

// What can't be accepted now is said, and tried again.
func TestAcceptFails(t *testing.T) {
	end, err := net.Listen("tcp", "127.0.10.9:0")
	if err != nil {
		t.Fatal(err)
	}
	l := join([]net.Listener{&failing{Listener: end}})
	defer l.Close()
	if _, err := l.Accept(); err == nil || errors.Is(err, net.ErrClosed) {
		t.Fatalf("%v", err)
	}
	c, err := net.Dial("tcp", end.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	taken, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	taken.Close()
}
