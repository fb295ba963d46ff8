package session

import (
	"bytes"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/ident"
)

// updatePDP carries out an Update PDP Context Request (TS 29.060 7.3.3): a
// routing area update, another quality of service, or the arrival of a session
// that an SGW had until now (TS 23.401 D.3).
func (d *deciding) updatePDP(m *gtp.UpdatePDPContextRequest) Outcome {
	s := d.find(m.Control)
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	path := s.GetGtp()
	o := Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}
	if uint32(m.NSAPI) != path.GetEbi() || !m.IMSI.IsZero() && m.IMSI.String() != s.GetImsi() {
		return d.refuse(o, &notFound, d.peerTEID())
	}
	if versionOf(path) != 1 && m.Control.TEID == 0 {
		// The TEID on record is the SGW's; the SGSN has to tell its own.
		return d.refuse(o, &gtp.Error{Cause: gtp.CauseConditionalMissing, Reason: "conditional-missing"}, 0)
	}
	return d.move(s, &move{
		version: 1, control: m.Control, user: m.User, userFault: wrongFamily(0, 0), rat: uint32(m.RAT), plmn: m.ServingNetwork,
		location: m.UserLocation, recovery: d.counter(m.Control, m.Recovery),
		adjust: func(path *command.GTPPath, c *command.ModifySession) bool { return d.requalify(m, s, path, c) },
		answer: func(s *command.Session) []byte { return d.updated(m, s) },
	})
}

// requalify takes over the quality of service that was asked for, within the
// APN's limits.
func (d *deciding) requalify(m *gtp.UpdatePDPContextRequest, s *command.Session, path *command.GTPPath, c *command.ModifySession) (changed bool) {
	if len(m.QoS.Data) == 0 {
		return false
	}
	name, _ := ident.ParseAPN(s.GetApn())
	apn, _ := d.Rules.APN(name)
	q := m.QoS
	if !m.NoQoSNegotiation { // the SGSN wants its own back (7.3.4); the AMBR is what is enforced
		q = q.Within(apn.AMBRUpKbps, apn.AMBRDownKbps)
	}
	if !bytes.Equal(q.Data, path.GetQosProfile()) {
		c.QosProfile, changed = q.Data, true
	}
	if arp := uint32(m.QoS.ARP); arp != 0 && arp != path.GetArp() {
		c.Arp, changed = arp, true
	}
	up, down := askedKbps(m.QoS, m.AMBRUpKbps, m.AMBRDownKbps)
	return d.rates(s, up, down, c) || changed
}

// rates takes over bit rates that were asked for, within the APN's limits.
func (d *deciding) rates(s *command.Session, up, down uint32, c *command.ModifySession) (changed bool) {
	name, _ := ident.ParseAPN(s.GetApn())
	apn, _ := d.Rules.APN(name)
	up, down = within(up, apn.AMBRUpKbps), within(down, apn.AMBRDownKbps)
	path := s.GetGtp()
	if up != path.GetAmbrUpKbps() {
		c.AmbrUpKbps, changed = up, true
	}
	if down != path.GetAmbrDownKbps() {
		c.AmbrDownKbps, changed = down, true
	}
	return changed
}

// updated makes the Update PDP Context Response (TS 29.060 7.3.4).
func (d *deciding) updated(m *gtp.UpdatePDPContextRequest, s *command.Session) []byte {
	path := s.GetGtp()
	r := gtp.UpdatePDPContextResponse{
		TEID: path.GetPeerC().GetTeid(), Seq: m.Seq, Cause: gtp.CauseAccepted,
		UserTEID: path.GetLocalTeidU(), Outer: d.Outer,
		QoS:        gtp.QoSProfile{ARP: uint8(path.GetArp()), Data: path.GetQosProfile()},
		ChargingID: path.GetChargingId(), Recovery: d.restartCounter(),
	}
	if !m.NoQoSNegotiation {
		r.PCO = d.options(m.PCO, s)
	}
	if m.AMBRUpKbps != 0 || m.AMBRDownKbps != 0 {
		r.AMBRUpKbps, r.AMBRDownKbps = path.GetAmbrUpKbps(), path.GetAmbrDownKbps()
	}
	return r.Marshal()
}

// modifyQoS carries out a Modify Bearer Command (TS 29.274 7.2.14): the
// subscription's new quality of service, which holds within the APN's limits.
// What holds from now on is told by an Update Bearer Request.
func (d *deciding) modifyQoS(m *gtp.ModifyBearerCommand) Outcome {
	s := d.find(gtp.FTEID{})
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	o := Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}
	path := s.GetGtp()
	if m.Bearer.EBI != 0 && uint32(m.Bearer.EBI) != path.GetEbi() {
		return d.refuse(o, &notFound, path.GetPeerC().GetTeid())
	}
	if superseded(s, m.Sender) {
		return d.refuse(o, &invalidPeer, path.GetPeerC().GetTeid())
	}
	c := &command.ModifySession{Session: s.GetId(), LocalTeidC: path.GetLocalTeidC()}
	changed := d.rates(s, m.AMBRUpKbps, m.AMBRDownKbps, c)
	if m.Bearer.QCI != 0 {
		if q := uint32(qci(m.Bearer.QCI)); q != path.GetQci() {
			c.Qci, changed = q, true
		}
		if a := uint32(m.Bearer.ARP); a != 0 && a != path.GetArp() {
			c.Arp, changed = a, true
		}
	}
	update := func(s *command.Session) *gtp.UpdateBearerRequest {
		path := s.GetGtp()
		return &gtp.UpdateBearerRequest{
			TEID: path.GetPeerC().GetTeid(), Seq: m.Seq, AMBRUpKbps: path.GetAmbrUpKbps(), AMBRDownKbps: path.GetAmbrDownKbps(),
			Bearer: gtp.Bearer{EBI: uint8(path.GetEbi()), QCI: uint8(path.GetQci()), ARP: uint8(path.GetArp())},
		}
	}
	if !changed {
		o.Update, o.Cause = update(s), gtp.CauseAccepted
		return o
	}
	d.attempt += int(s.GetVersion()) << 8 // as in change
	return d.propose(o, c, func(r *command.Result) Answer {
		after := new(command.Session)
		if a, ok := d.unwrap(r, after, path.GetPeerC().GetTeid()); !ok {
			return a
		}
		return Answer{Update: update(after), Cause: gtp.CauseAccepted, Session: after}
	})
}
