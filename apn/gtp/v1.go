package gtp

import (
	"encoding/binary"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
)

// Message types of GTPv1 that have their own Go type (TS 29.060 table 1). Echo
// and Version Not Supported have the numbers of GTPv2.
const (
	TypeCreatePDPContextRequest    uint8 = 16
	TypeUpdatePDPContextRequest    uint8 = 18
	TypeDeletePDPContextRequest    uint8 = 20
	TypeDeletePDPContextResponse   uint8 = 21
	TypeSupportedExtensionHeaders  uint8 = 31
	TypeMSInfoChangeNotification   uint8 = 128
	typePDUNotificationReject      uint8 = 29
	typeMBMSNotificationReject     uint8 = 98
	typeCreateMBMSContextRequest   uint8 = 100
	typeUpdateMBMSContextRequest   uint8 = 102
	typeDeleteMBMSContextRequest   uint8 = 104
	typeMBMSRegistrationRequest    uint8 = 112
	typeMBMSDeregistrationRequest  uint8 = 114
	unknownMandatoryHeader         uint8 = 214 // cause, TS 29.060 table 38
	identityNotKnown               uint8 = 194
	pdpContextNotFound             uint8 = 210
	extensionHeaderChangeReporting uint8 = 0x02 // TS 29.060 6.1.5
)

// answeredV1 are the requests that a GGSN answers, each with the type that
// follows its own. The rest of TS 29.060 table 1 is for an SGSN, an HLR's gateway
// or a charging gateway, or answers what is never asked here, and is discarded
// (11.1.4).
var answeredV1 = map[uint8]bool{
	TypeEchoRequest:               true,
	TypeCreatePDPContextRequest:   true,
	TypeUpdatePDPContextRequest:   true,
	TypeDeletePDPContextRequest:   true,
	TypeMSInfoChangeNotification:  true,
	typePDUNotificationReject:     true,
	typeMBMSNotificationReject:    true,
	typeCreateMBMSContextRequest:  true,
	typeUpdateMBMSContextRequest:  true,
	typeDeleteMBMSContextRequest:  true,
	typeMBMSRegistrationRequest:   true,
	typeMBMSDeregistrationRequest: true,
}

// knownV1 tells the types that TS 29.060 table 1 defines, of GTP-C, GTP-U and
// GTP'.
func knownV1(typ uint8) bool {
	switch {
	case typ >= 1 && typ <= 7, typ >= 16 && typ <= 23, typ >= 26 && typ <= 37, typ >= 48 && typ <= 62, typ == 70,
		typ >= 96 && typ <= 105, typ >= 112 && typ <= 121, typ == 128, typ == 129, typ == 240, typ == 241, typ >= 253:
		return true
	}
	return false
}

// Further reasons of discarding or refusing, of GTPv1 alone.
const (
	ReasonPrime      = "gtp-prime"   // the protocol type says GTP', the charging protocol (TS 29.060 6)
	ReasonNoSequence = "no-sequence" // without the sequence number that every message of GTP-C has (TS 29.060 8.2)
	// ReasonExtensionHeader: the message has an extension header that its
	// receiver must comprehend, and we don't. Beside the answer, if there is one,
	// its sender gets a SupportedExtensionHeaders (TS 29.060 6).
	ReasonExtensionHeader = "extension-header"
)

// NamesSession tells whether a request names a session of the receiver by the
// TEID in its header. The others come with TEID 0 (TS 29.274 5.5.2, TS 29.060
// 8.2).
func (h Header) NamesSession() bool {
	if h.Version != 1 {
		return namesSession(h.Type)
	}
	switch h.Type {
	case TypeUpdatePDPContextRequest, TypeDeletePDPContextRequest:
		return true
	case TypeMSInfoChangeNotification: // by the identities in it, where the TEID is 0 (7.5B.1.1)
		return h.TEID != 0
	}
	return false
}

// parseV1 reads a datagram of GTPv1 that has eight octets at least; h has its type
// and digest. It applies
// TS 29.060 11.1 in the order of its clauses.
func parseV1(h Header, b []byte) (Message, error) {
	h.Version, h.TEID, h.HasTEID = 1, binary.BigEndian.Uint32(b[4:]), true
	if b[0]&0x10 == 0 {
		return nil, &Error{Reason: ReasonPrime}
	}
	if b[0]&0x07 != 0 && len(b) < 12 {
		return nil, &Error{Reason: ReasonShort} // 11.1.2
	}
	sequenced := b[0]&0x02 != 0
	if sequenced {
		h.Seq = uint32(binary.BigEndian.Uint16(b[8:]))
	}
	// These two are never answered and their sequence numbers mean nothing (8.2),
	// whatever else is wrong with them.
	switch h.Type {
	case TypeVersionNotSupported:
		return &VersionNotSupported{h}, nil
	case TypeSupportedExtensionHeaders:
		return &SupportedExtensionHeaders{h}, nil
	}
	isRequest := answeredV1[h.Type]
	isResponse := h.Type == TypeEchoResponse || h.Type == TypeDeletePDPContextResponse
	switch {
	case !knownV1(h.Type):
		return nil, &Error{Reason: ReasonUnknownType} // 11.1.3
	case !isRequest && !isResponse:
		return nil, &Error{Reason: ReasonUnexpectedType} // 11.1.4
	case !sequenced:
		return nil, &Error{Reason: ReasonNoSequence}
	}

	body, fault := bodyV1(b)
	e, unreadable, split := splitElementsV1(body)
	if fault == nil {
		fault = split
	}
	var m Message
	if fault == nil {
		m, fault = parseBodyV1(h, e)
	}
	switch {
	case fault == nil:
		return m, nil
	case fault.Reason == ReasonExtensionHeader && isResponse:
		return nil, &Error{Reason: ReasonExtensionHeader}
	case h.Type == TypeDeletePDPContextResponse:
		return &DeletePDPContextResponse{Header: h}, nil // ends its transaction, having said nothing
	case isResponse:
		return nil, &Error{Reason: ReasonBadResponse}
	case unreadable && (fault.Cause == CauseMandatoryMissing || fault.Cause == CauseConditionalMissing):
		// What is missing may be behind the element that couldn't be passed over
		// (11.1.9).
		fault = &Error{Cause: CauseInvalidMessageFormat, Reason: "element-unreadable"}
	}
	sender := FTEID{TEID: e.uint32(ie.TEIDCPlane)}
	sender.Addr, _ = e.address(0)
	return &Faulty{Header: h, Err: fault, Sender: sender, extras: e.extras()}, fault
}

// bodyV1 passes over the header with its optional fields and extension headers
// (TS 29.060 6).
func bodyV1(b []byte) ([]byte, *Error) {
	size := 8 + int(binary.BigEndian.Uint16(b[2:]))
	var fault *Error
	if size != len(b) { // 11.1.2
		fault = &Error{Cause: CauseInvalidMessageFormat, Reason: "message-length"}
	}
	start := 8
	if b[0]&0x07 != 0 {
		start = 12
	}
	if size < start {
		return nil, fault
	}
	body := b[start:min(size, len(b))]
	if b[0]&0x04 == 0 {
		return body, fault
	}
	for next := b[11]; next != 0; {
		// Of a length in words of four octets, so never 0.
		n := 0
		if len(body) > 0 {
			n = int(body[0]) * 4
		}
		if n == 0 || n > len(body) {
			if fault == nil {
				fault = &Error{Cause: CauseInvalidMessageFormat, Reason: "extension-header-length"}
			}
			return nil, fault
		}
		// Figure 4: with bit 8 the endpoint must comprehend it, and there is none
		// with it that a GGSN would.
		if next&0x80 != 0 && fault == nil {
			fault = &Error{Cause: CauseInvalidMessageFormat, v1: unknownMandatoryHeader, Reason: ReasonExtensionHeader}
		}
		next, body = body[n-1], body[n:]
	}
	return body, fault
}

func parseBodyV1(h Header, e elementsV1) (Message, *Error) {
	switch h.Type {
	case TypeEchoRequest:
		return &EchoRequest{Header: h, Recovery: e.recovery()}, nil
	case TypeEchoResponse:
		if r := e.recovery(); r != nil {
			return &EchoResponse{Header: h, Recovery: *r}, nil
		}
		return nil, missing(ie.Recovery, 0)
	case TypeCreatePDPContextRequest:
		return parseCreatePDPContextRequest(h, e)
	case TypeUpdatePDPContextRequest:
		return parseUpdatePDPContextRequest(h, e)
	case TypeDeletePDPContextRequest:
		return parseDeletePDPContextRequest(h, e)
	case TypeDeletePDPContextResponse:
		return parseDeletePDPContextResponse(h, e)
	case TypeMSInfoChangeNotification:
		return parseMSInfoChangeNotification(h, e)
	}
	// What asks for network-requested activation or for multicast: not offered.
	teid, err := e.teid(ie.TEIDCPlane)
	if err != nil {
		return nil, err
	}
	addr, err := e.address(0)
	if err != nil {
		return nil, err
	}
	return &Other{Header: h, Sender: FTEID{TEID: teid, Addr: addr}, extras: e.extras()}, nil
}

// SupportedExtensionHeaders is a word on which extension headers of a message its
// sender comprehends (TS 29.060 7.2.4). It asks for no answer. Ours is what comes
// beside the refusal of a message that has another one.
type SupportedExtensionHeaders struct{ Header }

// Marshal encodes it; of the header only Seq counts, which its receiver ignores.
func (m *SupportedExtensionHeaders) Marshal() []byte {
	return encodeV1(TypeSupportedExtensionHeaders, 0, m.Seq, ie.NewExtensionHeaderTypeList(extensionHeaderChangeReporting))
}
