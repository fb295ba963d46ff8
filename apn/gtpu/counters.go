package gtpu

import "sync/atomic"

// counter names something that is counted.
type counter uint8

const (
	uplinkPackets counter = iota
	uplinkBytes
	downlinkPackets
	downlinkBytes

	echoRequests
	echoRequestsOut
	echoResponsesIn
	echoResponsesOut
	errorIndicationsIn
	errorIndicationsOut
	endMarkersIn
	endMarkersOut
	extensionNoticesIn
	extensionNoticesOut
	routerSolicitations
	routerAdvertisements
	neighbourSolicitations
	neighbourAdvertisements
	probeAnswers
	pathFailures
	pathRecoveries

	dropShort
	dropVersion
	dropLength
	dropOversized
	dropExtension
	dropExtensionUnknown
	dropElement
	dropMessageType
	dropPeer
	dropTEID
	dropErrorForeign
	dropEchoUnexpected
	dropAnswerLimit
	dropPanic

	dropInnerMalformed
	dropInnerSource
	dropOuterDestination
	dropPhoneToPhone
	dropGTPInGTP
	dropFragment
	dropNextHeader
	dropSourceRoute
	dropReserved
	dropMulticast
	dropLinkLocal
	dropMLD
	dropDiscovery
	dropSolicitationLimit
	dropProbeLimit
	dropAMBRUp

	dropNoTunnel
	dropSuspended
	dropAMBRDown
	dropNotServing
	dropFenced
	dropDownlinkMalformed
	dropSendFailed

	numCounters
)

// counterNames are the keys of Counters. What a peer did comes first, then the
// reasons for which packets were dropped: of the outer datagram, of the inner
// packet going up, of packets going down.
var counterNames = [numCounters]string{
	uplinkPackets:           "uplink-packets",
	uplinkBytes:             "uplink-bytes",
	downlinkPackets:         "downlink-packets",
	downlinkBytes:           "downlink-bytes",
	echoRequests:            "echo-requests-received",
	echoRequestsOut:         "echo-requests-sent",
	echoResponsesIn:         "echo-responses-received",
	echoResponsesOut:        "echo-responses-sent",
	errorIndicationsIn:      "error-indications-received",
	errorIndicationsOut:     "error-indications-sent",
	endMarkersIn:            "end-markers-received",
	endMarkersOut:           "end-markers-sent",
	extensionNoticesIn:      "extension-notices-received",
	extensionNoticesOut:     "extension-notices-sent",
	routerSolicitations:     "router-solicitations-received",
	routerAdvertisements:    "router-advertisements-sent",
	neighbourSolicitations:  "neighbour-solicitations-received",
	neighbourAdvertisements: "neighbour-advertisements-sent",
	probeAnswers:            "probe-answers-sent",
	pathFailures:            "path-failures",
	pathRecoveries:          "path-recoveries",

	dropShort:            "short",
	dropVersion:          "version",
	dropLength:           "length",
	dropOversized:        "oversized",
	dropExtension:        "extension-malformed",
	dropExtensionUnknown: "extension-unknown",
	dropElement:          "element-malformed",
	dropMessageType:      "message-type",
	dropPeer:             "peer-not-allowed",
	dropTEID:             "unknown-teid",
	dropErrorForeign:     "error-indication-foreign",
	dropEchoUnexpected:   "echo-response-unexpected",
	dropAnswerLimit:      "answer-limit",
	dropPanic:            "panic",

	dropInnerMalformed:    "inner-malformed",
	dropInnerSource:       "inner-source",
	dropOuterDestination:  "inner-to-gateway-outer",
	dropPhoneToPhone:      "phone-to-phone",
	dropGTPInGTP:          "gtp-in-gtp",
	dropFragment:          "inner-fragment",
	dropNextHeader:        "inner-next-header",
	dropSourceRoute:       "inner-source-route",
	dropReserved:          "inner-reserved",
	dropMulticast:         "multicast",
	dropLinkLocal:         "link-local",
	dropMLD:               "mld",
	dropDiscovery:         "neighbour-discovery",
	dropSolicitationLimit: "solicitation-limit",
	dropProbeLimit:        "probe-limit",
	dropAMBRUp:            "ambr-up",

	dropNoTunnel:          "no-tunnel",
	dropSuspended:         "suspended",
	dropAMBRDown:          "ambr-down",
	dropNotServing:        "not-serving",
	dropFenced:            "not-holder",
	dropDownlinkMalformed: "downlink-malformed",
	dropSendFailed:        "send-failed",
}

// counters sit a cache line apart, so that the directions don't slow each
// other down.
type counters [numCounters]struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *counters) add(k counter, n int) { c[k].n.Add(uint64(n)) }

// Counters returns how many packets and bytes went each way, how many messages
// of each kind came, and how many packets were dropped for which reason.
func (p *Plane) Counters() map[string]uint64 {
	m := make(map[string]uint64, numCounters)
	for k, name := range counterNames {
		m[name] = p.count[k].n.Load()
	}
	return m
}
