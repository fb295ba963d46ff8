package carrier

import (
	"crypto/md5" //nolint:gosec // CHAP is made of it (RFC 1994 2)
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Containers of protocol configuration options (TS 24.008 10.5.6.3).
const (
	pcoDNS6    = 0x0003
	pcoDNS     = 0x000d
	pcoLinkMTU = 0x0010
	pcoIPCP    = 0x8021
	pcoPAP     = 0xc023
	pcoCHAP    = 0xc223
)

// Options of IPCP (RFC 1877 1.1 and 1.3).
const (
	ipcpPrimaryDNS   = 129
	ipcpSecondaryDNS = 131
)

// pppID is the identifier of each of the terminal's PPP packets: there is one of
// a protocol.
const pppID = 1

// maxLogin is how long user and password together may be.
const maxLogin = 200

// options are protocol configuration options that a terminal sends.
type options struct {
	wire  []byte
	login uint16 // the protocol that it logs in with; 0: none
}

func newOptions(who Subscriber) options {
	o := options{wire: []byte{0x80}} // PPP for use with IP
	if l := who.Login; l.CHAP {
		// The phone makes the network's part up (TS 29.061 11.2.1.2).
		o.login = pcoCHAP
		challenge := make([]byte, 16)
		_, _ = rand.Read(challenge) // never fails
		sum := md5.Sum(append(append([]byte{pppID}, l.Password...), challenge...))
		o.add(pcoCHAP, ppp(1, append(sized(challenge), "carrier"...)))
		o.add(pcoCHAP, ppp(2, append(sized(sum[:]), l.User...)))
	} else if l != (Login{}) {
		o.login = pcoPAP
		o.add(pcoPAP, ppp(1, append(sized([]byte(l.User)), sized([]byte(l.Password))...)))
	}
	if who.IPCP {
		o.add(pcoIPCP, ppp(1, []byte{ipcpPrimaryDNS, 6, 0, 0, 0, 0, ipcpSecondaryDNS, 6, 0, 0, 0, 0}))
	}
	if who.PDNType&IPv6 != 0 {
		o.add(pcoDNS6, nil)
	}
	if who.PDNType&IPv4 != 0 {
		o.add(pcoDNS, nil)
	}
	o.add(pcoLinkMTU, nil)
	return o
}

func (o *options) add(id uint16, content []byte) {
	o.wire = append(binary.BigEndian.AppendUint16(o.wire, id), sized(content)...)
}

// sized puts a length before b, which is short.
func sized(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

// ppp is a packet of a PPP protocol (RFC 1661 5).
func ppp(code uint8, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{code, pppID}, uint16(4+len(body))), body...)
}

// readPCO reads the answer to what was asked. What it doesn't know it ignores;
// what is malformed, or answers what wasn't asked, breaks the protocol.
func (g *Granted) readPCO(b []byte, asked options) error {
	if len(b) < 1 || b[0]&0x87 != 0x80 {
		return fmt.Errorf("%w: PCO for another protocol", ErrProtocol)
	}
	for b = b[1:]; len(b) > 0; {
		if len(b) < 3 || len(b)-3 < int(b[2]) {
			return fmt.Errorf("%w: PCO container cut short", ErrProtocol)
		}
		id, content := binary.BigEndian.Uint16(b), b[3:3+int(b[2])]
		b = b[3+len(content):]
		bad := false
		switch id {
		case pcoDNS, pcoDNS6:
			addr, ok := netip.AddrFromSlice(content)
			bad = !ok || addr.Is4() != (id == pcoDNS)
			g.DNS = append(g.DNS, addr)
		case pcoLinkMTU:
			if bad = len(content) != 2; !bad {
				g.MTU = int(binary.BigEndian.Uint16(content))
			}
		case pcoIPCP:
			bad = !g.readIPCP(content)
		case pcoPAP, pcoCHAP:
			bad = id != asked.login || !g.readVerdict(id, content)
		}
		if bad {
			return fmt.Errorf("%w: PCO container %#04x: % x", ErrProtocol, id, content)
		}
	}
	return nil
}

// readPPP reads a PPP packet that answers ours.
func readPPP(b []byte) (code uint8, body []byte, ok bool) {
	if len(b) < 4 || b[1] != pppID || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return 0, nil, false
	}
	return b[0], b[4:], true
}

// readIPCP takes the name servers of a Configure-Ack or Configure-Nak; a
// Configure-Reject has none.
func (g *Granted) readIPCP(b []byte) bool {
	code, body, ok := readPPP(b)
	if !ok || code < 2 || code > 4 {
		return false
	}
	for len(body) > 0 {
		if len(body) < 2 || body[1] < 2 || int(body[1]) > len(body) {
			return false
		}
		o := body[:body[1]]
		body = body[len(o):]
		if (o[0] == ipcpPrimaryDNS || o[0] == ipcpSecondaryDNS) && len(o) == 6 && code != 4 {
			g.IPCP = append(g.IPCP, netip.AddrFrom4([4]byte(o[2:])))
		}
	}
	return true
}

// readVerdict reads an answer of PAP (RFC 1334 2.2.2) or CHAP (RFC 1994 4.2).
func (g *Granted) readVerdict(id uint16, b []byte) bool {
	code, body, ok := readPPP(b)
	good := map[uint16]uint8{pcoPAP: 2, pcoCHAP: 3}[id]
	if !ok || code != good && code != good+1 {
		return false
	}
	if id == pcoPAP && (len(body) == 0 || int(body[0]) != len(body)-1) {
		return false
	}
	g.Authentication = Acknowledged
	if code != good {
		g.Authentication = Rejected
	}
	return true
}
