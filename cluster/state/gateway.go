package state

import (
	"math"

	"github.com/sealedge/sealedge/cluster/command"
)

// acquireAddress makes a node the holder of a gateway address. The epoch rises
// even when the holder stays: a node that was restarted is fenced from its
// former self.
func (m *Machine) acquireAddress(p *command.AcquireAddress) outcome {
	if p.Name == "" || p.Node == "" {
		return invalid("an address and a node have names")
	}
	old := m.addresses.get(p.Name)
	if old.GetEpoch() != p.Epoch {
		return refuse(command.Code_CONFLICT, "the address is at epoch %d, not %d", old.GetEpoch(), p.Epoch)
	}
	a := &command.GatewayAddress{
		Name: p.Name, Holder: p.Node, Epoch: p.Epoch + 1,
		RestartCounter: max(old.GetRestartCounter(), 1), Acquired: m.clock, Home: old.GetHome(),
	}
	m.addresses.set(a.Name, a)
	return done(a, "")
}

// assignAddress makes a node the holder, which is the leader or has its leases
// granted by the leader. An entry may be appended in a later term than the one in
// which its proposer saw that nobody else can hold the address any more; of what
// was granted in between it knew nothing.
func (m *Machine) assignAddress(p *command.AssignAddress) outcome {
	old := m.addresses.get(p.Name)
	switch {
	case p.Name == "" || p.Node == "":
		return invalid("an address and a node have names")
	case old.GetEpoch() != p.Epoch:
		return refuse(command.Code_CONFLICT, "the address is at epoch %d, not %d", old.GetEpoch(), p.Epoch)
	case p.Term != m.term:
		return refuse(command.Code_CONFLICT, "another term has begun")
	}
	a := &command.GatewayAddress{
		Name: p.Name, Holder: p.Node, Epoch: p.Epoch + 1, Granted: p.Granted,
		RestartCounter: max(old.GetRestartCounter(), 1), Acquired: m.clock, Home: old.GetHome(),
	}
	m.addresses.set(a.Name, a)
	return done(a, "")
}

// surrenderAddress takes an address from its holder, at its own request.
func (m *Machine) surrenderAddress(p *command.SurrenderAddress) outcome {
	old := m.addresses.get(p.Name)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such gateway address")
	case old.Epoch != p.Epoch:
		return refuse(command.Code_CONFLICT, "the address is at epoch %d, not %d", old.Epoch, p.Epoch)
	case p.Node == "" || old.Holder != p.Node:
		return refuse(command.Code_CONFLICT, "another node holds the address")
	}
	a := shallow(old)
	a.Epoch++
	a.Holder, a.Granted, a.MovingTo, a.Left, a.Acquired = p.To, p.To != "", "", "", m.clock
	if p.To == "" {
		a.Left = p.Node
	}
	m.addresses.set(a.Name, a)
	return done(a, "")
}

// moveAddress notes where an address is to go. Who holds it surrenders it.
func (m *Machine) moveAddress(p *command.MoveAddress) outcome {
	old := m.addresses.get(p.Name)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such gateway address")
	case old.Epoch != p.Epoch:
		return refuse(command.Code_CONFLICT, "the address is at epoch %d, not %d", old.Epoch, p.Epoch)
	case p.To == "" && !p.Home:
		return invalid("an address moves to a node")
	}
	a := shallow(old)
	if a.MovingTo = ""; p.To != a.Holder {
		a.MovingTo = p.To
	}
	if p.Home {
		a.Home = p.To
	}
	m.addresses.set(a.Name, a)
	return done(a, "")
}

// bumpRestartCounter raises the restart counter (TS 23.007 18). It is kept
// without wrapping; the Recovery IE carries its low eight bits.
func (m *Machine) bumpRestartCounter(p *command.BumpRestartCounter) outcome {
	old := m.addresses.get(p.Name)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such gateway address")
	case old.RestartCounter != p.From:
		return refuse(command.Code_CONFLICT, "the restart counter is at %d, not %d", old.RestartCounter, p.From)
	case old.RestartCounter == math.MaxUint32:
		return invalid("the restart counter is at its end")
	}
	a := shallow(old)
	a.RestartCounter++
	m.addresses.set(a.Name, a)
	return done(a, "")
}
