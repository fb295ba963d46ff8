package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// ggsnProgram is Osmocom's GGSN, which Debian packages as osmo-ggsn: the
// yardstick of attaches over GTPv1. It keeps its contexts in memory, in one
// process and one thread.
const ggsnProgram = "osmo-ggsn"

var ggsnAddress = netip.MustParseAddr("127.1.40.1")

// ggsnContexts is how many PDP contexts osmo-ggsn holds at most (PDP_MAX in its
// library).
const ggsnContexts = 1024

// ggsnConfig is for the version in Debian. It needs a TUN device.
const ggsnConfig = `log stderr
 logging filter all 1
 logging level ggsn error
 logging level lgtp error
 logging level ip error
 logging level tun error
line vty
 no login
ggsn ggsn0
 gtp state-dir %[1]s
 gtp bind-ip %[2]s
 apn %[3]s
  gtpu-mode tun
  tun-device tun4
  type-support v4
  ip prefix dynamic 10.64.0.0/16
  ip dns 0 10.90.0.1
  ip ifconfig 10.64.0.0/16
  no shutdown
 default-apn %[3]s
 no shutdown ggsn
`

// ggsn is a running osmo-ggsn in a network namespace of its own.
type ggsn struct {
	*process
	inside chan func() // run by a thread in the namespace
}

// errNoGGSN says why there is no osmo-ggsn to compare with.
var errNoGGSN = errors.New("without osmo-ggsn")

// startGGSN makes a network namespace and starts osmo-ggsn there. It waits until
// that answers. The error is errNoGGSN where this user or machine can't.
func startGGSN(ctx context.Context, dir string) (*ggsn, error) {
	program, err := exec.LookPath(ggsnProgram)
	if err != nil {
		return nil, fmt.Errorf("%w: %w (Debian's package osmo-ggsn has it)", errNoGGSN, err)
	}
	dir = filepath.Join(dir, ggsnProgram)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "osmo-ggsn.cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, ggsnConfig, dir, ggsnAddress, apnName), 0o600); err != nil {
		return nil, err
	}
	g := &ggsn{inside: make(chan func())}
	entered := make(chan error)
	go func() {
		// The thread is never given back: it ends with this goroutine, and the
		// namespace with the last who is in it.
		runtime.LockOSThread()
		entered <- enterNamespace()
		for do := range g.inside {
			do()
		}
	}()
	if err := <-entered; err != nil {
		close(g.inside)
		return nil, fmt.Errorf("%w: a network namespace of its own takes root: %w", errNoGGSN, err)
	}
	g.within(func() { g.process, err = start(dir, ggsnProgram, program, "-c", file) })
	if err == nil {
		err = g.await(ctx)
	}
	if err == nil {
		err = g.widen()
	}
	if err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

// enterNamespace puts the calling thread into a new network namespace whose
// loopback works.
func enterNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// within runs something on the thread in the namespace. Sockets and processes
// that it makes stay there.
func (g *ggsn) within(do func()) {
	done := make(chan struct{})
	g.inside <- func() { do(); close(done) }
	<-done
}

func (g *ggsn) stop() {
	if g.process != nil {
		g.process.stop()
	}
	close(g.inside)
}

// target is osmo-ggsn under the load of the same subscribers.
func (g *ggsn) target() target {
	at := netip.AddrPortFrom(ggsnAddress, carrier.ControlPort)
	return target{
		live: g.ended,
		cpu: func() (time.Duration, time.Duration, error) {
			t, err := g.cpu()
			return t, t, err
		},
		open: func(v protocol) (a *attachers, err error) {
			g.within(func() { a, err = newAttachers(v, carrierAddress, at, 0, ggsnContexts) })
			return a, err
		},
	}
}

// await attaches once, as soon as it is answered.
func (g *ggsn) await(ctx context.Context) error {
	a, err := g.target().open(1)
	if err != nil {
		return err
	}
	defer a.close()
	if _, err := a.attach(ctx, round{outstanding: 1, most: 1, time: time.Minute}); err != nil {
		return errors.Join(err, g.ended())
	}
	return a.detach(ctx)
}

// widen gives osmo-ggsn's control socket the buffer that the gateway asks for. It
// asks for none, and loses much of 256 requests at once to the default, each for
// as long as T3: that is no rate to compare with.
func (g *ggsn) widen() error {
	pid := g.cmd.Process.Pid
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("osmo-ggsn's socket: %w", err)
	}
	defer unix.Close(pidfd)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return err
	}
	for _, f := range files {
		number, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if err != nil {
			continue // closed meanwhile
		}
		at, err := unix.Getsockname(fd)
		in, ok := at.(*unix.SockaddrInet4)
		if err == nil && ok && in.Port == carrier.ControlPort {
			err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
			return errors.Join(err, unix.Close(fd))
		}
		_ = unix.Close(fd)
	}
	return errors.New("osmo-ggsn has no control socket")
}
