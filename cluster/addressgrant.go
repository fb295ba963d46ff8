package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// ErrAddressLeased: another node may hold the address yet; it was not assigned.
var ErrAddressLeased = errors.New("another node may hold the address yet")

var (
	errNotOpen      = errors.New("this node leads, but doesn't know yet what the leaders before it have done")
	errNotHolder    = errors.New("the state names another holder, or another epoch")
	errClosedEpoch  = errors.New("the address is being given to another node")
	errOtherLength  = errors.New("the address lease must be as long on every node: make address_lease equal everywhere")
	errNotYetSeen   = errors.New("the state isn't yet where the command says")
	errStranger     = errors.New("who asks is no member of the cluster")
	errGrantedOther = errors.New("another node has the address granted: it is to be assigned")
)

// grants is the leader's side of granted addresses: see AddressLease.
type grants struct {
	mu       sync.Mutex
	term     uint64             // guarded by mu: in which this node leads and has applied all of the terms before
	elected  time.Time          // guarded by mu: after this node was elected in term
	found    map[string]uint64  // guarded by mu: the epochs of the addresses when this node had applied that
	promises map[string]promise // guarded by mu: by address; of term
}

// promise is that an epoch of an address isn't ended before until.
type promise struct {
	epoch  uint64
	until  time.Time
	closed bool // it is granted no more
}

// promised is how long the leader waits where a holder has length: clocks may run
// apart by an eighth.
func promised(length time.Duration) time.Duration { return length + length/8 }

// leadsIn returns the term in which this node leads and knows what all leaders
// before it have done.
func (n *Node) leadsIn() (uint64, bool) {
	n.grants.mu.Lock()
	term := n.grants.term
	n.grants.mu.Unlock()
	return term, term != 0 && n.IsLeader() && n.raft.CurrentTerm() == term
}

// openGrants finds out, whenever this node is elected, what was decided before.
func (n *Node) openGrants() {
	for {
		role := n.roleChange.next()
		var again <-chan time.Time
		term := n.raft.CurrentTerm()
		if _, open := n.leadsIn(); n.IsLeader() && !open {
			elected := time.Now()
			ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ApplyTimeout)
			a := n.lead(ctx, question{repeatable: true})
			cancel()
			if a.verdict == done && n.raft.CurrentTerm() == term {
				n.grants.mu.Lock()
				n.grants.term, n.grants.elected, n.grants.promises = term, elected, map[string]promise{}
				n.grants.found = map[string]uint64{}
				n.View(func(m *state.Machine) {
					for r := range m.Addresses() {
						n.grants.found[r.Name] = r.Epoch
					}
				})
				n.grants.mu.Unlock()
				n.roleChange.fire()
				continue
			}
			again = time.After(n.cfg.HeartbeatTimeout / 10)
		}
		select {
		case <-role:
		case <-again:
		case <-n.ctx.Done():
			return
		}
	}
}

// grant lets a node hold an address for a lease's length from when it sent the
// request.
func (n *Node) grant(q renewalRequest) error {
	received := time.Now()
	if q.length != n.cfg.AddressLease {
		return fmt.Errorf("%w (%v there, %v here)", errOtherLength, q.length, n.cfg.AddressLease)
	}
	term := n.raft.CurrentTerm()
	if !n.holdsIn(term) {
		return errNoLease
	}
	if !n.isMember(q.from) {
		return fmt.Errorf("%w: %s", errStranger, q.from)
	}
	g := &n.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.term != term {
		return errNotOpen
	}
	r := n.addressRecord(q.address)
	if r.GetHolder() != memberName(q.from) || r.Epoch != q.epoch || !r.Granted {
		return errNotHolder
	}
	p := g.promises[q.address]
	if p.epoch != q.epoch {
		p = promise{epoch: q.epoch}
	}
	if p.closed {
		return errClosedEpoch
	}
	p.until = received.Add(promised(q.length))
	g.promises[q.address] = p
	return nil
}

// free returns how long it takes until an address may be given to another node
// than the one that the state names. n.grants.mu is held.
func (n *Node) free(r *command.GatewayAddress) time.Duration {
	if !r.GetGranted() || r.Holder == n.cfg.NodeName {
		return 0
	}
	at := n.grants.elected.Add(promised(n.cfg.AddressLease))
	p := n.grants.promises[r.Name]
	if p.epoch != r.Epoch && r.Epoch != n.grants.found[r.Name] && n.grants.promises != nil {
		// It was just assigned: its holder has yet to hear of it.
		p = promise{epoch: r.Epoch, until: time.Now().Add(promised(n.cfg.AddressLease))}
		n.grants.promises[r.Name] = p
	}
	if p.epoch == r.Epoch && p.until.After(at) {
		at = p.until
	}
	return max(0, time.Until(at))
}

// AddressFree returns how long it takes at least until this node, which must lead,
// may assign an address to another node than its holder. A holder that lives keeps
// that from becoming 0.
func (n *Node) AddressFree(name string) (time.Duration, error) {
	term, leads := n.leadsIn()
	if !leads {
		return 0, ErrNotLeader
	}
	n.grants.mu.Lock()
	defer n.grants.mu.Unlock()
	if n.grants.term != term {
		return 0, ErrNotLeader
	}
	return n.free(n.addressRecord(name)), nil
}

// AssignAddress makes a node the holder of an address: the leader, which calls it,
// for as long as it leads, or another for as long as it is granted. epoch is that
// of the holder before. ErrAddressLeased: it is too early.
func (n *Node) AssignAddress(ctx context.Context, name, node string, epoch uint64) (*command.GatewayAddress, error) {
	term, leads := n.leadsIn()
	if !leads {
		return nil, ErrNotLeader
	}
	c := command.New("address", "", n.cfg.NodeName, &command.AcquireAddress{Name: name, Node: node, Epoch: epoch})
	if r := n.addressRecord(name); node != n.cfg.NodeName || r.GetGranted() && r.Holder != n.cfg.NodeName {
		c = command.New("address", "", n.cfg.NodeName, &command.AssignAddress{
			Name: name, Node: node, Epoch: epoch, Term: term, Granted: node != n.cfg.NodeName,
		})
	}
	if free, err := n.AddressFree(name); err != nil || free > 0 {
		return nil, errors.Join(err, fmt.Errorf("%w, for %v", ErrAddressLeased, free))
	}
	result, err := n.Propose(ctx, c)
	if err != nil {
		return nil, err
	}
	r := new(command.GatewayAddress)
	if err := result.Into(r); err != nil {
		return nil, err
	}
	if r.Holder == n.cfg.NodeName {
		n.address(name).acquired(r.Epoch)
	}
	return r, nil
}

// Authority returns when this node leads and knows what the leaders before it have
// done, so that it can assign addresses.
func (n *Node) Authority(ctx context.Context) error {
	return n.roleChange.await(ctx, func() bool { _, leads := n.leadsIn(); return leads })
}

// mayAppend decides whether a command may come into the log that changes who holds
// an address. An error means that it may not, or not yet.
func (n *Node) mayAppend(payload proto.Message) error {
	switch p := payload.(type) {
	case *command.AcquireAddress:
		return n.mayAcquire(p)
	case *command.AssignAddress:
		return n.mayAssign(p)
	}
	return nil
}

// mayAcquire admits what every leader does at once: to take an address that the
// leader before it led, that nobody has, or that is granted to itself. None of that
// changes within an epoch, so that it doesn't matter in which term it is appended.
func (n *Node) mayAcquire(p *command.AcquireAddress) error {
	n.grants.mu.Lock()
	defer n.grants.mu.Unlock()
	r := n.addressRecord(p.Name)
	switch {
	case r.GetEpoch() > p.Epoch:
		return nil // a conflict, as the machine will say
	case r.GetEpoch() < p.Epoch:
		return errNotYetSeen
	case r.GetGranted() && r.Holder != n.cfg.NodeName:
		return errGrantedOther
	}
	n.closeEpoch(r, p.Node)
	return nil
}

// mayAssign admits an assignment when no other node can hold the address any more.
func (n *Node) mayAssign(p *command.AssignAddress) error {
	n.grants.mu.Lock()
	defer n.grants.mu.Unlock()
	r := n.addressRecord(p.Name)
	switch {
	case r.GetEpoch() > p.Epoch:
		return nil
	case r.GetEpoch() < p.Epoch:
		return errNotYetSeen
	case n.grants.term != p.Term:
		return errNotOpen
	}
	if free := n.free(r); free > 0 {
		return fmt.Errorf("%w, for %v", ErrAddressLeased, free)
	}
	n.closeEpoch(r, p.Node)
	return nil
}

// closeEpoch ends an epoch, which one of to's follows: it is granted no more, and if
// it was this node's own, it is over. n.grants.mu is held.
func (n *Node) closeEpoch(r *command.GatewayAddress, to string) {
	if r == nil {
		return
	}
	if n.grants.promises != nil {
		p := n.grants.promises[r.Name]
		if p.epoch != r.Epoch {
			p = promise{epoch: r.Epoch}
		}
		p.closed = true
		n.grants.promises[r.Name] = p
	}
	if r.Holder == n.cfg.NodeName {
		if to == n.cfg.NodeName {
			n.address(r.Name).suspend(r.Epoch)
		} else {
			n.address(r.Name).forbid(r.Epoch)
		}
	}
}

func (n *Node) addressRecord(name string) (r *command.GatewayAddress) {
	n.View(func(m *state.Machine) { r = m.Address(name) })
	return r
}
