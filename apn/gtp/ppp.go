package gtp

import (
	"encoding/binary"
	"slices"
)

// PAP is an Authenticate-Request (RFC 1334 2.2.1).
type PAP struct {
	ID             uint8
	User, Password string
}

// CHAP is a challenge that the phone made up in the network's place, and its own
// response to it (RFC 1994 4.1, TS 29.061 11.2.1.2): the two come in one PCO,
// with the same identifier.
type CHAP struct {
	ID        uint8
	User      string
	Challenge []byte
	Response  []byte
}

// IPCP is a Configure-Request (RFC 1332, with the options of RFC 1877).
type IPCP struct {
	ID                       uint8
	PrimaryDNS, SecondaryDNS bool
	rejected                 []byte // options that we have nothing to say to, as they came
}

const (
	papRequest uint8 = 1
	papAck     uint8 = 2
	papNak     uint8 = 3

	chapChallenge uint8 = 1
	chapResponse  uint8 = 2
	chapSuccess   uint8 = 3
	chapFailure   uint8 = 4

	ipcpConfigureRequest uint8 = 1
	ipcpConfigureAck     uint8 = 2
	ipcpConfigureReject  uint8 = 4
	ipcpPrimaryDNS       uint8 = 129
	ipcpSecondaryDNS     uint8 = 131
)

// pppPacket reads code, identifier, length and data (RFC 1661 5). What is behind
// the stated length is padding.
func pppPacket(b []byte) (code, id uint8, data []byte, ok bool) {
	if len(b) < 4 {
		return 0, 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < 4 || n > len(b) {
		return 0, 0, nil, false
	}
	return b[0], b[1], b[4:n], true
}

// counted reads a field that is preceded by its length in one octet.
func counted(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 1 || int(b[0]) > len(b)-1 {
		return nil, nil, false
	}
	return b[1 : 1+b[0]], b[1+b[0]:], true
}

// parsePAP reads an Authenticate-Request; nil: it is none.
func parsePAP(b []byte) *PAP {
	code, id, data, ok := pppPacket(b)
	if !ok || code != papRequest {
		return nil
	}
	user, data, ok := counted(data)
	if !ok {
		return nil
	}
	password, _, ok := counted(data)
	if !ok {
		return nil
	}
	return &PAP{ID: id, User: string(user), Password: string(password)}
}

// chapPacket is a challenge or a response (RFC 1994 4.1).
type chapPacket struct {
	code, id    uint8
	value, name []byte
}

// parseCHAP reads a challenge or a response; nil: it is neither.
func parseCHAP(b []byte) *chapPacket {
	code, id, data, ok := pppPacket(b)
	if !ok || code != chapChallenge && code != chapResponse {
		return nil
	}
	value, name, ok := counted(data)
	if !ok || len(value) == 0 {
		return nil
	}
	return &chapPacket{code, id, value, name}
}

// pairCHAP puts a challenge and its response together. It shares no memory with
// them. Nil: they don't belong together.
func pairCHAP(challenge, response *chapPacket) *CHAP {
	if challenge == nil || response == nil || challenge.id != response.id {
		return nil
	}
	return &CHAP{
		ID: response.id, User: string(response.name),
		Challenge: slices.Clone(challenge.value), Response: slices.Clone(response.value),
	}
}

// parseIPCP reads a Configure-Request; nil: it is none.
func parseIPCP(b []byte) *IPCP {
	code, id, options, ok := pppPacket(b)
	if !ok || code != ipcpConfigureRequest {
		return nil
	}
	q := &IPCP{ID: id}
	for len(options) > 0 {
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return nil
		}
		o := options[:options[1]]
		switch {
		case o[0] == ipcpPrimaryDNS && len(o) == 6:
			q.PrimaryDNS = true
		case o[0] == ipcpSecondaryDNS && len(o) == 6:
			q.SecondaryDNS = true
		default:
			q.rejected = append(q.rejected, o...)
		}
		options = options[len(o):]
	}
	return q
}

// appendPPP appends a packet.
func appendPPP(b []byte, code, id uint8, data []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, code, id), uint16(4+len(data)))
	return append(b, data...)
}
