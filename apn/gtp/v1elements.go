package gtp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
	"github.com/wmnsk/go-gtp/gtpv1/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// elementsV1 is a sequence of whole information elements of GTPv1: those with a
// type below 128 have the size that goes with their type, the others a length
// field (TS 29.060 7.7.0).
//
// go-gtp's own list parser is not used: it takes the unknown types below 128 to
// be as long as the rest of the message, and a Tunnel Endpoint Identifier Data II
// to have four octets.
type elementsV1 []byte

// fixedV1 are the octets of the value of each type without length field
// (TS 29.060 table 37). Types that aren't here can't be passed over.
var fixedV1 = map[uint8]int{
	ie.Cause: 1, ie.IMSI: 8, ie.RouteingAreaIdentity: 6, ie.TemporaryLogicalLinkIdentity: 4, ie.PacketTMSI: 4,
	ie.ReorderingRequired: 1, ie.AuthenticationTriplet: 28, ie.MAPCause: 1, ie.PTMSISignature: 3, ie.MSValidated: 1,
	ie.Recovery: 1, ie.SelectionMode: 1, ie.TEIDDataI: 4, ie.TEIDCPlane: 4, ie.TEIDDataII: 5, ie.TeardownInd: 1,
	ie.NSAPI: 1, ie.RANAPCause: 1, ie.RABContext: 9, ie.RadioPrioritySMS: 1, ie.RadioPriority: 1, ie.PacketFlowID: 2,
	ie.ChargingCharacteristics: 2, ie.TraceReference: 2, ie.TraceType: 2, ie.MSNotReachableReason: 1, ie.ChargingID: 4,
}

// sizeV1 measures the element that b, which isn't empty, begins with: the octets
// before its value and all of them. It is 0, 0 for a type of unknown size, and
// more than len(b) for an element that is cut short.
func sizeV1(b []byte) (head, size int) {
	switch typ := b[0]; {
	case typ < 128:
		n, ok := fixedV1[typ]
		if !ok {
			return 0, 0
		}
		return 1, 1 + n
	case typ == ie.ExtensionHeaderTypeList: // its length field has one octet (7.7.40)
		if len(b) < 2 {
			return 2, 2
		}
		return 2, 2 + int(b[1])
	case len(b) < 3:
		return 3, 3
	}
	return 3, 3 + int(binary.BigEndian.Uint16(b[1:]))
}

// splitElementsV1 finds the elements. Of what follows one of unknown size nothing
// can be read (TS 29.060 11.1.9), which unreadable tells. One that is longer than
// what is left is at fault; the elements before it are returned too.
func splitElementsV1(b []byte) (e elementsV1, unreadable bool, fault *Error) {
	for done := 0; done < len(b); {
		_, size := sizeV1(b[done:])
		switch {
		case size == 0:
			return b[:done], true, nil
		case size > len(b)-done:
			return b[:done], false, &Error{Cause: CauseInvalidMessageFormat, IE: b[done], Reason: "element-length"}
		}
		done += size
	}
	return b, false, nil
}

// find returns the nth element of a type, counted from 0. Where repetition isn't
// foreseen that is the first (TS 29.060 11.1.12); others are passed over wherever
// they are (11.1.9, 11.1.11). Elements in the wrong order are found as well: of
// peers that don't sort theirs nothing is gained by refusing them
// (docs/divergences.md).
func (e elementsV1) find(typ uint8, nth int) (value []byte, ok bool) {
	for len(e) > 0 {
		head, size := sizeV1(e)
		if size == 0 || size > len(e) {
			return nil, false
		}
		if e[0] == typ {
			if nth == 0 {
				return e[head:size], true
			}
			nth--
		}
		e = e[size:]
	}
	return nil, false
}

// require refuses a message without elements of these types.
func (e elementsV1) require(refuse func(typ, instance uint8) *Error, types ...uint8) *Error {
	for _, typ := range types {
		if _, ok := e.find(typ, 0); !ok {
			return refuse(typ, 0)
		}
	}
	return nil
}

// octet reads the first octet of an element; 0 when it isn't there or empty.
func (e elementsV1) octet(typ uint8) uint8 {
	if v, _ := e.find(typ, 0); len(v) > 0 {
		return v[0]
	}
	return 0
}

// uint32 reads an element of four octets; 0 when it isn't there.
func (e elementsV1) uint32(typ uint8) uint32 {
	if v, _ := e.find(typ, 0); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// recovery reads a restart counter (TS 29.060 7.7.11). Not there: nil.
func (e elementsV1) recovery() *uint8 {
	if v, ok := e.find(ie.Recovery, 0); ok {
		r := v[0]
		return &r
	}
	return nil
}

// nsapi reads an NSAPI: 5 to 15, the rest is reserved (TS 29.060 7.7.17,
// TS 24.008 10.5.6.2). Not there: 0.
func (e elementsV1) nsapi() (uint8, *Error) {
	v, ok := e.find(ie.NSAPI, 0)
	if !ok {
		return 0, nil
	}
	if n := v[0] & 0x0f; n >= 5 {
		return n, nil
	}
	return 0, incorrect(ie.NSAPI, 0)
}

// teid reads a tunnel endpoint identifier. Not there: 0, which as a value is
// reserved (TS 29.060 7.7.14).
func (e elementsV1) teid(typ uint8) (uint32, *Error) {
	n := e.uint32(typ)
	if _, ok := e.find(typ, 0); ok && n == 0 {
		return 0, incorrect(typ, 0)
	}
	return n, nil
}

// address reads a GSN Address: the first of the occurrences given, or a later
// one if that alone is of IPv4, as a GGSN takes it that has IPv4 below GTP
// (TS 29.060 7.3.3).
func (e elementsV1) address(occurrences ...int) (netip.Addr, *Error) {
	var out netip.Addr
	for _, n := range occurrences {
		v, ok := e.find(ie.GSNAddress, n)
		if !ok {
			continue
		}
		a, ok := netip.AddrFromSlice(v)
		if !ok || a.Is4In6() || !usable(a) {
			return netip.Addr{}, incorrect(ie.GSNAddress, 0)
		}
		if !out.IsValid() || a.Is4() && !out.Is4() {
			out = a
		}
	}
	return out, nil
}

// identityV1 reads TBCD digits whose unused half octets are all 1111 (TS 29.060
// 7.7.2, 7.7.53).
func identityV1[T any](v []byte, parse func(string) (T, error)) (T, bool) {
	for len(v) > 0 && v[len(v)-1] == 0xff {
		v = v[:len(v)-1]
	}
	var zero T
	s, ok := digits(v)
	if !ok {
		return zero, false
	}
	id, err := parse(s)
	return id, err == nil
}

// imsi reads an IMSI. Not there: the zero IMSI.
func (e elementsV1) imsi() (ident.IMSI, *Error) {
	v, ok := e.find(ie.IMSI, 0)
	if !ok {
		return ident.IMSI{}, nil
	}
	imsi, ok := identityV1(v, ident.ParseIMSI)
	if !ok {
		return ident.IMSI{}, incorrect(ie.IMSI, 0)
	}
	return imsi, nil
}

// imei reads an IMEI or IMEISV. One that makes no sense is as good as none
// (TS 29.060 11.1.8): some networks fill the element with 1111 where they don't
// know it.
func (e elementsV1) imei() ident.IMEI {
	v, _ := e.find(ie.IMEISV, 0)
	imei, ok := identityV1(v, ident.ParseIMEI)
	if !ok {
		return ident.IMEI{}
	}
	return imei
}

// msisdn reads a telephone number: an octet with the nature of the address, then
// digits (TS 29.060 7.7.33, TS 29.002). The dummy of fifteen zeros that stands
// for none (TS 23.003 3) is none.
func (e elementsV1) msisdn() (ident.MSISDN, *Error) {
	v, _ := e.find(ie.MSISDN, 0)
	if len(v) < 2 {
		return ident.MSISDN{}, nil
	}
	n, ok := identityV1(v[1:], ident.ParseMSISDN)
	if !ok {
		return ident.MSISDN{}, incorrect(ie.MSISDN, 0)
	}
	if n.String() == "000000000000000" {
		return ident.MSISDN{}, nil
	}
	return n, nil
}

// network reads the PLMN of the Routeing Area Identity (TS 29.060 7.7.3). One
// that makes no sense is as good as none, being optional (11.1.8).
func (e elementsV1) network() ident.PLMN {
	v, _ := e.find(ie.RouteingAreaIdentity, 0)
	return plmnOf(v)
}

// rat reads a RAT Type; 0: not there, reserved or spare (TS 29.060 7.7.50).
func (e elementsV1) rat() uint8 {
	if r := e.octet(ie.RATType); r <= 6 {
		return r
	}
	return 0
}

// location copies the User Location Information, if it is one of the defined
// kinds (TS 29.060 7.7.51). All of them have eight octets.
func (e elementsV1) location() []byte {
	v, _ := e.find(ie.UserLocationInformation, 0)
	if len(v) < 8 || v[0] > 2 {
		return nil
	}
	return append([]byte(nil), v[:8]...)
}

// ambr reads the APN-AMBR in kbit/s (TS 29.060 7.7.98).
func (e elementsV1) ambr() (up, down uint32) {
	if v, _ := e.find(ie.AggregateMaximumBitRate, 0); len(v) >= 8 {
		return binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
	}
	return 0, 0
}

// encodeV1 marshals a message of ours. Its elements are in the order of their
// types (TS 29.060 7.7.0). An error would be a fault of this program: sizes are
// computed, not read.
func encodeV1(typ uint8, teid, seq uint32, ies ...*ie.IE) []byte {
	b, err := message.NewGeneric(typ, teid, uint16(seq), ies...).Marshal()
	if err != nil {
		panic(fmt.Sprintf("gtp: marshal GTPv1 message of type %d: %v", typ, err))
	}
	return b
}
