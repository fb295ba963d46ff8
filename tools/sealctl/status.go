package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// answer is what a node says of itself and the cluster, or why it says nothing.
type answer struct {
	Address  string           `json:"address"`
	Status   *adminapi.Status `json:"status,omitempty"`
	Error    string           `json:"error,omitempty"`
	Problems []ailment        `json:"problems,omitempty"` // of this node
}

// name is the node's, or where it should be.
func (a answer) name() string {
	if a.Status == nil {
		return a.Address
	}
	return a.Status.Node
}

// clusterStatus asks every node for itself, so that a dead node or a divided
// cluster shows. What is wrong is said below the table, with what to do.
func clusterStatus(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	cl = cl.staleReads()
	all := askAll(c.Context, cl)
	wrong := diagnose(all)
	wrong = append(wrong, frozen(c.Context, cl, all)...)
	for i, a := range all {
		for _, w := range wrong {
			if w.node == a.Address {
				all[i].Problems = append(all[i].Problems, w)
			}
		}
	}
	if err := show(c, all, statusHeader, statusRows(all)); err != nil {
		return err
	}
	s := screenOf(c.App.ErrWriter)
	for _, w := range wrong {
		fmt.Fprintf(c.App.ErrWriter, "%s: %s: %s\n", s.painted(red, w.Who), w.What, w.Do)
	}
	return quorumOf(all)
}

// askAll asks all nodes at a time: one that hangs must not hide the others.
func askAll(ctx context.Context, cl *client) []answer {
	all := make([]answer, len(cl.addresses))
	var wg sync.WaitGroup
	for i, addr := range cl.addresses {
		wg.Go(func() {
			all[i] = answer{Address: addr}
			s := new(adminapi.Status)
			if err := cl.at(addr).once().call(ctx, http.MethodGet, "/v1/status", nil, s); err != nil {
				var gone *unanswered
				if errors.As(err, &gone) {
					err = gone.why
				}
				all[i].Error = err.Error()
				return
			}
			all[i].Status = s
		})
	}
	wg.Wait()
	return all
}

var statusHeader = []string{"ADDRESS", "NODE", "ROLE", "HOLDS", "DISK", "TERM", "APPLIED", "AUDIT", "LEVEL", "VERSION"}

func statusRows(all []answer) [][]string {
	var rows [][]string
	for _, a := range all {
		s := a.Status
		if s == nil {
			rows = append(rows, []string{a.Address, "", "down"})
			continue
		}
		role := "follower"
		if s.IsLeader {
			role = "leader"
		}
		var holds []string
		for _, g := range s.Addresses {
			if g.Holder == s.Node {
				holds = append(holds, g.Name)
			}
		}
		rows = append(rows, []string{
			a.Address, s.Node, role, strings.Join(holds, ","), diskOf(s), strconv.FormatUint(s.Term, 10), strconv.FormatUint(s.Applied, 10),
			strconv.FormatUint(s.AuditSeq, 10), fmt.Sprintf("%d of %d", s.Level, s.Applies), s.Version,
		})
	}
	return rows
}

// diskOf is how full a node's disk is, and whether that stops new sessions.
func diskOf(s *adminapi.Status) string {
	text := "unknown"
	if s.DiskUsed >= 0 {
		text = strconv.Itoa(s.DiskUsed) + " %"
	}
	if !s.Admits {
		text += ", admits nothing new"
	}
	return text
}

// quorumOf is an error when the nodes can't decide anything. Members that the
// context doesn't name count as alive: nobody asked them. Addresses may be of no
// member: of a node that was removed, or that is to come.
func quorumOf(all []answer) error {
	voters, down := 0, 0
	led := false
	answer := map[string]bool{}
	for _, a := range all {
		if a.Status == nil {
			down++
			continue
		}
		answer[a.Status.Node] = true
		voters = max(voters, len(a.Status.Peers))
		led = led || a.Status.Leader != ""
	}
	down = min(down, max(0, voters-len(answer))) // not more than there are
	switch {
	case len(answer) == 0:
		return &hinted{exitNoLeader, fmt.Sprintf("none of %d nodes answers", len(all)), "start the nodes, or see that the context's addresses are theirs"}
	case down > 0 && 2*(voters-down) <= voters:
		return &hinted{exitNoLeader, fmt.Sprintf("%d of %d nodes answer: no quorum", voters-down, voters), "start the nodes that are down; docs/runbooks/lost-quorum.md has what to do if they are lost"}
	case !led:
		return &hinted{exitNoLeader, "no node knows of a leader", "one is elected within seconds, if the nodes reach each other; look again"}
	}
	return nil
}

// ailment is something that is wrong.
type ailment struct {
	Who  string `json:"who"`
	What string `json:"what"`
	Do   string `json:"do"`
	node string // the address of the node that it is about; empty: the cluster
}

const (
	clockTolerance = 2 * time.Second
	behindBy       = 1000 // commands that a node may not have applied yet
	diskFills      = 80   // per cent, below what stops new sessions as a rule (cluster.admission_stop)
)

// diagnose finds what is wrong in what the nodes say.
func diagnose(all []answer) []ailment {
	var found []ailment
	var alive []answer
	for _, a := range all {
		if a.Status == nil {
			found = append(found, ailment{a.Address, "does not answer (" + a.Error + ")", "see that the node runs, and reaches the network", a.Address})
			continue
		}
		alive = append(alive, a)
	}
	applied := uint64(0)
	for _, a := range alive {
		applied = max(applied, a.Status.Applied)
	}
	for _, a := range alive {
		for _, w := range diagnoseNode(a.Status, applied) {
			found = append(found, ailment{a.Status.Node, w[0], w[1], a.Address})
		}
	}
	if len(alive) > 0 {
		found = append(found, diagnoseCluster(alive, len(all))...)
	}
	return found
}

// diagnoseNode tells what is wrong with one node, and what to do.
func diagnoseNode(s *adminapi.Status, applied uint64) (found [][2]string) {
	if ahead := time.Duration(s.Clock) * time.Millisecond; ahead.Abs() > clockTolerance {
		found = append(found, [2]string{fmt.Sprintf("its clock is %v off the other nodes'", ahead), "set it right (docs/runbooks/clock.md)"})
	}
	switch {
	case !s.Admits:
		found = append(found, [2]string{"its disk is nearly full, and nothing new is begun", "make room (docs/runbooks/full-disk.md)"})
	case s.DiskUsed >= diskFills:
		found = append(found, [2]string{fmt.Sprintf("its disk is full to %d %%", s.DiskUsed), "make room before nothing new is begun (docs/runbooks/full-disk.md)"})
	}
	if applied-s.Applied > behindBy {
		found = append(found, [2]string{fmt.Sprintf("it is %d commands behind", applied-s.Applied), "it catches up by itself; if it doesn't, see its log"})
	}
	if s.Leader == "" {
		found = append(found, [2]string{"it knows of no leader", "see that it reaches the other nodes' Raft addresses"})
	}
	return found
}

// diagnoseCluster tells what is wrong between the nodes that answer.
func diagnoseCluster(alive []answer, asked int) (found []ailment) {
	add := func(what, do string) { found = append(found, ailment{Who: "cluster", What: what, Do: do}) }
	var leaders, versions, missing []string
	heads := map[uint64]answer{}
	newest := alive[0].Status
	for _, a := range alive {
		s := a.Status
		if s.IsLeader {
			leaders = append(leaders, s.Node)
		}
		if !slices.Contains(versions, s.Version) {
			versions = append(versions, s.Version)
		}
		if s.Applied > newest.Applied {
			newest = s
		}
		if other, ok := heads[s.AuditSeq]; ok && other.Status.AuditHead != s.AuditHead && s.AuditSeq > 0 {
			add(fmt.Sprintf("%s and %s have different audit chains at entry %d", other.name(), a.name(), s.AuditSeq),
				"stop the node that is alone with its chain, keep its data, and have it looked at")
		}
		heads[s.AuditSeq] = a
	}
	for _, peer := range newest.Peers {
		if !slices.ContainsFunc(alive, func(a answer) bool { return a.Status.Node == peer }) {
			missing = append(missing, peer)
		}
	}
	if len(missing) > 0 && len(alive) == asked {
		add("the context names no address of "+strings.Join(missing, ", "), "add it, so that this knows all nodes")
	}
	if len(leaders) > 1 {
		add(strings.Join(leaders, " and ")+" say that they lead", "look again: the older one steps down when it hears of the newer")
	}
	if len(versions) > 1 {
		add("the nodes have different versions: "+strings.Join(versions, ", "), "go on with the upgrade (docs/runbooks/upgrade.md)")
	}
	if n := newest.GlassBroken; n > 0 {
		add(fmt.Sprintf("%d times broken glass that nobody has reviewed, %d of them overdue", n, newest.ReviewsOverdue),
			"another seal administrator than who broke it looks ('sealctl change list') and says what he found ('sealctl change review')")
	}
	for _, g := range newest.Addresses {
		if g.Holder == "" {
			add("nobody holds the gateway address "+g.Name, "a node takes it over within seconds, if there is a quorum; else see the nodes' logs")
		}
	}
	if newest.Policy == 0 {
		add("no policy is in force, and everything is refused", "apply one with 'sealctl policy apply FILE'")
	}
	return found
}

// frozen tells whether orders are frozen, as a node that answers knows it.
func frozen(ctx context.Context, cl *client, all []answer) []ailment {
	for _, a := range all {
		if a.Status == nil {
			continue
		}
		var e adminapi.Epoch
		if err := cl.at(a.Address).once().call(ctx, http.MethodGet, "/v1/epoch", nil, &e); err == nil && e.Frozen {
			return []ailment{{
				Who: "cluster", What: fmt.Sprintf("orders are frozen since the %s: %d barrels have yet to report", e.Cause, len(e.Uncounted)),
				Do: "see 'sealctl epoch show' (docs/epoch.md)",
			}}
		}
		return nil
	}
	return nil
}
