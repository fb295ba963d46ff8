package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// Five nodes become three and then one, as the chart's Job has it done before
// Kubernetes stops their pods: those that go are the ones that lead and hold
// addresses, and nobody who has a session notices.
func TestRetire(t *testing.T) {
	t.Parallel()
	s := makeSite(t, 5)
	gateways := map[string]netip.Addr{"gw1": s.gateway, "gw2": s.ip(10, 2)}
	s.change = func(_ int, cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), fmt.Sprintf("SEALEDGE_GATEWAY_ADDRESSES=gw2=%s", gateways["gw2"]))
	}
	for n := range s.nodes {
		s.startNode(n)
	}
	settled := func() bool {
		all := s.spread()
		return len(all) == 2 && all["gw1"].Holder != "" && all["gw2"].Holder != "" && all["gw1"].Holder != all["gw2"].Holder && all["gw1"].MovingTo+all["gw2"].MovingTo == ""
	}
	s.until("two nodes hold an address each", settled)
	s.sealctl("policy", "apply", s.layout.Policy)

	phones, taps := map[string]*phone.Phone{}, map[string]*tap{}
	for i, name := range []string{"gw1", "gw2"} {
		s.gateway = gateways[name]
		var c *carrier.Carrier
		c, taps[name] = s.carrier(byte(i + 1))
		sim := s.enlist(i)
		s.until("every node knows the terminal", s.caughtUp)
		phones[name] = s.attach(c, sim)
	}
	was := s.sealctl("session", "list")

	there := []string{"node1", "node2", "node3", "node4", "node5"}
	retire := func() {
		var going []string
		s.until("a leader", func() bool {
			going = nil
			for n, v := range s.status() {
				if v != nil && v.IsLeader && !s.nodes[n].ended() {
					going = []string{v.Node}
				}
			}
			return len(going) > 0
		})
		for _, name := range append([]string{s.spread()["gw1"].Holder, s.spread()["gw2"].Holder}, there...) {
			if len(going) < 2 && !slices.Contains(going, name) && slices.Contains(there, name) {
				going = append(going, name)
			}
		}
		args := append([]string{"cluster", "retire", "--yes", "--reason", "fewer nodes"}, going...)
		_, _ = s.trySealctl(append(args, "--timeout", "700ms")...) // cut short wherever it is by then
		s.sealctl(args...)
		there = slices.DeleteFunc(there, func(name string) bool { return slices.Contains(going, name) })
		s.until("the addresses are with those that stay, and the cluster's to place", func() bool {
			var at adminapi.Status // of one that stays: those that were removed learn nothing more
			if err := s.ask(s.nodeNamed(there[0]), "/v1/status", &at); err != nil {
				return false
			}
			return !slices.ContainsFunc(at.Addresses, func(a adminapi.GatewayAddress) bool {
				return !slices.Contains(there, a.Holder) || a.Home != ""
			})
		})
		for _, name := range going {
			s.nodes[s.nodeNamed(name)].stop()
		}
		for name, p := range phones {
			s.ping(p)
			taps[name].noEnding()
		}
		s.sealctl(args...) // repeated, as a Job may be, it does nothing
		var members []string
		var all []adminapi.Member
		if err := json.Unmarshal([]byte(s.sealctl("cluster", "members", "-o", "json")), &all); err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			members = append(members, m.Name)
		}
		slices.Sort(members)
		if !slices.Equal(members, there) {
			t.Errorf("members are %v, want %v", members, there)
		}
		if is := s.sealctl("session", "list"); is != was {
			t.Errorf("sessions were\n%sand are\n%s", was, is)
		}
	}
	retire() // five to three
	retire() // three to one
	s.enlist(7)
	s.auditVerifies()
}
