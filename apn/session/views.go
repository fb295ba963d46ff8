package session

import (
	"bytes"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// fteidRecord is an F-TEID as the replicated state keeps it.
func fteidRecord(f gtp.FTEID) *command.FTEID {
	return &command.FTEID{Teid: f.TEID, Address: f.Addr.AsSlice()}
}

func same(f *command.FTEID, g gtp.FTEID) bool {
	return f.GetTeid() == g.TEID && bytes.Equal(f.GetAddress(), g.Addr.AsSlice())
}

// reaches tells whether packets can go from our outer address to that one.
func (d *deciding) reaches(f gtp.FTEID) bool { return f.Addr.Is4() == d.Outer.Is4() }

func wrongFamily(instance, group uint8) *gtp.Error {
	return &gtp.Error{Cause: gtp.CauseMandatoryIncorrect, IE: gtp.ElementFTEID, Instance: instance, Group: group, Reason: "address-family"}
}

// record makes the audit record of a refusal.
func (d *deciding) record(kind, subject string, decision policy.Decision) *command.Command {
	return d.recordDenial(kind, subject, string(decision.Code), decision.Revision, decision.Denials()...)
}

func (d *deciding) recordDenial(kind, subject, code string, revision uint64, reasons ...string) *command.Command {
	return command.New(ClientID, d.requestID()+"-r", d.actor(), &command.RecordDecision{
		Kind: kind, Subject: subject, Reasons: reasons, Code: code, PolicyRevision: revision,
	})
}

// admitMove asks policy about a session that moves to another serving network
// or radio access. version is that of the GTP that tells the location; without one it
// is where it was, unless the other version tells, which has other places.
func (d *deciding) admitMove(s *command.Session, plmn ident.PLMN, rat, version uint32, location []byte) policy.Decision {
	q := view.Attached(s, d.State.Subscriber(s.GetImsi()), policy.PathGTP, nil, d.now())
	q.PLMN, q.RAT = plmn, policy.RAT(rat)
	if len(location) > 0 || version != versionOf(s.GetGtp()) {
		q.Place = view.Place(version, location)
	}
	return d.Rules.Admit(q)
}

// now is the time to decide by: the node's clock, but never before the cluster's.
func (d *deciding) now() time.Time {
	if c := d.State.Clock(); c.After(d.Now) {
		return c
	}
	return d.Now
}
