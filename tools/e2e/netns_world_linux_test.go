package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealedge/sealedge/edge/setup"
)

// world is a site whose machines are network namespaces on an Ethernet: one for
// each node, and one for everything else, which is the test's own. The nodes use the
// netlink driver, unless driver says else.
type world struct {
	*site
	driver   func(node int, cmd *exec.Cmd) (flags []string)
	lan      *ethernet
	machines []*process // each keeps the namespace of a node
}

// outside is the port of everything that is no node: the carrier's gateway, the seal
// server and the operators.
const outside = "outside"

// inWorld runs a test once more as a process in a network namespace of its own, and
// tells whether this is that one. Where the machine doesn't allow it the test is
// skipped; as root with CI set it never is. programs are needed beside the usual ones.
func inWorld(t *testing.T, programs ...string) bool {
	t.Helper()
	if os.Getenv(worldBin) != "" {
		ownDisk(t)
		return true
	}
	needs := []func() error{
		func() error {
			if os.Geteuid() != 0 {
				return fmt.Errorf("this isn't root")
			}
			return nil
		},
		func() error { _, err := os.Stat("/dev/net/tun"); return err },
		program("ip"), program("nsenter"), program("nft"), program("tc"), program("strace"),
	}
	for _, name := range programs {
		needs = append(needs, program(name))
	}
	for _, need := range needs {
		switch err := need(); {
		case err != nil && os.Geteuid() == 0 && os.Getenv("CI") == "true":
			t.Fatalf("network namespaces: %v", err)
		case err != nil:
			t.Skipf("network namespaces: %v", err)
		}
	}
	if err := built(); err != nil {
		t.Fatal(err)
	}
	again := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v=true", "-test.count=1", "-test.timeout=0")
	again.Env = append(os.Environ(), worldBin+"="+bin)
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	again.Stdout, again.Stderr = &out, &out
	if testing.Verbose() {
		again.Stdout, again.Stderr = os.Stdout, os.Stderr
	}
	if err := again.Run(); err != nil {
		t.Errorf("in a network namespace: %v\n%s", err, &out)
	}
	return false
}

// ownDisk has everything of this process written to memory, which goes with it: a disk
// is as slow as the test says, however busy the machine's is.
func ownDisk(t *testing.T) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sealedge-e2e-world-") // t.TempDir makes all of a test's at one place
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1g,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.Remove(dir)
	})
	if err = os.Setenv("TMPDIR", dir); err != nil { // not t.Setenv: the process has no other test
		t.Fatal(err)
	}
}

func program(name string) func() error {
	return func() error { _, err := exec.LookPath(name); return err }
}

// netlinkDriver puts the gateway address on the machine's interface.
func netlinkDriver(int, *exec.Cmd) []string {
	return []string{"--set", "gateway.address_driver=netlink", "--set", "gateway.interface=eth0"}
}

// newWorld makes a cluster of three, starts it and puts the first policy in force.
// Before it starts, the machines may be furnished.
func newWorld(t *testing.T, seed uint64, furnish ...func(w *world)) *world {
	t.Helper()
	w := &world{driver: netlinkDriver, site: makeSite(t, 3, func(o *setup.Options) { o.Carriers = []netip.Prefix{netip.MustParsePrefix("10.77.20.0/24")} })}
	w.admin.Timeout = time.Second // a node that stands still is asked, too
	w.lan = newEthernet(t, w.gateway, seed)
	w.sh("ip", "link", "set", "lo", "up")
	w.lan.plug(outside, os.Getpid())
	w.sh("ip", "link", "set", "eth0", "up")
	for _, a := range []netip.Addr{w.ip(20, 1), w.ip(2, 1)} {
		w.sh("ip", "addr", "add", a.String()+"/16", "dev", "eth0")
	}
	for n := range w.nodes {
		keeper := exec.Command("sleep", "1000000")
		keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		w.machines = append(w.machines, start(t, w.dir, "machine"+strconv.Itoa(n+1), keeper))
		w.lan.plug(machine(n), keeper.Process.Pid)
		for _, c := range []string{"ip link set lo up", "ip link set eth0 up", fmt.Sprintf("ip addr add %s/16 dev eth0", w.ip(1, byte(n+1)))} {
			w.on(n, strings.Fields(c)...)
		}
	}
	w.change = func(n int, cmd *exec.Cmd) {
		file := len(cmd.Args) - 1
		cmd.Args = slices.Concat(w.enter(n), []string{cmd.Path}, cmd.Args[1:file], w.driver(n, cmd), []string{
			"--set", "admin.requests_per_second=0", "--set", "cluster.heartbeat_timeout=300ms", "--set", "cluster.election_timeout=300ms", "--set", "cluster.leader_lease=150ms",
			// Few enough entries that a node that comes back needs a snapshot.
			"--set", "cluster.disk_stall=" + diskStall.String(), "--set", "cluster.snapshot_threshold=64",
		}, cmd.Args[file:])
		within := exec.Command(cmd.Args[0])
		cmd.Path, cmd.Err = within.Path, within.Err
	}
	for _, f := range furnish {
		f(w)
	}
	for n := range w.nodes {
		w.startNode(n)
	}
	w.until("a node holds the gateway address", func() bool { return w.holder() != nil })
	w.sealctl("policy", "apply", w.layout.Policy)
	return w
}

// machine is the port of a node's machine.
func machine(n int) string { return fmt.Sprint("machine", n+1) }

// others are the ports of the other nodes' machines.
func (w *world) others(n int) (ports []string) {
	for m := range w.nodes {
		if m != n {
			ports = append(ports, machine(m))
		}
	}
	return ports
}

func (w *world) enter(n int) []string {
	return []string{"nsenter", "-t", strconv.Itoa(w.machines[n].cmd.Process.Pid), "-n", "--"}
}

// on runs a command on a node's machine.
func (w *world) on(n int, command ...string) {
	w.Helper()
	w.sh(append(w.enter(n), command...)...)
}

func (w *world) sh(command ...string) {
	w.Helper()
	if out, err := exec.CommandContext(w.soon(), command[0], command[1:]...).CombinedOutput(); err != nil {
		w.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}
