package gtp

import (
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
)

// PAA is the terminal's address inside the tunnel as it is answered: PDN Address
// Allocation in GTPv2 (TS 29.274 8.14), End User Address in GTPv1 (TS 29.060
// 7.7.27).
type PAA struct {
	IPv4 netip.Addr // invalid: none
	// Prefix6 is the terminal's /64 with the host part 0; invalid: none.
	// InterfaceID is what the terminal is to make its link-local address of; the
	// rest of its addresses it chooses itself (TS 29.061 11.2.1.3).
	Prefix6     netip.Addr
	InterfaceID [8]byte
}

// Type is the PDN type that the addresses amount to; 0 when there is none.
func (p PAA) Type() uint8 {
	switch {
	case p.IPv4.IsValid() && p.Prefix6.IsValid():
		return PDNTypeIPv4v6
	case p.Prefix6.IsValid():
		return PDNTypeIPv6
	case p.IPv4.IsValid():
		return PDNTypeIPv4
	}
	return 0
}

// paaLengths are the octets of a PDN Address Allocation by PDN type (TS 29.274
// 8.14): the type; prefix length, prefix and interface identifier; IPv4 address.
var paaLengths = map[uint8]int{
	PDNTypeIPv4: 1 + 4, PDNTypeIPv6: 1 + 17, PDNTypeIPv4v6: 1 + 17 + 4, PDNTypeNonIP: 1, PDNTypeEthernet: 1,
}

// element encodes it for GTPv2. go-gtp's constructor takes no interface
// identifier, so the octets are ours.
func (p PAA) element() *ie.IE {
	v := []byte{p.Type()}
	if p.Prefix6.IsValid() {
		v = append(v, 64)
		v = append(v, p.Prefix6.AsSlice()[:8]...)
		v = append(v, p.InterfaceID[:]...)
	}
	if p.IPv4.IsValid() {
		v = append(v, p.IPv4.AsSlice()...)
	}
	return ie.New(ie.PDNAddressAllocation, 0, v)
}
