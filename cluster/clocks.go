package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// The log has its time from the leader, and it never goes back: a leader whose
// clock is an hour ahead would take the cluster's clock with it for good. Every
// grant would be made out for an hour too long, whatever waits for its time would
// end an hour early, and no correct leader could stamp anything later until the
// hour has passed.
//
// So no node's clock counts alone. Each node asks its peers for their clocks, and
// goes on counting with its own monotonic clock, which no jump of its wall clock
// changes. A leader whose clock differs by more than clockTolerance from the
// median of all, its own included, stamps with the median. Of those it doesn't know,
// while nodes are down, all right ones may be: so the fewer it knows the earlier one
// counts, of three of five nodes the earliest, that no minority of wrong clocks takes
// the cluster's ahead. A clock that lags is mended by setting it right, one that was
// ahead isn't. A cluster of one has only its own clock.
//
// What came of clocks that most nodes had wrong, docs/runbooks/clock.md tells how to
// mend.

const (
	// clockTolerance is more than an exchange between nodes can be mistaken, and than
	// clocks that are kept differ.
	clockTolerance = 2 * time.Second
	// clockRoundTrip is the longest that an exchange may take that tells a clock.
	clockRoundTrip = time.Second
	// clockEvery is how often a node asks, once it has heard all.
	clockEvery = 10 * time.Second
	// clockKept is how long a clock counts that isn't heard any more: monotonic
	// clocks drift apart by less than ten seconds meanwhile.
	clockKept = 24 * time.Hour
	// clockPatience is how long the first command of a process waits for other nodes'
	// clocks.
	clockPatience = 3 * time.Second
)

// clocks is what a node knows of the others' clocks.
type clocks struct {
	wrong int           // how many clocks may be, of all nodes'
	heard chan struct{} // closed when so many peers have answered that with this node they are a majority

	mu       sync.Mutex
	known    map[string]otherClock // by node name
	answered map[string]struct{}   // peers, if only that they tell no clock; nil once heard is closed
}

// otherClock is what a peer's clock said, in Unix nanoseconds, at an instant here.
type otherClock struct {
	said int64
	at   time.Time // with its monotonic reading
}

// init makes c ready for use in a cluster of so many nodes.
func (c *clocks) init(nodes int) {
	c.wrong = (nodes - 1) / 2
	c.heard, c.known, c.answered = make(chan struct{}), map[string]otherClock{}, map[string]struct{}{}
}

func (c *clocks) note(peer string, said int64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[peer] = otherClock{said, at}
	c.count(peer)
}

// silent notes a peer of a version that tells no clock.
func (c *clocks) silent(peer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(peer)
}

// count ends the waiting for answers when there are enough. The caller holds mu.
func (c *clocks) count(peer string) {
	if c.answered == nil {
		return
	}
	if c.answered[peer] = struct{}{}; len(c.answered) >= max(1, c.wrong) {
		c.answered = nil
		close(c.heard)
	}
}

// none tells whether no other clock is known.
func (c *clocks) none() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known) == 0
}

// judge returns what a command is to be stamped with when this node's clock says
// own, and how far own is ahead of what counts.
func (c *clocks) judge(own int64) (stamp int64, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []int64{own}
	for peer, o := range c.known {
		since := time.Since(o.at)
		if since > clockKept {
			delete(c.known, peer)
			continue
		}
		all = append(all, o.said+int64(since))
	}
	slices.Sort(all)
	// Of the latest wrong+1 one at least is right, if there are so many.
	counts := all[max(0, min((len(all)-1)/2, len(all)-1-c.wrong))]
	ahead = time.Duration(own - counts)
	if ahead.Abs() <= clockTolerance {
		return own, ahead
	}
	return counts, ahead
}

// awaitClock lets the first command of a process wait until there are enough clocks
// to compare with, unless nobody tells one. It is false if the node ends first: what
// it would stamp then, it would stamp with a clock that nobody has judged.
func (n *Node) awaitClock() bool {
	if n.lease.sole.Load() {
		return true
	}
	timer := time.NewTimer(clockPatience)
	defer timer.Stop()
	select {
	case <-n.clocks.heard:
	case <-timer.C:
	case <-n.ctx.Done():
		return false
	}
	return true
}

// watchClocks asks the peers for their clocks, again and again.
func (n *Node) watchClocks() {
	wait, off := n.cfg.HeartbeatTimeout/4, false
	for {
		switch all := n.askClocks(); {
		case all:
			wait = clockEvery
		case n.clocks.none():
			wait = min(2*wait, n.cfg.HeartbeatTimeout) // a leader may wait for it
		default:
			wait = min(2*wait, clockEvery)
		}
		_, ahead := n.clocks.judge(n.cfg.now().UnixNano())
		switch is := ahead.Abs() > clockTolerance; {
		case is && !off:
			n.log.Error("this node's clock differs from the other nodes': set it right; commands are stamped with the median of all clocks", "ahead", ahead)
			off = true
		case !is && off:
			n.log.Info("this node's clock agrees with the other nodes' again", "ahead", ahead)
			off = false
		}
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
			return
		}
	}
}

// askClocks asks all peers at once, and tells whether all said their clocks.
func (n *Node) askClocks() (all bool) {
	answers := make(chan bool, len(n.cfg.Peers))
	asked := 0
	for _, p := range n.cfg.Peers {
		if p.Name == n.cfg.NodeName {
			continue
		}
		asked++
		go func() { answers <- n.askClock(p) }()
	}
	all = true
	for range asked {
		ok := <-answers
		all = all && ok
	}
	return all
}

// askClock asks one peer. What it says counts for the middle of the exchange; the
// connection was made before.
func (n *Node) askClock(p Peer) bool {
	ctx, cancel := context.WithTimeout(n.ctx, raftIO)
	defer cancel()
	conn, err := n.port.dialNode(ctx, p.Name, p.Address, protoNode)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	question := n.greeting().question(1).append(nil)
	began := time.Now()
	if _, err := conn.Write(question); err != nil {
		return false
	}
	f, err := readFrame(bufio.NewReader(conn))
	took := time.Since(began)
	var g greeting
	if err != nil || f.kind != frameGreeting || json.Unmarshal(f.body, &g) != nil || took > clockRoundTrip {
		return false
	}
	if memberName(g.ID) == p.Name {
		n.accounts.note(g, began)
	}
	if g.Clock == 0 { // a build from before, which there is no use in waiting for
		n.clocks.silent(p.Name)
		return false
	}
	n.clocks.note(p.Name, g.Clock, began.Add(took/2))
	return true
}
