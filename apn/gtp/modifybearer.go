package gtp

import (
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// ModifyBearerRequest tells of a handover, a new location or the peer's new
// tunnel ends (TS 29.274 7.2.7). What it doesn't tell is zero and unchanged.
type ModifyBearerRequest struct {
	Header
	Sender         FTEID
	RAT            uint8
	ServingNetwork ident.PLMN
	UserLocation   []byte
	Recovery       *uint8
	Bearers        []Bearer // QoS is not told
	Remove         []uint8  // EBIs of bearers to be removed
	PCO            *PCO
	CSIDs          [][]byte // as in CreateSessionRequest; nil: unchanged
	AMBRUpKbps     uint32   // told after a handover from an SGSN of Gn/Gp; 0: not told
	AMBRDownKbps   uint32
}

func parseModifyBearerRequest(h Header, e elements) (*ModifyBearerRequest, *Error) {
	m := &ModifyBearerRequest{
		Header: h, UserLocation: e.location(), Recovery: e.recovery(), PCO: e.pco(), CSIDs: e.csids(),
	}
	var err *Error
	if m.Sender, err = e.sender(); err != nil {
		return nil, err
	}
	if m.AMBRUpKbps, m.AMBRDownKbps, _, err = e.ambr(); err != nil {
		return nil, err
	}
	rat, err := e.uint8(ie.RATType, 0)
	if err != nil {
		return nil, err
	}
	m.RAT = rat.Value
	if m.ServingNetwork, err = e.servingNetwork(); err != nil {
		return nil, err
	}
	for instance := range uint8(2) { // to be modified, to be removed
		list, err := e.bearers(instance)
		if err != nil {
			return nil, err
		}
		for _, b := range list {
			o, err := b.ebi(0)
			if err == nil && !o.Set {
				err = missing(ie.EPSBearerID, 0)
			}
			if err != nil {
				return nil, err.within(ie.BearerContext)
			}
			if instance == 1 {
				m.Remove = append(m.Remove, o.Value)
				continue
			}
			// S5/8-U SGW F-TEID (table 7.2.7-2).
			user, err := b.fteid(1)
			if err != nil {
				return nil, err.within(ie.BearerContext)
			}
			m.Bearers = append(m.Bearers, Bearer{EBI: o.Value, User: user})
		}
	}
	return m, nil
}

// BearerResult is what became of one bearer.
type BearerResult struct {
	EBI        uint8
	Cause      Cause
	ChargingID uint32 // sent when not 0
}

// ModifyBearerResponse answers a Modify Bearer Request (TS 29.274 7.2.8).
type ModifyBearerResponse struct {
	TEID      uint32 // of the peer's control plane
	Seq       uint32
	Cause     Cause
	LinkedEBI uint8 // the default bearer's, sent when not 0
	PCO       *PCOAnswer
	Bearers   []BearerResult // modified, or not
	Removed   []BearerResult // of those that were to be removed
	Recovery  uint8
	// When the peer's control plane moved, a new SGW is told what a Create
	// Session Response told the old one.
	Moved        bool
	AMBRUpKbps   uint32
	AMBRDownKbps uint32
	MSISDN       ident.MSISDN
}

// Marshal encodes the response.
func (m *ModifyBearerResponse) Marshal() []byte {
	r := message.NewModifyBearerResponse(m.TEID, m.Seq,
		causeElement(m.Cause, nil), m.PCO.element(), ie.NewRecovery(m.Recovery))
	if m.LinkedEBI != 0 {
		r.LinkedEBI = ie.NewEPSBearerID(m.LinkedEBI)
	}
	if m.Moved {
		r.APNRestriction = ie.NewAPNRestriction(0)
		r.AdditionalIEs = append(r.AdditionalIEs, ie.NewAggregateMaximumBitRate(m.AMBRUpKbps, m.AMBRDownKbps))
		if !m.MSISDN.IsZero() {
			r.MSISDN = ie.NewMSISDN(m.MSISDN.String())
		}
	}
	for _, b := range m.Bearers {
		r.BearerContextsModified = append(r.BearerContextsModified, bearerResult(b, 0))
	}
	for _, b := range m.Removed {
		r.BearerContextsMarkedForRemoval = append(r.BearerContextsMarkedForRemoval, bearerResult(b, 1))
	}
	return encode(r)
}

func bearerResult(b BearerResult, instance uint8) *ie.IE {
	children := []*ie.IE{ie.NewEPSBearerID(b.EBI), causeElement(b.Cause, nil)}
	if b.ChargingID != 0 {
		children = append(children, ie.NewChargingID(b.ChargingID))
	}
	return ie.NewGroupedIE(ie.BearerContext, children...).WithInstance(instance)
}
