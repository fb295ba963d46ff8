package session

import (
	"net/netip"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// bindingLevel is the command level from which every node binds handsets.
const bindingLevel = 2

// maxRemembered bounds how often one request can have been overtaken.
const maxRemembered = 8

// attach is the wish for a PDN connection in the terms that GTPv2 and GTPv1
// share.
type attach struct {
	version       uint32 // of GTP
	imsi          ident.IMSI
	msisdn        ident.MSISDN
	imei          ident.IMEI
	apn           ident.APN
	plmn          ident.PLMN
	rat           uint8
	location      []byte
	control, user gtp.FTEID  // the peer's
	userFault     *gtp.Error // names the element of user, should it make no sense
	pdnType       uint8
	dual          bool // the peer carries both families in one bearer
	pco           *gtp.PCO
	recovery      *uint8
	// path makes the record of what the versions tell differently, within the
	// limits of the APN.
	path func(policy.APN) *command.GTPPath
	// answer makes the response that grants the session.
	answer func(gtp.Cause, *command.Session, *gtp.PCOAnswer) []byte
}

// create opens a PDN connection (TS 29.274 7.2.1). An older one of the same
// IMSI and bearer is replaced, which the command sees to.
func (d *deciding) create(m *gtp.CreateSessionRequest) Outcome {
	return d.open(&attach{
		version: 2, imsi: m.IMSI, msisdn: m.MSISDN, imei: m.IMEI, apn: m.APN, plmn: m.ServingNetwork, rat: m.RAT, location: m.UserLocation,
		control: m.Sender, user: m.Bearer.User, userFault: wrongFamily(m.UserInstance(), gtp.ElementBearerContext),
		pdnType: m.PDNType, dual: m.DualAddress, pco: m.PCO, recovery: d.counter(m.Sender, m.Recovery),
		path: func(apn policy.APN) *command.GTPPath {
			return &command.GTPPath{
				Version: 2, InterfaceType: uint32(m.Sender.InterfaceType), Ebi: uint32(m.Bearer.EBI),
				UserLocation: m.UserLocation, Csids: m.CSIDs,
				AmbrUpKbps: within(m.AMBRUpKbps, apn.AMBRUpKbps), AmbrDownKbps: within(m.AMBRDownKbps, apn.AMBRDownKbps),
				Qci: uint32(qci(m.Bearer.QCI)), Arp: uint32(m.Bearer.ARP),
			}
		},
		answer: func(cause gtp.Cause, s *command.Session, pco *gtp.PCOAnswer) []byte {
			path := s.GetGtp()
			r := gtp.CreateSessionResponse{
				TEID: m.Sender.TEID, Seq: m.Seq, Cause: cause, PeerType: m.Sender.InterfaceType,
				ControlTEID: path.GetLocalTeidC(), UserTEID: path.GetLocalTeidU(), Outer: d.Outer, PAA: addressesOf(s),
				AMBRUpKbps: path.GetAmbrUpKbps(), AMBRDownKbps: path.GetAmbrDownKbps(), PCO: pco,
				Bearer:     gtp.Bearer{EBI: uint8(path.GetEbi()), QCI: uint8(path.GetQci()), ARP: uint8(path.GetArp())},
				ChargingID: path.GetChargingId(), Surplus: m.Surplus, Recovery: d.restartCounter(),
			}
			return r.Marshal()
		},
	})
}

// createPDP opens a PDP context (TS 29.060 7.3.1).
func (d *deciding) createPDP(m *gtp.CreatePDPContextRequest) Outcome {
	if m.Secondary {
		// One bearer is all that a seal needs, and all that there is.
		return d.refuse(Outcome{IMSI: m.IMSI.String(), APN: m.APN.String()},
			&gtp.Error{Cause: gtp.CauseServiceNotSupported, Reason: "secondary-context"}, m.Control.TEID)
	}
	return d.open(&attach{
		version: 1, imsi: m.IMSI, msisdn: m.MSISDN, imei: m.IMEI, apn: m.APN, plmn: m.ServingNetwork, rat: m.RAT, location: m.UserLocation,
		control: m.Control, user: m.User, userFault: wrongFamily(0, 0),
		pdnType: m.PDNType, dual: m.DualAddress, pco: m.PCO, recovery: d.counter(m.Control, m.Recovery),
		path: func(apn policy.APN) *command.GTPPath {
			up, down := askedKbps(m.QoS, m.AMBRUpKbps, m.AMBRDownKbps)
			return &command.GTPPath{
				Version: 1, Ebi: uint32(m.NSAPI), UserLocation: m.UserLocation,
				AmbrUpKbps: within(up, apn.AMBRUpKbps), AmbrDownKbps: within(down, apn.AMBRDownKbps),
				Qci: defaultQCI, Arp: uint32(m.QoS.ARP), QosProfile: m.QoS.Within(apn.AMBRUpKbps, apn.AMBRDownKbps).Data,
			}
		},
		answer: func(cause gtp.Cause, s *command.Session, pco *gtp.PCOAnswer) []byte {
			path := s.GetGtp()
			r := gtp.CreatePDPContextResponse{
				TEID: m.Control.TEID, Seq: m.Seq, Cause: cause,
				ControlTEID: path.GetLocalTeidC(), UserTEID: path.GetLocalTeidU(), Outer: d.Outer,
				NSAPI: m.NSAPI, PAA: addressesOf(s), QoS: gtp.QoSProfile{ARP: uint8(path.GetArp()), Data: path.GetQosProfile()},
				PCO: pco, ChargingID: path.GetChargingId(), Recovery: d.restartCounter(),
			}
			if m.AMBRUpKbps != 0 || m.AMBRDownKbps != 0 {
				r.AMBRUpKbps, r.AMBRDownKbps = path.GetAmbrUpKbps(), path.GetAmbrDownKbps()
			}
			return r.Marshal()
		},
	})
}

// open decides on a wish.
func (d *deciding) open(a *attach) Outcome {
	o := Outcome{IMSI: a.imsi.String(), APN: a.apn.String()}
	o.Restart = d.restarted(a.control.Addr, a.recovery)
	// No packet would get from our address to one of the other family.
	if !d.reaches(a.control) {
		return d.refuse(o, wrongFamily(0, 0), a.control.TEID)
	}
	if !d.reaches(a.user) {
		return d.refuse(o, a.userFault, a.control.TEID)
	}

	finish := func(r *command.Result) Answer { return d.opened(a, r) }
	for range maxRemembered {
		r := d.State.Answered(ClientID, d.requestID())
		if r == nil {
			break
		}
		if answer := finish(r); !answer.Again && d.stands(answer) {
			o.Response, o.Cause = answer.Response, answer.Cause
			return o
		}
		d.attempt++ // decided before, but overtaken since: a request of its own
	}

	sub := d.State.Subscriber(o.IMSI)
	shown, stale := d.Authentication.shown(sub)
	if stale {
		return Outcome{Stale: true}
	}
	decision := d.Rules.Admit(policy.AdmitRequest{
		IMSI: a.imsi, Subscriber: view.Subscriber(sub), MSISDN: a.msisdn, IMEI: a.imei,
		APN: a.apn, PLMN: a.plmn, RAT: policy.RAT(a.rat), Path: policy.PathGTP,
		Place: view.Place(a.version, a.location), Now: d.now(), Shown: policy.CredentialSIM | shown,
	})
	o.Decision = &decision
	if !decision.Allowed {
		o.Record = d.record("admit", o.IMSI, decision)
		return d.refuse(o, &gtp.Error{Cause: CauseOf(decision.Code), Reason: string(decision.Code)}, a.control.TEID)
	}
	if decision.BindHandset && d.State.Level() < bindingLevel {
		// A node that doesn't know how would keep another record of the subscriber.
		return d.refuse(o, &gtp.Error{Cause: gtp.CauseSystemFailure, Reason: "binding-level"}, a.control.TEID)
	}
	apn, _ := d.Rules.APN(a.apn)
	switch why, stale := d.Authentication.judge(apn.Authentication, sub); {
	case stale:
		return Outcome{Stale: true}
	case why != "":
		o.Record = d.recordDenial("authenticate", o.IMSI, CodeAuthentication, d.Rules.Revision, why)
		o.Cause = gtp.CauseAuthenticationFailed
		o.Response = gtp.Refusal{
			TEID: a.control.TEID, Reason: &gtp.Error{Cause: o.Cause, Reason: CodeAuthentication}, PCO: a.pco.Answer(gtp.PCOValues{}),
		}.Marshal(d.message)
		return o
	}
	pdnType, cause := narrow(a.pdnType, a.dual, apn)
	if !cause.Accepted() {
		return d.refuse(o, &gtp.Error{Cause: cause, Reason: "pdn-type"}, a.control.TEID)
	}

	path := a.path(apn)
	path.PeerC, path.PeerU = fteidRecord(a.control), fteidRecord(a.user)
	path.RatType, path.ServingPlmn, path.Imei = uint32(a.rat), a.plmn.String(), a.imei.String()
	path.PdnType = uint32(pdnType)
	if d.State.Level() >= bindingLevel {
		path.Shown = uint32(shown)
	}
	if a.recovery != nil {
		path.PeerRestartCounter, path.PeerRestartKnown = uint32(*a.recovery), true
	}
	return d.propose(o, &command.OpenSession{
		Imsi: o.IMSI, Apn: o.APN, Gtp: path, GatewayAddress: d.Name,
		PolicyRevision: d.Rules.Revision, SubscriberVersion: sub.GetVersion(),
		Entropy: d.entropy(d.requestID()), BindHandset: decision.BindHandset,
	}, finish)
}

// stands tells whether a remembered acceptance is still the truth: the session
// has the tunnel ends that the answer names.
func (d *deciding) stands(a Answer) bool {
	return a.Session == nil || d.State.SessionByTEIDC(a.Session.GetGtp().GetLocalTeidC()) != nil
}

// opened turns the result of OpenSession into the answer.
func (d *deciding) opened(a *attach, r *command.Result) Answer {
	var opened command.Opened
	if answer, ok := d.unwrap(r, &opened, a.control.TEID); !ok {
		return answer
	}
	s := opened.GetSession()
	cause := narrowed(a.pdnType, pdnTypeOf(s))
	return Answer{Response: a.answer(cause, s, d.options(a.pco, s)), Cause: cause, Session: s}
}

// options answers the terminal's protocol configuration options. Who has a
// session has authenticated, as far as it was asked to.
func (d *deciding) options(pco *gtp.PCO, s *command.Session) *gtp.PCOAnswer {
	name, _ := ident.ParseAPN(s.GetApn())
	apn, _ := d.Rules.APN(name)
	return pco.Answer(gtp.PCOValues{DNS: apn.DNS, MTU: apn.MTU, Authenticated: true})
}

// addressesOf are the addresses that a session's path through the carrier was
// given. The session may have another, for the fallback path.
func addressesOf(s *command.Session) gtp.PAA {
	var p gtp.PAA
	typ := pdnTypeOf(s)
	if typ != gtp.PDNTypeIPv6 {
		p.IPv4, _ = netip.AddrFromSlice(s.GetAddress())
	}
	if typ == gtp.PDNTypeIPv6 || typ == gtp.PDNTypeIPv4v6 {
		p.Prefix6, _ = netip.AddrFromSlice(s.GetPrefix6())
		p.InterfaceID = InterfaceID(s.GetId())
	}
	return p
}
