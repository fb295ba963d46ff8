package gtp

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// Port is the UDP port of GTP-C (TS 29.274 4.2).
const Port = 2123

// Header is what every GTP-C message begins with (TS 29.274 5.1), and what
// identifies the datagram that carried it.
type Header struct {
	Version uint8  // 1 or 2
	Type    uint8  // of that version
	TEID    uint32 // meaningful when HasTEID
	HasTEID bool
	Seq     uint32   // 24 bits; 16 in GTPv1
	Digest  [32]byte // SHA-256 of the datagram: a retransmission is equal to the bit (TS 29.274 7.6)
}

// Head returns the header of any message.
func (h Header) Head() Header { return h }

// Message is one received GTP-C message: a pointer to EchoRequest,
// EchoResponse, VersionNotSupported, OtherVersion, CreateSessionRequest,
// ModifyBearerRequest, DeleteSessionRequest, DeleteBearerResponse,
// ModifyBearerCommand, UpdateBearerResponse, ChangeNotificationRequest,
// SuspendNotification, ResumeNotification, DeletePDNConnectionSetRequest,
// CreatePDPContextRequest, UpdatePDPContextRequest, DeletePDPContextRequest,
// DeletePDPContextResponse, SupportedExtensionHeaders, Other or Faulty.
type Message interface {
	Head() Header
}

// OtherVersion is a message of another version than 1 and 2; Marshal answers it.
type OtherVersion struct {
	Header
	Version uint8
}

// VersionNotSupported is the peer's word that it doesn't speak the version that
// it was spoken to in; its own latest is that of the header.
type VersionNotSupported struct{ Header }

// Other is a request that is known and answered, but not carried out. Refuse
// answers it.
type Other struct {
	Header
	Sender FTEID // of the control plane, if it was given; else the zero FTEID
	extras       // what the reply repeats
}

// Faulty is a request that failed a check. Refuse answers it with Err's cause.
type Faulty struct {
	Header
	Err    *Error
	Sender FTEID // of the control plane, if it could be read; else the zero FTEID
	extras
}

// extras are what replies repeat.
type extras struct {
	linkedEBI, pti       uint8
	hasLinkedEBI, hasPTI bool
	bearers              []uint8
	senderTEID           uint32 // of the sender's F-TEID, even if that is wrong otherwise
	imsi, imei           []byte // GTPv1: values as they came
}

// Message types that have their own Go type or decide the flow (TS 29.274
// table 6.1-1).
const (
	TypeEchoRequest           = message.MsgTypeEchoRequest
	TypeEchoResponse          = message.MsgTypeEchoResponse
	TypeVersionNotSupported   = message.MsgTypeVersionNotSupportedIndication
	TypeCreateSessionRequest  = message.MsgTypeCreateSessionRequest
	TypeModifyBearerRequest   = message.MsgTypeModifyBearerRequest
	TypeDeleteSessionRequest  = message.MsgTypeDeleteSessionRequest
	TypeDeleteBearerRequest   = message.MsgTypeDeleteBearerRequest
	TypeDeleteBearerResponse  = message.MsgTypeDeleteBearerResponse
	TypeUpdateBearerRequest   = message.MsgTypeUpdateBearerRequest
	TypeUpdateBearerResponse  = message.MsgTypeUpdateBearerResponse
	typeBearerResourceCommand = message.MsgTypeBearerResourceCommand
	typeDeleteBearerCommand   = message.MsgTypeDeleteBearerCommand
)

// replies names the answer to each request that a PGW can get on S5/S8, S2a or
// S2b. A type that is in neither replies nor triggered gets no answer.
var replies = map[uint8]uint8{
	TypeEchoRequest:                              TypeEchoResponse,
	TypeCreateSessionRequest:                     message.MsgTypeCreateSessionResponse,
	TypeModifyBearerRequest:                      message.MsgTypeModifyBearerResponse,
	TypeDeleteSessionRequest:                     message.MsgTypeDeleteSessionResponse,
	message.MsgTypeChangeNotificationRequest:     message.MsgTypeChangeNotificationResponse,
	message.MsgTypeRemoteUEReportNotification:    message.MsgTypeRemoteUEReportAcknowledge,
	message.MsgTypeModifyBearerCommand:           message.MsgTypeModifyBearerFailureIndication,
	typeDeleteBearerCommand:                      message.MsgTypeDeleteBearerFailureIndication,
	typeBearerResourceCommand:                    message.MsgTypeBearerResourceFailureIndication,
	message.MsgTypeDeletePDNConnectionSetRequest: message.MsgTypeDeletePDNConnectionSetResponse,
	message.MsgTypeUpdatePDNConnectionSetRequest: message.MsgTypeUpdatePDNConnectionSetResponse,
	message.MsgTypeSuspendNotification:           message.MsgTypeSuspendAcknowledge,
	message.MsgTypeResumeNotification:            message.MsgTypeResumeAcknowledge,
}

// namesSession tells whether a request of that type of GTPv2 names a session of
// the receiver by the TEID in its header. The others come with TEID 0 or none
// (TS 29.274 5.5.2).
func namesSession(typ uint8) bool {
	switch typ {
	case TypeEchoRequest, TypeCreateSessionRequest, message.MsgTypeDeletePDNConnectionSetRequest, message.MsgTypeUpdatePDNConnectionSetRequest:
		return false
	}
	_, ok := replies[typ]
	return ok
}

// Element types that offending elements are named by outside of this package.
const (
	ElementFTEID         = ie.FullyQualifiedTEID
	ElementBearerContext = ie.BearerContext
)

// known tells the types that TS 29.274 table 6.1-1 defines; the rest are
// unknown (clause 7.7.4).
func known(typ uint8) bool {
	switch {
	case typ >= 1 && typ <= 3, typ >= 25 && typ <= 41, typ >= 64 && typ <= 73, typ >= 95 && typ <= 104,
		typ >= 128 && typ <= 142, typ >= 149 && typ <= 171, typ >= 176 && typ <= 180, typ == 200, typ == 201,
		typ == 211, typ == 212, typ >= 231 && typ <= 236, typ >= 240 && typ <= 244:
		return true
	}
	return false
}

// Reasons of discarding, as they are counted.
const (
	ReasonShort          = "short"           // TS 29.274 7.7.3
	ReasonUnknownType    = "unknown-type"    // TS 29.274 7.7.4
	ReasonUnexpectedType = "unexpected-type" // TS 29.274 7.7.5
	ReasonOtherVersion   = "other-version"   // a Version Not Supported Indication of another version
	ReasonBadResponse    = "bad-response"    // an Echo Response without its restart counter
	ReasonPanic          = "parser-panic"
)

// Parse reads one datagram. A request that fails a check is returned as a
// *Faulty together with its *Error; for everything that must be discarded in
// silence the Message is nil and the *Error's Cause 0. The message shares no
// memory with b.
func Parse(b []byte) (m Message, err error) {
	defer func() {
		if recover() != nil {
			m, err = nil, &Error{Reason: ReasonPanic}
		}
	}()
	if len(b) < 8 {
		return nil, &Error{Reason: ReasonShort}
	}
	h := Header{Version: 2, Type: b[1], Digest: sha256.Sum256(b)}
	switch v := b[0] >> 5; v {
	case 1:
		return parseV1(h, b)
	case 2:
	default:
		return otherVersion(h, v, b)
	}
	size := int(binary.BigEndian.Uint16(b[2:])) + 4
	h.HasTEID = b[0]&0x08 != 0
	body := 8
	if h.HasTEID {
		body = 12
	}
	// TS 29.274 7.7.3: too short for its header.
	if len(b) < body {
		return nil, &Error{Reason: ReasonShort}
	}
	if h.HasTEID {
		h.TEID = binary.BigEndian.Uint32(b[4:])
	}
	h.Seq = uint32(b[body-4])<<16 | uint32(b[body-3])<<8 | uint32(b[body-2])

	// A Version Not Supported Indication is its header alone (7.1.3) and is
	// never answered, whatever else is wrong with it.
	if h.Type == TypeVersionNotSupported {
		return &VersionNotSupported{h}, nil
	}
	_, isRequest := replies[h.Type]
	isResponse := h.Type == TypeEchoResponse || h.Type == TypeDeleteBearerResponse || h.Type == TypeUpdateBearerResponse
	switch {
	case !known(h.Type):
		return nil, &Error{Reason: ReasonUnknownType}
	case !isRequest && !isResponse:
		// Known, but not for a PGW, or one that asks for no reply.
		return nil, &Error{Reason: ReasonUnexpectedType}
	}

	fault, end := checkLength(b, body, size)
	e, split := splitElements(b[body:end])
	if fault == nil {
		fault = split
	}
	if fault == nil && !h.HasTEID && h.Type != TypeEchoRequest && h.Type != TypeEchoResponse {
		// Only Echo and Version Not Supported go without a TEID (5.3).
		fault = &Error{Cause: CauseInvalidMessageFormat, Reason: "no-teid-field"}
	}
	if fault == nil {
		m, fault = parseBody(h, e)
	}
	if fault == nil && !onInterface(m) {
		return nil, &Error{Reason: ReasonUnexpectedType}
	}
	if fault == nil {
		return m, nil
	}
	if isResponse {
		return unreadable(h)
	}
	sender, _ := e.fteid(senderInstance(h.Type))
	return &Faulty{Header: h, Err: fault, Sender: sender, extras: e.extras(h.Type)}, fault
}

// unreadable is a response that fails a check. It is nobody's to answer, but it
// ends its transaction (TS 29.274 7.7.1).
func unreadable(h Header) (Message, error) {
	switch h.Type {
	case TypeUpdateBearerResponse:
		return &UpdateBearerResponse{Header: h}, nil
	case TypeDeleteBearerResponse:
		return &DeleteBearerResponse{Header: h}, nil
	}
	return nil, &Error{Reason: ReasonBadResponse}
}

// checkLength compares the length field with the datagram (TS 29.274 7.7.3) and
// says where the elements end.
func checkLength(b []byte, body, size int) (*Error, int) {
	invalid := &Error{Cause: CauseInvalidLength, Reason: "message-length"}
	switch {
	case size < body:
		return invalid, body
	case size > len(b):
		return invalid, len(b)
	case size < len(b) && b[0]&0x10 == 0:
		return invalid, size
	}
	// With the P flag another message follows (5.5.1). We send no Create Bearer
	// Request, so no response of ours has anything piggybacked to it that we
	// asked for: it is unexpected (7.7.5) and left alone.
	return nil, size
}

func parseBody(h Header, e elements) (Message, *Error) {
	switch h.Type {
	case TypeEchoRequest:
		return &EchoRequest{Header: h, Recovery: e.recovery()}, nil
	case TypeEchoResponse:
		r := e.recovery()
		if r == nil {
			return nil, missing(ie.Recovery, 0)
		}
		return &EchoResponse{Header: h, Recovery: *r}, nil
	case TypeCreateSessionRequest:
		return parseCreateSessionRequest(h, e)
	case TypeModifyBearerRequest:
		return parseModifyBearerRequest(h, e)
	case TypeDeleteSessionRequest:
		return parseDeleteSessionRequest(h, e)
	case TypeDeleteBearerResponse:
		return parseDeleteBearerResponse(h, e), nil
	case TypeUpdateBearerResponse:
		return parseUpdateBearerResponse(h, e), nil
	case message.MsgTypeModifyBearerCommand:
		return parseModifyBearerCommand(h, e)
	case message.MsgTypeChangeNotificationRequest:
		return parseChangeNotificationRequest(h, e)
	case message.MsgTypeSuspendNotification:
		return parseSuspendNotification(h, e)
	case message.MsgTypeResumeNotification:
		return parseResumeNotification(h, e)
	case message.MsgTypeDeletePDNConnectionSetRequest:
		return parseDeletePDNConnectionSetRequest(h, e)
	}
	return parseOther(h, e)
}

// otherVersion recognises messages of other versions, to be answered with a
// Version Not Supported Indication (TS 29.274 7.7.2).
func otherVersion(h Header, version uint8, b []byte) (Message, error) {
	if h.Type == TypeVersionNotSupported { // type 3 in versions 0, 1 and 2
		return nil, &Error{Reason: ReasonOtherVersion}
	}
	switch {
	case version == 0: // TS 09.60 6: sequence number in octets 5 and 6
		h.Seq = uint32(binary.BigEndian.Uint16(b[4:]))
	case b[0]&0x08 != 0 && len(b) >= 12: // to come: guess that the header stays version 2's
		h.Seq = uint32(b[8])<<16 | uint32(b[9])<<8 | uint32(b[10])
	default:
		h.Seq = uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6])
	}
	return &OtherVersion{Header: h, Version: version}, nil
}

// Marshal makes the Version Not Supported Indication that answers the message
// (TS 29.274 7.1.3): a header without TEID whose version field says 2.
func (m *OtherVersion) Marshal() []byte {
	return []byte{2 << 5, TypeVersionNotSupported, 0, 4, byte(m.Seq >> 16), byte(m.Seq >> 8), byte(m.Seq), 0}
}

// FTEID is a fully qualified tunnel endpoint identifier (TS 29.274 8.22).
type FTEID struct {
	InterfaceType uint8
	TEID          uint32
	Addr          netip.Addr // IPv4 when the element had one; else IPv6
}

// IsZero tells whether f holds nothing.
func (f FTEID) IsZero() bool { return f == FTEID{} }

// Interface types (TS 29.274 table 8.22-1).
const (
	InterfaceS5S8SGWUser    uint8 = 4
	InterfaceS5S8PGWUser    uint8 = 5
	InterfaceS5S8SGWControl uint8 = 6
	InterfaceS5S8PGWControl uint8 = 7
	InterfaceS2bControl     uint8 = 30 // ePDG
	InterfaceS2bUser        uint8 = 31
	InterfaceS2bPGWControl  uint8 = 32
	InterfaceS2bPGWUser     uint8 = 33
	InterfaceS2aUser        uint8 = 34 // trusted WLAN
	InterfaceS2aControl     uint8 = 35
	InterfaceS2aPGWControl  uint8 = 36
	InterfaceS2aPGWUser     uint8 = 37
)
