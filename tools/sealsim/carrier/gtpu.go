package carrier

import (
	"encoding/binary"
	"errors"
)

// GTP-U message types (TS 29.281 6.1).
const (
	userEchoRequest     = 1
	userEchoResponse    = 2
	userErrorIndication = 26
	userEndMarker       = 254
	userPacket          = 255
)

// userHeader is the length of a GTP-U header without optional fields.
const userHeader = 8

var errUserHeader = errors.New("not a GTP-U message")

// userMessage is a GTP-U message, its payload still in the datagram.
type userMessage struct {
	kind     uint8
	teid     uint32
	sequence uint16
	payload  []byte
}

// parseUser reads a GTP-U header with its optional fields and extension
// headers (TS 29.281 5.1 and 5.2).
func parseUser(b []byte) (userMessage, error) {
	if len(b) < userHeader || b[0]&0xf0 != 0x30 { // version 1, protocol type GTP
		return userMessage{}, errUserHeader
	}
	m := userMessage{kind: b[1], teid: binary.BigEndian.Uint32(b[4:])}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length > len(b)-userHeader {
		return userMessage{}, errUserHeader
	}
	body := b[userHeader : userHeader+length]
	if b[0]&0x07 == 0 {
		m.payload = body
		return m, nil
	}
	// Any flag brings all three fields along.
	if len(body) < 4 {
		return userMessage{}, errUserHeader
	}
	if b[0]&0x02 != 0 {
		m.sequence = binary.BigEndian.Uint16(body)
	}
	next, rest := body[3], body[4:]
	if b[0]&0x04 == 0 {
		next = 0
	}
	for next != 0 {
		if len(rest) < 4 {
			return userMessage{}, errUserHeader
		}
		n := int(rest[0]) * 4 // in units of 4 octets
		if n == 0 || n > len(rest) {
			return userMessage{}, errUserHeader
		}
		next, rest = rest[n-1], rest[n:]
	}
	m.payload = rest
	return m, nil
}

// putUserHeader writes the header of a G-PDU without optional fields.
func putUserHeader(b []byte, teid uint32, payload int) {
	b[0], b[1] = 0x30, userPacket
	binary.BigEndian.PutUint16(b[2:], uint16(payload))
	binary.BigEndian.PutUint32(b[4:], teid)
}
