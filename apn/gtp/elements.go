package gtp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/policy/ident"
)

// elements is a sequence of whole information elements, each of four octets of
// header (type, length, instance) and its value (TS 29.274 8.2.1).
//
// go-gtp's own list parser is not used: it parses grouped elements inside
// grouped ones without end, in time that grows with the square of the depth.
// Here a grouped element is split only where its message has one.
type elements []byte

// splitElements checks the headers. An element that is longer than what is left
// is the offender (TS 29.274 7.7.7); the elements before it are returned too.
func splitElements(b []byte) (elements, *Error) {
	for rest := b; len(rest) > 0; {
		done := len(b) - len(rest)
		if len(rest) < 4 {
			return b[:done], &Error{Cause: CauseInvalidLength, IE: rest[0], Reason: "element-length"}
		}
		n := int(binary.BigEndian.Uint16(rest[1:])) + 4
		if n > len(rest) {
			return b[:done], &Error{Cause: CauseInvalidLength, IE: rest[0], Instance: rest[3] & 0x0f, Reason: "element-length"}
		}
		rest = rest[n:]
	}
	return b, nil
}

// element is one of them.
type element struct {
	typ, instance uint8
	value         []byte
}

// all yields every element.
func (e elements) all(yield func(element) bool) {
	for len(e) >= 4 {
		n := int(binary.BigEndian.Uint16(e[1:])) + 4
		if n > len(e) || !yield(element{e[0], e[3] & 0x0f, e[4:n]}) {
			return
		}
		e = e[n:]
	}
}

// find returns the first element of a type and instance: of repeated ones the
// first counts (TS 29.274 7.7.10), unknown ones are passed over (7.7.9).
func (e elements) find(typ, instance uint8) (value []byte, ok bool) {
	for el := range e.all {
		if el.typ == typ && el.instance == instance {
			return el.value, true
		}
	}
	return nil, false
}

func missing(typ, instance uint8) *Error {
	return &Error{Cause: CauseMandatoryMissing, IE: typ, Instance: instance, Reason: "mandatory-missing"}
}

func conditional(typ, instance uint8) *Error {
	return &Error{Cause: CauseConditionalMissing, IE: typ, Instance: instance, Reason: "conditional-missing"}
}

// incorrect is the answer to an element that makes no sense (TS 29.274 7.7.8).
func incorrect(typ, instance uint8) *Error {
	return &Error{Cause: CauseMandatoryIncorrect, IE: typ, Instance: instance, Reason: "incorrect"}
}

// tooShort is the answer to an element whose value is shorter than its type's
// fixed part (TS 29.274 7.7.7).
func tooShort(typ, instance uint8) *Error {
	return &Error{Cause: CauseInvalidLength, IE: typ, Instance: instance, Reason: "element-length"}
}

// optional distinguishes "not there" from a zero value.
type optional[T any] struct {
	Value T
	Set   bool
}

func (e elements) uint8(typ, instance uint8) (optional[uint8], *Error) {
	v, ok := e.find(typ, instance)
	if !ok {
		return optional[uint8]{}, nil
	}
	if len(v) < 1 {
		return optional[uint8]{}, tooShort(typ, instance)
	}
	return optional[uint8]{v[0], true}, nil
}

// recovery reads a restart counter (TS 29.274 8.5). Not there, or empty: nil.
func (e elements) recovery() *uint8 {
	if v, _ := e.find(ie.Recovery, 0); len(v) > 0 {
		r := v[0]
		return &r
	}
	return nil
}

// ebi reads an EPS bearer identity: 5 to 15 (TS 29.274 8.8, TS 24.007
// 11.2.3.1.5).
func (e elements) ebi(instance uint8) (optional[uint8], *Error) {
	o, err := e.uint8(ie.EPSBearerID, instance)
	if err != nil || !o.Set {
		return o, err
	}
	if o.Value &= 0x0f; o.Value < 5 {
		return optional[uint8]{}, incorrect(ie.EPSBearerID, instance)
	}
	return o, nil
}

// fteid reads the F-TEID of an instance. Not there: the zero FTEID. A TEID of 0
// and an address that no packet can be sent to are refused.
func (e elements) fteid(instance uint8) (FTEID, *Error) {
	v, ok := e.find(ie.FullyQualifiedTEID, instance)
	if !ok {
		return FTEID{}, nil
	}
	f, err := ie.New(ie.FullyQualifiedTEID, instance, v).FullyQualifiedTEID()
	if err != nil {
		return FTEID{}, tooShort(ie.FullyQualifiedTEID, instance)
	}
	out := FTEID{InterfaceType: f.InterfaceType, TEID: f.TEIDGREKey}
	for _, ip := range []net.IP{f.IPv4Address, f.IPv6Address} {
		if a, ok := netip.AddrFromSlice(ip); ok && !out.Addr.IsValid() {
			out.Addr = a
		}
	}
	if out.TEID == 0 || !usable(out.Addr) {
		return FTEID{}, incorrect(ie.FullyQualifiedTEID, instance)
	}
	return out, nil
}

// usable tells whether a is the address of one node, to which packets can be
// sent.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// sender reads the F-TEID for the control plane of a message of a session. Not
// there: the zero FTEID.
func (e elements) sender() (FTEID, *Error) {
	f, err := e.fteid(0)
	if err != nil || f.IsZero() {
		return f, err
	}
	if _, ok := interfaces[f.InterfaceType]; !ok {
		return FTEID{}, incorrect(ie.FullyQualifiedTEID, 0)
	}
	return f, nil
}

// senderInstance is the instance of the sender's F-TEID for the control plane in
// requests of that type (tables of TS 29.274 7.2 to 7.4).
func senderInstance(typ uint8) uint8 {
	if typ == typeBearerResourceCommand {
		return 2 // 0 and 1 are user planes that only an SGW has to do with (table 7.2.5-1)
	}
	return 0
}

// senderTEID is the TEID of the F-TEID for the control plane, which has that
// instance, whatever else is wrong with it; 0: it isn't there.
func (e elements) senderTEID(instance uint8) uint32 {
	if v, _ := e.find(ie.FullyQualifiedTEID, instance); len(v) >= 5 {
		return binary.BigEndian.Uint32(v[1:])
	}
	return 0
}

// ambr reads the APN-AMBR in kbit/s (TS 29.274 8.7).
func (e elements) ambr() (up, down uint32, told bool, err *Error) {
	v, ok := e.find(ie.AggregateMaximumBitRate, 0)
	if !ok {
		return 0, 0, false, nil
	}
	if len(v) < 8 {
		return 0, 0, false, tooShort(ie.AggregateMaximumBitRate, 0)
	}
	return binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), true, nil
}

// bearerQoS reads a Bearer Level QoS (TS 29.274 8.15). Its bit rates, which only
// bearers of guaranteed rate have, are not read.
func (e elements) bearerQoS() (qci, arp uint8, told bool, err *Error) {
	v, ok := e.find(ie.BearerQoS, 0)
	if !ok {
		return 0, 0, false, nil
	}
	if len(v) < 22 {
		return 0, 0, false, tooShort(ie.BearerQoS, 0)
	}
	return v[1], v[0], true, nil
}

// digits reads TBCD-encoded digits (TS 29.274 8.3, 8.10, 8.11): low half octet
// first, a filler of 1111 only at the very end. go-gtp cuts an IMSI's last half
// octet whether it is a filler or not, which maims one of even length.
func digits(v []byte) (string, bool) {
	var buf [32]byte
	out := buf[:0]
	for i, o := range v {
		low, high := o&0x0f, o>>4
		if low > 9 || high > 9 && (high != 0x0f || i != len(v)-1) || len(out) > 30 {
			return "", false
		}
		out = append(out, '0'+low)
		if high <= 9 {
			out = append(out, '0'+high)
		}
	}
	return string(out), len(out) > 0
}

// number reads an identity of TBCD digits. Not there: the zero value.
func number[T any](e elements, typ uint8, parse func(string) (T, error)) (T, *Error) {
	var zero T
	v, ok := e.find(typ, 0)
	if !ok {
		return zero, nil
	}
	s, ok := digits(v)
	if !ok {
		return zero, incorrect(typ, 0)
	}
	id, err := parse(s)
	if err != nil {
		return zero, incorrect(typ, 0)
	}
	return id, nil
}

// apn reads an access point name (TS 29.274 8.6).
func (e elements) apn() (ident.APN, *Error) {
	v, ok := e.find(ie.AccessPointName, 0)
	if !ok {
		return ident.APN{}, missing(ie.AccessPointName, 0)
	}
	a, ok := apnOf(v)
	if !ok {
		return ident.APN{}, incorrect(ie.AccessPointName, 0)
	}
	return a, nil
}

// apnOf reads the octets of an access point name: labels with a length octet
// each, nothing left over (TS 23.003 9.1).
func apnOf(v []byte) (ident.APN, bool) {
	var name []byte
	for len(v) > 0 {
		n := int(v[0])
		if n == 0 || n >= len(v) {
			return ident.APN{}, false
		}
		if name != nil {
			name = append(name, '.')
		}
		if bytes.IndexByte(v[1:n+1], '.') >= 0 { // a dot within a label is not a separator
			return ident.APN{}, false
		}
		name = append(name, v[1:n+1]...)
		v = v[n+1:]
	}
	a, err := ident.ParseAPN(string(name))
	return a, err == nil
}

// servingNetwork reads the PLMN (TS 29.274 8.18). Not there: the zero PLMN.
func (e elements) servingNetwork() (ident.PLMN, *Error) {
	v, ok := e.find(ie.ServingNetwork, 0)
	if !ok {
		return ident.PLMN{}, nil
	}
	if len(v) < 3 {
		return ident.PLMN{}, tooShort(ie.ServingNetwork, 0)
	}
	s, err := ie.New(ie.ServingNetwork, 0, v[:3]).ServingNetwork()
	if err != nil {
		return ident.PLMN{}, incorrect(ie.ServingNetwork, 0)
	}
	p, err := ident.ParsePLMN(s)
	if err != nil {
		return ident.PLMN{}, incorrect(ie.ServingNetwork, 0)
	}
	return p, nil
}

// raw copies a value that is kept as it came.
func (e elements) raw(typ, instance uint8) []byte {
	v, _ := e.find(typ, instance)
	return slices.Clone(v)
}

// longestLocation is a User Location Information with all that it can have
// (TS 29.274 8.21).
const longestLocation = 51

// location copies the User Location Information: it is kept with the session, so
// no more of it than there can be.
func (e elements) location() []byte {
	v, _ := e.find(ie.UserLocationInformation, 0)
	return slices.Clone(v[:min(len(v), longestLocation)])
}

// bearers splits the grouped Bearer Context elements of an instance, of which
// there may be as many as bearers: eleven (TS 29.274 8.28, TS 24.007
// 11.2.3.1.5).
func (e elements) bearers(instance uint8) ([]elements, *Error) {
	var out []elements
	for el := range e.all {
		if el.typ != ie.BearerContext || el.instance != instance || len(out) == 11 {
			continue
		}
		inner, err := splitElements(el.value)
		if err != nil {
			return nil, err.within(ie.BearerContext)
		}
		out = append(out, inner)
	}
	return out, nil
}

func (e *Error) within(group uint8) *Error {
	if e != nil {
		e.Group = group
	}
	return e
}

// extras reads what replies to a request of that type repeat, as far as it can be
// read.
func (e elements) extras(typ uint8) (x extras) {
	x.senderTEID = e.senderTEID(senderInstance(typ))
	if o, err := e.ebi(0); err == nil && o.Set {
		x.linkedEBI, x.hasLinkedEBI = o.Value, true
	}
	if o, err := e.uint8(ie.ProcedureTransactionID, 0); err == nil && o.Set {
		x.pti, x.hasPTI = o.Value, true
	}
	list, _ := e.bearers(0)
	for _, b := range list {
		if o, err := b.ebi(0); err == nil && o.Set {
			x.bearers = append(x.bearers, o.Value)
		}
	}
	return x
}
