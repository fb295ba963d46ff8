package gtp

import (
	"encoding/binary"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
)

// PCO is what a terminal asks for in its protocol configuration options
// (TS 24.008 10.5.6.3). Containers that aren't known are ignored, and of those
// that may come once the first counts that can be read.
type PCO struct {
	element uint8 // PCO, APCO or ePCO: the answer is of the same type
	DNS     bool  // container 000DH
	MTU     bool  // container 0010H
	IPCP    *IPCP // an IPCP Configure-Request; nil: none
	DNS6    bool  // container 0003H
	PAP     *PAP  // an Authenticate-Request; nil: none
	CHAP    *CHAP // challenge and response; nil: none
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

// Protocol and container identifiers, uplink (TS 24.008 table 10.5.154). Not
// answered, because there is nothing to give, are among others those for
// P-CSCF addresses (0001H, 000CH) and the MSISDN (000EH).
const (
	containerDNS6 uint16 = 0x0003
	containerDNS  uint16 = 0x000d
	containerMTU  uint16 = 0x0010
	containerIPCP uint16 = 0x8021
	containerPAP  uint16 = 0xc023
	containerCHAP uint16 = 0xc223

	// Containers of later releases have lengths of two octets.
	containerServiceLevelAA uint16 = 0x0041
	containerEAP            uint16 = 0x0051
	containerUEPolicy       uint16 = 0x0056
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

// parsePCO reads options from octet 3 of TS 24.008 figure 10.5.136 on. It ignores
// what it can't read: options are no reason to refuse (TS 29.274 7.7.8).
func parsePCO(typ uint8, v []byte) *PCO {
	p := &PCO{element: typ}
	if len(v) < 1 || v[0]&0x07 != 0 { // configuration protocol: PPP for IP
		return p
	}
	var challenge, response *chapPacket
	for id, content := range containers(v[1:]).all {
		switch id {
		case containerDNS:
			p.DNS = true
		case containerDNS6:
			p.DNS6 = true
		case containerMTU:
			p.MTU = true
		case containerIPCP:
			if p.IPCP == nil {
				p.IPCP = parseIPCP(content)
			}
		case containerPAP:
			if p.PAP == nil {
				p.PAP = parsePAP(content)
			}
		case containerCHAP:
			c := parseCHAP(content)
			switch {
			case c == nil:
			case c.code == chapChallenge && challenge == nil:
				challenge = c
			case c.code == chapResponse && response == nil:
				response = c
			}
		}
	}
	p.CHAP = pairCHAP(challenge, response)
	return p
}

// containers is a sequence of identifier, length and contents.
type containers []byte

// all yields every container up to one that is longer than what is left.
func (c containers) all(yield func(id uint16, content []byte) bool) {
	for len(c) >= 3 {
		id, n, head := binary.BigEndian.Uint16(c), int(c[2]), 3
		switch id {
		case containerServiceLevelAA, containerEAP, containerUEPolicy:
			if len(c) < 4 {
				return
			}
			n, head = int(binary.BigEndian.Uint16(c[2:])), 4
		}
		if n > len(c)-head || !yield(id, c[head:head+n]) {
			return
		}
		c = c[head+n:]
	}
}
