package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Why a member wasn't removed.
var (
	ErrNotLeader   = errors.New("this node doesn't lead: only the leader changes the membership")
	ErrNoMember    = errors.New("no such member")
	ErrUnsafe      = errors.New("the cluster would lose its majority")
	ErrOneByOne    = errors.New("another change of the membership is under way")
	ErrUncertain   = errors.New("the change was begun and may yet take effect")
	errStillLives  = errors.New("a node of that name is alive in the cluster: stop it, or give this one a name of its own")
	errNoNewNodeID = errors.New("that is no node id of the node that asks")
)

// members is the configuration in force on this node, committed or not.
func (n *Node) members() []raft.Server {
	return n.raft.GetConfiguration().Configuration().Servers
}

func (n *Node) isMember(id raft.ServerID) bool {
	for _, s := range n.members() {
		if s.ID == id {
			return true
		}
	}
	return false
}

// progress is how far members' logs are known to agree with this node's.
type progress struct {
	mu    sync.Mutex
	term  uint64                      // in which this node led
	match map[raft.ServerID]uint64    // index of the last entry that the member said it has
	at    map[raft.ServerID]time.Time // when it last took what is replicated to it; heartbeats are none of that
}

// acknowledged notes that a member took what req holds.
func (p *progress) acknowledged(id raft.ServerID, req *raft.AppendEntriesRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if req.Term < p.term {
		return
	}
	if req.Term > p.term || p.match == nil {
		p.term, p.match, p.at = req.Term, map[raft.ServerID]uint64{}, map[raft.ServerID]time.Time{}
	}
	if req.PrevLogEntry > 0 || len(req.Entries) > 0 {
		p.at[id] = time.Now()
	}
	p.match[id] = max(p.match[id], req.PrevLogEntry+uint64(len(req.Entries)))
}

func (p *progress) of(id raft.ServerID, term uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		return 0
	}
	return p.match[id]
}

// since is how long ago a member last took what is replicated to it.
func (p *progress) since(id raft.ServerID, term uint64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		return math.MaxInt64
	}
	return time.Since(p.at[id])
}

// tend looks after the membership: the leader gives a vote to who caught up and
// has the audit chain say who the members are, and any node notices that it was
// removed.
func (n *Node) tend() {
	wanted := map[raft.ServerID]uint64{} // what a member without a vote must have by the next look
	member := false
	for {
		select {
		case <-time.After(n.cfg.HeartbeatTimeout):
		case <-n.failed:
			return
		case <-n.ctx.Done():
			return
		}
		n.lease.recount()
		if is := n.isMember(n.id); is != member {
			if member = is; !is {
				n.log.Warn("this node was removed from the cluster: stop it; to have it back, start it with an empty data directory")
			}
		}
		if !n.IsLeader() {
			clear(wanted)
			continue
		}
		n.promote(wanted)
		n.tellMembers()
	}
}

// promote gives a vote to a member that has, at this look, all that was committed
// at the last one: it isn't further behind than a heartbeat timeout. One that comes
// in the place of a voter waits until that is removed, by an operator: a vote more
// would let the cluster do with fewer of those that know what was acknowledged.
func (n *Node) promote(wanted map[raft.ServerID]uint64) {
	members := n.members()
	for _, s := range members {
		if s.Suffrage == raft.Voter || replaces(members, s.ID) != "" {
			delete(wanted, s.ID)
			continue
		}
		target := wanted[s.ID]
		wanted[s.ID] = n.raft.CommitIndex()
		if target == 0 || n.progress.of(s.ID, n.raft.CurrentTerm()) < target || !n.lease.heardWithin(s.ID, 2*n.cfg.HeartbeatTimeout) {
			continue
		}
		err := n.change(n.ctx, func() raft.Future {
			// Looked at again, now that nobody else changes anything.
			if now := n.members(); replaces(now, s.ID) != "" || !n.isMember(s.ID) {
				return nil
			}
			return n.raft.AddVoter(s.ID, s.Address, 0, n.cfg.ApplyTimeout)
		})
		if err != nil {
			n.log.Warn("a member that caught up could not be given a vote yet", "member", s.ID, "error", err)
			continue
		}
		n.log.Info("a member caught up and votes now", "member", s.ID)
	}
}

// replaces returns the voter whose name a member without a vote has.
func replaces(members []raft.Server, id raft.ServerID) raft.ServerID {
	for _, s := range members {
		if s.Suffrage == raft.Voter && s.ID != id && memberName(s.ID) == memberName(id) {
			return s.ID
		}
	}
	return ""
}

// change makes one change of the membership at a time. Nothing to do is nil.
func (n *Node) change(ctx context.Context, begin func() raft.Future) error {
	select {
	case n.changing <- struct{}{}:
	default:
		return ErrOneByOne
	}
	done := make(chan error, 1)
	go func() { // Raft may take longer than ctx
		defer func() { <-n.changing }()
		if f := begin(); f != nil {
			done <- f.Error()
			n.lease.recount()
			return
		}
		done <- nil
	}()
	select {
	case err := <-done:
		switch {
		case err == nil, errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
			return err
		case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown):
			return fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUncertain, context.Cause(ctx))
	case <-n.down:
		return fmt.Errorf("%w: %w", ErrUncertain, errClosed)
	}
}

// refusal is a change that wasn't begun.
type refusal struct{ err error }

func (r refusal) Error() error { return r.err }

// leads tells whether this node can change the membership.
func (n *Node) leads() error {
	if !n.IsLeader() || !n.lease.held(n.raft.CurrentTerm()) {
		return ErrNotLeader
	}
	return nil
}

// admit makes a node a member without a vote. A former one of its name that
// never had a vote goes; one that has stays, until an operator removes it.
func (n *Node) admit(ctx context.Context, name string, id raft.ServerID) error {
	if err := n.leads(); err != nil {
		return err
	}
	if !validNewID(id, name) {
		return fmt.Errorf("%w: %q", errNoNewNodeID, id)
	}
	if n.isMember(id) {
		return nil
	}
	if err := n.mayJoin(name, id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, n.cfg.ApplyTimeout, errTimeout)
	defer cancel()
	for _, s := range n.members() {
		if memberName(s.ID) != name {
			continue
		}
		if s.ID == n.id || n.lease.heard(s.ID) {
			return errStillLives
		}
		if s.Suffrage == raft.Voter {
			n.log.Warn("a node comes back without its data and joins anew; it votes when the member that it was is removed", "member", s.ID, "new", id)
			continue
		}
		if err := n.change(ctx, func() raft.Future { return n.raft.RemoveServer(s.ID, 0, n.cfg.ApplyTimeout) }); err != nil {
			return err
		}
	}
	err := n.change(ctx, func() raft.Future {
		return n.raft.AddNonvoter(id, raft.ServerAddress(id), 0, n.cfg.ApplyTimeout)
	})
	if err == nil {
		n.log.Info("a node joins", "member", id)
	}
	return err
}

// Remove takes a member out of the cluster for good: it never comes back under its
// id. The member is named by its id or its name; a name that two have is that of
// the dead voter, not of the node that comes in its place. A node that runs must be
// given an empty data directory to join again. Only the leader can; it doesn't
// remove itself. When the error is ErrUncertain, look at Status.
func (n *Node) Remove(ctx context.Context, member string) (id string, err error) {
	if err := n.leads(); err != nil {
		return "", err
	}
	s, err := n.resolve(member)
	if err != nil {
		return "", err
	}
	if s.ID == n.id {
		return "", fmt.Errorf("%w: %s leads; have it hand the leadership over first", ErrUnsafe, member)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, n.cfg.ApplyTimeout, errTimeout)
	defer cancel()
	err = n.change(ctx, func() raft.Future {
		// Of a member without a vote the majority doesn't depend.
		if s.Suffrage == raft.Voter {
			if refused := n.spare(ctx, s.ID); refused != nil {
				return refusal{err: refused}
			}
		}
		return n.raft.RemoveServer(s.ID, 0, n.cfg.ApplyTimeout)
	})
	if err != nil {
		return "", err
	}
	n.log.Info("a member was removed", "member", s.ID)
	return string(s.ID), nil
}

// resolve finds the member that an operator means.
func (n *Node) resolve(member string) (raft.Server, error) {
	var named, dead []raft.Server
	for _, s := range n.members() {
		if string(s.ID) == member {
			return s, nil // also a name, as the id of an old directory
		}
		if memberName(s.ID) == member {
			named = append(named, s)
			if s.Suffrage == raft.Voter && s.ID != n.id && !n.lease.heard(s.ID) {
				dead = append(dead, s)
			}
		}
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1 && len(dead) == 1:
		return dead[0], nil
	case len(named) > 1:
		var ids []string
		for _, s := range named {
			ids = append(ids, string(s.ID))
		}
		return raft.Server{}, fmt.Errorf("%w: %s is the name of several: say which of %s", ErrNoMember, member, strings.Join(ids, ", "))
	}
	return raft.Server{}, fmt.Errorf("%w: %s", ErrNoMember, member)
}

// spare waits until the voters that answer from now on are a majority without one,
// at most a heartbeat timeout.
func (n *Node) spare(ctx context.Context, id raft.ServerID) error {
	began := time.Now()
	for {
		voters, alive := 0, 0
		for _, s := range n.members() {
			if s.Suffrage != raft.Voter || s.ID == id {
				continue
			}
			voters++
			if s.ID == n.id || n.lease.heardSince(s.ID, began) {
				alive++
			}
		}
		switch {
		case 2*alive > voters:
			return nil
		case time.Since(began) > n.cfg.HeartbeatTimeout:
			return fmt.Errorf("%w: without %s only %d of %d voters answer; start those that are down first", ErrUnsafe, id, alive, voters)
		}
		select {
		case <-time.After(n.cfg.HeartbeatTimeout / 50):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ctx.Done():
			return errClosed
		}
	}
}
