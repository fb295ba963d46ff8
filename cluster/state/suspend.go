package state

import (
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// A suspension takes a device out of service as a revocation does, but not for
// ever. It has a reason, and only a ResumeDevice takes it back: whoever puts the
// record anew meanwhile, such as an import, leaves it suspended.

// suspendDevice asks for nothing but the device, like a revocation.
func (m *Machine) suspendDevice(p *command.SuspendDevice) outcome {
	switch {
	case p.Reason == "":
		return invalid("a suspension has a reason")
	case (p.Imsi == "") == (p.Barrel == ""):
		return invalid("a suspension is of one terminal or of one barrel")
	case p.Imsi != "":
		return m.suspendSubscriber(p)
	}
	return m.suspendBarrel(p)
}

func (m *Machine) suspendSubscriber(p *command.SuspendDevice) outcome {
	old := m.subscribers.get(p.Imsi)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such subscriber")
	case old.State == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the subscriber is revoked, for ever")
	case old.State == command.DeviceState_SUSPENDED_DEVICE && old.SuspendReason != "":
		return done(new(command.Revocation), "") // nothing of it lives
	}
	s := shallow(old)
	s.State, s.SuspendReason, s.Version = command.DeviceState_SUSPENDED_DEVICE, p.Reason, old.Version+1
	m.indexSubscriber(old, s)
	return done(m.endAll(p.Imsi, p.Reason), "")
}

// endAll ends what a terminal that is out of service has: its sessions, its uses,
// and its hold of barrels.
func (m *Machine) endAll(imsi, reason string) *command.Revocation {
	answer := new(command.Revocation)
	answer.Sessions = slices.Collect(m.SessionsByIMSI(imsi))
	for _, session := range answer.Sessions {
		m.endSession(session)
	}
	m.settleLeases(imsi)
	locked := map[string]bool{}
	for _, u := range slices.Collect(m.OpenUsesOf(imsi)) {
		m.stopUse(u, reason)
		answer.Uses = append(answer.Uses, u.Id)
		answer.Locks = append(answer.Locks, m.lockUse(u, reason, "").Id)
		locked[u.Barrel] = true
	}
	for _, b := range slices.Collect(m.BarrelsOf(imsi)) {
		if !locked[b.Id] {
			answer.Locks = append(answer.Locks, m.lockBarrel(b, reason, "").Id)
		}
	}
	return answer
}

func (m *Machine) suspendBarrel(p *command.SuspendDevice) outcome {
	old := m.barrels.get(p.Barrel)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such barrel")
	case old.State == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the barrel is revoked, for ever")
	case old.State == command.DeviceState_SUSPENDED_DEVICE && old.SuspendReason != "":
		return done(new(command.Revocation), "") // it was locked then
	}
	b := shallow(old)
	b.State, b.SuspendReason, b.Version = command.DeviceState_SUSPENDED_DEVICE, p.Reason, old.Version+1
	m.indexBarrel(old, b)
	l := m.lockBarrel(b, p.Reason, "")
	answer := &command.Revocation{Locks: []uint64{l.Id}}
	if l.Use != 0 {
		answer.Uses = []uint64{l.Use}
	}
	return done(answer, "")
}

// resumeDevice takes a suspension back, however it was made. Sessions that it
// ended stay ended, and locks are carried out.
func (m *Machine) resumeDevice(p *command.ResumeDevice) outcome {
	switch {
	case (p.Imsi == "") == (p.Barrel == ""):
		return invalid("a suspension is of one terminal or of one barrel")
	case p.Imsi != "":
		old := m.subscribers.get(p.Imsi)
		if o := resumable(old != nil, old.GetState(), "subscriber"); o.refused() || old.State == command.DeviceState_ACTIVE {
			return o
		}
		s := shallow(old)
		s.State, s.SuspendReason, s.Version = command.DeviceState_ACTIVE, "", old.Version+1
		m.indexSubscriber(old, s)
		return done(nil, "")
	}
	old := m.barrels.get(p.Barrel)
	if o := resumable(old != nil, old.GetState(), "barrel"); o.refused() || old.State == command.DeviceState_ACTIVE {
		return o
	}
	b := shallow(old)
	b.State, b.SuspendReason, b.Version = command.DeviceState_ACTIVE, "", old.Version+1
	m.indexBarrel(old, b)
	return done(nil, "")
}

func resumable(found bool, s command.DeviceState, kind string) outcome {
	switch {
	case !found:
		return refuse(command.Code_NOT_FOUND, "no such %s", kind)
	case s == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the %s is revoked, for ever", kind)
	}
	return done(nil, "")
}

// keptState is the state of a record that is put in the place of another: a
// suspension with a reason stays.
func keptState(old command.DeviceState, reason string, next command.DeviceState) command.DeviceState {
	if old == command.DeviceState_SUSPENDED_DEVICE && reason != "" {
		return old
	}
	return next
}
