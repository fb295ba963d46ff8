package session

import (
	"bytes"
	"slices"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/ident"
)

// find returns the session that a request names by its TEID. Nil, when there is
// none or it isn't the sender's: a peer that doesn't hold a session learns
// nothing about it and changes nothing. newPeer is the control plane that the
// request says the session has moved to; a new SGW or SGSN vouches for itself by
// sending from the address that it names, and its carrier must have the
// subscriber.
func (d *deciding) find(newPeer gtp.FTEID) *command.Session {
	s := d.State.SessionByTEIDC(d.head.TEID)
	from := d.peer.Addr().Unmap()
	if s != nil && bytes.Equal(s.GetGtp().GetPeerC().GetAddress(), from.AsSlice()) {
		return s
	}
	if newPeer.Addr != from || d.NoTakeover {
		return nil
	}
	if carrier, ok := d.Rules.CarrierOf(from); s == nil || !ok || !carrier.Serves(s.GetImsi()) {
		d.astray = true
		return nil
	}
	return s
}

// superseded tells whether a request names another control plane than the last
// one that the session's peer told: it comes from where the session has left, and
// is not to be handled (TS 29.274 7.2.9.1, 7.2.14, 7.4).
func superseded(s *command.Session, sender gtp.FTEID) bool {
	return !sender.IsZero() && !same(s.GetGtp().GetPeerC(), sender)
}

// left tells whether a request comes from a control plane, which it names itself,
// that the session has left for another address (TS 29.274 7.2.9.1 note 6). Who
// knows the TEID learns only that there is a session.
func (d *deciding) left(sender gtp.FTEID) bool {
	return sender.TEID != 0 && sender.Addr == d.peer.Addr().Unmap() && d.State.SessionByTEIDC(d.head.TEID) != nil
}

var invalidPeer = gtp.Error{Cause: gtp.CauseInvalidPeer, Reason: "invalid-peer"}

var notFound = gtp.Error{Cause: gtp.CauseContextNotFound, Reason: "context-not-found"}

// modify carries out a Modify Bearer Request (TS 29.274 7.2.7): a handover, a
// new location, the peer's new tunnel ends.
func (d *deciding) modify(m *gtp.ModifyBearerRequest) Outcome {
	s := d.find(m.Sender)
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	path := s.GetGtp()
	mv := move{
		version: 2, control: m.Sender, userFault: wrongFamily(1, gtp.ElementBearerContext), rat: uint32(m.RAT), plmn: m.ServingNetwork,
		location: m.UserLocation, recovery: d.counter(m.Sender, m.Recovery), csids: m.CSIDs,
		adjust: func(path *command.GTPPath, c *command.ModifySession) bool {
			// Told when the session comes from an SGSN of Gn/Gp.
			if m.AMBRUpKbps == 0 && m.AMBRDownKbps == 0 {
				return false
			}
			return d.rates(s, m.AMBRUpKbps, m.AMBRDownKbps, c)
		},
		answer: func(s *command.Session) []byte { return d.modified(m, s) },
	}
	mine := len(m.Bearers) == 0
	for _, b := range m.Bearers {
		if uint32(b.EBI) == path.GetEbi() {
			mine = true
			mv.user = b.User
		}
	}
	if !mine {
		// Only bearers that aren't there: nothing is changed.
		return d.refuse(Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}, &notFound, d.peerTEID())
	}
	if path.GetVersion() == 1 && m.Sender.IsZero() {
		// Coming from an SGSN, the SGW has to say who it is (TS 23.401 D.3.4).
		return d.refuse(Outcome{IMSI: s.GetImsi(), APN: s.GetApn()},
			&gtp.Error{Cause: gtp.CauseConditionalMissing, IE: gtp.ElementFTEID, Reason: "conditional-missing"}, d.peerTEID())
	}
	return d.move(s, &mv)
}

// move is a change to the peer's side of a path in the terms that both versions
// share. What is zero stays as it is.
type move struct {
	version       uint32
	control, user gtp.FTEID  // a control F-TEID without TEID only tells the address, as in GTPv1
	userFault     *gtp.Error // names the element of user, should it make no sense
	rat           uint32
	plmn          ident.PLMN
	location      []byte
	recovery      *uint8
	csids         [][]byte
	// adjust takes over what only one version tells. Nil: nothing.
	adjust func(path *command.GTPPath, change *command.ModifySession) (changed bool)
	// answer makes the response out of the session as it is afterwards.
	answer func(*command.Session) []byte
}

// move decides on one.
func (d *deciding) move(s *command.Session, mv *move) Outcome {
	o := Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}
	path := s.GetGtp()
	teid := path.GetPeerC().GetTeid()
	change := &command.ModifySession{Session: s.GetId(), LocalTeidC: path.GetLocalTeidC()}
	changed := false
	if !mv.control.IsZero() {
		if mv.control.TEID == 0 {
			mv.control.TEID = teid
		}
		teid = mv.control.TEID
		if !d.reaches(mv.control) {
			return d.refuse(o, wrongFamily(0, 0), teid)
		}
		if !same(path.GetPeerC(), mv.control) {
			change.PeerC, changed = fteidRecord(mv.control), true
		}
		o.Restart = d.restarted(mv.control.Addr, mv.recovery)
	} else { // it comes from the path's peer, see find
		o.Restart = d.restarted(d.peer.Addr().Unmap(), mv.recovery)
	}
	if !mv.user.IsZero() {
		if !d.reaches(mv.user) {
			return d.refuse(o, mv.userFault, teid)
		}
		if !same(path.GetPeerU(), mv.user) {
			change.PeerU, changed = fteidRecord(mv.user), true
		}
	}
	if versionOf(path) != mv.version {
		change.Version, change.InterfaceType, changed = mv.version, uint32(mv.control.InterfaceType), true
	}
	if refused := d.relocate(&o, s, mv, change, teid); refused {
		return o
	}
	changed = changed || change.RatType != 0 || change.ServingPlmn != ""
	if len(mv.location) > 0 && !bytes.Equal(mv.location, path.GetUserLocation()) {
		change.UserLocation, changed = mv.location, true
	}
	// A counter on record is the former peer's.
	if r := mv.recovery; r != nil && (change.PeerC != nil || !path.GetPeerRestartKnown() || path.GetPeerRestartCounter() != uint32(*r)) {
		change.PeerRestartCounter, change.PeerRestartKnown, changed = uint32(*r), true, true
	}
	if mv.csids != nil && !slices.EqualFunc(mv.csids, path.GetCsids(), bytes.Equal) {
		change.Csids, change.CsidsKnown, changed = mv.csids, true, true
	}
	if path.GetSuspended() { // whoever moves can be reached again
		change.Suspension, changed = command.Suspension_RESUME_PATH, true
	}
	if mv.adjust != nil && mv.adjust(path, change) {
		changed = true
	}
	return d.change(o, s, change, changed, teid, mv.answer)
}

// relocate takes over another radio access or serving network, if policy lets
// the terminal be there: what may not attach there may not move there either.
func (d *deciding) relocate(o *Outcome, s *command.Session, mv *move, change *command.ModifySession, teid uint32) (refused bool) {
	path := s.GetGtp()
	if mv.rat != 0 && mv.rat != path.GetRatType() {
		change.RatType = mv.rat
	}
	if !mv.plmn.IsZero() && mv.plmn.String() != path.GetServingPlmn() {
		change.ServingPlmn = mv.plmn.String()
	}
	if change.RatType == 0 && change.ServingPlmn == "" {
		return false
	}
	plmn, rat := mv.plmn, mv.rat
	if plmn.IsZero() {
		plmn, _ = ident.ParsePLMN(path.GetServingPlmn())
	}
	if rat == 0 {
		rat = path.GetRatType()
	}
	decision := d.admitMove(s, plmn, rat, mv.version, mv.location)
	o.Decision = &decision
	if decision.Allowed {
		return false
	}
	o.Record = d.record("move", o.IMSI, decision)
	*o = d.refuse(*o, &gtp.Error{Cause: CauseOf(decision.Code), Reason: string(decision.Code)}, teid)
	return true
}

// change proposes a change to a session's path. When there is nothing to change
// the answer is made at once: it is a duplicate that an older node has carried
// out, or nothing new, and costs no log entry.
func (d *deciding) change(o Outcome, s *command.Session, c *command.ModifySession, changed bool, teid uint32, answer func(*command.Session) []byte) Outcome {
	if !changed {
		o.Response, o.Cause = answer(s), gtp.CauseAccepted
		return o
	}
	// The id is tied to the version that the change builds upon: a change that
	// was undone by a later one can be made again.
	d.attempt += int(s.GetVersion()) << 8
	return d.propose(o, c, func(r *command.Result) Answer {
		after := new(command.Session)
		if a, ok := d.unwrap(r, after, teid); !ok {
			return a
		}
		return Answer{Response: answer(after), Cause: gtp.CauseAccepted, Session: after}
	})
}

// versionOf is the GTP version of a path; unset in records of old.
func versionOf(path *command.GTPPath) uint32 {
	if path.GetVersion() == 1 {
		return 1
	}
	return 2
}

// modified makes the Modify Bearer Response (TS 29.274 7.2.8) out of the session
// as it is afterwards.
func (d *deciding) modified(m *gtp.ModifyBearerRequest, s *command.Session) []byte {
	path := s.GetGtp()
	msisdn, _ := ident.ParseMSISDN(s.GetMsisdn())
	r := gtp.ModifyBearerResponse{
		TEID: path.GetPeerC().GetTeid(), Seq: m.Seq, Cause: gtp.CauseAccepted,
		LinkedEBI: uint8(path.GetEbi()), PCO: d.options(m.PCO, s), Recovery: d.restartCounter(),
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
