package session

import (
	"bytes"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
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

// subscriberView is what policy sees of a subscriber record; nil is not on the
// list.
func subscriberView(s *command.Subscriber) policy.Subscriber {
	if s == nil {
		return policy.Subscriber{}
	}
	return policy.Subscriber{
		Found: true, IMSI: s.GetImsi(), MSISDN: s.GetMsisdn(), IMEIs: s.GetImeis(), APNs: s.GetApns(),
		State: policy.State(s.GetState()), HasWireGuard: len(s.GetWireguardPublicKey()) > 0,
	}
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
// or radio access.
func (d *deciding) admitMove(s *command.Session, plmn ident.PLMN, rat uint32) policy.Decision {
	imsi, _ := ident.ParseIMSI(s.GetImsi())
	imei, _ := ident.ParseIMEI(s.GetGtp().GetImei())
	apn, _ := ident.ParseAPN(s.GetApn())
	return d.Rules.Admit(policy.AdmitRequest{
		IMSI: imsi, Subscriber: subscriberView(d.State.Subscriber(s.GetImsi())), IMEI: imei,
		APN: apn, PLMN: plmn, RAT: policy.RAT(rat), Path: policy.PathGTP,
	})
}
