package drill

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// isolated marks a process that Isolate started.
const isolated = "SEALEDGE_DRILL_ISOLATED"

// Isolated tells whether this process has networks of its own, in which a local
// cluster's nodes can have one each.
func Isolated() bool { return os.Getenv(isolated) != "" }

// Isolate runs this program once more, with the same arguments, in network and
// mount namespaces of its own, which are gone when it ends; without root in a
// user namespace, too. It returns when the program has ended. began is false if
// this machine doesn't allow it.
func Isolate(ctx context.Context) (began bool, err error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return false, fmt.Errorf("network namespaces take the command ip (iproute2): %w", err)
	}
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolated+"=yes")
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * mendLimit
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("this machine allows no network namespaces: %w", err)
	}
	return true, cmd.Wait()
}

// The network of an isolated cluster: a bridge that the canary and the seal
// server are on, and a node at each of its ports.
const (
	bridge    = "drill0"
	nodePort  = "eth0" // a node's own name of its end
	bridgeEnd = "10.77.0.254/16"
	canaryEnd = "10.77.20.1/16"
)

func isolatedIP(c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, c, d}) }

// makeNetwork makes it, and a namespace for each node by its name.
func makeNetwork(nodes []string, at func(i int) netip.Addr) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	// Names of namespaces are files; these are ours alone.
	if err := syscall.Mount("drill", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	script := []string{
		"link set lo up", "link add " + bridge + " type bridge", "link set " + bridge + " up",
		"addr add " + bridgeEnd + " dev " + bridge, "addr add " + canaryEnd + " dev " + bridge,
	}
	for i, n := range nodes {
		script = append(script,
			"netns add "+n, fmt.Sprintf("link add port%d type veth peer name %s netns %s", i, nodePort, n),
			fmt.Sprintf("link set port%d master %s up", i, bridge),
			fmt.Sprintf("-n %s addr add %s/16 dev %s", n, at(i), nodePort),
			fmt.Sprintf("-n %s link set %s up", n, nodePort), fmt.Sprintf("-n %s link set lo up", n))
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	for _, line := range script {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

// inNamespace is a command that runs in a node's namespace, as one process.
func inNamespace(node string, argv []string) []string {
	return append([]string{"ip", "netns", "exec", node}, argv...)
}

// needs tells whether a program is there.
func needs(program, packaged string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("it takes %s (install %s)", program, packaged)
	}
	return nil
}

// cut lets nothing pass between a node and others, either way; nobody is told.
func cut(ctx context.Context, node string, others []netip.Addr) error {
	var list []string
	for _, o := range others {
		list = append(list, o.String())
	}
	peers := strings.Join(list, ", ")
	return nft(ctx, node, fmt.Sprintf(`table inet drill {
	chain in { type filter hook input priority 0; ip saddr { %s } drop; }
	chain out { type filter hook output priority 0; ip daddr { %s } drop; }
}
`, peers, peers))
}

func heal(ctx context.Context, node string) error {
	return nft(ctx, node, "table inet drill\ndelete table inet drill\n")
}

func nft(ctx context.Context, node, rules string) error {
	argv := inNamespace(node, []string{"nft", "-f", "-"})
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft at %s: %w: %s", node, err, out)
	}
	return nil
}
