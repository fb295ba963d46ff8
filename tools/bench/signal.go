package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The requests that load a gateway's control plane are octets made beforehand,
// of which only the sequence number changes: what makes load must cost less than
// what is loaded. They say what the simulated carrier's say.

// protocol is a version of GTP-C: 1 or 2.
type protocol uint8

func (p protocol) String() string { return fmt.Sprintf("GTPv%d", uint8(p)) }

// Where the sequence number's last two octets are in messages with a TEID.
func (p protocol) sequenceAt() int {
	if p == 2 {
		return 9 // after its first, which stays 0
	}
	return 8
}

// Message types (TS 29.060 table 1, TS 29.274 table 6.1-1).
const (
	createPDPContext = 16
	deletePDPContext = 20
	createSession    = 32
	deleteSession    = 36
)

// created is the type that answers a Create.
func (p protocol) created() byte {
	if p == 2 {
		return createSession + 1
	}
	return createPDPContext + 1
}

// number gives a request its sequence number.
func (p protocol) number(b []byte, n uint16) { binary.BigEndian.PutUint16(b[p.sequenceAt():], n) }

// create makes the Create of subscriber i, sent by a node with that address.
func (p protocol) create(i int, from netip.Addr) []byte {
	return p.createOf(imsiOf(i), msisdnOf(i), imeiOf(i), uint32(2*i+1), from)
}

func (p protocol) createOf(imsi, msisdn, imei string, teid uint32, from netip.Addr) []byte {
	if p == 2 {
		return createV2(imsi, msisdn, imei, teid, from)
	}
	return createV1(imsi, msisdn, imei, teid, from)
}

const (
	defaultBearer = 5 // EPS bearer identity, NSAPI
	operatorAPN   = apnName + ".mnc001.mcc001.gprs"
)

// testNetwork is 001-01 (TS 24.008 10.5.1.3).
var testNetwork = []byte{0x00, 0xf1, 0x10}

// askedOptions ask for name servers and the MTU (TS 24.008 10.5.6.3).
var askedOptions = []byte{0x80, 0x00, 0x0d, 0, 0x00, 0x10, 0}

// createV2 is a Create Session Request on S5/S8 (TS 29.274 table 7.2.1-1).
func createV2(imsi, msisdn, imei string, teid uint32, from netip.Addr) []byte {
	b := []byte{0x48, createSession, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = ieV2(b, 1, 0, digits(imsi))
	b = ieV2(b, 76, 0, digits(msisdn))
	b = ieV2(b, 75, 0, digits(imei+"01"))
	b = ieV2(b, 86, 0, join([]byte{0x18}, testNetwork, []byte{0, 1}, testNetwork, []byte{0, 0, 0, 1})) // TAI, ECGI
	b = ieV2(b, 83, 0, testNetwork)
	b = ieV2(b, 82, 0, []byte{6}) // E-UTRAN
	b = ieV2(b, 77, 0, []byte{0, 0, 0, 0})
	b = ieV2(b, 87, 0, tunnelEnd(6, teid, from))
	b = ieV2(b, 71, 0, labels(operatorAPN))
	b = ieV2(b, 128, 0, []byte{0})
	b = ieV2(b, 99, 0, []byte{1}) // IPv4
	b = ieV2(b, 79, 0, []byte{1, 0, 0, 0, 0})
	b = ieV2(b, 127, 0, []byte{0})
	b = ieV2(b, 72, 0, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 50_000), 150_000))
	b = ieV2(b, 78, 0, askedOptions)
	bearer := ieV2(nil, 73, 0, []byte{defaultBearer})
	bearer = ieV2(bearer, 87, 2, tunnelEnd(4, teid+1, from))
	bearer = ieV2(bearer, 80, 0, append([]byte{9<<2 | 1<<6, 9}, make([]byte, 20)...)) // ARP 9, QCI 9
	b = ieV2(b, 93, 0, bearer)
	b = ieV2(b, 3, 0, []byte{0})
	b = ieV2(b, 95, 0, []byte{8, 0})
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

// createV1 is a Create PDP Context Request (TS 29.060 table 5).
func createV1(imsi, msisdn, imei string, teid uint32, from netip.Addr) []byte {
	b := []byte{0x32, createPDPContext, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = append(append(b, 2), digits(imsi)...)
	b = append(append(append(b, 3), testNetwork...), 0, 1, 0xff)
	b = append(b, 14, 0, 15, 0)
	b = binary.BigEndian.AppendUint32(append(b, 16), teid+1)
	b = binary.BigEndian.AppendUint32(append(b, 17), teid)
	b = append(b, 20, defaultBearer, 26, 8, 0)
	b = ieV1(b, 128, []byte{0xf1, 0x21}) // IPv4
	b = ieV1(b, 131, labels(operatorAPN))
	b = ieV1(b, 132, askedOptions)
	b = ieV1(b, 133, from.AsSlice())
	b = ieV1(b, 133, from.AsSlice())
	b = ieV1(b, 134, append([]byte{0x91}, digits(msisdn)...))
	b = ieV1(b, 135, []byte{2, 0x0b, 0x92, 0x1f, 0x93, 0x96, 0xfe, 0xfe, 0x74, 0xf9, 0xff, 0xff, 0x11, 0x01, 0x01})
	b = ieV1(b, 151, []byte{1}) // UTRAN
	b = ieV1(b, 152, join([]byte{1}, testNetwork, []byte{0, 1, 0, 1}))
	b = ieV1(b, 154, digits(imei+"01"))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-8))
	return b
}

// remove makes the request that ends the session with that TEID at the gateway.
func (p protocol) remove(teid uint32) []byte {
	var b []byte
	if p == 2 {
		b = ieV2([]byte{0x48, deleteSession, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 73, 0, []byte{defaultBearer})
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	} else {
		b = []byte{0x32, deletePDPContext, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 19, 0xff, 20, defaultBearer}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-8))
	}
	binary.BigEndian.PutUint32(b[4:], teid)
	return b
}

func ieV2(b []byte, typ, instance byte, value []byte) []byte {
	return append(append(b, typ, byte(len(value)>>8), byte(len(value)), instance), value...)
}

func ieV1(b []byte, typ byte, value []byte) []byte {
	return append(append(b, typ, byte(len(value)>>8), byte(len(value))), value...)
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// digits are two in an octet, the first in its low half (TS 29.274 8.3).
func digits(s string) []byte {
	b := make([]byte, 0, len(s)/2+1)
	for i := 0; i < len(s); i += 2 {
		high := byte(0x0f)
		if i+1 < len(s) {
			high = s[i+1] - '0'
		}
		b = append(b, high<<4|(s[i]-'0'))
	}
	return b
}

// labels are a name as APNs are encoded (TS 23.003 9.1).
func labels(name string) []byte {
	b := append([]byte{0}, name...)
	last := 0
	for i := 1; i <= len(b); i++ {
		if i == len(b) || b[i] == '.' {
			b[last], last = byte(i-last-1), i
		}
	}
	return b
}

func tunnelEnd(kind byte, teid uint32, at netip.Addr) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0x80 | kind}, teid), at.AsSlice()...)
}

var errAnswer = errors.New("an answer that can't be read")

// read takes cause and the gateway's control TEID, 0 if there is none, out of an
// answer.
func (p protocol) read(b []byte) (cause byte, teid uint32, err error) {
	if len(b) < 12 || b[0]>>5 != byte(p) {
		return 0, 0, errAnswer
	}
	rest := b[12:]
	if p == 1 {
		return readV1(rest)
	}
	for len(rest) >= 4 {
		size := 4 + int(binary.BigEndian.Uint16(rest[1:]))
		if size > len(rest) {
			break
		}
		switch value := rest[4:size]; {
		case rest[0] == 2 && len(value) > 0 && cause == 0:
			cause = value[0]
		case rest[0] == 87 && rest[3]&0x0f == 1 && len(value) >= 5:
			teid = binary.BigEndian.Uint32(value[1:])
		}
		rest = rest[size:]
	}
	if cause == 0 {
		return 0, 0, errAnswer
	}
	return cause, teid, nil
}

func readV1(rest []byte) (cause byte, teid uint32, err error) {
	if len(rest) < 2 || rest[0] != 1 {
		return 0, 0, errAnswer
	}
	cause, rest = rest[1], rest[2:]
	for len(rest) > 0 && rest[0] < 128 {
		size := map[byte]int{8: 2, 14: 2, 16: 5, 17: 5, 127: 5}[rest[0]]
		if size == 0 || size > len(rest) {
			return 0, 0, errAnswer
		}
		if rest[0] == 17 {
			return cause, binary.BigEndian.Uint32(rest[1:]), nil
		}
		rest = rest[size:]
	}
	return cause, 0, nil
}

// accepted tells whether a cause is one (TS 29.060 table 38, TS 29.274 table
// 8.4-1).
func (p protocol) accepted(cause byte) bool {
	if p == 1 {
		return cause>>6 == 2 // 128 to 191
	}
	return cause >= 16 && cause <= 63
}
