package gtp

import (
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// PDN types (TS 29.274 8.34).
const (
	PDNTypeIPv4     uint8 = 1
	PDNTypeIPv6     uint8 = 2
	PDNTypeIPv4v6   uint8 = 3
	PDNTypeNonIP    uint8 = 4
	PDNTypeEthernet uint8 = 5
)

// CreateSessionRequest asks for a PDN connection (TS 29.274 7.2.1). Identities
// that the network didn't tell are zero.
type CreateSessionRequest struct {
	Header
	IMSI           ident.IMSI
	MSISDN         ident.MSISDN
	IMEI           ident.IMEI
	APN            ident.APN
	ServingNetwork ident.PLMN
	RAT            uint8 // TS 29.274 8.17
	UserLocation   []byte
	Sender         FTEID // of the peer's control plane
	PDNType        uint8 // out of the PAA or, without one, the PDN Type element
	DualAddress    bool  // the DAF indication flag
	AMBRUpKbps     uint32
	AMBRDownKbps   uint32
	PCO            *PCO // nil: none sent
	Recovery       *uint8
	CSIDs          [][]byte // connection sets of the MME and SGW that the session depends on
	Bearer         Bearer   // the default bearer
	Surplus        []uint8  // EBIs of further bearers, which the gateway never makes
}

// Bearer is the default bearer as it is asked for or answered.
type Bearer struct {
	EBI  uint8
	QCI  uint8
	ARP  uint8 // as in octet 5 of Bearer QoS (TS 29.274 8.15)
	User FTEID // in a request the peer's, in a response ours
}

func parseCreateSessionRequest(h Header, e elements) (*CreateSessionRequest, *Error) {
	m := &CreateSessionRequest{
		Header: h, UserLocation: e.location(), Recovery: e.recovery(), PCO: e.pco(), CSIDs: e.csids(),
	}
	var rat optional[uint8]
	steps := []func() *Error{
		func() (err *Error) { rat, err = e.uint8(ie.RATType, 0); return },
		func() *Error {
			if m.RAT = rat.Value; !rat.Set {
				return missing(ie.RATType, 0)
			}
			return nil
		},
		func() (err *Error) { m.Sender, err = e.fteid(0); return },
		m.checkSender,
		func() (err *Error) { m.APN, err = e.apn(); return },
		func() (err *Error) { return m.parseBearers(e) },
		func() (err *Error) { m.IMSI, err = number(e, ie.IMSI, ident.ParseIMSI); return },
		func() *Error {
			// Only an emergency call goes without (7.2.1), and there are none here.
			if m.IMSI.IsZero() {
				return conditional(ie.IMSI, 0)
			}
			return nil
		},
		func() (err *Error) {
			// Some networks send an empty element for "none".
			if v, _ := e.find(ie.MSISDN, 0); len(v) > 0 {
				m.MSISDN, err = number(e, ie.MSISDN, ident.ParseMSISDN)
			}
			return err
		},
		func() (err *Error) { m.IMEI, err = number(e, ie.MobileEquipmentIdentity, ident.ParseIMEI); return },
		func() (err *Error) { m.ServingNetwork, err = e.servingNetwork(); return },
		func() *Error {
			// Required with every 3GPP access (7.2.1); a WLAN has no such network.
			if m.ServingNetwork.IsZero() && m.RAT != 3 && m.RAT != 7 {
				return conditional(ie.ServingNetwork, 0)
			}
			return nil
		},
		func() *Error { return m.parsePDNType(e) },
		func() (err *Error) { m.AMBRUpKbps, m.AMBRDownKbps, _, err = e.ambr(); return },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if v, ok := e.find(ie.Indication, 0); ok && len(v) > 0 {
		m.DualAddress = v[0]&0x80 != 0 // TS 29.274 8.12
	}
	return m, nil
}

// UserInstance is the instance of the peer's user-plane F-TEID within the
// Bearer Context, which depends on the interface (table 7.2.1-2).
func (m *CreateSessionRequest) UserInstance() uint8 {
	return interfaces[m.Sender.InterfaceType].peerUserInstance
}

func (m *CreateSessionRequest) checkSender() *Error {
	if m.Sender.IsZero() {
		return missing(ie.FullyQualifiedTEID, 0)
	}
	// A PGW is asked by an SGW, an ePDG or a TWAN; an MME has lost its way.
	if _, ok := interfaces[m.Sender.InterfaceType]; !ok {
		return incorrect(ie.FullyQualifiedTEID, 0)
	}
	return nil
}

func (m *CreateSessionRequest) parseBearers(e elements) *Error {
	list, err := e.bearers(0)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return missing(ie.BearerContext, 0)
	}
	def := 0
	if linked, err := e.ebi(0); err != nil {
		return err
	} else if linked.Set {
		// With several bearers the Linked EPS Bearer ID names the default one.
		for i, b := range list {
			if o, err := b.ebi(0); err == nil && o.Set && o.Value == linked.Value {
				def = i
				break
			}
		}
	}
	for i, b := range list {
		o, err := b.ebi(0)
		if err == nil && !o.Set {
			err = missing(ie.EPSBearerID, 0)
		}
		switch {
		case err != nil:
			return err.within(ie.BearerContext)
		case i == def:
			m.Bearer.EBI = o.Value
		default:
			m.Surplus = append(m.Surplus, o.Value)
		}
	}
	return m.parseDefaultBearer(list[def]).within(ie.BearerContext)
}

func (m *CreateSessionRequest) parseDefaultBearer(b elements) *Error {
	var fault *Error
	var told bool
	if m.Bearer.QCI, m.Bearer.ARP, told, fault = b.bearerQoS(); fault != nil {
		return fault
	}
	if !told {
		return missing(ie.BearerQoS, 0)
	}
	if m.Bearer.User, fault = b.fteid(m.UserInstance()); fault != nil {
		return fault
	}
	if m.Bearer.User.IsZero() {
		return conditional(ie.FullyQualifiedTEID, m.UserInstance())
	}
	return nil
}

// parsePDNType looks into the PAA, whose addresses are never trusted, and else
// the PDN Type element, which on S5/S8 not every SGW passes on.
func (m *CreateSessionRequest) parsePDNType(e elements) *Error {
	typ := ie.PDNAddressAllocation
	v, ok := e.find(typ, 0)
	if !ok {
		if v, ok = e.find(ie.PDNType, 0); !ok {
			return conditional(typ, 0)
		}
		typ = ie.PDNType
	}
	if len(v) < 1 {
		return tooShort(typ, 0)
	}
	m.PDNType = v[0] & 0x07
	if m.PDNType < PDNTypeIPv4 || m.PDNType > PDNTypeEthernet {
		return incorrect(typ, 0)
	}
	if typ == ie.PDNAddressAllocation && len(v) < paaLengths[m.PDNType] {
		return tooShort(typ, 0)
	}
	return nil
}

// access is how a PGW is spoken to over one kind of interface: the interface
// types of its own F-TEIDs, and the instances of the user-plane F-TEIDs within
// a Bearer Context (TS 29.274 tables 7.2.1-2 and 7.2.2-2).
type access struct {
	ownControl, ownUser uint8
	peerUserInstance    uint8 // in a Create Session Request
	ownUserInstance     uint8 // in a Create Session Response
}

// interfaces is keyed by the interface type of the peer's control F-TEID.
var interfaces = map[uint8]access{
	InterfaceS5S8SGWControl: {InterfaceS5S8PGWControl, InterfaceS5S8PGWUser, 2, 2},
	InterfaceS2bControl:     {InterfaceS2bPGWControl, InterfaceS2bPGWUser, 5, 4},
	InterfaceS2aControl:     {InterfaceS2aPGWControl, InterfaceS2aPGWUser, 6, 5},
}

// CreateSessionResponse grants a PDN connection (TS 29.274 7.2.2). Refusals are
// made by Refuse.
type CreateSessionResponse struct {
	TEID         uint32 // of the peer's control plane
	Seq          uint32
	Cause        Cause
	PeerType     uint8 // interface type of the request's sender, which decides ours
	ControlTEID  uint32
	UserTEID     uint32
	Outer        netip.Addr // the gateway's own outer address
	PAA          PAA
	AMBRUpKbps   uint32
	AMBRDownKbps uint32
	PCO          *PCOAnswer // nil: none asked for
	Bearer       Bearer     // User is ignored: UserTEID and Outer say it
	ChargingID   uint32
	Surplus      []uint8 // bearers that were not made
	Recovery     uint8
}

// Marshal encodes the response.
func (m *CreateSessionResponse) Marshal() []byte {
	in := interfaces[m.PeerType]
	cause := m.Cause
	ies := []*ie.IE{
		nil,
		fteidElement(FTEID{in.ownControl, m.ControlTEID, m.Outer}, 1),
		m.PAA.element(),
		// No restriction on other connections of the terminal (TS 23.060 15.4).
		ie.NewAPNRestriction(0),
		ie.NewAggregateMaximumBitRate(m.AMBRUpKbps, m.AMBRDownKbps),
		m.PCO.element(),
		ie.NewGroupedIE(ie.BearerContext,
			ie.NewEPSBearerID(m.Bearer.EBI),
			causeElement(CauseAccepted, nil),
			fteidElement(FTEID{in.ownUser, m.UserTEID, m.Outer}, in.ownUserInstance),
			bearerQoS(m.Bearer),
			ie.NewChargingID(m.ChargingID),
		),
		ie.NewRecovery(m.Recovery),
	}
	var removed []*ie.IE
	for _, ebi := range m.Surplus {
		removed = append(removed, ie.NewGroupedIE(ie.BearerContext,
			ie.NewEPSBearerID(ebi), causeElement(CauseNoResources, nil)).WithInstance(1))
	}
	if len(removed) > 0 && cause == CauseAccepted {
		cause = CauseAcceptedPartially
	}
	ies[0] = causeElement(cause, nil)
	r := message.NewCreateSessionResponse(m.TEID, m.Seq, ies...)
	if len(removed) > 0 {
		// go-gtp keeps one such element only; the rest go among the others.
		r.BearerContextMarkedForRemoval = removed[0]
		r.AdditionalIEs = append(r.AdditionalIEs, removed[1:]...)
	}
	return encode(r)
}
