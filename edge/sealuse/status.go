package sealuse

import (
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
)

var useStates = map[command.UseState]string{
	command.UseState_RESERVED: wire.UseReserved,
	command.UseState_STOPPED:  wire.UseStopped,
	command.UseState_SETTLED:  wire.UseSettled,
}

// Status is a use as its terminal sees it.
func Status(use *command.Use) wire.UseStatus {
	s := wire.UseStatus{
		Use: use.Id, Order: use.Order, Barrel: use.Barrel, State: useStates[use.State], Reason: use.Reason,
		Count: use.Count, Confirmed: use.Confirmed, Refunded: use.Refunded, NotAfter: at(use.NotAfter),
		Stamps: make([]wire.StampStatus, 0, len(use.Stamps)),
	}
	for _, t := range use.Stamps {
		s.Stamps = append(s.Stamps, wire.StampStatus{
			Number: t.Number, Recorded: at(t.Recorded), EvidenceDue: at(t.EvidenceDue),
			EvidenceDigest: t.EvidenceDigest, EvidenceSize: t.EvidenceSize, Overdue: t.Overdue,
		})
	}
	return s
}

// Settled is a settled use as the seal server is told of it.
func Settled(use *command.Use) wire.SettledReport {
	r := wire.SettledReport{
		Use: use.Id, Order: use.Order, Barrel: use.Barrel, Terminal: use.Imsi, User: use.User, Granted: use.Count,
		Stamped: use.Confirmed, Refunded: use.Refunded, SettledAt: at(use.SettledAt), Stopped: use.Reason,
		Stamps: make([]wire.SettledStamp, 0, len(use.Stamps)),
	}
	for _, t := range use.Stamps {
		r.Stamps = append(r.Stamps, wire.SettledStamp{Number: t.Number, At: at(t.Recorded), EvidenceDigest: t.EvidenceDigest})
	}
	return r
}

// Kinds of decision that are put into the audit chain.
const (
	KindUse      = "use"
	KindLogin    = "login"
	KindHotspot  = "hotspot"
	KindReceipt  = "receipt"
	KindEvidence = "evidence"
	KindAccess   = "access" // who is this terminal
	KindAlarm    = "alarm"  // what administrators must hear of
)

// Decided proposes to put a decision into the audit chain: an approval if p is
// nil. Subject says what it was about, e.g. "order WO-1 barrel SB-1".
func Decided(kind, imsi, subject string, p *wire.Problem, revision uint64) *command.Command {
	d := &command.RecordDecision{Kind: kind, Subject: words(subject), Allowed: p == nil, PolicyRevision: revision}
	if p != nil {
		d.Code = string(p.Code)
		for _, r := range p.Reasons {
			if !r.OK {
				d.Reasons = append(d.Reasons, words(r.Rule+": "+r.Text))
			}
		}
		if len(d.Reasons) == 0 && p.Detail != "" {
			d.Reasons = []string{words(p.Detail)}
		}
	}
	return command.New(ClientID(imsi), "", ClientID(imsi), d)
}

// Alarmed proposes to put an alarm into the audit chain.
func Alarmed(imsi, what string, revision uint64) *command.Command {
	return command.New(ClientID(imsi), "", ClientID(imsi), &command.RecordDecision{
		Kind: KindAlarm, Subject: "terminal " + imsi, Reasons: []string{words(what)}, Code: KindAlarm, PolicyRevision: revision,
	})
}
