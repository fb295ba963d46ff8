package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// workload is what the people, barrels and carriers of a schedule do.
type workload struct {
	sim       *sim
	permitted uint32 // uses of each order
	orders    []string
	users     []*simUser
	quit      chan struct{} // closed when nothing new is to be begun
	tasks     sync.WaitGroup
	sent      sync.WaitGroup // duplicates of requests on their way
	requests  atomic.Uint64

	localMu sync.Mutex // of the mutant that counts on each node
	local   map[string]uint32
}

// simUser is a terminal with its barrel.
type simUser struct {
	imsi    string
	session uint64
	barrel  *simBarrel
}

func newWorkload(s *sim) *workload {
	w := &workload{sim: s, permitted: uint32(4 + s.rng.IntN(8)), quit: make(chan struct{}), local: map[string]uint32{}}
	s.check.permitted = w.permitted
	for i := range 2 + s.rng.IntN(2) {
		w.orders = append(w.orders, fmt.Sprintf("WO-%d", i+1))
	}
	for i := range 3 {
		imsi := fmt.Sprintf("46001000000000%d", i+1)
		w.users = append(w.users, &simUser{imsi: imsi, barrel: &simBarrel{
			id: fmt.Sprintf("B-%d", i+1), imsi: imsi, check: s.check, stamped: map[uint64]uint32{}, final: map[uint64]bool{},
		}})
	}
	return w
}

// client is one source of requests, with choices of its own.
type client struct {
	*workload
	name string
	rng  *rand.Rand
}

func (w *workload) client(name string) *client {
	seed := uint64(0)
	for _, c := range name {
		seed = seed*31 + uint64(c)
	}
	return &client{w, name, rand.New(rand.NewPCG(w.sim.seed, seed))}
}

func (c *client) request() string { return fmt.Sprintf("%s-%d", c.name, c.requests.Add(1)) }

func (c *client) upTo(d time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(d))) }

// ask has a command carried out, on whichever node, however often it takes.
// open tells that an attempt, or a duplicate, may be carried out besides the one
// answered. The result is nil if the schedule ended before there was an answer.
func (c *client) ask(cmd *command.Command) (r *command.Result, open bool) {
	for attempt := 0; c.sim.ctx.Err() == nil; attempt++ {
		node := c.sim.any(c.rng)
		if node == nil {
			pause(c.sim.ctx, 20*time.Millisecond)
			continue
		}
		send := cmd
		if c.sim.mut == dedupOff {
			send = proto.CloneOf(cmd)
			send.RequestId += fmt.Sprintf("/%d", attempt)
		}
		timeout := 50*time.Millisecond + c.upTo(time.Second)
		if other := c.sim.any(c.rng); c.rng.IntN(10) == 0 && other != nil {
			open = true
			after := c.upTo(300 * time.Millisecond)
			c.sent.Go(func() {
				if pause(c.sim.ctx, after) {
					_, _ = other.Propose(c.sim.ctx, send)
				}
			})
		}
		ctx, cancel := context.WithTimeout(c.sim.ctx, timeout)
		r, err := node.Propose(ctx, send)
		cancel()
		if !c.sim.lives(node) {
			err = command.ErrUnknownOutcome
		}
		switch {
		case err == nil:
			c.sim.logf("    %s %s by %s: %v %s", cmd.Type, send.RequestId, node.cfg.NodeName, r.Code, r.Message)
			c.sim.check.answered(send, r)
			return r, open
		case errors.Is(err, command.ErrUnknownOutcome):
			open = true
		case !errors.Is(err, command.ErrNoQuorum):
			c.sim.failf("%s: %v of %s: %v", node.cfg.NodeName, cmd.Type, cmd.RequestId, err)
			return nil, true
		}
		pause(c.sim.ctx, 5*time.Millisecond+c.upTo(50*time.Millisecond))
	}
	return nil, true
}

// ledger asks something of an order, and puts it in the history.
func (c *client) ledger(op ledgerOp, cmd *command.Command) *command.Result {
	h := c.sim.check.begin(op)
	r, open := c.ask(cmd)
	h.end(ledgerOut{code: r.GetCode(), unknown: r == nil || r.Code == command.Code_CONFLICT && open})
	return r
}

func (c *client) view(fn func(*state.Machine)) bool {
	node := c.sim.any(c.rng)
	if node != nil {
		node.View(fn)
	}
	return node != nil
}

func (w *workload) over() bool {
	select {
	case <-w.quit:
		return true
	case <-w.sim.ctx.Done():
		return true
	default:
		return false
	}
}

// loop repeats an action, with pauses of about every.
func (w *workload) loop(c *client, every time.Duration, do func(c *client)) {
	w.tasks.Go(func() {
		for !w.over() && pause(w.sim.ctx, c.upTo(2*every)) {
			do(c)
		}
	})
}

// prepare makes what the users need. False if it couldn't be had without a fault.
func (w *workload) prepare() bool {
	c := w.client("admin")
	ctx, cancel := context.WithTimeout(w.sim.ctx, recoveryTime)
	defer cancel()
	for w.sim.leader() == nil || w.sim.level() < command.Level {
		if !pause(ctx, 10*time.Millisecond) {
			w.sim.failf("no leader %v after the start", recoveryTime)
			return false
		}
	}
	for _, n := range w.sim.nodes {
		n.disk.set(normalLatency, false, false)
	}
	must := func(payload proto.Message, into proto.Message) {
		r, _ := c.ask(command.New("admin", c.request(), "admin", payload))
		if err := r.Into(into); err != nil && !w.sim.failed() {
			w.sim.failf("%T: %v", payload, err)
		}
	}
	must(&command.PutPolicy{Document: []byte("sim"), Pools: []*command.Pool{
		{Apn: "seal", PrefixAddress: []byte{10, 1, 0, 0}, PrefixBits: 29}, {Apn: "other", PrefixAddress: []byte{10, 2, 0, 0}, PrefixBits: 29},
	}}, new(command.Policy))
	for _, u := range w.users {
		must(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: u.imsi, State: command.DeviceState_ACTIVE}}, new(command.Subscriber))
		must(&command.PutBarrel{Barrel: &command.Barrel{Id: u.barrel.id, State: command.DeviceState_ACTIVE}}, new(command.Barrel))
		must(&command.CheckOut{Barrel: u.barrel.id, Imsi: u.imsi}, new(command.Barrel))
		opened := new(command.Opened)
		must(openSession(c, u.imsi, "seal", 5), opened)
		u.session = opened.GetSession().GetId()
	}
	w.prepareFallback(must)
	return !w.sim.failed()
}

func openSession(c *client, imsi, apn string, ebi uint32) *command.OpenSession {
	entropy := make([]byte, 16)
	for i := range entropy {
		// Of a few values only, so that TEIDs collide.
		entropy[i] = byte(c.rng.IntN(2))
	}
	return &command.OpenSession{
		Imsi: imsi, Apn: apn, PolicyRevision: 1, SubscriberVersion: 1, Entropy: entropy[:], GatewayAddress: "gtp",
		Gtp: &command.GTPPath{Version: 2, Ebi: ebi, PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}}},
	}
}

func (w *workload) start() {
	for i, u := range w.users {
		w.loop(w.client("phone"+u.imsi), 60*time.Millisecond, func(c *client) { c.useSeal(u) })
		w.loop(w.client("carrier"+u.imsi), 100*time.Millisecond, func(c *client) { c.attachAndDetach(u) })
		every := 50 * time.Millisecond
		if w.sim.mut == verifyLeader {
			every = 5 * time.Millisecond // what is to be seen takes an acknowledgement under way
		}
		w.loop(w.client(fmt.Sprint("reader", i)), every, (*client).read)
		w.sim.tasks.Go(func() { w.tend(u) })
	}
	w.loop(w.client("fallback"), 200*time.Millisecond, (*client).fallBack)
	w.loop(w.client("keys"), 300*time.Millisecond, (*client).rotate)
	if c := w.client("court"); c.rng.IntN(3) == 0 {
		w.tasks.Go(func() {
			if pause(w.sim.ctx, c.upTo(faultTime)) {
				c.disconnect()
			}
		})
	}
}

// finish lets everything come to its end: every request answered, every use
// settled by its barrel, every lock acknowledged.
func (w *workload) finish() {
	close(w.quit)
	idle := make(chan struct{})
	go func() {
		w.tasks.Wait()
		w.sent.Wait()
		close(idle)
	}()
	ctx, cancel := context.WithTimeout(w.sim.ctx, recoveryTime)
	defer cancel()
	select {
	case <-idle:
	case <-ctx.Done():
		w.sim.failf("requests are not answered %v after everything was mended", recoveryTime)
		return
	}
	for w.sim.mut != localCounter {
		left := 0
		node := w.sim.nodes[0].running()
		if node != nil && node.Barrier(ctx) == nil {
			node.View(func(m *state.Machine) {
				left = len(m.PendingLocks())
				for _, u := range w.users {
					if m.OpenUseOfBarrel(u.barrel.id) != nil {
						left++
					}
				}
			})
			if left == 0 {
				return
			}
		}
		if !pause(ctx, 50*time.Millisecond) {
			w.sim.failf("%d uses and locks are not settled %v after everything was mended", left, recoveryTime)
			return
		}
	}
}

// useSeal is one use of the seal: reserved, granted, stamped, settled; or broken
// off anywhere.
func (c *client) useSeal(u *simUser) {
	order, count := c.orders[c.rng.IntN(len(c.orders))], uint32(1+c.rng.IntN(3))
	if c.sim.mut == localCounter {
		c.useByLocalCounter(u, order, count)
		return
	}
	var clock time.Time
	if !c.view(func(m *state.Machine) { clock = m.Clock() }) {
		return
	}
	id := c.request()
	r := c.ledger(ledgerOp{order, opReserve, id, count}, command.New("phone:"+u.imsi, id, u.imsi, &command.ReserveUses{
		Order: order, Barrel: u.barrel.id, Imsi: u.imsi, User: "user", SealType: "company", Count: count, Permitted: c.permitted,
		GrantNotAfter: clock.Add(2 * time.Second).UnixNano(), EvidenceSeconds: 3600, PolicyRevision: 1, SubscriberVersion: 1, BarrelVersion: 2, Session: u.session,
	}))
	use := new(command.Use)
	if r == nil || r.Code != command.Code_OK {
		return
	}
	if err := r.Into(use); err != nil || use.RequestId != id && c.sim.mut != dedupOff {
		c.sim.failf("reserve %s was answered with %v, %v", id, use, err)
		return
	}
	if c.rng.IntN(8) == 0 || !u.barrel.accept(use) {
		return // the grant is lost on its way, or came too late
	}
	for n := c.rng.IntN(int(use.Count) + 1); n > 0; n-- {
		pause(c.sim.ctx, c.upTo(80*time.Millisecond))
		number, ok := u.barrel.stamp(use)
		if !ok {
			break
		}
		if c.rng.IntN(4) > 0 { // else the receipt is lost; the settlement counts it
			c.ledger(ledgerOp{order, opReceipt, id, number}, command.New("phone:"+u.imsi, c.request(), u.imsi,
				&command.RecordReceipt{Use: use.Id, Number: number, Receipt: fmt.Append(nil, "receipt ", number)}))
		}
	}
	c.settle(u.barrel, use, u.barrel.finish(use))
}

func (c *client) settle(b *simBarrel, use *command.Use, stamped uint32) {
	c.ledger(ledgerOp{use.Order, opSettle, use.RequestId, stamped}, command.New(b.id, c.request(), b.id,
		&command.SettleUse{Use: use.Id, Stamped: stamped, Statement: []byte("signed")}))
}

// useByLocalCounter is the mutant that asks the node at hand how many are left,
// and has the others told later.
func (c *client) useByLocalCounter(u *simUser, order string, count uint32) {
	node := c.sim.any(c.rng)
	if node == nil {
		return
	}
	c.localMu.Lock()
	key := node.cfg.NodeName + order
	granted := c.local[key]+count <= c.permitted
	if granted {
		c.local[key] += count
	}
	c.localMu.Unlock()
	if granted {
		use := &command.Use{Id: c.requests.Add(1), Order: order, Count: count, GrantCounter: u.barrel.next()}
		u.barrel.accept(use)
		for range count {
			u.barrel.stamp(use)
		}
	}
}

// tend is the barrel's side, and the sweeping that the gateway does: locks are
// carried out, uses that nobody finishes are expired and settled.
func (w *workload) tend(u *simUser) {
	c := w.client("barrel" + u.barrel.id)
	for pause(w.sim.ctx, 30*time.Millisecond+c.upTo(150*time.Millisecond)) {
		var use *command.Use
		var locks []*command.Lock
		expired := false
		if !c.view(func(m *state.Machine) {
			use = m.OpenUseOfBarrel(u.barrel.id)
			for _, l := range m.PendingLocks() {
				if l.Barrel == u.barrel.id {
					locks = append(locks, l)
				}
			}
			expired = use.GetState() == command.UseState_RESERVED && m.Clock().UnixNano() > use.NotAfter
		}) {
			continue
		}
		for _, l := range locks {
			u.barrel.lock(l.GrantCounter)
			c.ask(command.New(u.barrel.id, c.request(), u.barrel.id, &command.AckLock{Lock: l.Id, Barrel: true, Terminal: true}))
		}
		if expired {
			c.ask(command.New("sweeper", c.request(), "sweeper", &command.ExpireUse{Use: use.Id}))
		}
		if use != nil {
			if stamped, final := u.barrel.count(use); final {
				c.settle(u.barrel, use, stamped)
			}
		}
		if w.over() { // nobody else moves the cluster's clock on when all is quiet
			c.ask(command.New("sweeper", c.request(), "sweeper", &command.RecordDecision{Kind: "tick"}))
		}
	}
}

// attachAndDetach holds a session on another APN for a while.
func (c *client) attachAndDetach(u *simUser) {
	r, _ := c.ask(command.New("gtpc", c.request(), "gtpc", openSession(c, u.imsi, "other", 6)))
	opened := new(command.Opened)
	if r == nil || r.Into(opened) != nil {
		return
	}
	release := c.sim.check.holds(u.imsi, opened.Session)
	pause(c.sim.ctx, c.upTo(300*time.Millisecond))
	release()
	c.ask(command.New("gtpc", c.request(), "gtpc", &command.ClosePath{Session: opened.Session.Id, Path: command.PathKind_GTP, LocalTeidC: opened.Session.Gtp.LocalTeidC}))
}

// disconnect ends an order, as the seal server does.
func (c *client) disconnect() {
	order := c.orders[c.rng.IntN(len(c.orders))]
	c.ledger(ledgerOp{order: order, kind: opEnd}, command.New("server", c.request(), "server",
		&command.Disconnect{SourceId: "source-1", Order: order, Reason: "ended by the court"}))
}

// read looks an order up so that nothing answered before is missed.
func (c *client) read() {
	node := c.sim.any(c.rng)
	if node == nil || c.sim.mut == verifyLeader && !node.IsLeader() {
		return
	}
	op := ledgerOp{order: c.orders[c.rng.IntN(len(c.orders))], kind: opRead}
	h := c.sim.check.begin(op)
	var err error
	switch c.sim.mut {
	case staleReads:
	case verifyLeader:
		err = node.raft.VerifyLeader().Error()
	default:
		ctx, cancel := context.WithTimeout(c.sim.ctx, 50*time.Millisecond+c.upTo(time.Second))
		if c.rng.IntN(8) > 0 {
			err = node.ReadIndex(ctx)
		} else {
			err = node.Barrier(ctx)
		}
		cancel()
	}
	if err != nil {
		return // unanswered, it tells nothing
	}
	var out ledgerOut
	node.View(func(m *state.Machine) {
		o := m.Order(op.order)
		out = ledgerOut{reserved: o.GetReserved(), confirmed: o.GetConfirmed(), ended: o.GetState() == command.OrderState_ENDED_ORDER}
	})
	if c.sim.lives(node) {
		h.end(out)
	}
}

// simBarrel is a barrel: what it stamps is what counts.
type simBarrel struct {
	id, imsi string
	check    *checks

	mu      sync.Mutex
	counter uint64            // of the last grant or lock
	stamped map[uint64]uint32 // by use
	final   map[uint64]bool   // uses that it won't stamp for any more
}

func (b *simBarrel) next() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counter + 1
}

// accept takes a grant, unless it had this one or a later one.
func (b *simBarrel) accept(u *command.Use) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.GrantCounter <= b.counter {
		return false
	}
	b.counter = u.GrantCounter
	b.stamped[u.Id] = 0
	return true
}

// stamp opens the seal once.
func (b *simBarrel) stamp(u *command.Use) (number uint32, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, known := b.stamped[u.Id]; !known || b.final[u.Id] || u.GrantCounter != b.counter || n == u.Count {
		return 0, false
	}
	b.stamped[u.Id]++
	b.check.unlocked(u.Order)
	return b.stamped[u.Id], true
}

// finish ends a use; no more is stamped for it.
func (b *simBarrel) finish(u *command.Use) uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.final[u.Id] = true
	return b.stamped[u.Id]
}

// lock voids every grant up to a counter.
func (b *simBarrel) lock(counter uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.stamped {
		b.final[id] = true
	}
	b.counter = max(b.counter, counter)
}

// count is what the barrel signs for a use, once that can't change any more.
func (b *simBarrel) count(u *command.Use) (uint32, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, had := b.stamped[u.Id]; had {
		return b.stamped[u.Id], b.final[u.Id]
	}
	return 0, u.GrantCounter <= b.counter
}
