package gtp

import (
	"slices"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// A connection set identifier names, within one node, sessions that fail
// together (FQ-CSID, TS 29.274 8.62). Here each is a string of octets that is
// equal when the set is: the role of the node, the type of its node ID, the node
// ID of 4 or 16 octets, and the CSID of 2.
//
// The roles are the element's instances in a Delete PDN Connection Set Request
// (table 7.9.1-1). In the other messages ePDG and TWAN have lower ones.
const (
	roleMME  uint8 = 0
	roleSGW  uint8 = 1
	rolePGW  uint8 = 2
	roleEPDG uint8 = 3
	roleTWAN uint8 = 4
)

// sessionSetRoles are the roles by instance where a session tells on which sets
// it depends (tables 7.2.1-1 and 7.2.7-1).
var sessionSetRoles = [...]uint8{roleMME, roleSGW, roleEPDG, roleTWAN}

// DeletePDNConnectionSetRequest says that an SGW, an MME, an ePDG or a TWAN has
// lost the sessions that depend on the sets named (TS 29.274 7.9.1, TS 23.007
// partial failure).
type DeletePDNConnectionSetRequest struct {
	Header
	CSIDs [][]byte // without repetitions, at least one
}

// maxConnectionSets bounds one Delete PDN Connection Set Request: a node has 65
// thousand of them, but no datagram that isn't made to hurt names more.
const maxConnectionSets = 1024

func parseDeletePDNConnectionSetRequest(h Header, e elements) (*DeletePDNConnectionSetRequest, *Error) {
	m := &DeletePDNConnectionSetRequest{Header: h}
	seen := make(map[string]bool)
	for el := range e.all {
		if el.typ != ie.FullyQualifiedCSID || el.instance > roleTWAN || el.instance == rolePGW {
			continue // our own sets only we can lose
		}
		sets, err := connectionSets(el.value, el.instance, el.instance)
		if err != nil {
			return nil, err
		}
		for _, s := range sets {
			if !seen[string(s)] {
				seen[string(s)] = true
				m.CSIDs = append(m.CSIDs, s)
			}
		}
		if len(m.CSIDs) > maxConnectionSets {
			return nil, incorrect(ie.FullyQualifiedCSID, el.instance)
		}
	}
	if len(m.CSIDs) == 0 {
		return nil, conditional(ie.FullyQualifiedCSID, roleSGW)
	}
	return m, nil
}

// DeletePDNConnectionSetResponse answers it (TS 29.274 7.9.2).
type DeletePDNConnectionSetResponse struct {
	Seq      uint32
	Cause    Cause
	Recovery uint8
}

// Marshal encodes the response; its TEID is 0.
func (m *DeletePDNConnectionSetResponse) Marshal() []byte {
	return encode(message.NewDeletePDNConnectionSetResponse(0, m.Seq, causeElement(m.Cause, nil), ie.NewRecovery(m.Recovery)))
}

// csids reads the sets that a session depends on. One that can't be read counts
// as not told: whether it had to be there isn't ours to know (TS 29.274 7.7.8).
func (e elements) csids() (all [][]byte) {
	for instance, role := range sessionSetRoles {
		v, ok := e.find(ie.FullyQualifiedCSID, uint8(instance))
		if !ok {
			continue
		}
		if sets, err := connectionSets(v, uint8(instance), role); err == nil {
			all = append(all, sets...)
		}
	}
	return all
}

// connectionSets reads one FQ-CSID (TS 29.274 8.62). It shares no memory with v.
func connectionSets(v []byte, instance, role uint8) ([][]byte, *Error) {
	if len(v) < 1 {
		return nil, tooShort(ie.FullyQualifiedCSID, instance)
	}
	kind, n := v[0]>>4, int(v[0]&0x0f)
	var idLen int
	switch kind {
	case 0, 2: // an IPv4 address; MCC, MNC and a number of the operator's
		idLen = 4
	case 1: // an IPv6 address
		idLen = 16
	default:
		return nil, incorrect(ie.FullyQualifiedCSID, instance)
	}
	if n == 0 {
		return nil, incorrect(ie.FullyQualifiedCSID, instance)
	}
	if len(v) < 1+idLen+2*n {
		return nil, tooShort(ie.FullyQualifiedCSID, instance)
	}
	head := append([]byte{role, kind}, v[1:1+idLen]...)
	sets := make([][]byte, 0, n)
	for csid := range slices.Chunk(v[1+idLen:1+idLen+2*n], 2) {
		sets = append(sets, slices.Concat(head, csid))
	}
	return sets, nil
}
