package session

import (
	"net/netip"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

// defaultQCI is what a default bearer gets whose asked QCI can't be one: best
// effort for a data service (TS 23.203 table 6.1.7).
const defaultQCI = 9

// maxRemembered bounds how often one request can have been overtaken.
const maxRemembered = 8

// create opens a PDN connection (TS 29.274 7.2.1). An older one of the same
// IMSI and bearer is replaced, which the command sees to.
func (d *deciding) create(m *gtp.CreateSessionRequest) Outcome {
	o := Outcome{IMSI: m.IMSI.String(), APN: m.APN.String()}
	cause := gtp.CauseAccepted
	switch m.PDNType {
	case gtp.PDNTypeIPv4:
	case gtp.PDNTypeIPv4v6:
		// Every APN here is IPv4 only, so it is the network's preference, dual
		// address flag or not: cause 19 would have the terminal ask for a second
		// connection for IPv6, which would be refused.
		cause = gtp.CauseNewPDNTypeByPreference
	default:
		return d.refuse(o, &gtp.Error{Cause: gtp.CausePDNTypeNotSupported, Reason: "pdn-type"}, m.Sender.TEID)
	}
	// No packet would get from our address to one of the other family.
	if !d.reaches(m.Sender) {
		return d.refuse(o, wrongFamily(0, 0), m.Sender.TEID)
	}
	if !d.reaches(m.Bearer.User) {
		return d.refuse(o, wrongFamily(m.UserInstance(), gtp.ElementBearerContext), m.Sender.TEID)
	}

	finish := func(r *command.Result) Answer { return d.created(m, cause, r) }
	for range maxRemembered {
		r := d.State.Answered(ClientID, d.requestID())
		if r == nil {
			break
		}
		if a := finish(r); !a.Again && d.stands(a) {
			o.Response, o.Cause = a.Response, a.Cause
			return o
		}
		d.attempt++ // decided before, but overtaken since: a request of its own
	}

	sub := d.State.Subscriber(o.IMSI)
	decision := d.Rules.Admit(policy.AdmitRequest{
		IMSI: m.IMSI, Subscriber: subscriberView(sub), MSISDN: m.MSISDN, IMEI: m.IMEI,
		APN: m.APN, PLMN: m.ServingNetwork, RAT: policy.RAT(m.RAT), Path: policy.PathGTP,
	})
	o.Decision = &decision
	if !decision.Allowed {
		o.Record = d.record("admit", o.IMSI, decision)
		return d.refuse(o, &gtp.Error{Cause: CauseOf(decision.Code), Reason: string(decision.Code)}, m.Sender.TEID)
	}

	apn, _ := d.Rules.APN(m.APN)
	path := &command.GTPPath{
		Version:       2,
		InterfaceType: uint32(m.Sender.InterfaceType),
		Ebi:           uint32(m.Bearer.EBI),
		PeerC:         fteidRecord(m.Sender),
		PeerU:         fteidRecord(m.Bearer.User),
		RatType:       uint32(m.RAT),
		ServingPlmn:   m.ServingNetwork.String(),
		UserLocation:  m.UserLocation,
		Imei:          m.IMEI.String(),
		AmbrUpKbps:    within(m.AMBRUpKbps, apn.AMBRUpKbps),
		AmbrDownKbps:  within(m.AMBRDownKbps, apn.AMBRDownKbps),
		Qci:           uint32(qci(m.Bearer.QCI)),
		Arp:           uint32(m.Bearer.ARP),
	}
	if m.Recovery != nil {
		path.PeerRestartCounter, path.PeerRestartKnown = uint32(*m.Recovery), true
	}
	return d.propose(o, &command.OpenSession{
		Imsi: o.IMSI, Apn: o.APN, Gtp: path, GatewayAddress: d.Name,
		PolicyRevision: d.Rules.Revision, SubscriberVersion: sub.GetVersion(),
		Entropy: d.entropy(d.requestID()),
	}, finish)
}

// stands tells whether a remembered acceptance is still the truth: the session
// has the tunnel ends that the answer names.
func (d *deciding) stands(a Answer) bool {
	return a.Session == nil || d.State.SessionByTEIDC(a.Session.GetGtp().GetLocalTeidC()) != nil
}

// created turns the result of OpenSession into a Create Session Response
// (TS 29.274 7.2.2).
func (d *deciding) created(m *gtp.CreateSessionRequest, cause gtp.Cause, r *command.Result) Answer {
	var opened command.Opened
	if a, ok := d.unwrap(r, &opened, m.Sender.TEID); !ok {
		return a
	}
	s := opened.GetSession()
	path := s.GetGtp()
	address, _ := netip.AddrFromSlice(s.GetAddress())
	apn, _ := d.Rules.APN(m.APN)
	response := gtp.CreateSessionResponse{
		TEID: m.Sender.TEID, Seq: m.Seq, Cause: cause, PeerType: m.Sender.InterfaceType,
		ControlTEID: path.GetLocalTeidC(), UserTEID: path.GetLocalTeidU(), Outer: d.Outer, PAA: gtp.PAA{IPv4: address},
		AMBRUpKbps: path.GetAmbrUpKbps(), AMBRDownKbps: path.GetAmbrDownKbps(),
		PCO:        m.PCO.Answer(gtp.PCOValues{DNS: apn.DNS, MTU: apn.MTU}),
		Bearer:     gtp.Bearer{EBI: uint8(path.GetEbi()), QCI: uint8(path.GetQci()), ARP: uint8(path.GetArp())},
		ChargingID: path.GetChargingId(), Surplus: m.Surplus, Recovery: d.restartCounter(),
	}
	return Answer{Response: response.Marshal(), Cause: cause, Session: s}
}

// within keeps a bit rate asked for within the APN's; not asked for, or 0, is
// the APN's own.
func within(asked, limit uint32) uint32 {
	if asked == 0 || limit != 0 && asked > limit {
		return limit
	}
	return asked
}

// qci keeps what a default bearer can have: a standardised class without
// guaranteed bit rate (TS 23.203 6.1.7.2) or an operator's own.
func qci(asked uint8) uint8 {
	switch {
	case asked >= 5 && asked <= 9, asked == 69, asked == 70, asked == 79, asked == 80, asked >= 128 && asked <= 254:
		return asked
	}
	return defaultQCI
}
