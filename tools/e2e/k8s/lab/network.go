//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// ip runs ip(8) here.
func ip(format string, a ...any) error {
	args := strings.Fields(fmt.Sprintf(format, a...))
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// ip runs ip(8) on a machine.
func (m *machine) ip(format string, a ...any) error {
	_, err := m.run(append([]string{"ip"}, strings.Fields(fmt.Sprintf(format, a...))...)...)
	return err
}

// network makes two switches here, and plugs the machines in.
func (l *Lab) network(outside []netip.Addr) error {
	steps := []error{
		ip("link set lo up"),
		ip("link add nodes type bridge"), ip("link set nodes up"), ip("addr add %s/24 dev nodes", Outside),
		ip("link add lan type bridge"), ip("link set lan up"),
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644),
		l.control.plug("nodes", "eth0", control.String()+"/24"),
		l.control.ip("route add default via %s", Outside),
	}
	for _, a := range outside {
		steps = append(steps, ip("addr add %s/%d dev lan", a, LAN.Bits()))
	}
	for _, n := range l.Nodes {
		steps = append(steps,
			n.plug("nodes", "eth0", n.address()+"/24"), n.plug("lan", "lan0", ""),
			n.ip("route add default via %s", Outside), ip("route add %s via %s", n.pods(), n.address()),
		)
		for _, other := range l.Nodes {
			if other != n {
				steps = append(steps, n.ip("route add %s via %s", other.pods(), other.address()))
			}
		}
	}
	for _, err := range append(steps, l.routeServices()) {
		if err != nil {
			return err
		}
	}
	return nil
}

// plug connects a machine with a switch.
func (m *machine) plug(bridge, device, address string) error {
	port := m.port(device)
	for _, err := range []error{
		ip("link add %s type veth peer name %s netns %d", port, device, m.cmd.Process.Pid),
		ip("link set %s master %s up", port, bridge),
		m.ip("link set lo up"), m.ip("link set %s up", device),
	} {
		if err != nil {
			return err
		}
	}
	if address == "" {
		return nil
	}
	return m.ip("addr add %s dev %s", address, device)
}

// port is the switch's end of a machine's cable.
func (m *machine) port(device string) string { return m.name + "-" + device }

// routeServices has Services reached by way of the nodes that are there.
func (l *Lab) routeServices() error {
	var hops []string
	for _, n := range l.Nodes {
		if !n.cut {
			hops = append(hops, "nexthop via "+n.address())
		}
	}
	return ip("route replace %s %s", services, strings.Join(hops, " "))
}

// Cut pulls a node's cables out, as somebody in the machine room would.
func (l *Lab) Cut(n *Node) error { return l.cable(n, true) }

// Heal puts them in again.
func (l *Lab) Heal(n *Node) error { return l.cable(n, false) }

func (l *Lab) cable(n *Node, cut bool) error {
	state := map[bool]string{true: "down", false: "up"}[cut]
	n.cut = cut
	for _, device := range []string{"eth0", "lan0"} {
		if err := ip("link set %s %s", n.port(device), state); err != nil {
			return err
		}
	}
	return l.routeServices()
}

// Node gives a node by its name.
func (l *Lab) Node(name string) *Node {
	i := slices.IndexFunc(l.Nodes, func(n *Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return l.Nodes[i]
}

// Processes are the processes of a node's pod, by the name of their program, as their
// ids are here.
func (n *Node) Processes(podUID, program string) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		group, _ := os.ReadFile("/proc/" + e.Name() + "/cgroup")
		name, _ := os.ReadFile("/proc/" + e.Name() + "/comm")
		if strings.Contains(string(group), "pod"+podUID) && strings.TrimSpace(string(name)) == program {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
