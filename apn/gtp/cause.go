package gtp

import "fmt"

// Cause is a GTPv2 cause value (TS 29.274 table 8.4-1). The zero Cause is
// reserved there and means "answer nothing" here.
type Cause uint8

// The causes that the gateway sends or acts on. Why each is sent, and what it
// makes the phone do next, is in docs/causes.md.
const (
	CauseReactivationRequested  Cause = 8
	CauseAccepted               Cause = 16
	CauseAcceptedPartially      Cause = 17
	CauseNewPDNTypeByPreference Cause = 18 // narrowed by what the APN offers
	CauseNewPDNTypeSingleBearer Cause = 19 // narrowed because the peer carries one family only
	CauseContextNotFound        Cause = 64
	CauseInvalidMessageFormat   Cause = 65
	CauseInvalidLength          Cause = 67
	CauseServiceNotSupported    Cause = 68
	CauseMandatoryIncorrect     Cause = 69
	CauseMandatoryMissing       Cause = 70
	CauseSystemFailure          Cause = 72
	CauseNoResources            Cause = 73
	CauseMissingOrUnknownAPN    Cause = 78
	CauseRATDisallowed          Cause = 82
	CausePDNTypeNotSupported    Cause = 83
	CauseAddressesOccupied      Cause = 84
	CauseNotAuthorised          Cause = 89 // "Service denied"
	CauseAuthenticationFailed   Cause = 92
	CauseAPNDenied              Cause = 93 // "APN access denied - no subscription"
	CauseRequestRejected        Cause = 94
	CauseConditionalMissing     Cause = 103
	CauseInvalidPeer            Cause = 109
	CauseAPNCongestion          Cause = 113
	CauseEntityCongestion       Cause = 120
)

// Accepted tells whether c is one of the acceptances.
func (c Cause) Accepted() bool { return c >= 16 && c < 64 }

// String names the cause as TS 29.274 does, shortened.
func (c Cause) String() string {
	if s, ok := causeNames[c]; ok {
		return fmt.Sprintf("%s (%d)", s, uint8(c))
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

var causeNames = map[Cause]string{
	CauseReactivationRequested:  "reactivation requested",
	CauseAccepted:               "request accepted",
	CauseAcceptedPartially:      "request accepted partially",
	CauseNewPDNTypeByPreference: "new PDN type due to network preference",
	CauseNewPDNTypeSingleBearer: "new PDN type due to single address bearer only",
	CauseContextNotFound:        "context not found",
	CauseInvalidMessageFormat:   "invalid message format",
	CauseInvalidLength:          "invalid length",
	CauseServiceNotSupported:    "service not supported",
	CauseMandatoryIncorrect:     "mandatory IE incorrect",
	CauseMandatoryMissing:       "mandatory IE missing",
	CauseSystemFailure:          "system failure",
	CauseNoResources:            "no resources available",
	CauseMissingOrUnknownAPN:    "missing or unknown APN",
	CauseRATDisallowed:          "denied in RAT",
	CausePDNTypeNotSupported:    "preferred PDN type not supported",
	CauseAddressesOccupied:      "all dynamic addresses are occupied",
	CauseNotAuthorised:          "service denied",
	CauseAuthenticationFailed:   "user authentication failed",
	CauseAPNDenied:              "APN access denied - no subscription",
	CauseRequestRejected:        "request rejected",
	CauseConditionalMissing:     "conditional IE missing",
	CauseInvalidPeer:            "invalid peer",
	CauseAPNCongestion:          "APN congestion",
	CauseEntityCongestion:       "GTP-C entity congestion",
}

// Error says why a datagram can't be carried out.
type Error struct {
	Cause    Cause  // to answer with; 0: discard in silence
	IE       uint8  // type of the offending element; 0: none
	Instance uint8  // of the offending element
	Group    uint8  // type of the grouped element that it is in; 0: none
	Reason   string // names the drop or refusal in counters, e.g. "short"
	v1       uint8  // the cause in GTPv1, where GTPv2 has no such; 0: Cause says it
}

// Error says it in words.
func (e *Error) Error() string {
	s := "gtp: " + e.Reason
	if e.Cause != 0 {
		s += ": " + e.Cause.String()
	}
	if e.IE != 0 {
		s += fmt.Sprintf(", IE %d instance %d", e.IE, e.Instance)
	}
	if e.Group != 0 {
		s += fmt.Sprintf(" in IE %d", e.Group)
	}
	return s
}

// V1 is the GTPv1 cause value that stands for c (TS 29.060 table 38): what a
// Gn/Gp peer is told. A refusal that GTPv1 has no word for is "no resources
// available", its generic temporary error (7.7.1): the terminal may try again.
func (c Cause) V1() uint8 {
	if v, ok := causesV1[c]; ok {
		return v
	}
	if c.Accepted() {
		return 128
	}
	return 199
}

var causesV1 = map[Cause]uint8{
	CauseReactivationRequested:  6,
	CauseAccepted:               128,
	CauseAcceptedPartially:      128,
	CauseNewPDNTypeByPreference: 129,
	CauseNewPDNTypeSingleBearer: 130,
	CauseContextNotFound:        192,
	CauseInvalidMessageFormat:   193,
	CauseInvalidLength:          193,
	CauseServiceNotSupported:    200,
	CauseMandatoryIncorrect:     201,
	CauseMandatoryMissing:       202,
	CauseConditionalMissing:     202,
	CauseSystemFailure:          204,
	CauseNoResources:            199,
	CauseMissingOrUnknownAPN:    219,
	CauseRATDisallowed:          200,
	CausePDNTypeNotSupported:    220,
	CauseAddressesOccupied:      211,
	CauseNotAuthorised:          200,
	CauseAuthenticationFailed:   209,
	CauseAPNDenied:              222,
	CauseRequestRejected:        200,
	CauseAPNCongestion:          229,
	CauseEntityCongestion:       199,
	CauseInvalidPeer:            192, // for that peer there is no such context any more
	96:                          194, // IMSI or IMEI not known
	100:                         204, // remote peer not responding: the AAA server
}
