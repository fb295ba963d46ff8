package main

import (
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func TestDiagnose(t *testing.T) {
	well := func() []answer {
		var all []answer
		for i, name := range []string{"node1", "node2", "node3"} {
			all = append(all, answer{Address: name + ":7443", Status: &adminapi.Status{
				Node: name, Leader: "node1", IsLeader: i == 0, Term: 4, Applied: 9000, Peers: []string{"node1", "node2", "node3"}, Version: "v1",
				Policy: 2, AuditSeq: 70, AuditHead: "aa", Level: 2, Applies: 2, DiskUsed: 40, Admits: true,
				Addresses: []adminapi.GatewayAddress{{Name: "gw1", Holder: "node1"}, {Name: "gw2", Holder: "node2"}},
			}})
		}
		return all
	}
	for _, c := range []struct {
		name  string
		spoil func(all []answer)
		want  string // "who: what: do", in part; "": nothing is wrong
		code  int
	}{
		{"all is well", func([]answer) {}, "", exitOK},
		{"a node is down", func(all []answer) { all[1].Status, all[1].Error = nil, "connection refused" }, "node2:7443: does not answer (connection refused): see that the node runs", exitOK},
		{"two are down", func(all []answer) { all[1].Status, all[2].Status = nil, nil }, "node3:7443: does not answer", exitNoLeader},
		{"none answers", func(all []answer) { all[0].Status, all[1].Status, all[2].Status = nil, nil, nil }, "node1:7443: does not answer", exitNoLeader},
		{"a clock", func(all []answer) { all[2].Status.Clock = -2001 }, "node3: its clock is -2.001s off the other nodes': set it right", exitOK},
		{"a clock within bounds", func(all []answer) { all[2].Status.Clock = 2000 }, "", exitOK},
		{"a full disk", func(all []answer) { all[0].Status.Admits = false }, "node1: its disk is nearly full, and nothing new is begun: make room", exitOK},
		{"a disk that fills", func(all []answer) { all[0].Status.DiskUsed = 80 }, "node1: its disk is full to 80 %: make room before", exitOK},
		{"a node behind", func(all []answer) { all[2].Status.Applied = 7999 }, "node3: it is 1001 commands behind: it catches up", exitOK},
		{"a node alone", func(all []answer) { all[2].Status.Leader = "" }, "node3: it knows of no leader: see that it reaches", exitOK},
		{"an election", func(all []answer) {
			for _, a := range all {
				a.Status.Leader, a.Status.IsLeader = "", false
			}
		}, "node1: it knows of no leader", exitNoLeader},
		{"two leaders", func(all []answer) { all[1].Status.IsLeader = true }, "cluster: node1 and node2 say that they lead: look again", exitOK},
		{"an upgrade", func(all []answer) { all[1].Status.Version = "v2" }, "cluster: the nodes have different versions: v1, v2: go on with the upgrade", exitOK},
		{"an address without a holder", func(all []answer) { all[0].Status.Addresses[1].Holder = "" }, "cluster: nobody holds the gateway address gw2: a node takes it over", exitOK},
		{"no policy", func(all []answer) { all[0].Status.Policy = 0 }, "cluster: no policy is in force, and everything is refused: apply one", exitOK},
		{"two chains", func(all []answer) { all[1].Status.AuditHead = "bb" }, "cluster: node1 and node2 have different audit chains at entry 70: stop the node", exitOK},
		{"chains of different length", func(all []answer) { all[1].Status.AuditSeq, all[1].Status.AuditHead = 69, "bb" }, "", exitOK},
		{"a member nobody asked", func(all []answer) { all[0].Status.Peers = append(all[0].Status.Peers, "node4") }, "cluster: the context names no address of node4: add", exitOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := well()
			c.spoil(all)
			var words []string
			for _, w := range diagnose(all) {
				words = append(words, w.Who+": "+w.What+": "+w.Do)
			}
			said := strings.Join(words, "\n")
			if c.want == "" && said != "" || !strings.Contains(said, c.want) {
				t.Errorf("got %q, want %q", said, c.want)
			}
			code := exitOK
			if err := quorumOf(all); err != nil {
				code = exitCode(err)
			}
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if rows := statusRows(all); len(rows) != len(all) {
				t.Errorf("%d rows of %d nodes", len(rows), len(all))
			}
		})
	}
}

// A context may name one node alone: the others count as alive.
func TestQuorumOfWhatIsNotAsked(t *testing.T) {
	one := []answer{{Address: "a", Status: &adminapi.Status{Node: "node1", Leader: "node2", Peers: []string{"node1", "node2", "node3"}, Policy: 1, Admits: true}}}
	if err := quorumOf(one); err != nil {
		t.Error(err)
	}
	wrong := diagnose(one)
	if len(wrong) != 1 || wrong[0].What != "the context names no address of node2, node3" {
		t.Errorf("got %v", wrong)
	}
	if err := quorumOf(append(one, answer{Address: "b"}, answer{Address: "c"})); err == nil {
		t.Error("two of three are down, and there is a quorum")
	}
}

// A context may name addresses where no node is, as those of nodes that were removed.
func TestQuorumOfFewerThanAreAsked(t *testing.T) {
	var all []answer
	for _, name := range []string{"node1", "node2", "node3"} {
		all = append(all, answer{Address: name, Status: &adminapi.Status{Node: name, Leader: "node1", Peers: []string{"node1", "node2", "node3"}}})
	}
	all = append(all, answer{Address: "node4"}, answer{Address: "node5"})
	if err := quorumOf(all); err != nil {
		t.Errorf("all three nodes answer, and two addresses are of none: %v", err)
	}
	all[1].Status = nil
	if err := quorumOf(all); err != nil {
		t.Errorf("two of three nodes answer: %v", err)
	}
	all[2].Status = nil
	if quorumOf(all) == nil {
		t.Error("one of three nodes answers, and that is a quorum")
	}
}
