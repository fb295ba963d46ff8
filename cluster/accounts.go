package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// What a node says of itself, every other one notes: who asks says it with the
// question, who answers with the answer (see greeting). So what has just changed is
// said to all by asking all, and nobody waits for the leader's next survey. A build
// from before neither says nor notes it.
//
// A drained node is about to be stopped. It goes on voting and carrying out what the
// leader gives it, but gets no gateway address, and the leadership only if nobody else
// can be elected, until it has handed it on. That is of the process: one that was
// started anew isn't drained.

// tellTime bounds how long what changed is said to the others: one that is down
// mustn't hold up a node that stops.
const tellTime = 300 * time.Millisecond

// accounts is what the other nodes said of themselves last.
type accounts struct {
	mu    sync.Mutex
	nodes map[raft.ServerID]account
}

// account is what one node said.
type account struct {
	at      time.Time // it was said no earlier
	started time.Time // its process, on this node's clock; zero: it doesn't say
	drained bool
	process int64     // see greeting.Process
	told    int64     // see greeting.Told
	yielded time.Time // see greeting.Yielded; zero: not that it knows of
}

// note takes in what a node said in an exchange that began at asked. What it said by
// itself since is newer.
func (t *accounts) note(g greeting, asked time.Time) {
	a := account{at: asked, drained: g.Drained, process: g.Process, told: g.Told}
	if g.Up > 0 {
		a.started = time.Now().Add(-time.Duration(g.Up) * time.Millisecond)
	}
	if g.Yielded > 0 {
		a.yielded = time.Now().Add(-time.Duration(g.Yielded) * time.Millisecond)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nodes == nil {
		t.nodes = map[raft.ServerID]account{}
	}
	last := t.nodes[g.ID]
	if last.at.After(asked) || g.Process == last.process && g.Told < last.told { // it was long on its way
		return
	}
	t.nodes[g.ID] = a
}

func (t *accounts) of(id raft.ServerID) account {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nodes[id]
}

// noteAsker takes in what the node says that asks, whose name is proved.
func (n *Node) noteAsker(peer string, body []byte) {
	var g greeting
	if len(body) == 0 || json.Unmarshal(body, &g) != nil || memberName(g.ID) != peer {
		return
	}
	n.accounts.note(g, time.Now())
}

// SetDrained says to all other nodes that this one is about to be stopped, or isn't
// after all. The error names those that didn't hear it; they do by and by.
func (n *Node) SetDrained(ctx context.Context, drained bool) error {
	n.drained.Store(drained)
	n.told.Add(1)
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	answers := make(chan error, len(n.cfg.Peers))
	asked := 0
	for _, p := range n.cfg.Peers {
		if p.Name == n.cfg.NodeName {
			continue
		}
		asked++
		go func() {
			_, err := n.greet(ctx, p)
			if err != nil {
				err = fmt.Errorf("node %s hasn't heard it yet: %w", p.Name, err)
			}
			answers <- err
		}()
	}
	var errs []error
	for range asked {
		select {
		case err := <-answers:
			errs = append(errs, err)
		case <-ctx.Done():
			return errors.Join(append(errs, context.Cause(ctx))...)
		}
	}
	return errors.Join(errs...)
}

// Drained tells whether this node was drained.
func (n *Node) Drained() bool { return n.drained.Load() }

func (n *Node) isDrained(id raft.ServerID) bool {
	if id == n.id {
		return n.drained.Load()
	}
	return n.accounts.of(id).drained
}

// Living lists the names of the voters that this node, which must lead, has heard
// of within a heartbeat timeout, itself included: those that gateway addresses may be
// given to, and those that are drained. all tells whether there are no others. When
// only drained ones live, they count as if they weren't.
func (n *Node) Living() (names, drained []string, all bool) {
	all = true
	for _, s := range n.members() {
		switch {
		case s.Suffrage != raft.Voter:
		case s.ID != n.id && !n.lease.heardWithin(s.ID, n.cfg.HeartbeatTimeout):
			all = false
		case n.isDrained(s.ID):
			drained = append(drained, memberName(s.ID))
		default:
			names = append(names, memberName(s.ID))
		}
	}
	if len(names) == 0 {
		return drained, nil, all
	}
	slices.Sort(names)
	return names, drained, all
}
