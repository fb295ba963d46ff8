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
		RestartCounter: max(old.GetRestartCounter(), 1), Acquired: m.clock,
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
