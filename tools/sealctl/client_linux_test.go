package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// blackHole is an address where nothing answers, not even a refusal: nobody takes the
// connections, and there is no room for more.
func blackHole(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*syscall.SockaddrInet4).Port))
	for {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// A machine that is gone keeps nobody waiting for the system's minutes.
func TestMachineThatIsGone(t *testing.T) {
	t.Parallel()
	f := newFakeCluster(t, 3)
	cl := f.client()
	cl.http = &http.Client{Transport: transport(f.hosts["n0"].Client().Transport.(*http.Transport).TLSClientConfig)}
	cl.addresses = append([]string{blackHole(t)}, cl.addresses...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all := askAll(ctx, cl)
	if !strings.Contains(all[0].Error, "i/o timeout") || ctx.Err() != nil {
		t.Errorf("who is gone: %+v", all[0])
	}
	for _, a := range all[1:] {
		if a.Status == nil {
			t.Errorf("another: %+v", a)
		}
	}
}
