package state

import "github.com/sealedge/sealedge/cluster/command"

// releaseUse notes what one administrator says became of a use. The account
// doesn't change before another has said so too.
func (m *Machine) releaseUse(p *command.ReleaseUse, actor string) outcome {
	old := m.uses.get(p.Use)
	if o := m.mayRelease(old, actor); o.refused() {
		return o
	}
	switch {
	case p.Reason == "":
		return invalid("a release has a reason")
	case p.Stamped > old.Count:
		return invalid("%d stampings of a use of %d", p.Stamped, old.Count)
	case p.Stamped < atLeast(old):
		return invalid("%d stampings, but the barrel signed for %d", p.Stamped, atLeast(old))
	}
	if r := old.Release; r != nil && r.Stamped == p.Stamped && r.Reason == p.Reason && r.ProposedBy == actor && m.clock-r.Proposed < int64(command.ReleaseFor) {
		return done(use(old), m.scopeOf(old.Order))
	}
	u := shallow(old)
	u.Release = &command.UseRelease{Stamped: p.Stamped, Reason: p.Reason, ProposedBy: actor, Proposed: m.clock}
	m.setUse(u)
	return done(use(u), m.scopeOf(u.Order))
}

// confirmRelease settles a use as one administrator proposed and another, who has
// seen what was proposed, confirms. No image is owed for a stamping that nobody
// signed for: there may be none.
func (m *Machine) confirmRelease(p *command.ConfirmRelease, actor string) outcome {
	old := m.uses.get(p.Use)
	if r := old.GetRelease(); r.GetConfirmedBy() != "" && r.ConfirmedBy == actor && r.Stamped == p.Stamped && r.ProposedBy == p.ProposedBy {
		return done(use(old), m.scopeOf(old.Order))
	}
	if o := m.mayRelease(old, actor); o.refused() {
		return o
	}
	switch r := old.Release; {
	case r == nil:
		return refuse(command.Code_NOT_FOUND, "no release of use %d is proposed", old.Id)
	case m.clock-r.Proposed >= int64(command.ReleaseFor):
		return refuse(command.Code_CONFLICT, "the proposal of %s has lapsed; it has to be made again", r.ProposedBy)
	case r.ProposedBy != p.ProposedBy || r.Stamped != p.Stamped:
		return refuse(command.Code_CONFLICT, "what is proposed now is %d stampings, by %s", r.Stamped, r.ProposedBy)
	case r.ProposedBy == actor:
		return invalid("%s proposed it: somebody else has to confirm", actor)
	}
	if old.State == command.UseState_RESERVED {
		m.expire(old) // the barrel gets no other use before it has locked
	}
	u, order := shallow(m.uses.get(old.Id)), m.account(old.Order)
	u.Release = shallow(old.Release)
	u.Release.ConfirmedBy, u.Release.Confirmed = actor, m.clock
	u.Reason = "released: " + u.Release.Reason
	m.closeUse(u, order, max(p.Stamped, atLeast(u))) // receipts may have come since
	m.putOrder(order)
	return done(use(u), m.scopeOf(u.Order))
}

// mayRelease: a barrel may stamp while its grant lasts, so nobody can say before
// its end what came of it.
func (m *Machine) mayRelease(u *command.Use, actor string) outcome {
	switch {
	case u == nil:
		return refuse(command.Code_NOT_FOUND, "no such use")
	case actor == "":
		return invalid("a release needs somebody who answers for it")
	case u.State == command.UseState_SETTLED:
		return refuse(command.Code_ENDED, "the use is settled, with %d stampings", u.Confirmed)
	case m.clock <= u.NotAfter:
		return refuse(command.Code_CONFLICT, "the grant has not expired yet")
	}
	return outcome{code: command.Code_OK}
}

// atLeast is how many stampings of an open use are known.
func atLeast(u *command.Use) uint32 { return max(u.Confirmed, highestReceipt(u)) }

// released tells whether people settled a use, not its barrel.
func released(u *command.Use) bool { return u.GetRelease().GetConfirmedBy() != "" }
