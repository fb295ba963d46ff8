package cluster

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// checks is what is known of a schedule from outside of the cluster, and what
// follows from that.
type checks struct {
	sim       *sim
	permitted uint32

	mu       sync.Mutex
	seals    map[string]uint32     // stampings of each order
	digests  map[uint64]digestSeen // by log index
	answers  map[[2]string][]byte  // results by client and request id
	teids    map[uint32]string     // held by sessions that are open for certain
	inner    map[netip.Addr]string // the same of addresses
	epochs   map[uint64]string     // who acquired the gateway address
	forwards uint64                // the newest epoch that was forwarded for
	current  map[*Node]uint64      // the epoch in which a node takes itself for the holder
	now      int64                 // counts the events of the history
	ops      []porcupine.Operation
}

type digestSeen struct {
	digest [32]byte
	node   string
}

func newChecks(s *sim) *checks {
	return &checks{
		sim: s, seals: map[string]uint32{}, digests: map[uint64]digestSeen{}, answers: map[[2]string][]byte{},
		teids: map[uint32]string{}, inner: map[netip.Addr]string{}, epochs: map[uint64]string{}, current: map[*Node]uint64{},
	}
}

// unlocked counts at the seal.
func (c *checks) unlocked(order string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seals[order]++; c.seals[order] > c.permitted {
		c.sim.failf("order %s: unlocked %d times, %d are permitted", order, c.seals[order], c.permitted)
	}
}

// answered notes a result that a client was given.
func (c *checks) answered(cmd *command.Command, r *command.Result) {
	if r.Code != command.Code_OK {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[[2]string{cmd.ClientId, cmd.RequestId}] = command.Marshal(r)
}

// holds notes that a session is open, until released.
func (c *checks) holds(who string, s *command.Session) (release func()) {
	addr, _ := netip.AddrFromSlice(s.Address)
	teids := []uint32{s.GetGtp().GetLocalTeidC(), s.GetGtp().GetLocalTeidU()}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, teid := range teids {
		if other, held := c.teids[teid]; held || teid == 0 {
			c.sim.failf("TEID %#x is held by %s and given to %s", teid, other, who)
		}
		c.teids[teid] = who
	}
	if other, held := c.inner[addr]; held || !addr.IsValid() {
		c.sim.failf("address %v is held by %s and given to %s", addr, other, who)
	}
	c.inner[addr] = who
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.inner, addr)
		for _, teid := range teids {
			delete(c.teids, teid)
		}
	}
}

// historic is one operation of the history.
type historic struct {
	checks *checks
	op     porcupine.Operation
}

// begin notes that something is asked. The order of what happened is counted, not
// read from a clock, which stands still here while something goes on.
func (c *checks) begin(op ledgerOp) *historic {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	return &historic{c, porcupine.Operation{Input: op, Call: c.now}}
}

func (h *historic) end(out ledgerOut) {
	c := h.checks
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	h.op.Output, h.op.Return = out, c.now
	if out.unknown {
		h.op.Return = math.MaxInt64 // whenever, or never
	}
	c.ops = append(c.ops, h.op)
}

// digestEvery is how many entries there are to one after which states are compared;
// most of a schedule's time would go into digests otherwise.
const digestEvery = 19

// watch follows one process: its state at each entry is the others', and when it
// leads it acquires the gateway address.
func (c *checks) watch(n *simNode, node *Node) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.current, node)
	}()
	leadership := node.Leadership()
	tenure := func() {} // ends what a leader does
	defer func() { tenure() }()
	for {
		changed := node.Changed()
		var index uint64
		var digest [32]byte
		node.View(func(m *state.Machine) {
			if index = m.Index(); index%digestEvery == 0 { // the nodes apply entries in batches of their own
				digest = m.Digest()
			}
		})
		if index%digestEvery == 0 && c.sim.lives(node) {
			c.sameDigest(n, index, digest)
		}
		select {
		case <-changed:
		case lead := <-leadership:
			tenure()
			c.mu.Lock()
			delete(c.current, node)
			c.mu.Unlock()
			if lead {
				ctx, cancel := context.WithCancel(node.ctx)
				tenure = cancel
				c.sim.logf("%s leads", n.name)
				c.sim.tasks.Go(func() { c.acquire(ctx, n, node) })
			}
		case <-node.ctx.Done():
			return
		}
	}
}

func (c *checks) sameDigest(n *simNode, index uint64, digest [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch seen, ok := c.digests[index]; {
	case !ok:
		c.digests[index] = digestSeen{digest, n.name}
	case seen.digest != digest:
		c.sim.failf("at entry %d, the states of %s and %s differ", index, seen.node, n.name)
	}
}

// acquire is what address.Keeper does.
func (c *checks) acquire(ctx context.Context, n *simNode, node *Node) {
	for ctx.Err() == nil {
		want := &command.AcquireAddress{Name: "gtp", Node: n.name}
		if node.Barrier(ctx) == nil {
			node.View(func(m *state.Machine) { want.Epoch = m.Address("gtp").GetEpoch() })
			r, err := node.Propose(ctx, command.New("address", "", n.name, want))
			got := new(command.GatewayAddress)
			if err == nil && c.sim.lives(node) && r.Into(got) == nil && got.Holder == n.name {
				c.mu.Lock()
				defer c.mu.Unlock()
				if other, taken := c.epochs[got.Epoch]; taken {
					c.sim.failf("epoch %d of the address was given to %s and to %s", got.Epoch, other, n.name)
				}
				c.epochs[got.Epoch] = n.name
				if ctx.Err() == nil {
					c.current[node] = got.Epoch
				}
				return
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// lease checks again and again that one node at most acts as the cluster, and
// that none forwards for an epoch after another did for a later one.
func (c *checks) lease() {
	for pause(c.sim.ctx, 3*time.Millisecond) {
		holder := ""
		for _, n := range c.sim.nodes {
			node := n.running()
			if node == nil {
				continue
			}
			if !node.Holds() {
				continue
			}
			if holder != "" {
				c.sim.failf("%s and %s hold the lease at the same time", holder, n.name)
			}
			holder = n.name
			c.mu.Lock()
			if epoch := c.current[node]; epoch != 0 {
				if epoch < c.forwards {
					c.sim.failf("%s forwards for epoch %d after epoch %d", n.name, epoch, c.forwards)
				}
				c.forwards = epoch
			}
			c.mu.Unlock()
		}
	}
}

// clock checks that the cluster's clock is right as long as most nodes' clocks were.
func (c *checks) clock() {
	c.sim.mu.Lock()
	jumped := len(c.sim.jumped)
	c.sim.mu.Unlock()
	if jumped > (len(c.sim.nodes)-1)/2 {
		return
	}
	for _, n := range c.sim.nodes {
		if node := n.running(); node != nil {
			var ahead time.Duration
			node.View(func(m *state.Machine) { ahead = time.Until(m.Clock()) })
			if ahead > clockTolerance+clockRoundTrip {
				c.sim.failf("%s: the cluster's clock is %v ahead, after %d of %d nodes' clocks were", n.name, ahead, jumped, len(c.sim.nodes))
			}
		}
	}
}

// state checks the nodes when everything has been mended and finished.
func (c *checks) state() {
	ctx, cancel := context.WithTimeout(c.sim.ctx, recoveryTime)
	defer cancel()
	// What is answered from here on, as the clock goes on ticking, a node may not
	// have yet.
	c.mu.Lock()
	answers := maps.Clone(c.answers)
	c.mu.Unlock()
	for _, n := range c.sim.nodes {
		node := n.running()
		if node == nil || node.Barrier(ctx) != nil {
			c.sim.failf("%s was well and is no more", n.name)
			return
		}
		node.View(func(m *state.Machine) { c.stateOf(n, m) })
		if err := c.audit(ctx, node, answers); err != nil {
			c.sim.failf("%s: audit: %v", n.name, err)
		}
	}
}

func (c *checks) stateOf(n *simNode, m *state.Machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for o := range m.Orders() {
		if o.Excess > 0 || o.Confirmed+o.Reserved > o.Permitted {
			c.sim.failf("%s: %v", n.name, o)
		}
		if o.Reserved == 0 && o.Confirmed != c.seals[o.Number] {
			c.sim.failf("%s: %d uses of %s are confirmed, the seal was unlocked %d times", n.name, o.Confirmed, o.Number, c.seals[o.Number])
		}
	}
	if a := m.Address("gtp"); a.GetRestartCounter() != 1 {
		c.sim.failf("%s: the restart counter is at %d", n.name, a.GetRestartCounter())
	}
	teids, inner := map[uint32]uint64{}, map[netip.Addr]uint64{}
	for s := range m.Sessions() {
		addr, _ := netip.AddrFromSlice(s.Address)
		for _, teid := range []uint32{s.GetGtp().GetLocalTeidC(), s.GetGtp().GetLocalTeidU()} {
			if s.Gtp != nil && teids[teid] != 0 || inner[addr] != 0 {
				c.sim.failf("%s: session %v holds what another holds", n.name, s)
			}
			teids[teid] = s.Id
		}
		inner[addr] = s.Id
	}
}

// audit checks that the chain verifies, and that everything answered is in it,
// once with an effect.
func (c *checks) audit(ctx context.Context, node *Node, answers map[[2]string][]byte) error {
	missing := maps.Clone(answers)
	var broken error
	// What comes in while other nodes are asked for what isn't here stands after it.
	var head uint64
	node.View(func(m *state.Machine) { head, _ = m.AuditHead() })
	chain := func(yield func(*command.AuditEntry, error) bool) {
		if err := node.AuditRange(ctx, 1, func(e *command.AuditEntry) error {
			cmd, _, err := command.Decode(e.Command)
			if err != nil {
				return err
			}
			if key := [2]string{cmd.ClientId, cmd.RequestId}; bytes.Equal(missing[key], e.Result) {
				delete(missing, key)
			}
			if !yield(e, nil) {
				return errClosed
			}
			return nil
		}); err != nil && broken == nil {
			broken = err
		}
	}
	_, last, err := state.VerifyAudit([32]byte{}, 0, chain)
	if err == nil {
		err = broken
	}
	if err != nil {
		return err
	}
	if last < head {
		return fmt.Errorf("it ends at %d, the state was at %d", last, head)
	}
	for key := range missing {
		return fmt.Errorf("of %d requests that were answered, %d are not in it, e.g. %q", len(answers), len(missing), key)
	}
	return nil
}

// judgeTime bounds, in real time, how long a history is searched for an order.
const judgeTime = 10 * time.Second

// judge tells whether the history is linearizable. It runs outside of the
// bubble, because the search is bounded in real time.
func (c *checks) judge() (porcupine.CheckResult, error) {
	model := ledgerModel(c.permitted)
	result, info := porcupine.CheckOperationsVerbose(model, c.ops, judgeTime)
	if result != porcupine.Illegal {
		return result, nil
	}
	longest := 0
	for _, part := range info.PartialLinearizationsOperations() {
		for _, l := range part {
			longest = max(longest, len(l))
		}
	}
	return result, fmt.Errorf("the history of %d operations on orders is not linearizable (%d of one order can be explained at most)", len(c.ops), longest)
}
