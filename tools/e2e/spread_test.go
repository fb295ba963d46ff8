package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// spread are the addresses of a cluster by name, as a node that answers has them.
func (s *site) spread() map[string]adminapi.GatewayAddress {
	all := map[string]adminapi.GatewayAddress{}
	for n, v := range s.status() {
		if v == nil || s.nodes[n].ended() {
			continue
		}
		for _, a := range v.Addresses {
			if a.Epoch >= all[a.Name].Epoch {
				all[a.Name] = a
			}
		}
	}
	return all
}

// evenly tells whether each of three nodes holds one of three addresses.
func (s *site) evenly() bool {
	holders := map[string]bool{}
	for _, a := range s.spread() {
		holders[a.Holder] = a.Holder != "" && a.MovingTo == ""
	}
	return len(holders) == 3 && !holders[""]
}

func (s *site) nodeNamed(name string) int {
	s.Helper()
	for n := range s.nodes {
		if fmt.Sprint("node", n+1) == name {
			return n
		}
	}
	s.Fatalf("there is no node %q", name)
	return -1
}

// Three nodes hold one address each, and a carrier speaks to each. Whoever dies,
// the sessions of its address go on elsewhere, and the others' stay where they are.
func TestAddressesSpread(t *testing.T) {
	t.Parallel()
	s := makeSite(t, 3)
	gateways := map[string]netip.Addr{"gw1": s.gateway, "gw2": s.ip(10, 2), "gw3": s.ip(10, 3)}
	s.change = func(_ int, cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), fmt.Sprintf("SEALEDGE_GATEWAY_ADDRESSES=gw2=%s,gw3=%s", gateways["gw2"], gateways["gw3"]))
	}
	for n := range 3 {
		s.startNode(n)
	}
	s.until("each node holds an address", s.evenly)
	s.sealctl("policy", "apply", s.layout.Policy)

	carriers, taps, phones := map[string]*carrier.Carrier{}, map[string]*tap{}, map[string]*phone.Phone{}
	counters := map[string]uint8{}
	for i, name := range []string{"gw1", "gw2", "gw3"} {
		s.gateway = gateways[name]
		carriers[name], taps[name] = s.carrier(byte(i + 1))
		sim := s.enlist(i)
		// A holder that doesn't lead knows of it a moment after the leader.
		s.until("every node knows the terminal", s.caughtUp)
		phones[name] = s.attach(carriers[name], sim)
		counter, err := carriers[name].Echo(s.soon())
		if err != nil {
			t.Fatal(err)
		}
		counters[name] = counter
		if v := s.sessions(imsi(i)); len(v) != 1 || v[0].GatewayAddress != name {
			t.Fatalf("sessions %v", v)
		}
	}
	was := s.sealctl("session", "list")

	// die kills the node that holds an address, and starts it again when all is well.
	die := func(victim string) {
		before := s.spread()
		node := s.nodeNamed(before[victim].Holder)
		s.nodes[node].kill()
		for s.spread()[victim].Epoch == before[victim].Epoch {
			for name, p := range phones {
				if name != victim {
					s.ping(p)
				}
			}
		}
		s.ping(phones[victim]) // until the new holder answers, through the old tunnel
		after := s.spread()
		for name, p := range phones {
			s.ping(p)
			if name != victim && after[name].Holder != before[name].Holder {
				t.Errorf("%s was %v and is %v, though its holder lives", name, before[name], after[name])
			}
			if counter, err := carriers[name].Echo(s.soon()); err != nil || counter != counters[name] {
				t.Errorf("the restart counter of %s is %d (%v), and was %d", name, counter, err, counters[name])
			}
			taps[name].noEnding()
		}
		if is := s.sealctl("session", "list"); is != was {
			t.Errorf("sessions were\n%sand are\n%s", was, is)
		}
		s.startNode(node)
		s.until("the node that came back has its share", s.evenly)
		for _, p := range phones {
			s.ping(p)
		}
	}
	led := func() string {
		for _, v := range s.status() {
			if v != nil && v.IsLeader {
				return v.Node
			}
		}
		return ""
	}
	// held is an address of the leader's, or one that isn't.
	held := func(leaders bool) (name string) {
		s.until("a leader", func() bool { return led() != "" })
		leader := led()
		for n, a := range s.spread() {
			if (a.Holder == leader) == leaders {
				name = n
			}
		}
		return name
	}
	die(held(false))
	die(held(true))

	// An operator puts an address on another node, and nobody who uses it notices.
	from := s.spread()["gw2"].Holder
	to := map[string]string{"node1": "node2", "node2": "node3", "node3": "node1"}[from]
	s.sealctl("cluster", "move-address", "gw2", to, "--reason", "maintenance")
	s.until("the address is where the operator wants it", func() bool { return s.spread()["gw2"].Holder == to })
	s.ping(phones["gw2"])
	if counter, err := carriers["gw2"].Echo(s.soon()); err != nil || counter != counters["gw2"] {
		t.Errorf("the restart counter is %d (%v), and was %d", counter, err, counters["gw2"])
	}
	taps["gw2"].noEnding()

	// The node that leads is to be stopped: it gives up the leadership and its address.
	leader := led()
	s.sealctl("cluster", "drain", leader, "--reason", "a new kernel")
	if now := led(); now == leader {
		t.Errorf("%s leads still", leader)
	}
	for name, a := range s.spread() {
		if a.Holder == leader {
			t.Errorf("%s holds %s still", leader, name)
		}
		s.ping(phones[name])
		taps[name].noEnding()
	}

	// What ends here is told by whoever holds the session's address.
	for i, name := range []string{"gw1", "gw2", "gw3"} {
		s.sealctl("device", "revoke", "--yes", "--reason", "lost", imsi(i))
		s.until("the carrier is told", func() bool { return carriers[name].Bearers() == 0 })
	}
	s.until("all nodes agree", s.caughtUp)
	s.auditVerifies()
}
