package carrier

import (
	"errors"
	"fmt"
)

// ErrProtocol is wrapped when the gateway's answer breaks the protocol.
var ErrProtocol = errors.New("the gateway's answer breaks the protocol")

// RefusedError is a request that the gateway refused.
type RefusedError struct {
	Cause uint8 // TS 29.274 8.4, or TS 29.060 7.7.1
	GTPv1 bool  // the latter
}

func (e *RefusedError) Error() string {
	text := CauseText
	if e.GTPv1 {
		text = CauseTextV1
	}
	return fmt.Sprintf("refused by the gateway: cause %d (%s)", e.Cause, text(e.Cause))
}

// notFound tells whether the gateway said that it doesn't know the session.
func notFound(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && (*refused == RefusedError{Cause: causeContextNotFound} ||
		*refused == RefusedError{Cause: causeV1NonExistent, GTPv1: true})
}

// Causes that we give or act on (TS 29.274 table 8.4-1, TS 29.060 table 38).
const (
	causeAccepted          = 16
	causeNewTypePreference = 18
	causeNewTypeSingle     = 19
	causeContextNotFound   = 64
	causeUERefuses         = 88

	causeV1Accepted          = 128
	causeV1NewTypePreference = 129
	causeV1NewTypeSingle     = 130
	causeV1NonExistent       = 192
)

// causes names the ones that a packet gateway gives (TS 29.274 table 8.4-1).
var causes = map[uint8]string{
	16: "request accepted", 17: "request accepted partially",
	18: "new PDN type due to network preference", 19: "new PDN type due to single address bearer only",
	64: "context not found", 65: "invalid message format", 66: "version not supported by next peer",
	67: "invalid length", 68: "service not supported", 69: "mandatory IE incorrect", 70: "mandatory IE missing",
	72: "system failure", 73: "no resources available", 78: "missing or unknown APN",
	82: "denied in RAT", 83: "preferred PDN type not supported", 84: "all dynamic addresses are occupied",
	89: "service denied", 92: "user authentication failed", 93: "APN access denied, no subscription",
	94: "request rejected, reason not specified", 96: "IMSI/IMEI not known", 100: "remote peer not responding",
	103: "conditional IE missing", 109: "invalid peer", 113: "APN congestion", 120: "GTP-C entity congestion",
}

// causesV1 is the same for GTPv1 (TS 29.060 table 38).
var causesV1 = map[uint8]string{
	128: "request accepted",
	129: "new PDP type due to network preference", 130: "new PDP type due to single address bearer only",
	192: "non-existent", 193: "invalid message format", 199: "no resources available", 200: "service not supported",
	201: "mandatory IE incorrect", 202: "mandatory IE missing", 204: "system failure", 209: "user authentication failed",
	211: "all dynamic PDP addresses are occupied", 219: "missing or unknown APN", 220: "unknown PDP address or PDP type",
	222: "APN access denied, no subscription", 229: "APN congestion",
}

// CauseText names a cause of GTPv2 in words.
func CauseText(cause uint8) string { return text(causes, cause) }

// CauseTextV1 names a cause of GTPv1 in words.
func CauseTextV1(cause uint8) string { return text(causesV1, cause) }

func text(names map[uint8]string, cause uint8) string {
	if name, ok := names[cause]; ok {
		return name
	}
	return fmt.Sprintf("cause %d", cause)
}
