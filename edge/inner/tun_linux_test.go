package inner_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealedge/sealedge/edge/inner"
)

// byTUN is the environment of the tests within their own network namespace: there
// newNetwork makes networks of driver tun.
const byTUN = "INNER_TEST_TUN"

func init() {
	if os.Getenv(byTUN) != "" {
		driver = inner.TUN
	}
}

// inNamespace runs tests once more as a process in a network namespace of its own,
// and tells whether this is that process.
func inNamespace(t *testing.T, tests string) bool {
	t.Helper()
	if os.Getenv(byTUN) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	_, noDevice := os.Stat("/dev/net/tun")
	_, noProgram := exec.LookPath("ip")
	if err := errors.Join(noDevice, noProgram); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", tests, "-test.v")
	cmd.Env = append(os.Environ(), byTUN+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a namespace: %v\n%s", err, out)
	}
	t.Logf("in a namespace:\n%s", out)
	for _, name := range strings.Split(strings.Trim(tests, "^()$"), "|") {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s wasn't run", name)
		}
	}
	return false
}

// raised brings the namespace's loopback up.
func raised(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// What holds of the inner network holds of it by the kernel, too.
func TestTUN(t *testing.T) {
	if inNamespace(t, "^(TestDefaultDeny|TestDefaultDeny6|TestPing|TestPing6|TestTCP|TestPathChange|"+
		"TestDelRouteResets|TestConnectionLimit|TestUDP|TestUDP6|TestUDPDeadlines|TestPortsAreExclusive|TestClose|"+
		"TestTerminalIsItsPrefix|TestRoutesAreOfTerminals|TestIPv4Only)$") {
		t.Fatal("called in the namespace")
	}
}

// Nothing of the machine is reached through the tunnel but what is listened at on
// the inner network, and nothing of the inner network but through the tunnel; in
// the end no trace is left.
func TestTUNIsolation(t *testing.T) {
	if !inNamespace(t, "^(TestTUNIsolation)$") {
		return
	}
	raised(t)
	if out, err := exec.Command("ip", "address", "add", "192.0.2.1/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := traces(t)
	n := newNetwork(t, inner.Config{Addresses: bothGateways})
	p := newPhone(t, n, phoneA)
	l := listen(t, n, 443)
	c := p.dial(t, gateway, 443)
	defer accept(t, l).Close()
	defer c.Close()

	// The machine's own services, at all of its addresses.
	admin, err := net.Listen("tcp", ":7443")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	rose := rising(n)
	syn := ports(7443, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0)
	n.Deliver(ip(phoneA, gateway, 6, syn, nil))
	n.Deliver(ip(phoneA, netip.MustParseAddr("192.0.2.1"), 6, syn, nil))
	n.Deliver(ip(phoneA, netip.MustParseAddr("127.0.0.1"), 6, syn, nil))
	if got := rose(); !maps.Equal(got, map[string]uint64{"tcp-port": 1, "destination": 2}) {
		t.Errorf("counters rose by %v", got)
	}

	// From the machine itself, which has the address, and its kernel a handshake with
	// itself: no connection is accepted, no datagram read.
	u, err := n.ListenUDP(5684)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	for _, at := range []string{"10.90.0.1", "2001:db8:90::1"} {
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(at, "443"), patience); err == nil {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s without a tunnel: %v, want a reset", at, err)
			}
			c.Close()
		}
		c, err := net.Dial("udp", net.JoinHostPort(at, "5684"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for n.Counters()["source-without-route"] < 2 {
		runtime.Gosched()
	}
	if err := u.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, from, err := u.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("a datagram came from %v without a tunnel", from)
	}
	// From another machine, by another interface: it doesn't even hear a refusal,
	// which the kernel sends into the tunnel, where the address is nobody's.
	outside(t, func() {
		for _, at := range []string{"10.90.0.1", "2001:db8:90::1"} {
			was := n.Counters()["no-route"]
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			go func() {
				for ctx.Err() == nil && n.Counters()["no-route"] == was {
					runtime.Gosched()
				}
				cancel()
			}()
			c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(at, "443"))
			cancel()
			if err == nil {
				c.Close()
				t.Errorf("%s is reached from outside", at)
			}
			if n.Counters()["no-route"] == was {
				t.Errorf("from outside %s: %v, and no refusal was dropped", at, err)
			}
		}
		// As the terminal, whose address is free to claim there: the terminal hears the
		// refusal, not the answer of a service.
		p.mu.Lock()
		p.mss = 0
		p.mu.Unlock()
		was := n.Counters()["out-packets"]
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		go func() {
			for ctx.Err() == nil && n.Counters()["out-packets"] == was {
				runtime.Gosched()
			}
			cancel()
		}()
		spoofed := net.Dialer{LocalAddr: &net.TCPAddr{IP: phoneA.AsSlice()}}
		if c, err := spoofed.DialContext(ctx, "tcp", "10.90.0.1:443"); err == nil {
			c.Close()
			t.Error("reached from outside, as a terminal")
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if now := n.Counters()["out-packets"]; now == was || p.mss != 0 {
			t.Errorf("%d packets to the terminal, segment size %d; want a reset", now-was, p.mss)
		}
	})
	l.Close()
	if c := <-accepted; c != nil {
		t.Errorf("a connection from %v was accepted without a tunnel", c.RemoteAddr())
	}
	for file, want := range map[string]string{"ipv4/conf/sealedge0/forwarding": "0", "ipv6/conf/sealedge0/forwarding": "0", "ipv4/conf/sealedge0/rp_filter": "1"} {
		if b, err := os.ReadFile("/proc/sys/net/" + file); err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("%s is %q, %v; want %s", file, b, err, want)
		}
	}
	if main, err := exec.Command("ip", "route", "show", "table", "main").Output(); err != nil || len(main) != 0 {
		t.Errorf("main routing table: %s, %v", main, err)
	}

	// Another one can't be there, and says why.
	if _, err := inner.New(inner.Config{Addresses: bothGateways, Driver: inner.TUN, Interface: "sealedge1"}); err == nil || !strings.Contains(err.Error(), "is on interface sealedge0 already") {
		t.Errorf("the same addresses again: %v", err)
	}
	other := []netip.Addr{gateway2}
	if _, err := inner.New(inner.Config{Addresses: other, Driver: inner.TUN}); err == nil || !strings.Contains(err.Error(), "interface sealedge0 is there already") {
		t.Errorf("the same name again: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if after := traces(t); after != before {
		t.Errorf("left behind: %s\nbefore: %s", after, before)
	}
}

// outside does something on another machine, which is connected by Ethernet, and
// takes that away again.
func outside(t *testing.T, do func()) {
	t.Helper()
	ip := func(args string) {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	ready, peer, done, end := make(chan int), make(chan struct{}), make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		ready <- unix.Gettid()
		<-peer
		for _, args := range []string{
			"address add 198.51.100.2/24 dev veth1", "address add 10.90.0.2/32 dev veth1", "address add 2001:db8:77::2/64 dev veth1 nodad", "link set veth1 up",
			"route add default via 198.51.100.1", "-6 route add default via 2001:db8:77::1",
		} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				done <- fmt.Errorf("ip %s: %w: %s", args, err, out)
				return
			}
		}
		do()
		done <- nil
		<-end
	}()
	defer close(end)
	ip("link add veth0 type veth peer name veth1")
	ip("link set veth1 netns " + strconv.Itoa(<-ready))
	ip("address add 198.51.100.1/24 dev veth0")
	ip("address add 2001:db8:77::1/64 dev veth0 nodad")
	ip("link set veth0 up")
	for _, of := range []string{"all", "veth0"} { // the least that a machine may do
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+of+"/rp_filter", []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	close(peer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ip("link delete veth0")
}

// traces are the machine's interfaces and routing rules.
func traces(t *testing.T) string {
	t.Helper()
	var all []byte
	for _, what := range [][]string{{"-o", "link"}, {"rule"}, {"-6", "rule"}, {"route", "show", "table", "all"}} {
		out, err := exec.Command("ip", what...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v: %s", what, err, out)
		}
		all = append(all, out...)
	}
	return string(all)
}

// Without the permission it says which one is missing.
func TestTUNPermission(t *testing.T) {
	if !inNamespace(t, "^(TestTUNPermission)$") {
		return
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends without its capabilities
		none := [2]unix.CapUserData{}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			failed <- err
			return
		}
		_, err := inner.New(inner.Config{Addresses: bothGateways, Driver: inner.TUN})
		failed <- err
	}()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") || !strings.Contains(err.Error(), "netstack") {
		t.Errorf("error %v, want one that names the capability and the other driver", err)
	}
}

// A name that Linux doesn't take is found out before.
func TestTUNName(t *testing.T) {
	for _, name := range []string{"a/b", "a b", "sixteen-letters-", "..", "x%d"} {
		if _, err := inner.New(inner.Config{Addresses: bothGateways, Driver: inner.TUN, Interface: name}); err == nil || !strings.Contains(err.Error(), "is no name of an interface") {
			t.Errorf("interface %q: %v", name, err)
		}
	}
	if _, err := inner.New(inner.Config{Addresses: bothGateways, Driver: "tap"}); err == nil {
		t.Error("driver tap was taken")
	}
}
