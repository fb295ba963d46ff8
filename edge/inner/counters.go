package inner

import "sync/atomic"

// counter names something that is counted.
type counter uint8

const (
	inPackets counter = iota
	inBytes
	outPackets
	outBytes

	dropMalformed
	dropOptions
	dropExtension
	dropFragment
	dropChecksum
	dropSource
	dropPhoneToPhone
	dropDestination
	dropProtocol
	dropICMP
	dropTCPPort
	dropUDPPort
	dropConnLimit
	dropPanic
	dropDevice

	dropEgress
	dropNoRoute
	dropPath

	numCounters
)

var counterNames = [numCounters]string{
	inPackets:        "in-packets",
	inBytes:          "in-bytes",
	outPackets:       "out-packets",
	outBytes:         "out-bytes",
	dropMalformed:    "malformed",
	dropOptions:      "ip-options",
	dropExtension:    "extension-header",
	dropFragment:     "fragment",
	dropChecksum:     "header-checksum",
	dropSource:       "source-without-route",
	dropPhoneToPhone: "phone-to-phone",
	dropDestination:  "destination",
	dropProtocol:     "protocol",
	dropICMP:         "icmp-type",
	dropTCPPort:      "tcp-port",
	dropUDPPort:      "udp-port",
	dropConnLimit:    "connection-limit",
	dropPanic:        "panic",
	dropDevice:       "tun-device",
	dropEgress:       "egress-protocol",
	dropNoRoute:      "no-route",
	dropPath:         "path-refused",
}

// counters sit a cache line apart, so that the directions don't slow each
// other down.
type counters [numCounters]struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *counters) add(k counter, n int) { c[k].n.Add(uint64(n)) }

// Counters returns how many packets and bytes went each way, how many were
// dropped for which reason, and what the IP stack itself did and refused ("stack-...").
func (n *Network) Counters() map[string]uint64 {
	m := make(map[string]uint64, numCounters+8)
	for k, name := range counterNames {
		m[name] = n.count[k].n.Load()
	}
	n.driver.counters(m)
	return m
}
