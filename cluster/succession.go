package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Who leads next is chosen so that a rollout, which stops the nodes one by one, costs
// few changes of leadership. A leader that stops hands over to the node that was
// started last, if that was well after itself: that one has been updated already, and
// isn't stopped again. If there is none, it hands over to the preferred node
// (Config.PreferredLeader), which the platform updates last; and else to the most
// advanced.
//
// A leader that isn't the preferred node hands over to it, too, when every voter
// answers, and has done so for a minute, and none is drained: so not in the middle of a
// rollout, nor while a node is down. That is done at most once in ten minutes, whoever
// led meanwhile: a node that comes and goes isn't followed each time. One that wasn't
// started anew since didn't take the leadership, or lost it again: it may look well and
// yet not get the others' votes, and each attempt costs a change to yet another node. So
// it is tried only every six hours.
const (
	// startedLater is by how much a node must have been started after another to count
	// as updated: those that were started together differ by seconds.
	startedLater = time.Minute
	// calmBefore is how long all must have been well before the preferred node gets the
	// leadership, and for how long their processes must have been running.
	calmBefore = time.Minute
	// yieldAgain is how long after that was done last it is done again, and yieldSeldom
	// if the preferred node hasn't been started anew since.
	yieldAgain  = 10 * time.Minute
	yieldSeldom = 6 * time.Hour
	// near is how many entries a node may be behind what is committed to be handed the
	// leadership: it gets them first, while nobody serves the addresses.
	near = 256
)

// preferred is what this node knows of the preferred one's turn.
type preferred struct {
	mu      sync.Mutex
	term    uint64    // in which this node leads
	calm    time.Time // since when all has been well in term; zero: it isn't
	yielded time.Time // when this node tried to hand over to the preferred one last
}

func (p *preferred) last() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.yielded
}

// Yields tells whether this node leads and is to hand the leadership over: to a
// certain node or, as it is drained, to whoever StepDown picks. It is to be asked
// again and again.
func (n *Node) Yields() (to string, yields bool) {
	if !n.Holds() {
		return "", false
	}
	if n.drained.Load() {
		_, ok := n.successor()
		return "", ok
	}
	if n.preferredsTurn() {
		return n.cfg.PreferredLeader, true
	}
	return "", false
}

// preferredsTurn tells whether the preferred node is to get the leadership now.
func (n *Node) preferredsTurn() bool {
	name := n.cfg.PreferredLeader
	if name == "" || name == n.cfg.NodeName {
		return false
	}
	now, term := time.Now(), n.raft.CurrentTerm()
	all := n.standings(term)
	well, yielded := allWell(all, name), n.preferred.last()
	var started time.Time
	for _, s := range all {
		if s.votes && memberName(s.id) == name {
			started = s.started
		}
		if at := n.accounts.of(s.id).yielded; at.After(yielded) {
			yielded = at
		}
	}
	p := &n.preferred
	p.mu.Lock()
	defer p.mu.Unlock()
	if !well || p.term != term {
		p.calm = time.Time{}
	}
	p.term = term
	if well && p.calm.IsZero() {
		p.calm = now
	}
	return well && now.Sub(p.calm) >= calmBefore && !anyYoung(all, now) && due(yielded, started, now)
}

// due tells whether the preferred node, whose process began at started, may be handed the
// leadership again after that was tried at yielded; zero: it wasn't.
func due(yielded, started, now time.Time) bool {
	again := yieldAgain
	if !started.After(yielded) {
		again = yieldSeldom
	}
	return yielded.IsZero() || now.Sub(yielded) >= again
}

// standing is a member as the leader sees it.
type standing struct {
	id      raft.ServerID
	address raft.ServerAddress
	self    bool
	votes   bool
	answers bool
	drained bool
	near    bool      // see near; and it takes what is replicated to it
	match   uint64    // index up to which its log is known to be the leader's
	started time.Time // its process; zero: it doesn't say
}

// standings lists the members, this node, which leads in term, included.
func (n *Node) standings(term uint64) (all []standing) {
	commit := n.raft.CommitIndex()
	for _, s := range n.members() {
		v := standing{id: s.ID, address: s.Address, self: s.ID == n.id, votes: s.Suffrage == raft.Voter, drained: n.isDrained(s.ID)}
		if v.self {
			v.answers, v.near, v.match, v.started = true, true, commit, n.began
		} else {
			v.answers, v.match, v.started = n.lease.heardWithin(s.ID, n.cfg.HeartbeatTimeout), n.progress.of(s.ID, term), n.accounts.of(s.ID).started
			// Raft pauses replication to a node that was down, for as long as that was,
			// while its heartbeats go on: it couldn't bring it up to date at once.
			v.near = v.match+near >= commit && n.progress.since(s.ID, term) < n.cfg.HeartbeatTimeout+2*n.cfg.quiet
		}
		all = append(all, v)
	}
	return all
}

// anyYoung tells whether a voter's process began a short time ago. It may have done so
// without ever being missed.
func anyYoung(all []standing, now time.Time) bool {
	return slices.ContainsFunc(all, func(s standing) bool { return s.votes && now.Sub(s.started) < calmBefore })
}

// allWell tells whether the node of a name could take the leadership, and all voters
// answer and are not drained.
func allWell(all []standing, name string) bool {
	found := false
	for _, s := range all {
		if s.votes && (!s.answers || s.drained) {
			return false
		}
		found = found || memberName(s.id) == name && s.unfit() == ""
	}
	return found
}

// unfit says why a node can't be handed the leadership; empty: it can.
func (s standing) unfit() string {
	switch {
	case !s.votes:
		return "doesn't vote yet"
	case !s.answers:
		return "doesn't answer"
	case s.drained:
		return "is drained, too"
	case !s.near:
		return "is behind"
	}
	return ""
}

// successorOf picks who is to lead when the leader, which was started at began, does no
// more; false: nobody can.
func successorOf(all []standing, began time.Time, preferred string) (next standing, ok bool) {
	best := 0
	for _, s := range all {
		if s.self || s.unfit() != "" {
			continue
		}
		rank, better := 1, s.match > next.match
		switch {
		case s.started.After(began.Add(startedLater)):
			rank, better = 3, s.started.After(next.started)
		case memberName(s.id) == preferred:
			rank = 2
		}
		if rank > best || rank == best && better {
			best, next, ok = rank, s, true
		}
	}
	return next, ok
}

func (n *Node) successor() (standing, bool) {
	return successorOf(n.standings(n.raft.CurrentTerm()), n.began, n.cfg.PreferredLeader)
}

// NoSuccessor says why nobody can take over what this node has, in words for an
// operator; empty: somebody can, as far as it is known here. soon tells that somebody
// will be able to, if nothing else happens.
func (n *Node) NoSuccessor() (why string, soon bool) {
	if n.Sole() {
		return "this is the cluster's only node", false
	}
	if !n.IsLeader() {
		if leader, _ := n.Leader(); leader == "" {
			return "no node leads: the cluster has lost its majority, or is electing", n.othersStay()
		}
		return "", true
	}
	term := n.raft.CurrentTerm()
	if !n.lease.held(term) {
		return "this node hears of no majority", n.othersStay()
	}
	if _, ok := n.successor(); ok {
		return "", true
	}
	var all []string
	for _, s := range n.standings(term) {
		if !s.self {
			all, soon = append(all, memberName(s.id)+" "+s.unfit()), soon || s.votes && s.answers && !s.drained
		}
	}
	return strings.Join(all, ", "), soon
}

// othersStay tells whether there is another voter that isn't known to be about to stop.
func (n *Node) othersStay() bool {
	return slices.ContainsFunc(n.members(), func(s raft.Server) bool {
		return s.Suffrage == raft.Voter && s.ID != n.id && !n.isDrained(s.ID)
	})
}

// Sole tells whether this node is the cluster's only voter.
func (n *Node) Sole() bool { return n.lease.sole.Load() }

// StepDown hands leadership over to the node that is best, see successor, and returns
// when this node leads no more. If that node doesn't take it, it is offered to the most
// advanced one. Holds is false from the call on, and for some seconds more if the call
// fails, because the follower may yet be elected; stop what depends on it (the gateway's
// addresses) before. A node that doesn't lead does nothing; a cluster's only node leads
// on, and says so.
func (n *Node) StepDown(ctx context.Context) error { return n.HandOver(ctx, "") }

// HandOver is StepDown to the node of a name, unless that is empty.
func (n *Node) HandOver(ctx context.Context, to string) error {
	if n.lease.sole.Load() {
		return errSole
	}
	n.yielding.Add(1)
	defer n.yielding.Add(-1)
	if !n.IsLeader() {
		return nil
	}
	if to != "" && to == n.cfg.PreferredLeader {
		n.preferred.mu.Lock()
		n.preferred.yielded = time.Now()
		n.preferred.mu.Unlock()
	}
	done := make(chan error, 1)
	next, known := n.heir(to)
	go func() { done <- n.transfer(ctx, next, known) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err == nil {
		err = n.roleChange.await(ctx, func() bool { return !n.IsLeader() })
	}
	if err == nil || errors.Is(err, raft.ErrNotLeader) {
		return nil
	}
	n.late.begin(n.raft.CurrentTerm())
	return fmt.Errorf("hand leadership over: %w", err)
}

// heir is the voter of a name, or the best.
func (n *Node) heir(to string) (standing, bool) {
	all := n.standings(n.raft.CurrentTerm())
	for _, s := range all {
		if to != "" && memberName(s.id) == to && s.votes {
			return s, true
		}
	}
	return successorOf(all, n.began, n.cfg.PreferredLeader)
}

// transfer has Raft hand over to a node, and to the most advanced of the others if that
// one fails or none is known. Each attempt ends within the election timeout.
func (n *Node) transfer(ctx context.Context, next standing, known bool) error {
	var first error
	if known {
		first = n.transferTo(ctx, next)
		if first == nil || errors.Is(first, raft.ErrNotLeader) {
			return first
		}
		n.log.Warn("the leadership was not taken over; another node is asked", "node", next.id, "error", first)
	}
	others := slices.DeleteFunc(n.standings(n.raft.CurrentTerm()), func(s standing) bool {
		return s.self || !s.votes || known && s.id == next.id
	})
	if len(others) == 0 {
		return cmp.Or(first, errors.New("no other node votes"))
	}
	return n.transferTo(ctx, slices.MaxFunc(others, func(a, b standing) int {
		return cmp.Or(cmp.Compare(a.willingness(), b.willingness()), cmp.Compare(a.match, b.match))
	}))
}

// willingness orders nodes of which none is as is wanted: rather one that is behind than
// one that is about to stop, and rather that one than one that doesn't answer.
func (s standing) willingness() int {
	switch {
	case !s.answers:
		return 0
	case s.drained:
		return 1
	}
	return 2
}

// transferTo has Raft hand over to a node.
func (n *Node) transferTo(ctx context.Context, next standing) error {
	for n.handovers.begin(n.raft.CurrentTerm(), next.id) {
		err := n.raft.LeadershipTransferToServer(next.id, next.address).Error()
		n.handovers.end(next.id, err)
		if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return err
		}
		// Raft says how the last attempt ended a moment before it takes another.
		select {
		case <-time.After(n.cfg.HeartbeatTimeout / 20):
		case <-ctx.Done():
			return err
		}
	}
	return fmt.Errorf("%s: %w", memberName(next.id), errAskedBefore)
}

var errSole = errors.New("this is the cluster's only node: there is none to hand leadership to")
