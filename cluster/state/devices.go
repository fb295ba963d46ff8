package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// MostDevices bounds one PutDevices, so that no command stops the log for long.
const MostDevices = 1_000

// putDevices carries out each change for itself, in their order: one may depend on
// those before it, such as the check-out of a barrel that was put on the list.
func (m *Machine) putDevices(p *command.PutDevices) outcome {
	switch n := len(p.Changes); {
	case n == 0:
		return invalid("a change of no device")
	case n > MostDevices:
		return invalid("%d changes of devices at once; at most %d", n, MostDevices)
	}
	put := new(command.DevicesPut)
	for _, c := range p.Changes {
		put.Outcomes = append(put.Outcomes, m.putDevice(c))
	}
	return done(put, "")
}

// putDevicesWhole carries out all of the changes, or nothing: then the outcome is
// that of the first one that is refused. p stays as it is, and the caller's.
func (m *Machine) putDevicesWhole(p *command.PutDevices) outcome {
	if o := m.tryDevices(p); o.refused() {
		return o
	}
	return m.putDevices(proto.CloneOf(p))
}

// tryDevices tells what putDevicesWhole would answer, and changes nothing.
func (m *Machine) tryDevices(p *command.PutDevices) outcome {
	o := m.Clone().putDevices(proto.CloneOf(p))
	if o.refused() {
		return o
	}
	for i, d := range o.record.(*command.DevicesPut).Outcomes {
		if d.Code != command.Code_OK {
			return refuse(d.Code, "device %d of %d: %s", i+1, len(p.Changes), d.Message)
		}
	}
	return o
}

// TryDevices tells what PutDevices would do to each device now, and changes
// neither the machine nor p; assumed terminals are taken to be on the list. The
// answer is nil for a command that is refused as a whole. Have a clone do it: it
// takes longer than readers may hold a machine up.
func (m *Machine) TryDevices(p *command.PutDevices, assumed ...string) *command.DevicesPut {
	m = m.Clone()
	for _, imsi := range assumed {
		if !m.subscribers.has(imsi) {
			m.subscribers.set(imsi, &command.Subscriber{Imsi: imsi, State: command.DeviceState_ACTIVE, Version: 1})
		}
	}
	put, _ := m.putDevices(proto.CloneOf(p)).record.(*command.DevicesPut)
	return put
}

func (m *Machine) putDevice(c *command.DeviceChange) *command.DeviceOutcome {
	var before uint64
	var o outcome
	switch d := c.Change.(type) {
	case *command.DeviceChange_Subscriber:
		old := m.subscribers.get(d.Subscriber.GetSubscriber().GetImsi())
		if c.Idempotent && old != nil && SameSubscriber(old, d.Subscriber.Subscriber) {
			return unchanged(old.Version)
		}
		o = m.putSubscriber(d.Subscriber)
	case *command.DeviceChange_Barrel:
		old := m.barrels.get(d.Barrel.GetBarrel().GetId())
		if c.Idempotent && old != nil && SameBarrel(old, d.Barrel.Barrel) {
			return unchanged(old.Version)
		}
		o = m.putBarrel(d.Barrel)
	case *command.DeviceChange_CheckOut:
		before = m.barrels.get(d.CheckOut.GetBarrel()).GetVersion()
		o = m.checkOut(d.CheckOut)
	case *command.DeviceChange_CheckIn:
		before = m.barrels.get(d.CheckIn.GetBarrel()).GetVersion()
		o = m.checkIn(d.CheckIn)
	case *command.DeviceChange_Resume:
		if o = m.resumeDevice(d.Resume); !o.refused() {
			version := m.subscribers.get(d.Resume.Imsi).GetVersion() + m.barrels.get(d.Resume.Barrel).GetVersion() // one of them is 0
			return &command.DeviceOutcome{Code: command.Code_OK, Version: version}
		}
	default:
		o = invalid("a change that says nothing")
	}
	if o.refused() {
		return &command.DeviceOutcome{Code: o.code, Message: o.message}
	}
	record := o.record.(interface{ GetVersion() uint64 })
	if before != 0 && record.GetVersion() == before { // it was handed over so already
		return unchanged(before)
	}
	return &command.DeviceOutcome{Code: command.Code_OK, Version: record.GetVersion()}
}

func unchanged(version uint64) *command.DeviceOutcome {
	return &command.DeviceOutcome{Code: command.Code_OK, Version: version, Unchanged: true}
}

// SameSubscriber tells whether putting s in the place of old would change nothing
// but what the machine sets.
func SameSubscriber(old, s *command.Subscriber) bool {
	s = shallow(s)
	s.State = keptState(old.State, old.SuspendReason, s.State)
	s.Version, s.RevokeReason, s.SuspendReason = old.Version, old.RevokeReason, old.SuspendReason
	return proto.Equal(old, s)
}

// SameBarrel tells whether putting b in the place of old would change nothing but
// what the machine sets. A grant counter that is no higher is none.
func SameBarrel(old, b *command.Barrel) bool {
	if b.GrantCounter > old.GrantCounter {
		return false
	}
	b = shallow(b)
	b.State = keptState(old.State, old.SuspendReason, b.State)
	b.Version, b.RevokeReason, b.SuspendReason = old.Version, old.RevokeReason, old.SuspendReason
	b.CheckedOutTo, b.GrantCounter = old.CheckedOutTo, old.GrantCounter
	b.Epoch, b.Lifetime, b.Unaccounted = old.Epoch, old.Lifetime, old.Unaccounted
	b.Foreign, b.ForeignKnown = old.Foreign, old.ForeignKnown
	b.AskedUse, b.AskedCounter, b.Excuse = old.AskedUse, old.AskedCounter, old.Excuse
	return proto.Equal(old, b)
}
