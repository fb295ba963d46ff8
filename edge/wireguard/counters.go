package wireguard

import "sync/atomic"

// counter names something that is counted.
type counter uint8

const (
	uplinkPackets counter = iota
	uplinkBytes
	downlinkPackets
	downlinkBytes
	reports
	probes
	initiations
	responses
	cookieReplies
	dropTooLong
	dropOtherKey
	dropNoKey
	dropUplinkMalformed
	dropUplinkNoPeer
	dropPanic
	dropNotListening
	dropMalformed
	dropNoPeer
	dropQueueFull
	dropSendFailed
	dropFenced
	deviceErrors

	numCounters
)

var counterNames = [numCounters]string{
	uplinkPackets:       "uplink-packets",
	uplinkBytes:         "uplink-bytes",
	downlinkPackets:     "downlink-packets",
	downlinkBytes:       "downlink-bytes",
	reports:             "authenticated",
	probes:              "probes",
	initiations:         "initiations-sent",
	responses:           "responses-sent",
	cookieReplies:       "cookie-replies-sent",
	dropTooLong:         "too-long",
	dropOtherKey:        "not-for-this-key",
	dropNoKey:           "no-key",
	dropUplinkMalformed: "inner-malformed",
	dropUplinkNoPeer:    "peer-removed",
	dropPanic:           "panic",
	dropNotListening:    "not-listening",
	dropMalformed:       "downlink-malformed",
	dropNoPeer:          "no-peer",
	dropQueueFull:       "queue-full",
	dropSendFailed:      "send-failed",
	dropFenced:          "not-holder",
	deviceErrors:        "device-errors",
}

type counters [numCounters]atomic.Uint64

func (c *counters) add(k counter, n int) { c[k].Add(uint64(n)) }

// Counters returns how many packets and bytes went each way and how many were
// dropped for which reason. What fails WireGuard's own checks is dropped in
// silence and isn't seen here.
func (e *Endpoint) Counters() map[string]uint64 {
	m := make(map[string]uint64, numCounters)
	for k, name := range counterNames {
		m[name] = e.count[k].Load()
	}
	return m
}
