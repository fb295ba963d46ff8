package gtp

import (
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
)

// PDP types: organisation and number of an End User Address (TS 29.060 7.7.27).
const (
	organisationETSI = 0
	organisationIETF = 1
	pdpPPP           = 0x01
	pdpNonIP         = 0x02
	pdpIPv4          = 0x21
	pdpIPv6          = 0x57
	pdpIPv4v6        = 0x8d
)

// endUserTypes are the PDN types that there are, with the lengths that the element
// can have.
var endUserTypes = map[[2]uint8]struct {
	pdnType uint8
	lengths []int
}{
	{organisationETSI, pdpNonIP}:  {PDNTypeNonIP, []int{2}},
	{organisationIETF, pdpIPv4}:   {PDNTypeIPv4, []int{6, 2}},
	{organisationIETF, pdpIPv6}:   {PDNTypeIPv6, []int{18, 2}},
	{organisationIETF, pdpIPv4v6}: {PDNTypeIPv4v6, []int{22, 18, 6, 2}},
}

// endUser reads what an End User Address asks for. The addresses in it are never
// trusted, but they have to be whole.
func (e elementsV1) endUser() (pdnType uint8, fault *Error) {
	v, _ := e.find(ie.EndUserAddress, 0)
	if len(v) < 2 {
		return 0, incorrect(ie.EndUserAddress, 0)
	}
	organisation := v[0] & 0x0f
	t, ok := endUserTypes[[2]uint8{organisation, v[1]}]
	switch {
	case ok:
	case organisation == organisationIETF, organisation == organisationETSI && v[1] == pdpPPP:
		// It exists, but not here.
		return 0, &Error{Cause: CausePDNTypeNotSupported, IE: ie.EndUserAddress, Reason: "pdp-type"}
	default:
		return 0, incorrect(ie.EndUserAddress, 0) // reserved (11.1.7)
	}
	for _, n := range t.lengths {
		if len(v) == n || len(v) > t.lengths[0] {
			return t.pdnType, nil
		}
	}
	return 0, incorrect(ie.EndUserAddress, 0)
}

// endUserAddress encodes it for GTPv1 (TS 29.060 7.7.27). go-gtp has no
// constructor for both families together.
func (p PAA) endUserAddress() *ie.IE {
	number := map[uint8]uint8{PDNTypeIPv4: pdpIPv4, PDNTypeIPv6: pdpIPv6, PDNTypeIPv4v6: pdpIPv4v6}[p.Type()]
	if number == 0 {
		return nil
	}
	v := []byte{0xf0 | organisationIETF, number}
	if p.IPv4.IsValid() {
		v = append(v, p.IPv4.AsSlice()...)
	}
	if p.Prefix6.IsValid() {
		v = append(v, p.Prefix6.AsSlice()[:8]...)
		v = append(v, p.InterfaceID[:]...)
	}
	return ie.New(ie.EndUserAddress, v)
}

// gsnAddresses is our address twice: for signalling and for user traffic.
func gsnAddresses(a netip.Addr) (control, user *ie.IE) {
	return ie.New(ie.GSNAddress, a.AsSlice()), ie.New(ie.GSNAddress, a.AsSlice())
}
