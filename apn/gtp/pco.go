package gtp

import (
	"encoding/binary"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
)

// PCO is what a terminal asks for in its protocol configuration options
// (TS 24.008 10.5.6.3). Containers that aren't known are ignored.
type PCO struct {
	element uint8 // PCO, APCO or ePCO: the answer is of the same type
	DNS     bool  // container 000DH
	MTU     bool  // container 0010H
	IPCP    *IPCP // an IPCP Configure-Request; nil: none
	DNS6    bool  // container 0003H
	PAP     *PAP  // an Authenticate-Request; nil: none
	CHAP    *CHAP // challenge and response; nil: none
}

// PAP is an Authenticate-Request (RFC 1334 2.2.1).
type PAP struct {
	ID             uint8
	User, Password string
}

// CHAP is a challenge that the phone made up in the network's place, and its own
// response to it (RFC 1994 4.1, TS 29.061 11.2.1.2): the two come in one PCO.
type CHAP struct {
	ID        uint8
	User      string
	Challenge []byte
	Response  []byte
}

// PCOValues are what the answer is made of. Of both DNS families the terminal
// gets the servers that it asks for. MTU 0 is not known. Authenticated says that
// PAP or CHAP, whichever the terminal sent, was checked and is right; if not,
// the answer says that it failed.
type PCOValues struct {
	DNS           []netip.Addr
	MTU           uint16
	Authenticated bool
}

// IPCP is a Configure-Request (RFC 1332, with the options of RFC 1877).
type IPCP struct {
	ID                       uint8
	PrimaryDNS, SecondaryDNS bool
	rejected                 []byte // options that we have nothing to say to, as they came
}

const (
	containerIPCP uint16 = 0x8021
	containerDNS  uint16 = 0x000d
	containerMTU  uint16 = 0x0010

	ipcpConfigureRequest uint8 = 1
	ipcpConfigureAck     uint8 = 2
	ipcpConfigureReject  uint8 = 4
	ipcpPrimaryDNS       uint8 = 129
	ipcpSecondaryDNS     uint8 = 131
)

// pco reads the first of the three elements that there is. go-gtp's readers
// are not used: its container reader goes on in the middle of a container that
// is cut short, and its PPP and IPCP readers panic on a length below the
// header's.
func (e elements) pco() *PCO {
	for _, typ := range []uint8{ie.ProtocolConfigurationOptions, ie.AdditionalProtocolConfigurationOptions, ie.ExtendedProtocolConfigurationOptions} {
		if v, ok := e.find(typ, 0); ok {
			return parsePCO(typ, v)
		}
	}
	return nil
}

// parsePCO ignores what it can't read: options are no reason to refuse
// (TS 29.274 7.7.8).
func parsePCO(typ uint8, v []byte) *PCO {
	p := &PCO{element: typ}
	if len(v) < 1 || v[0]&0x07 != 0 { // configuration protocol: PPP for IP
		return p
	}
	for v = v[1:]; len(v) >= 3; {
		id, n := binary.BigEndian.Uint16(v), int(v[2])
		if n > len(v)-3 {
			return p
		}
		content := v[3 : 3+n]
		switch id {
		case containerDNS:
			p.DNS = true
		case containerMTU:
			p.MTU = true
		case containerIPCP:
			if p.IPCP == nil {
				p.IPCP = parseIPCP(content)
			}
		}
		v = v[3+n:]
	}
	return p
}

func parseIPCP(b []byte) *IPCP {
	if len(b) < 4 || b[0] != ipcpConfigureRequest {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < 4 || n > len(b) {
		return nil
	}
	q := &IPCP{ID: b[1]}
	for options := b[4:n]; len(options) > 0; {
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

// PCOAnswer is what the terminal gets.
type PCOAnswer struct {
	asked *PCO
	dns   []netip.Addr
	mtu   uint16
}

// Answer makes the answer: what was asked for and is known. On a nil PCO it is
// nil.
func (p *PCO) Answer(v PCOValues) *PCOAnswer {
	if p == nil {
		return nil
	}
	a := &PCOAnswer{asked: p, mtu: v.MTU}
	for _, d := range v.DNS {
		if d.Is4() {
			a.dns = append(a.dns, d)
		}
	}
	return a
}

func (a *PCOAnswer) element() *ie.IE {
	if a == nil {
		return nil
	}
	v := []byte{0x80}
	if q := a.asked.IPCP; q != nil {
		v = appendContainer(v, containerIPCP, a.ipcp(q))
	}
	if a.asked.DNS {
		for _, d := range a.dns {
			v = appendContainer(v, containerDNS, d.AsSlice())
		}
	}
	if a.asked.MTU && a.mtu != 0 {
		v = appendContainer(v, containerMTU, binary.BigEndian.AppendUint16(nil, a.mtu))
	}
	if len(v) == 1 {
		return nil
	}
	return ie.New(a.asked.element, 0, v)
}

// ipcp answers a Configure-Request. RFC 1661 5.3 would have a Configure-Nak
// carry our values and the terminal ask again; the options of a PDN connection
// are exchanged only once, so the acknowledgement itself carries them, as the
// networks in use do it (docs/divergences.md). Options without an answer, or
// servers that we haven't got, are rejected, which takes precedence (RFC 1661
// 5.4) only when there is nothing to give.
func (a *PCOAnswer) ipcp(q *IPCP) []byte {
	var options []byte
	rejected := q.rejected
	give := func(asked bool, option uint8, n int) {
		switch {
		case asked && n < len(a.dns):
			options = append(append(options, option, 6), a.dns[n].AsSlice()...)
		case asked:
			rejected = append(rejected[:len(rejected):len(rejected)], option, 6, 0, 0, 0, 0)
		}
	}
	give(q.PrimaryDNS, ipcpPrimaryDNS, 0)
	give(q.SecondaryDNS, ipcpSecondaryDNS, 1)
	code := ipcpConfigureAck
	if len(options) == 0 && len(rejected) > 0 {
		code, options = ipcpConfigureReject, rejected
	}
	b := []byte{code, q.ID, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(4+len(options)))
	return append(b, options...)
}

func appendContainer(b []byte, id uint16, content []byte) []byte {
	if len(content) > 255 {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, id)
	return append(append(b, byte(len(content))), content...)
}
