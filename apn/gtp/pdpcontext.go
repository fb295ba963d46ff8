package gtp

import (
	"net/netip"

	"github.com/sealedge/sealedge/policy/ident"
)

// CreatePDPContextRequest asks for a PDP context (TS 29.060 7.3.1). What the
// SGSN didn't tell is zero. Addresses that it asks for are not read: they are
// never trusted.
type CreatePDPContextRequest struct {
	Header
	IMSI           ident.IMSI
	MSISDN         ident.MSISDN
	IMEI           ident.IMEI
	APN            ident.APN
	ServingNetwork ident.PLMN // of the routing area
	RAT            uint8      // TS 29.060 7.7.50, numbered as in GTPv2
	UserLocation   []byte
	NSAPI          uint8
	Secondary      bool  // it has a Linked NSAPI: a further context beside one that exists
	Control        FTEID // TEID and SGSN address for signalling; the interface type is 0, as everywhere in GTPv1
	User           FTEID // TEID Data I and SGSN address for user traffic
	PDNType        uint8 // PDNTypeIPv4, ...: what the End User Address asks for
	DualAddress    bool  // the Dual Address Bearer Flag (TS 29.060 7.7.48)
	QoS            QoSProfile
	AMBRUpKbps     uint32 // APN-AMBR (TS 29.060 7.7.98); 0: not told
	AMBRDownKbps   uint32
	PCO            *PCO // nil: none sent
	Recovery       *uint8
}

// CreatePDPContextResponse grants a PDP context (TS 29.060 7.3.2). Refusals are
// made by Refusal.
type CreatePDPContextResponse struct {
	TEID         uint32 // of the peer's control plane
	Seq          uint32
	Cause        Cause // in the numbering of GTPv2, as everywhere here
	ControlTEID  uint32
	UserTEID     uint32
	Outer        netip.Addr // the gateway's own outer address, for signalling and user traffic
	NSAPI        uint8
	PAA          PAA
	QoS          QoSProfile
	AMBRUpKbps   uint32 // sent when the request told some
	AMBRDownKbps uint32
	PCO          *PCOAnswer // nil: none asked for
	ChargingID   uint32
	Recovery     uint8
}

// UpdatePDPContextRequest tells of a handover, a new location, other tunnel ends
// or another quality of service (TS 29.060 7.3.3). What it doesn't tell is zero
// and unchanged.
type UpdatePDPContextRequest struct {
	Header
	IMSI           ident.IMSI
	IMEI           ident.IMEI
	NSAPI          uint8
	Control        FTEID // zero TEID: the SGSN's stays; the address is always told
	User           FTEID
	RAT            uint8
	ServingNetwork ident.PLMN
	UserLocation   []byte
	QoS            QoSProfile
	// NoQoSNegotiation: the answer repeats QoS as it is and has no PCO (7.3.4).
	NoQoSNegotiation bool
	AMBRUpKbps       uint32
	AMBRDownKbps     uint32
	PCO              *PCO
	Recovery         *uint8
}

// UpdatePDPContextResponse answers an Update PDP Context Request (TS 29.060
// 7.3.4). The TEID of our control plane isn't in it: the request has named it.
type UpdatePDPContextResponse struct {
	TEID         uint32
	Seq          uint32
	Cause        Cause
	UserTEID     uint32
	Outer        netip.Addr
	QoS          QoSProfile
	AMBRUpKbps   uint32 // sent when the request told some
	AMBRDownKbps uint32
	PCO          *PCOAnswer
	ChargingID   uint32
	Recovery     uint8
}

// DeletePDPContextRequest ends a PDP context, in either direction (TS 29.060
// 7.3.5). Marshal uses TEID and Seq of the header.
type DeletePDPContextRequest struct {
	Header
	NSAPI    uint8
	Teardown bool // all contexts of this PDP address
}

// DeletePDPContextResponse answers it, in either direction (TS 29.060 7.3.6).
// Marshal uses TEID and Seq of the header.
type DeletePDPContextResponse struct {
	Header
	Cause Cause // of a received one 0 when GTPv2 has no word for it, or there is none that can be read
}
