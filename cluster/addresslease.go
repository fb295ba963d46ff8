package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
)

// AddressLease is what this node knows of its right to a gateway address. The
// replicated state names an address's holder, with an epoch that rises whenever
// that changes. Who holds it may use it only while its lease is unexpired, and
// asks [AddressLease.Held] before every batch of packets. There are two kinds,
// and an epoch is of one for as long as it lasts.
//
// A led address is the leader's, for as long as Raft's own lease says that it
// leads (see lease). It is what a cluster with one address has. Whoever leads next
// takes it over at once: nobody leads before that lease has expired.
//
// A granted address may be any node's, so that all of them carry traffic. The
// holder asks the leader for its lease again and again. Say that it sent a request
// at s and was granted it: the lease is unexpired until s + L, on the holder's own
// clock, whenever the answer came and however long the process slept meanwhile.
// These hold:
//
//  1. A leader grants (address, epoch) only to the holder that the state names,
//     as it is when everything is applied that any leader before may have
//     committed: after a barrier of its own term. And only while Raft's lease says
//     that it leads, at a moment after it received the request. It notes a promise
//     until receipt + L and a margin.
//  2. An entry that gives the address to another (AssignAddress) is appended only
//     by a leader that has closed the epoch, so that it grants it no more in that
//     term; whose promise for it has passed; and that was elected L and a margin
//     ago. The entry does nothing in another term than the one in which that was so.
//  3. Let that leader's term be T. A lease granted in T was promised for, and its
//     promise has passed. A lease granted in a term before was granted while that
//     term's leader had Raft's lease, so before the leader of T was elected, and
//     asked for before that: L later it has expired. A leader of a term after T
//     has the entry in its log, and has applied it before it grants anything; or
//     hasn't, and then the entry is never committed, because that leader's first
//     entry is.
//  4. The holder itself ends its lease before it proposes to surrender it, and
//     takes none for that epoch again; so does a leader before it takes its own
//     granted address for a led one. Of an epoch that it held in a life before, a
//     process takes no lease: it surrenders. So a surrender that comes late, from
//     that life, finds nothing to end.
//
// Whoever the entry names asks for leases of the new epoch only when it has
// applied it, so that no two nodes have unexpired leases of one address. The
// margin is for clocks that don't run alike. L, Config.AddressLease, must be the
// same on every node; a leader refuses who has another.
//
// What is left are the packets that were already past the question when the lease
// expired, as a process may be stopped between any two instructions.
type AddressLease struct {
	node *Node
	name string

	// What Held reads.
	led   atomic.Uint64 // the term in which this node leads and holds it led; 0: it doesn't
	until atomic.Int64  // the end of a granted lease, nanoseconds after node.lease.base

	mu        sync.Mutex
	epoch     uint64 // guarded by mu: that led and until belong to
	forbidden uint64 // guarded by mu: of this epoch and those before no lease is taken any more
	surrender uint64 // guarded by mu: the epoch that was surrendered last
	own       uint64 // guarded by mu: an epoch that this process acquired itself
	told      uint64 // guarded by mu: what was published last
	kept      bool   // guarded by mu: keep runs

	tenures latest[uint64]
}

// AddressLease returns this node's lease of an address, and follows it from the
// first call on, for as long as the node runs.
func (n *Node) AddressLease(name string) *AddressLease {
	a := n.address(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.kept && n.ctx.Err() == nil {
		a.kept = true
		n.tasks.Go(a.keep)
	}
	return a
}

// address finds the lease of an address, which nobody may have asked for yet.
func (n *Node) address(name string) *AddressLease {
	n.addressesMu.Lock()
	defer n.addressesMu.Unlock()
	a := n.addresses[name]
	if a == nil {
		a = &AddressLease{node: n, name: name}
		a.until.Store(math.MinInt64)
		n.addresses[name] = a
	}
	return a
}

// Held tells whether this node may use the address at this moment. It is cheap
// enough to ask for every batch of packets.
func (a *AddressLease) Held() bool {
	if term := a.led.Load(); term != 0 && a.node.holdsIn(term) {
		return true
	}
	return int64(time.Since(a.node.lease.base)) < a.until.Load()
}

// Tenures returns a new channel that tells the epoch in which this node is the
// holder, 0 while it isn't, beginning with how things stand. It holds one value: a
// reader that is slow sees the latest only. If an epoch follows the one before
// directly, no other node was the holder in between. An address is to be up while it isn't
// 0, and to go down as soon as it is: Held is false by then, and another node may
// be the holder.
func (a *AddressLease) Tenures() <-chan uint64 { return a.tenures.subscribe() }

// Surrender gives the address up, to a node or, with an empty name, to nobody.
// Held is false from the call on. What is sent from the address must have ended
// before. It does nothing if this node isn't the holder; if it fails, it is tried
// again for as long as the node runs.
func (a *AddressLease) Surrender(ctx context.Context, to string) error {
	n := a.node
	r := n.addressRecord(a.name)
	if r.GetHolder() != n.cfg.NodeName {
		return nil
	}
	a.forbid(r.Epoch)
	a.mu.Lock()
	a.surrender = r.Epoch
	a.mu.Unlock()
	result, err := n.Propose(ctx, command.New("address", "", n.cfg.NodeName, &command.SurrenderAddress{
		Name: a.name, Node: n.cfg.NodeName, Epoch: r.Epoch, To: to,
	}))
	switch {
	case err != nil:
		return fmt.Errorf("surrender address %s: %w", a.name, err)
	case result.Code != command.Code_OK && result.Code != command.Code_CONFLICT: // it is another epoch's by now
		return fmt.Errorf("surrender address %s: %s: %s", a.name, result.Code, result.Message)
	}
	return nil
}

// Barred tells whether this node takes no lease of an epoch any more, though the
// state may name it: it surrendered it, or held it in a life before.
func (a *AddressLease) Barred(epoch uint64) bool {
	barred, _ := a.barred(epoch)
	return barred
}

// acquired notes that this process, and none before it, acquired an epoch.
func (a *AddressLease) acquired(epoch uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = epoch
}

// forbid ends the lease of an epoch and of those before it for good.
func (a *AddressLease) forbid(epoch uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.forbidden = max(a.forbidden, epoch); a.epoch <= a.forbidden {
		a.end()
	}
}

// suspend is forbid for an epoch that this node is to follow itself: the address
// stays up for that moment, though nothing passes.
func (a *AddressLease) suspend(epoch uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.forbidden = max(a.forbidden, epoch); a.epoch <= a.forbidden {
		a.stop()
	}
}

// barred tells whether no lease is taken of an epoch, and whether that is because
// it was surrendered.
func (a *AddressLease) barred(epoch uint64) (barred, surrendered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return epoch <= a.forbidden, epoch == a.surrender
}

// tell publishes what changed. a.mu is held.
func (a *AddressLease) tell(epoch uint64) {
	if a.told != epoch {
		a.told = epoch
		a.tenures.publish(epoch)
	}
}

// end ends whatever lease there is. a.mu is held.
func (a *AddressLease) end() {
	a.stop()
	a.tell(0)
}

// stop is end without a word. a.mu is held.
func (a *AddressLease) stop() {
	a.led.Store(0)
	a.until.Store(math.MinInt64)
	a.epoch = 0
}

func (a *AddressLease) lose() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch != 0 || a.told != 0 {
		a.end()
	}
}

// lead has the address for as long as this node leads in term.
func (a *AddressLease) lead(epoch, term uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if epoch <= a.forbidden || a.epoch == epoch && a.led.Load() == term {
		return
	}
	if a.epoch != 0 {
		a.end()
	}
	a.epoch = epoch // after one that was suspended there is nothing else to say
	a.led.Store(term)
	a.tell(epoch)
}

// extend takes a lease that was granted, and asked for at sent.
func (a *AddressLease) extend(epoch uint64, sent time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	until := sent.Sub(a.node.lease.base) + a.node.cfg.AddressLease
	if epoch <= a.forbidden || epoch != a.epoch || time.Since(a.node.lease.base) >= until {
		return
	}
	a.until.Store(max(a.until.Load(), int64(until)))
	a.tell(epoch)
}

// await makes a granted epoch the one that leases are taken for, and returns how
// long the one that there is lasts; nothing if there is none.
func (a *AddressLease) await(epoch uint64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if epoch <= a.forbidden {
		return 0
	}
	if a.epoch != epoch {
		if a.epoch != 0 {
			a.end()
		}
		a.epoch = epoch
	}
	left := time.Duration(a.until.Load()) - time.Since(a.node.lease.base)
	if a.until.Load() == math.MinInt64 {
		return 0
	}
	if left <= 0 {
		a.until.Store(math.MinInt64)
		a.tell(0)
		return 0
	}
	return left
}

// renewal is the outcome of a request for a lease.
type renewal struct {
	epoch uint64
	sent  time.Time
	err   error
}

// keep follows the state, and has leases granted. It is the one that takes them.
func (a *AddressLease) keep() {
	if !a.disown() {
		return
	}
	n := a.node
	// A request is lost now and then; of eight one must come through.
	every, soon := n.cfg.AddressLease/8, n.cfg.AddressLease/32
	answers := make(chan renewal, 1)
	asking, next, told := false, time.Now(), ""
	var orphan time.Time // since when this node is named for an epoch that it surrendered
	for {
		changed, role := n.Changed(), n.roleChange.next()
		wait := time.Hour
		term, leads := n.leadsIn() // before the state is looked at: it has all of the terms before
		r := n.addressRecord(a.name)
		mine := r.GetHolder() == n.cfg.NodeName
		barred, surrendered := a.barred(r.GetEpoch())
		if !mine || !barred {
			orphan = time.Time{}
		}
		switch {
		case !mine:
			a.lose()
		case barred && r.Granted && surrendered: // that may have failed
			if orphan.IsZero() {
				orphan = time.Now()
			}
			if wait = n.cfg.AddressLease/2 - time.Since(orphan); wait <= 0 {
				orphan, wait = time.Now(), n.cfg.AddressLease/2
				n.tasks.Go(func() {
					ctx, cancel := context.WithTimeout(n.ctx, n.cfg.AddressLease)
					defer cancel()
					if err := a.Surrender(ctx, ""); err != nil {
						n.log.Warn("an address is not surrendered yet", "address", a.name, "error", err)
					}
				})
			}
		case barred && leads: // it may be about to follow itself
		case barred:
			a.lose()
		case !r.Granted && leads:
			a.lead(r.Epoch, term)
		case !r.Granted:
			a.lose()
		default:
			wait = n.cfg.AddressLease
			if left := a.await(r.Epoch); left > 0 {
				wait = left
			}
			if !asking && time.Until(next) <= 0 {
				asking = true
				request := renewal{epoch: r.Epoch, sent: time.Now()}
				n.tasks.Go(func() {
					request.err = n.renewAddress(a.name, request.epoch)
					answers <- request
				})
			}
			if !asking {
				wait = min(wait, time.Until(next))
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-role:
			next = time.Now() // there may be another leader to ask
		case <-timer.C:
		case got := <-answers:
			asking = false
			if got.err == nil {
				a.extend(got.epoch, got.sent)
				next, told = got.sent.Add(every), ""
				break
			}
			next = time.Now().Add(soon)
			if text := got.err.Error(); text != told && n.ctx.Err() == nil {
				n.log.Debug("the lease of an address is not granted", "address", a.name, "epoch", got.epoch, "reason", text)
				told = text
			}
		case <-n.ctx.Done():
			timer.Stop()
			a.lose()
			if asking {
				<-answers
			}
			return
		}
		timer.Stop()
	}
}

// disown takes no lease of what this node was named for before this process began.
func (a *AddressLease) disown() bool {
	n := a.node
	for n.Barrier(n.ctx) != nil {
		select {
		case <-time.After(n.cfg.HeartbeatTimeout / 4):
		case <-n.ctx.Done():
			return false
		}
	}
	if r := n.addressRecord(a.name); r.GetHolder() == n.cfg.NodeName {
		a.mu.Lock()
		own := a.own == r.Epoch
		a.mu.Unlock()
		if !own {
			a.forbid(r.Epoch)
		}
	}
	return n.ctx.Err() == nil
}

// renewAddress asks whoever leads for a lease.
func (n *Node) renewAddress(name string, epoch uint64) error {
	if n.IsLeader() {
		return n.grant(renewalRequest{name, epoch, n.cfg.AddressLease, n.id})
	}
	leader, _ := n.Leader()
	peer, ok := n.cfg.peer(leader)
	if !ok || leader == n.cfg.NodeName {
		return errNoLeader
	}
	ctx, cancel := context.WithTimeoutCause(n.ctx, n.cfg.AddressLease/4, errTimeout)
	defer cancel()
	c := n.renewals.to(peer)
	select {
	case <-c.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if c.err != nil {
		return c.err
	}
	id, w, ok := c.register()
	if !ok {
		return fmt.Errorf("the connection to the leader %s broke", peer.Name)
	}
	defer c.unregister(id)
	select {
	case c.conn.out <- renewalRequest{name, epoch, n.cfg.AddressLease, n.id}.frame(id):
	case <-c.conn.dead:
		return fmt.Errorf("the connection to the leader %s broke", peer.Name)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-w.ready:
		if w.answer.verdict != done {
			return w.answer.err
		}
		return nil
	case <-ctx.Done():
		// What TCP would send again after a long pause is of no use by then. A new
		// connection is made at once.
		c.conn.kill()
		return context.Cause(ctx)
	}
}

// renewalRequest is what a holder asks the leader.
type renewalRequest struct {
	address string
	epoch   uint64
	length  time.Duration
	from    raft.ServerID
}

var errRenewal = errors.New("malformed request for an address lease")

// frame is be64 epoch, be64 nanoseconds, be16 length of the address's name, the
// name, and the id of who asks.
func (r renewalRequest) frame(id uint64) frame {
	body := binary.BigEndian.AppendUint64(nil, r.epoch)
	body = binary.BigEndian.AppendUint64(body, uint64(r.length))
	body = binary.BigEndian.AppendUint16(body, uint16(len(r.address)))
	return frame{kind: frameRenew, id: id, body: append(append(body, r.address...), r.from...)}
}

func decodeRenewal(body []byte) (renewalRequest, error) {
	const head = 8 + 8 + 2
	if len(body) < head || len(body) < head+int(binary.BigEndian.Uint16(body[16:])) {
		return renewalRequest{}, errRenewal
	}
	name := body[head : head+int(binary.BigEndian.Uint16(body[16:]))]
	return renewalRequest{
		string(name), binary.BigEndian.Uint64(body), time.Duration(binary.BigEndian.Uint64(body[8:])), raft.ServerID(body[head+len(name):]),
	}, nil
}

// serveRenewal answers a holder whose certificate has the name peer.
func (n *Node) serveRenewal(peer string, body []byte) answer {
	r, err := decodeRenewal(body)
	if err == nil && memberName(r.from) != peer {
		err = errStranger
	}
	if err == nil {
		err = n.grant(r)
	}
	if err != nil {
		return answer{verdict: notDone, err: err}
	}
	return answer{verdict: done}
}
