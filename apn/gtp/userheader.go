package gtp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Message types of GTP-U (TS 29.281 table 6.1-1).
const (
	UserEchoRequest         uint8 = 1
	UserEchoResponse        uint8 = 2
	UserErrorIndication     uint8 = 26
	UserExtensionHeaders    uint8 = 31 // Supported Extension Headers Notification
	UserEndMarker           uint8 = 254
	UserGPDU                uint8 = 255
	UserHeaderLen                 = 8 // without sequence number or extensions
	pduSessionContainerType uint8 = 0x85
)

// Errors of the GTP-U codec. They are sentinels, so that a flood of bad packets
// costs no allocation, and each names a drop reason.
var (
	ErrUserShort     = errors.New("gtp-u: shorter than its header")
	ErrUserVersion   = errors.New("gtp-u: not version 1 with protocol type GTP")
	ErrUserLength    = errors.New("gtp-u: length field and datagram disagree")
	ErrUserExtension = errors.New("gtp-u: extension header chain broken")
	ErrUserElement   = errors.New("gtp-u: mandatory information element missing or malformed")
	// ErrUserNotComprehended: an extension header that the receiver must
	// understand and we don't; answer with AppendUserExtensionHeaders
	// (TS 29.281 5.2.1).
	ErrUserNotComprehended = errors.New("gtp-u: extension header not comprehended")
)

// UserHeader is the header of one GTP-U message (TS 29.281 5.1).
type UserHeader struct {
	Type    uint8
	TEID    uint32
	Seq     uint16 // meaningful when HasSeq
	HasSeq  bool
	QFI     uint8 // of a PDU Session Container; meaningful when HasQFI
	HasQFI  bool
	Payload []byte // what follows the header; aliases the datagram
}

// ParseUser reads the header of a GTP-U datagram and finds its payload. It
// allocates nothing; h.Payload aliases b. With ErrUserNotComprehended the
// header is filled in as far as the fixed part goes, so that an answer can be
// sent; with the other errors it is meaningless.
func ParseUser(b []byte) (h UserHeader, err error) {
	if len(b) < UserHeaderLen {
		return UserHeader{}, ErrUserShort
	}
	flags := b[0]
	if flags>>5 != 1 || flags&0x10 == 0 {
		return UserHeader{}, ErrUserVersion
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b)-UserHeaderLen {
		return UserHeader{}, ErrUserLength
	}
	// Octets after the stated length are the network's padding, not ours.
	h.Type, h.TEID = b[1], binary.BigEndian.Uint32(b[4:])
	rest := b[UserHeaderLen : UserHeaderLen+n]
	if flags&0x07 == 0 {
		h.Payload = rest
		return h, nil
	}
	// Any of E, S and PN brings all three fields; each counts only with its flag.
	if len(rest) < 4 {
		return UserHeader{}, ErrUserShort
	}
	if flags&0x02 != 0 {
		h.Seq, h.HasSeq = binary.BigEndian.Uint16(rest), true
	}
	next := rest[3]
	rest = rest[4:]
	if flags&0x04 == 0 {
		next = 0
	}
	for next != 0 {
		if len(rest) < 4 {
			return UserHeader{}, ErrUserExtension
		}
		size := int(rest[0]) * 4
		if size == 0 || size > len(rest) {
			return UserHeader{}, ErrUserExtension
		}
		switch {
		case next == pduSessionContainerType: // TS 38.415 5.5.2: QFI in the second octet's lower six bits
			h.QFI, h.HasQFI = rest[2]&0x3f, true
		case next&0x80 != 0: // TS 29.281 figure 5.2.1-2: bits 8 and 7 are 10 or 11
			return h, ErrUserNotComprehended
		}
		next = rest[size-1]
		rest = rest[size:]
	}
	h.Payload = rest
	return h, nil
}

// PutUserGPDU writes the eight octets of a G-PDU's header without sequence
// number before a payload of n octets. b must have UserHeaderLen octets and n
// fit 16 bits.
func PutUserGPDU(b []byte, teid uint32, n int) {
	_ = b[UserHeaderLen-1]
	b[0], b[1] = 0x30, UserGPDU
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[4:], teid)
}

// PutUserGPDUSequenced is PutUserGPDU with a sequence number: it writes the
// twelve octets of the header. n is at most 65,531.
func PutUserGPDUSequenced(b []byte, teid uint32, seq uint16, n int) {
	_ = b[UserHeaderLen+3]
	b[0], b[1] = 0x32, UserGPDU
	binary.BigEndian.PutUint16(b[2:], uint16(n+4))
	binary.BigEndian.PutUint32(b[4:], teid)
	binary.BigEndian.PutUint16(b[8:], seq)
	b[10], b[11] = 0, 0 // N-PDU number and next extension header, both unused
}

func appendUser(b []byte, typ uint8, teid uint32, seq uint16, elements ...byte) []byte {
	b = append(b, 0x32, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(elements)))
	b = binary.BigEndian.AppendUint32(b, teid)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, 0, 0) // N-PDU number and next extension header, both unused
	return append(b, elements...)
}

// AppendUserEchoRequest appends an Echo Request (TS 29.281 7.2.1).
func AppendUserEchoRequest(b []byte, seq uint16) []byte {
	return appendUser(b, UserEchoRequest, 0, seq)
}

// AppendUserEchoResponse appends the answer to the Echo Request that had seq.
// Its Recovery element is mandatory, sent as 0 and ignored (TS 29.281 7.2.2).
func AppendUserEchoResponse(b []byte, seq uint16) []byte {
	return appendUser(b, UserEchoResponse, 0, seq, 14, 0)
}

// AppendUserExtensionHeaders appends a Supported Extension Headers Notification
// that lists what ParseUser understands (TS 29.281 7.2.3).
func AppendUserExtensionHeaders(b []byte, seq uint16) []byte {
	return appendUser(b, UserExtensionHeaders, 0, seq, 141, 1, pduSessionContainerType)
}

// AppendUserEndMarker appends an End Marker for the peer's tunnel (TS 29.281
// 7.3.2), which carries no sequence number.
func AppendUserEndMarker(b []byte, teid uint32) []byte {
	b = append(b, 0x30, UserEndMarker, 0, 0)
	return binary.BigEndian.AppendUint32(b, teid)
}

// AppendUserErrorIndication appends the answer to a G-PDU for a tunnel that
// isn't there: teid is the one that the G-PDU named and local the address that
// it was sent to (TS 29.281 7.3.1).
func AppendUserErrorIndication(b []byte, seq uint16, teid uint32, local netip.Addr) []byte {
	var e [1 + 4 + 3 + 16]byte
	e[0] = 16 // Tunnel Endpoint Identifier Data I, TV
	binary.BigEndian.PutUint32(e[1:], teid)
	raw := local.Unmap().AsSlice()
	e[5] = 133 // GSN Address, TLV
	binary.BigEndian.PutUint16(e[6:], uint16(len(raw)))
	n := 8 + copy(e[8:], raw)
	return appendUser(b, UserErrorIndication, 0, seq, e[:n]...)
}

// ParseUserErrorIndication reads the payload of an Error Indication: the TEID
// that the sender doesn't know, and the sender's address of that tunnel.
// Elements that aren't needed are skipped.
func ParseUserErrorIndication(payload []byte) (teid uint32, addr netip.Addr, err error) {
	var seen bool
	for len(payload) > 0 {
		if payload[0] == 16 {
			if len(payload) < 5 {
				return 0, netip.Addr{}, ErrUserElement
			}
			if !seen {
				teid, seen = binary.BigEndian.Uint32(payload[1:]), true
			}
			payload = payload[5:]
			continue
		}
		if payload[0] < 128 { // a TV element whose size is not known: nothing after it can be read
			if payload[0] == 14 && len(payload) >= 2 { // Recovery
				payload = payload[2:]
				continue
			}
			return 0, netip.Addr{}, ErrUserElement
		}
		if len(payload) < 3 {
			return 0, netip.Addr{}, ErrUserElement
		}
		n := int(binary.BigEndian.Uint16(payload[1:]))
		if n > len(payload)-3 {
			return 0, netip.Addr{}, ErrUserElement
		}
		if payload[0] == 133 && !addr.IsValid() {
			var ok bool
			if addr, ok = netip.AddrFromSlice(payload[3 : 3+n]); !ok {
				return 0, netip.Addr{}, ErrUserElement
			}
		}
		payload = payload[3+n:]
	}
	if !seen || !addr.IsValid() {
		return 0, netip.Addr{}, ErrUserElement
	}
	return teid, addr.Unmap(), nil
}
