package state

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// A change waits until enough people have agreed. It holds for one revision of the
// policy: who has to agree was decided by it. What may have changed meanwhile
// besides, such as the versions of devices, is tried when it is carried out; when
// it is refused then, the last approval is refused with it.
const (
	// maxPending bounds the changes that wait, and maxPendingBytes what they hold.
	maxPending      = 128
	maxPendingBytes = 32 << 20
	// keepChanges is how many are kept that are over, the last ones. Broken glass
	// that nobody reviewed is kept beside them.
	keepChanges = 500
)

// proposeChange puts a change up, or carries it out when nobody else is needed.
func (m *Machine) proposeChange(p *command.ProposeChange, actor string) outcome {
	if o := m.mayPropose(p, actor); o.refused() {
		return o
	}
	m.nextChange++
	digest := command.ChangeDigest(p.Policy, p.Devices)
	c := &command.Change{
		Id: m.nextChange, Policy: p.Policy, Devices: p.Devices, Digest: digest[:], Reason: p.Reason, RollbackTo: p.RollbackTo,
		Touches: p.Touches, Effects: p.Effects, Needed: p.Needed, ProposedBy: actor, Proposed: m.clock,
		State: command.ChangeState_PENDING, PolicyRevision: p.PolicyRevision,
	}
	if c.Needed > 0 && !p.BreakGlass {
		if o := m.Clone().carryOutChange(c); o.refused() {
			m.nextChange--
			return o
		}
		c.Expires = m.clock + int64(p.LifetimeSeconds)*int64(time.Second)
		m.changes.set(c.Id, c)
		m.trimChanges()
		return done(brief(c), "")
	}
	if o := m.carryOutChange(c); o.refused() {
		m.nextChange--
		return o
	}
	m.inForce(c, actor)
	if p.BreakGlass {
		c.BreakGlass, c.ReviewDue = true, m.clock+int64(p.ReviewSeconds)*int64(time.Second)
	}
	m.endChange(c)
	m.trimChanges()
	return done(brief(c), "")
}

// mayPropose checks what the change itself doesn't tell.
func (m *Machine) mayPropose(p *command.ProposeChange, actor string) outcome {
	switch {
	case actor == "":
		return invalid("a change needs somebody who answers for it")
	case (p.Policy == nil) == (p.Devices == nil):
		return invalid("a change is of the policy or of devices")
	case p.Devices != nil && len(p.Devices.Changes) == 0:
		return invalid("a change of no devices")
	case p.BreakGlass && p.Needed == 0:
		return invalid("nobody else is needed for this: there is no glass to be broken")
	case p.BreakGlass && p.Reason == "":
		return invalid("broken glass has a reason")
	case p.BreakGlass && p.ReviewSeconds == 0:
		return invalid("broken glass is reviewed within a time")
	case p.Needed > 0 && !p.BreakGlass && p.LifetimeSeconds == 0:
		return invalid("a proposal holds for a time")
	case p.PolicyRevision != m.PolicyRevision():
		return refuse(command.Code_CONFLICT, "the policy is at revision %d, not %d", m.PolicyRevision(), p.PolicyRevision)
	}
	if p.RollbackTo != 0 {
		switch was := m.PolicyAt(p.RollbackTo); {
		case p.Policy == nil || p.RollbackTo >= m.PolicyRevision():
			return invalid("what is gone back to is a former revision of the policy")
		case was == nil:
			return refuse(command.Code_NOT_FOUND, "revision %d is not kept any more", p.RollbackTo)
		case !bytes.Equal(was.Document, p.Policy.Document):
			return invalid("this is not the document of revision %d", p.RollbackTo)
		}
	}
	if p.BreakGlass {
		for c := range m.changes.values() {
			if unreviewed(c) && m.clock >= c.ReviewDue {
				return refuse(command.Code_CONFLICT, "the review of change %d is overdue: no glass is broken before it", c.Id)
			}
		}
		return done(nil, "")
	}
	if p.Needed > 0 {
		n, size := 1, proto.Size(p)
		for c := range m.changes.values() {
			if m.waits(c) {
				n, size = n+1, size+proto.Size(c)
			}
		}
		if n > maxPending || size > maxPendingBytes {
			return refuse(command.Code_BUSY, "%d changes wait for approval already; approve or reject some first", n-1)
		}
	}
	return done(nil, "")
}

// carryOutChange does what a change is about, all of it or nothing.
func (m *Machine) carryOutChange(c *command.Change) outcome {
	if c.Policy != nil {
		// The record keeps the document, so the change may be forgotten.
		o := m.putPolicy(c.Policy, c.ProposedBy)
		if !o.refused() {
			m.policy.Change = c.Id // made by putPolicy just now, nobody has it yet
		}
		return o
	}
	return m.putDevicesWhole(c.Devices)
}

// approveChange notes another person's yes. The gateway verified the signature.
func (m *Machine) approveChange(p *command.ApproveChange, actor string) outcome {
	old := m.changes.get(p.Change)
	if old != nil && approvedBy(old, actor) && bytes.Equal(old.Digest, p.Digest) && (m.waits(old) || old.State == command.ChangeState_IN_FORCE) {
		return done(brief(old), "") // nobody's word counts twice
	}
	if o := m.decidable(old, actor); o.refused() {
		return o
	}
	switch {
	case old.ProposedBy == actor:
		return invalid("%s proposed it: somebody else has to approve", actor)
	case !bytes.Equal(old.Digest, p.Digest):
		return refuse(command.Code_CONFLICT, "what is approved is not what change %d does", old.Id)
	case len(p.Certificate) == 0 || len(p.Signature) == 0:
		return invalid("an approval is signed")
	}
	c := shallow(old)
	c.Approvals = append(append([]*command.Approval(nil), old.Approvals...), &command.Approval{
		By: actor, At: m.clock, Certificate: p.Certificate, Signature: p.Signature,
	})
	if len(c.Approvals) < int(c.Needed) {
		m.changes.set(c.Id, c)
		return done(brief(c), "")
	}
	if o := m.carryOutChange(c); o.refused() {
		return o
	}
	m.inForce(c, actor)
	m.endChange(c)
	return done(brief(c), "")
}

// decidable tells whether a change still waits for somebody's word.
func (m *Machine) decidable(c *command.Change, actor string) outcome {
	switch {
	case c == nil:
		return refuse(command.Code_NOT_FOUND, "no such change")
	case actor == "":
		return invalid("a decision needs somebody who answers for it")
	case c.State == command.ChangeState_IN_FORCE:
		return refuse(command.Code_ENDED, "change %d is in force", c.Id)
	case c.State == command.ChangeState_REJECTED:
		return refuse(command.Code_ENDED, "change %d was rejected by %s", c.Id, c.EndedBy)
	case m.clock >= c.Expires:
		return refuse(command.Code_ENDED, "change %d expired at %s; it has to be proposed again", c.Id, time.Unix(0, c.Expires).UTC().Format(time.RFC3339))
	case c.PolicyRevision != m.PolicyRevision():
		return refuse(command.Code_CONFLICT, "change %d is for revision %d of the policy, which is at %d; it has to be proposed again", c.Id, c.PolicyRevision, m.PolicyRevision())
	}
	return done(nil, "")
}

// inForce marks a change, the caller's own copy, as carried out.
func (m *Machine) inForce(c *command.Change, actor string) {
	c.State, c.EndedBy, c.Ended = command.ChangeState_IN_FORCE, actor, m.clock
	if c.Policy != nil {
		c.Revision = m.PolicyRevision()
	}
}

// endChange keeps a change that is over. What it was about is in the history, or in
// the audit chain; the devices of broken glass are kept for the reviewer.
func (m *Machine) endChange(c *command.Change) {
	if !unreviewed(c) || c.Policy != nil {
		c = brief(c)
	}
	m.changes.set(c.Id, c)
}

// rejectChange ends a change that waits. Who proposed it takes it back so.
func (m *Machine) rejectChange(p *command.RejectChange, actor string) outcome {
	old := m.changes.get(p.Change)
	if old.GetState() == command.ChangeState_REJECTED && old.EndedBy == actor && old.EndReason == p.Reason {
		return done(brief(old), "")
	}
	if o := m.decidable(old, actor); o.refused() && o.code != command.Code_CONFLICT {
		return o // one whose base moved may be cleared away
	}
	if p.Reason == "" {
		return invalid("a rejection has a reason")
	}
	c := shallow(old)
	c.State, c.EndedBy, c.Ended, c.EndReason = command.ChangeState_REJECTED, actor, m.clock, p.Reason
	m.endChange(c)
	return done(brief(c), "")
}

// reviewChange notes what another person says of broken glass, be it late.
func (m *Machine) reviewChange(p *command.ReviewChange, actor string) outcome {
	old := m.changes.get(p.Change)
	switch {
	case old == nil:
		return refuse(command.Code_NOT_FOUND, "no such change")
	case !old.BreakGlass:
		return invalid("change %d broke no glass", old.Id)
	case old.ReviewedBy != "" && old.ReviewedBy == actor && old.Review == p.Review:
		return done(brief(old), "")
	case old.ReviewedBy != "":
		return refuse(command.Code_ENDED, "%s has reviewed it", old.ReviewedBy)
	case actor == "":
		return invalid("a review needs somebody who answers for it")
	case old.ProposedBy == actor:
		return invalid("%s broke the glass: somebody else has to review it", actor)
	case p.Review == "":
		return invalid("a review says something")
	}
	c := shallow(old)
	c.ReviewedBy, c.Reviewed, c.Review = actor, m.clock, p.Review
	m.endChange(c)
	return done(brief(c), "")
}

// trimChanges forgets what those are about that can't be approved any more, and
// the oldest of those that are over.
func (m *Machine) trimChanges() {
	over := 0
	var lapsed []*command.Change
	for c := range m.changes.values() {
		if m.waits(c) || unreviewed(c) {
			continue
		}
		over++
		if c.State == command.ChangeState_PENDING {
			lapsed = append(lapsed, c)
		}
	}
	for _, c := range lapsed {
		m.changes.set(c.Id, brief(c))
	}
	var oldest []uint64
	for c := range m.changes.values() {
		if over-len(oldest) <= keepChanges {
			break
		}
		if !m.waits(c) && !unreviewed(c) {
			oldest = append(oldest, c.Id)
		}
	}
	for _, id := range oldest {
		m.changes.delete(id)
	}
}

// waits tells whether a change can still be approved.
func (m *Machine) waits(c *command.Change) bool {
	return c.State == command.ChangeState_PENDING && m.clock < c.Expires && c.PolicyRevision == m.PolicyRevision()
}

func unreviewed(c *command.Change) bool { return c.BreakGlass && c.ReviewedBy == "" }

func approvedBy(c *command.Change, actor string) bool {
	for _, a := range c.Approvals {
		if a.By == actor {
			return true
		}
	}
	return false
}

// brief is a change without document and devices; its kind is still told.
func brief(c *command.Change) *command.Change {
	b := shallow(c)
	if b.Policy != nil {
		b.Policy = &command.PutPolicy{BaseRevision: c.Policy.BaseRevision}
	}
	if b.Devices != nil {
		b.Devices = new(command.PutDevices)
	}
	return b
}
