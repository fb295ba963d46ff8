package gtp

import (
	"encoding/binary"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
)

// PCOAnswer is what the terminal gets.
type PCOAnswer struct {
	asked         *PCO
	dns, dns6     []netip.Addr
	mtu           uint16
	authenticated bool
}

// Answer makes the answer: what was asked for and is known. On a nil PCO it is
// nil.
func (p *PCO) Answer(v PCOValues) *PCOAnswer {
	if p == nil {
		return nil
	}
	a := &PCOAnswer{asked: p, mtu: v.MTU, authenticated: v.Authenticated}
	for _, d := range v.DNS {
		if d = d.Unmap(); d.Is4() {
			a.dns = append(a.dns, d)
		} else if d.Is6() {
			a.dns6 = append(a.dns6, d.WithZone(""))
		}
	}
	return a
}

// maxPCO are the octets of options that the terminal can be told: its own element
// has a length of one octet and 253 octets at most (TS 24.008 10.5.6.3), the
// extended one has 65,538 (10.5.6.3A).
const maxPCO = 251

// octets are the options as GTPv1 and GTPv2 carry them; nil: there is nothing to
// say. What doesn't fit any more is left out, so what matters most comes first.
func (a *PCOAnswer) octets() []byte {
	if a == nil {
		return nil
	}
	limit := maxPCO
	if a.asked.element == ie.ExtendedProtocolConfigurationOptions {
		limit = 65535
	}
	v := []byte{0x80} // no extension; PPP for use with IP
	add := func(id uint16, content []byte) {
		if len(content) > 255 || len(v)+3+len(content) > limit {
			return
		}
		v = binary.BigEndian.AppendUint16(v, id)
		v = append(append(v, byte(len(content))), content...)
	}
	if q := a.asked.PAP; q != nil {
		code := papNak
		if a.authenticated {
			code = papAck
		}
		add(containerPAP, appendPPP(nil, code, q.ID, []byte{0})) // an empty message (RFC 1334 2.2.2)
	}
	if q := a.asked.CHAP; q != nil {
		code := chapFailure
		if a.authenticated {
			code = chapSuccess
		}
		add(containerCHAP, appendPPP(nil, code, q.ID, nil)) // the message may be empty (RFC 1994 4.2)
	}
	if q := a.asked.IPCP; q != nil {
		add(containerIPCP, a.ipcp(q))
	}
	if a.asked.DNS {
		for _, d := range a.dns {
			add(containerDNS, d.AsSlice())
		}
	}
	if a.asked.DNS6 {
		for _, d := range a.dns6 {
			add(containerDNS6, d.AsSlice())
		}
	}
	if a.asked.MTU && a.mtu != 0 {
		add(containerMTU, binary.BigEndian.AppendUint16(nil, a.mtu))
	}
	if len(v) == 1 {
		return nil
	}
	return v
}

// element is the answer for GTPv2, of the type of the question; nil: there is
// nothing to say.
func (a *PCOAnswer) element() *ie.IE {
	v := a.octets()
	if v == nil {
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
	return appendPPP(nil, code, q.ID, options)
}
