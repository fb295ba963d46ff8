package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ethernet is the switch that joins the machines of a world. Each machine is a
// network namespace with the kernel's own IP, ARP and TCP; its eth0 is a TAP device
// whose other end is here. So the switch sees every frame at the moment that it was
// sent, and can do to it what a bad network does, in any kernel: netem isn't in all
// of them.
type ethernet struct {
	t       *testing.T
	gateway netip.Addr // whose senders are noted

	mu       sync.Mutex
	rng      *rand.Rand            // guarded by mu
	ports    map[string]*os.File   // guarded by mu
	where    map[[6]byte]string    // the port of a sender's address; guarded by mu
	troubles map[[2]string]trouble // by the ports from and to; guarded by mu
	speakers []string              // the ports that sent from gateway, in turn; guarded by mu
	spoken   map[string]int        // datagrams from gateway by port; guarded by mu
	fate     map[string]int        // what happened to frames; guarded by mu
}

// trouble is what happens to frames on their way from one port to another.
type trouble struct {
	cut    bool
	loss   float64 // probability
	double float64
	delay  time.Duration
	jitter time.Duration // added at random, so that frames overtake each other
}

func newEthernet(t *testing.T, gateway netip.Addr, seed uint64) *ethernet {
	return &ethernet{
		t: t, gateway: gateway, rng: rand.New(rand.NewPCG(seed, 0)), ports: map[string]*os.File{},
		where: map[[6]byte]string{}, troubles: map[[2]string]trouble{}, spoken: map[string]int{}, fate: map[string]int{},
	}
}

// plug gives the network namespace of a process an eth0 at a port of the switch.
func (e *ethernet) plug(port string, pid int) {
	e.t.Helper()
	tap, err := openTAP(fmt.Sprintf("/proc/%d/ns/net", pid), "eth0")
	if err != nil {
		e.t.Fatalf("plug %s in: %v", port, err)
	}
	e.mu.Lock()
	e.ports[port] = tap
	e.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 1<<16); ; {
			n, err := tap.Read(b)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil {
				e.carry(port, b[:n])
			}
		}
	}()
	e.t.Cleanup(func() { tap.Close(); <-done })
}

// openTAP makes a TAP device in a network namespace. It goes when it is closed.
func openTAP(namespace, name string) (*os.File, error) {
	return openDevice(namespace, name, unix.IFF_TAP|unix.IFF_NO_PI)
}

// openDevice makes a TAP or TUN device in a network namespace.
func openDevice(namespace, name string, flags uint16) (device *os.File, err error) {
	err = within(namespace, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("open /dev/net/tun", err)
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		request.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			unix.Close(fd)
			return os.NewSyscallError("TUNSETIFF", err)
		}
		device = os.NewFile(uintptr(fd), name) // only now, as a TAP can be polled once it is one
		return nil
	})
	return device, err
}

// within does something in a network namespace: sockets that it opens are there.
func within(namespace string, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	there, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err)
	}
	defer func() {
		if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // this thread would serve other goroutines in the wrong namespace
		}
	}()
	return do()
}

// carry takes one frame to where it should go. The frame is the caller's again when
// it returns.
func (e *ethernet) carry(from string, frame []byte) {
	if len(frame) < 14 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.where[[6]byte(frame[6:])] = from
	e.note(from, frame)
	to, known := e.where[[6]byte(frame)]
	for port := range e.ports {
		if port == from || known && port != to {
			continue
		}
		e.deliver(e.ports[port], e.troubles[[2]string{from, port}], frame)
	}
}

func (e *ethernet) deliver(port *os.File, x trouble, frame []byte) {
	copies := 1
	switch {
	case x.cut:
		e.fate["cut"]++
		return
	case x.loss > 0 && e.rng.Float64() < x.loss:
		e.fate["lost"]++
		return
	case x.double > 0 && e.rng.Float64() < x.double:
		e.fate["doubled"]++
		copies = 2
	}
	for range copies {
		late := x.delay
		if x.jitter > 0 {
			late += rand.N(x.jitter)
		}
		if late == 0 {
			_, _ = port.Write(frame) // a machine that is off takes none
			continue
		}
		e.fate["late"]++
		frame := slices.Clone(frame)
		time.AfterFunc(late, func() { _, _ = port.Write(frame) })
	}
}

// note keeps who speaks from the gateway address: its UDP.
func (e *ethernet) note(from string, frame []byte) {
	ip := frame[14:]
	if binary.BigEndian.Uint16(frame[12:]) != 0x0800 || len(ip) < 20 || ip[9] != unix.IPPROTO_UDP || netip.AddrFrom4([4]byte(ip[12:])) != e.gateway {
		return
	}
	e.spoken[from]++
	if n := len(e.speakers); n == 0 || e.speakers[n-1] != from {
		e.speakers = append(e.speakers, from)
	}
}

// turns lists who spoke from the gateway address, in turn.
func (e *ethernet) turns() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.speakers)
}

// fates tells what happened to frames since the last time.
func (e *ethernet) fates() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer clear(e.fate)
	return fmt.Sprint(e.fate)
}

// disturb has something happen to all that goes from ports to ports, until mend.
func (e *ethernet) disturb(from, to []string, x trouble) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range from {
		for _, b := range to {
			if a != b {
				e.troubles[[2]string{a, b}] = x
			}
		}
	}
}

// mend makes the network a good one again.
func (e *ethernet) mend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.troubles)
}
