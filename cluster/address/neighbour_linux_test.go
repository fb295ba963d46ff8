package address

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Environment of the processes that a test makes of itself.
const (
	inWorld  = "ADDRESS_TEST_WORLD"  // the test within its own network namespace
	asHolder = "ADDRESS_TEST_HOLDER" // a node with nothing but a netlink driver
)

// The gateway addresses, and the neighbour's.
var floating = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:1::1")}

// Two machines and a neighbour on one Ethernet, all of them the kernel's own: the
// neighbour's ARP and ND caches follow the address, also when its holder dies, and
// the machine of a dead holder gives the address up by itself.
func TestNeighboursFollow(t *testing.T) {
	if os.Getenv(inWorld) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		if _, err := exec.LookPath("ip"); err != nil && os.Getenv("CI") != "true" {
			t.Skip("needs iproute2")
		}
		world := again("^TestNeighboursFollow$", inWorld+"=1")
		world.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
		if out, err := world.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	sh(t, "ip link set lo up")
	sh(t, "ip link add br0 type bridge")
	sh(t, "ip link set br0 up")
	sh(t, "ip addr add 198.51.100.100/24 dev br0")
	sh(t, "ip addr add 2001:db8:1::100/64 dev br0 nodad")
	a, b := newMachine(t, 11), newMachine(t, 12)

	was := a.hold(t)
	for _, ip := range floating {
		c, err := net.Dial("udp", net.JoinHostPort(ip.String(), "2152"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		until(t, "the neighbour asks who has "+ip.String(), func() bool { _, _ = c.Write([]byte{0}); return neighbour(t, ip) == a.mac })
	}
	// From here on the neighbour sends nothing, so it has no reason to ask.
	was.kill()
	now := b.hold(t)
	follows(t, b, "the machine that took over")
	for _, ip := range floating {
		until(t, "the dead holder's machine gives up "+ip.String(), func() bool { return !a.has(t, ip) })
	}

	// A holder that was stopped, and doesn't know yet.
	a2 := a.hold(t)
	follows(t, a, "the machine that came back")
	now.say("fence")
	for _, ip := range floating {
		until(t, "the fenced holder's machine gives up "+ip.String(), func() bool { return !b.has(t, ip) })
	}
	follows(t, a, "the holder, and not the fenced one")

	// A planned move leaves nothing behind for a moment.
	a2.say("down")
	a2.hears(t, "down")
	for _, ip := range floating {
		if a.has(t, ip) {
			t.Errorf("%s is still there after Down", ip)
		}
	}

	// What a dead process left is removed by the next one before it holds.
	a3 := a.hold(t)
	a3.kill()
	if !a.has(t, floating[0]) {
		t.Fatal("the kernel gave the address up at once")
	}
	a.process(t, "idle").hears(t, "started")
	for _, ip := range floating {
		if a.has(t, ip) {
			t.Errorf("%s of a dead process is still there", ip)
		}
	}
}

// Where something else brings the address, sockets can be opened before it comes. On
// loopback a mistyped address is found out.
func TestSocketsBeforeTheAddress(t *testing.T) {
	for kind, works := range map[Kind]bool{Loopback: false, Netlink: true, External: true} {
		for network, at := range map[string]string{"udp4": "192.0.2.1:0", "udp": "192.0.2.1:0", "udp6": "[2001:db8::1]:0"} {
			lc := ListenConfig(kind)
			c, err := lc.ListenPacket(t.Context(), network, at)
			if (err == nil) != works {
				t.Errorf("%s: listen at %s %s, which isn't this machine's: %v", kind, network, at, err)
			}
			if err == nil {
				c.Close()
			}
		}
	}
}

// Without privileges the operator is told what is missing.
func TestDriverWithoutCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to lose its privileges")
	}
	p := again("^$", asHolder+"=lo nobody")
	p.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	out, _ := p.CombinedOutput()
	if !strings.Contains(string(out), "moving an address takes the capabilities CAP_NET_ADMIN and CAP_NET_RAW") {
		t.Errorf("%s", out)
	}
}

func TestMain(m *testing.M) {
	iface, what, ok := strings.Cut(os.Getenv(asHolder), " ")
	if !ok {
		os.Exit(m.Run())
	}
	if err := beHolder(iface, what); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// beHolder is a process of its own: a node that holds the addresses from its start,
// or is idle.
func beHolder(iface, what string) error {
	if what == "nobody" {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
	}
	var holds atomic.Bool
	holds.Store(true)
	d, err := NewDriver(Netlink, Settings{
		Interface: iface, Addresses: floating, Holds: func(netip.Addr) bool { return holds.Load() }, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	if what == "hold" {
		for _, a := range floating {
			if err := d.Up(context.Background(), a, 1); err != nil {
				return err
			}
		}
	}
	fmt.Println("started")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "fence":
			holds.Store(false)
		case "down":
			for _, a := range floating {
				if err := d.Down(a); err != nil {
					return err
				}
			}
			fmt.Println("down")
		}
	}
	return nil
}

// again runs a test of this program as a process that ends with this one.
func again(test string, env ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], "-test.run="+test)
	c.Env = append(os.Environ(), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func sh(t *testing.T, command string) string {
	t.Helper()
	f := strings.Fields(command)
	out, err := exec.Command(f[0], f[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s: " + what)
		}
	}
}

// neighbour is where the neighbour sends packets for a.
func neighbour(t *testing.T, a netip.Addr) (mac string) {
	t.Helper()
	f := strings.Fields(sh(t, "ip neigh show "+a.String()+" dev br0"))
	if i := slices.Index(f, "lladdr"); i >= 0 {
		mac = f[i+1]
	}
	return mac
}

func follows(t *testing.T, m *machine, what string) {
	t.Helper()
	for _, ip := range floating {
		until(t, "the neighbour sends packets for "+ip.String()+" to "+what, func() bool { return neighbour(t, ip) == m.mac })
	}
}

// machine is a network namespace with one interface, eth0.
type machine struct {
	pid int // of a process that keeps the namespace
	mac string
}

func newMachine(t *testing.T, host int) *machine {
	t.Helper()
	keeper := exec.Command("sleep", "1000")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keeper.Process.Kill(); _ = keeper.Wait() })
	m := &machine{pid: keeper.Process.Pid}
	port := fmt.Sprintf("port%d", host)
	sh(t, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d", port, m.pid))
	sh(t, fmt.Sprintf("ip link set %s master br0 up", port))
	m.sh(t, "ip link set lo up")
	m.sh(t, "ip link set eth0 up")
	m.sh(t, fmt.Sprintf("ip addr add 198.51.100.%d/24 dev eth0", host))
	m.sh(t, fmt.Sprintf("ip addr add 2001:db8:1::%d/64 dev eth0 nodad", host))
	f := strings.Fields(m.sh(t, "ip -o link show eth0"))
	m.mac = f[slices.Index(f, "link/ether")+1]
	return m
}

func (m *machine) enter() []string { return []string{"nsenter", "-t", strconv.Itoa(m.pid), "-n", "--"} }

func (m *machine) sh(t *testing.T, command string) string {
	t.Helper()
	return sh(t, strings.Join(m.enter(), " ")+" "+command)
}

func (m *machine) has(t *testing.T, a netip.Addr) bool {
	t.Helper()
	return strings.Contains(m.sh(t, "ip -o addr show dev eth0"), " "+a.String()+"/")
}

// holder is a node's process.
type holder struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func (m *machine) hold(t *testing.T) *holder {
	t.Helper()
	h := m.process(t, "hold")
	h.hears(t, "started")
	return h
}

func (m *machine) process(t *testing.T, what string) *holder {
	t.Helper()
	c := again("^$", asHolder+"=eth0 "+what)
	args := append(m.enter(), c.Args...)
	enter := exec.Command(args[0], args[1:]...)
	enter.Env, enter.SysProcAttr, enter.Stderr = c.Env, c.SysProcAttr, os.Stderr
	in, err := enter.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := enter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := enter.Start(); err != nil {
		t.Fatal(err)
	}
	h := &holder{enter, in, bufio.NewScanner(out)}
	t.Cleanup(h.kill)
	return h
}

func (h *holder) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

func (h *holder) say(word string) { _, _ = io.WriteString(h.in, word+"\n") }

func (h *holder) hears(t *testing.T, word string) {
	t.Helper()
	if !h.out.Scan() || h.out.Text() != word {
		t.Fatalf("the holder says %q, want %q", h.out.Text(), word)
	}
}
