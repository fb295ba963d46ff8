//go:build linux

package k8s

import (
	"fmt"
	"strings"
	"syscall"
)

// drain has an operator drain the machine that the leader is on, for maintenance. While
// that one is away, the next isn't let go.
func (s *site) drain() {
	leader := s.awaitLeader()
	first := s.on(leader)
	s.during("drain", func() {
		s.worker.useUp(func() {
			s.kubectl("drain", first.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", patience.String())
			s.awaitLeader(leader)
		})
		for _, n := range s.lab.Nodes {
			if n == first {
				continue
			}
			_, err := s.lab.Kubectl(s.soon(), "drain", n.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=5s", "--pod-selector", "app.kubernetes.io/component=gateway")
			if err == nil || !strings.Contains(err.Error(), "disruption budget") {
				s.Errorf("a second machine was drained while the first is: %v", err)
			}
			s.kubectl("uncordon", n.Name)
		}
		s.kubectl("uncordon", first.Name)
		s.rolledOut()
	})
	s.held("drain")
	s.caughtUp()
}

// forceDelete has the leader's pod deleted at once, without asking it.
func (s *site) forceDelete() {
	leader := s.awaitLeader()
	was := s.uid(leader)
	s.during("forced deletion of the leader's pod", func() {
		s.worker.useUp(func() { s.kubectl("delete", "pod", leader, "--grace-period=0", "--force") })
		s.until("there is another pod", func() bool {
			uid, err := s.lab.Kubectl(s.soon(), "-n", namespace, "get", "pod", leader, "-o", "jsonpath={.metadata.uid}")
			return err == nil && uid != was
		})
		s.rolledOut()
	})
	s.held("forced deletion of the leader's pod")
	s.caughtUp()
}

// kill has the leader's process end as if its machine's memory were exhausted.
func (s *site) kill() {
	leader := s.awaitLeader()
	pids, err := s.on(leader).Processes(s.uid(leader), "sealedge")
	if err != nil || len(pids) != 1 {
		s.Fatalf("processes of %s: %v, %v", leader, pids, err)
	}
	s.during("kill -9 of the leader", func() {
		s.worker.useUp(func() {
			if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
				s.Fatal(err)
			}
		})
		s.until("the container is started again", func() bool {
			return s.kubectl("get", "pod", leader, "-o", "jsonpath={.status.containerStatuses[0].restartCount}") != "0"
		})
		s.rolledOut()
	})
	s.held("kill -9 of the leader")
	s.caughtUp()
}

// isolate pulls the cables of the machine that the leader is on, and puts them in again.
func (s *site) isolate() {
	leader := s.awaitLeader()
	machine := s.on(leader)
	s.during("isolation of the leader's machine", func() {
		s.worker.useUp(func() {
			if err := s.lab.Cut(machine); err != nil {
				s.Fatal(err)
			}
			s.awaitLeader(leader)
		})
		s.allPing("isolation")
		s.until("Kubernetes sees that the machine is away", func() bool {
			return strings.Contains(s.kubectl("get", "node", machine.Name, "-o", ready), "Unknown")
		})
		if err := s.lab.Heal(machine); err != nil {
			s.Fatal(err)
		}
		s.until("Kubernetes sees that it is back", func() bool {
			return s.kubectl("get", "node", machine.Name, "-o", ready) == "True"
		})
		s.rolledOut()
	})
	s.held("isolation of the leader's machine")
	s.caughtUp()
	if holders := s.holders(); len(holders) != 1 {
		s.Errorf("the gateway address is on %v", holders)
	}
}

const ready = `jsonpath={.status.conditions[?(@.type=="Ready")].status}`

// holders are the pods that have the gateway address on an interface.
func (s *site) holders() (pods []string) {
	s.Helper()
	for n := range s.nodes {
		machine, uid := s.on(node(n)), s.uid(node(n))
		pids, err := machine.Processes(uid, "sealedge")
		if err != nil || len(pids) == 0 {
			s.Fatalf("processes of %s: %v, %v", node(n), pids, err)
		}
		if addresses := s.run("nsenter", "-t", fmt.Sprint(pids[0]), "-n", "ip", "-o", "addr"); strings.Contains(addresses, gatewayAddress.String()+"/") {
			pods = append(pods, node(n))
		}
	}
	return pods
}
