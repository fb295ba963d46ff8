package carrier

import "fmt"

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

// CauseText names a cause in words.
func CauseText(cause uint8) string {
	if text, ok := causes[cause]; ok {
		return text
	}
	return fmt.Sprintf("cause %d", cause)
}
