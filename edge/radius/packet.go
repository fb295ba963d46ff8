package radius

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/subtle"
	"encoding/binary"
	"slices"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"

	"github.com/sealedge/sealedge/policy/ident"
)

const (
	headerLen        = 20
	authenticatorLen = md5.Size
)

// request is a request that who has the secret made.
type request struct {
	*radius.Packet
	raw []byte // without what follows it in the datagram
}

// open takes a datagram apart and checks that it was made with the secret.
func open(b, secret []byte) (request, counter) {
	p, err := radius.Parse(b, secret)
	if err != nil {
		return request{}, dropFormat
	}
	if p.Code != radius.CodeAccessRequest && p.Code != radius.CodeStatusServer {
		return request{}, dropCode
	}
	raw := b[:binary.BigEndian.Uint16(b[2:])] // the rest is padding (RFC 2865 3)
	at, n := find(raw, rfc2869.MessageAuthenticator_Type)
	if n != 1 || raw[at-1] != 2+authenticatorLen {
		return request{}, dropNoAuthenticator
	}
	if !hmac.Equal(raw[at:at+authenticatorLen], authenticate(raw, at, secret)) {
		return request{}, dropAuthenticator
	}
	return request{p, raw}, 0
}

// find tells where the value of an attribute begins, and how many there are. The
// packet has been parsed.
func find(raw []byte, t radius.Type) (at, n int) {
	for i := headerLen; i < len(raw); i += int(raw[i+1]) {
		if radius.Type(raw[i]) == t {
			at, n = i+2, n+1
		}
	}
	return at, n
}

// authenticate is the Message-Authenticator of a packet whose own is at a place
// (RFC 2869 5.14). For an answer the Authenticator must still be the request's.
func authenticate(raw []byte, at int, secret []byte) []byte {
	h := hmac.New(md5.New, secret)
	h.Write(raw[:at])
	h.Write(make([]byte, authenticatorLen))
	h.Write(raw[at+authenticatorLen:])
	return h.Sum(nil)
}

// seal makes an answer. The Message-Authenticator is its first attribute, so that
// nothing an attacker chooses comes before it.
func seal(req request, code radius.Code, timeout time.Duration) ([]byte, error) {
	a := req.Response(code)
	a.Add(rfc2869.MessageAuthenticator_Type, make(radius.Attribute, authenticatorLen))
	if timeout > 0 {
		a.Add(rfc2865.SessionTimeout_Type, radius.NewInteger(uint32(timeout.Seconds())))
	}
	for _, avp := range req.Attributes {
		if avp.Type == rfc2865.ProxyState_Type { // RFC 2865 5.33
			a.Add(avp.Type, avp.Attribute)
		}
	}
	raw, err := a.MarshalBinary()
	if err != nil {
		return nil, err
	}
	copy(a.Attributes[0].Attribute, authenticate(raw, headerLen+2, req.Secret))
	return a.Encode()
}

// device is whom the request is about: User-Name and User-Password are its MAC, and
// Calling-Station-Id, where there is one, is no other. A request by another way of
// authentication is about nobody.
func (r request) device() (mac ident.MAC, ok bool) {
	name, n := r.one(rfc2865.UserName_Type)
	if n != 1 {
		return mac, false
	}
	mac, ok = parseMAC(name)
	if !ok {
		return mac, false
	}
	hidden, n := r.one(rfc2865.UserPassword_Type)
	if n != 1 {
		return mac, false
	}
	password, err := radius.UserPassword(hidden, r.Secret, r.Authenticator[:])
	if err != nil || subtle.ConstantTimeCompare(password, name) != 1 {
		return mac, false
	}
	station, n := r.one(rfc2865.CallingStationID_Type)
	if n == 0 {
		return mac, true
	}
	calling, ok := parseMAC(station)
	return mac, ok && n == 1 && calling == mac
}

// one is an attribute and how often it is there.
func (r request) one(t radius.Type) (value radius.Attribute, n int) {
	for _, avp := range r.Attributes {
		if avp.Type == t {
			value, n = avp.Attribute, n+1
		}
	}
	return value, n
}

var colon = []byte(":")

// parseMAC reads a MAC as access points write it: "02005e100001" in User-Name,
// "02-00-5E-10-00-01" in Calling-Station-Id (RFC 3580 3.21).
func parseMAC(b []byte) (ident.MAC, bool) {
	text := string(b)
	if len(text) == 12 {
		text = string(slices.Concat(b[:2], colon, b[2:4], colon, b[4:6], colon, b[6:8], colon, b[8:10], colon, b[10:]))
	}
	mac, err := ident.ParseMAC(text)
	return mac, err == nil
}
