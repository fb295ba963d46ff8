package session

import (
	"bytes"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/ident"
)

// find returns the session that a request names by its TEID. Nil, when there is
// none or it isn't the sender's: a peer that doesn't hold a session learns
// nothing about it and changes nothing. newPeer is the control plane that the
// request says the session has moved to; a new SGW vouches for itself by sending
// from the address that it names.
func (d *deciding) find(newPeer gtp.FTEID) *command.Session {
	s := d.State.SessionByTEIDC(d.head.TEID)
	if s == nil {
		return nil
	}
	from := d.peer.Addr().Unmap()
	if bytes.Equal(s.GetGtp().GetPeerC().GetAddress(), from.AsSlice()) || newPeer.Addr == from {
		return s
	}
	return nil
}

var notFound = gtp.Error{Cause: gtp.CauseContextNotFound, Reason: "context-not-found"}

// modify carries out a Modify Bearer Request (TS 29.274 7.2.7): a handover, a
// new location, the peer's new tunnel ends.
func (d *deciding) modify(m *gtp.ModifyBearerRequest) Outcome {
	s := d.find(m.Sender)
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	o := Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}
	path := s.GetGtp()
	teid := path.GetPeerC().GetTeid()
	change := &command.ModifySession{Session: s.GetId(), LocalTeidC: path.GetLocalTeidC()}
	changed := false
	if !m.Sender.IsZero() {
		teid = m.Sender.TEID
		if !d.reaches(m.Sender) {
			return d.refuse(o, wrongFamily(0, 0), teid)
		}
		if !same(path.GetPeerC(), m.Sender) {
			change.PeerC, changed = fteidRecord(m.Sender), true
		}
	}
	mine := len(m.Bearers) == 0
	for _, b := range m.Bearers {
		if uint32(b.EBI) != path.GetEbi() {
			continue
		}
		mine = true
		if b.User.IsZero() {
			continue
		}
		if !d.reaches(b.User) {
			return d.refuse(o, wrongFamily(1, gtp.ElementBearerContext), teid)
		}
		if !same(path.GetPeerU(), b.User) {
			change.PeerU, changed = fteidRecord(b.User), true
		}
	}
	if !mine {
		// Only bearers that aren't there: nothing is changed.
		return d.refuse(o, &notFound, teid)
	}

	plmn, rat := m.ServingNetwork, uint32(m.RAT)
	if rat != 0 && rat != path.GetRatType() {
		change.RatType, changed = rat, true
	}
	if !plmn.IsZero() && plmn.String() != path.GetServingPlmn() {
		change.ServingPlmn, changed = plmn.String(), true
	}
	if change.RatType != 0 || change.ServingPlmn != "" {
		if plmn.IsZero() {
			plmn, _ = ident.ParsePLMN(path.GetServingPlmn())
		}
		if rat == 0 {
			rat = path.GetRatType()
		}
		// What may not attach there may not move there either.
		decision := d.admitMove(s, plmn, rat)
		o.Decision = &decision
		if !decision.Allowed {
			o.Record = d.record("move", o.IMSI, decision)
			return d.refuse(o, &gtp.Error{Cause: CauseOf(decision.Code), Reason: string(decision.Code)}, teid)
		}
	}
	if len(m.UserLocation) > 0 && !bytes.Equal(m.UserLocation, path.GetUserLocation()) {
		change.UserLocation, changed = m.UserLocation, true
	}
	if r := m.Recovery; r != nil && (!path.GetPeerRestartKnown() || path.GetPeerRestartCounter() != uint32(*r)) {
		change.PeerRestartCounter, change.PeerRestartKnown, changed = uint32(*r), true, true
	}
	if !changed {
		// A duplicate that an older node has carried out, or nothing new: the
		// session as it is gives the same answer, and costs no log entry.
		o.Response, o.Cause = d.modified(m, s), gtp.CauseAccepted
		return o
	}
	// The id is tied to the version that the change builds upon: a change that
	// was undone by a later one can be made again.
	d.attempt += int(s.GetVersion()) << 8
	return d.propose(o, change, func(r *command.Result) Answer {
		after := new(command.Session)
		if a, ok := d.unwrap(r, after, teid); !ok {
			return a
		}
		return Answer{Response: d.modified(m, after), Cause: gtp.CauseAccepted, Session: after}
	})
}

// modified makes the Modify Bearer Response (TS 29.274 7.2.8) out of the session
// as it is afterwards.
func (d *deciding) modified(m *gtp.ModifyBearerRequest, s *command.Session) []byte {
	path := s.GetGtp()
	msisdn, _ := ident.ParseMSISDN(s.GetMsisdn())
	apnName, _ := ident.ParseAPN(s.GetApn())
	apn, _ := d.Rules.APN(apnName)
	r := gtp.ModifyBearerResponse{
		TEID: path.GetPeerC().GetTeid(), Seq: m.Seq, Cause: gtp.CauseAccepted,
		LinkedEBI: uint8(path.GetEbi()), PCO: m.PCO.Answer(gtp.PCOValues{DNS: apn.DNS, MTU: apn.MTU}), Recovery: d.restartCounter(),
		Moved: !m.Sender.IsZero(), AMBRUpKbps: path.GetAmbrUpKbps(), AMBRDownKbps: path.GetAmbrDownKbps(), MSISDN: msisdn,
	}
	for _, b := range m.Bearers {
		result := gtp.BearerResult{EBI: b.EBI, Cause: gtp.CauseAccepted, ChargingID: path.GetChargingId()}
		if uint32(b.EBI) != path.GetEbi() {
			result = gtp.BearerResult{EBI: b.EBI, Cause: gtp.CauseContextNotFound}
			r.Cause = gtp.CauseAcceptedPartially
		}
		r.Bearers = append(r.Bearers, result)
	}
	for _, ebi := range m.Remove {
		// A bearer that we never made is not there; the default one goes only
		// with the session.
		result := gtp.BearerResult{EBI: ebi, Cause: gtp.CauseContextNotFound}
		if uint32(ebi) == path.GetEbi() {
			result.Cause = gtp.CauseRequestRejected
			r.Cause = gtp.CauseAcceptedPartially
		}
		r.Removed = append(r.Removed, result)
	}
	return r.Marshal()
}
