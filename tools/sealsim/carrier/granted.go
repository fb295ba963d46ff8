package carrier

import (
	"fmt"
	"net/netip"
)

// PDNType is which families a session has, numbered as in GTPv2 (TS 29.274
// 8.34).
type PDNType uint8

// The PDN types.
const (
	IPv4   PDNType = 1
	IPv6   PDNType = 2
	IPv4v6 PDNType = 3
)

// AMBR is the aggregate maximum bit rate of an access point, in kbit/s.
type AMBR struct{ Up, Down uint32 }

// QoS is the quality of service of a default bearer or PDP context.
type QoS struct {
	QCI uint8 // 0 in GTPv1
	ARP uint8 // allocation/retention: level 1 to 15, in GTPv1 1 to 3
	// Profile is GTPv1's, from octet 3 of TS 24.008 10.5.6.5 on.
	Profile string
}

// Verdict is what became of the terminal's PAP or CHAP.
type Verdict uint8

// The verdicts. Acknowledged is PAP's Authenticate-Ack or CHAP's Success.
const (
	Unanswered Verdict = iota
	Acknowledged
	Rejected
)

// Granted is what the gateway gave with a bearer.
type Granted struct {
	Cause          uint8      // of the acceptance, numbered as in the version of the attach
	Address        netip.Addr // IPv4; the zero Addr: none
	Prefix         netip.Prefix
	InterfaceID    [8]byte // of the terminal's link-local address; with a Prefix or with IPv6 at all
	DNS            []netip.Addr
	IPCP           []netip.Addr // name servers that IPCP gave, primary first
	MTU            int          // bytes; 0: not told
	AMBR           AMBR         // zero: not told
	QoS            QoS          // zero: not told
	Authentication Verdict
	Charging       uint32 // charging ID
}

// PDNType is what the addresses amount to.
func (g *Granted) PDNType() PDNType {
	var t PDNType
	if g.Address.IsValid() {
		t |= IPv4
	}
	if g.Prefix.IsValid() {
		t |= IPv6
	}
	return t
}

// readAddresses reads what PDN Address Allocation and End User Address have
// alike: addresses of the type's families, IPv6 first or last.
func (g *Granted) readAddresses(t PDNType, four, six []byte) error {
	if t&^IPv4v6 != 0 || t == 0 {
		return fmt.Errorf("%w: PDN type %d", ErrProtocol, t)
	}
	if t&IPv4 != 0 {
		if len(four) != 4 || netip.AddrFrom4([4]byte(four)).IsUnspecified() {
			return fmt.Errorf("%w: no IPv4 address", ErrProtocol)
		}
		g.Address = netip.AddrFrom4([4]byte(four))
	}
	if t&IPv6 != 0 {
		if len(six) != 16 || [8]byte(six) == [8]byte{} || [8]byte(six[8:]) == [8]byte{} {
			return fmt.Errorf("%w: no IPv6 prefix and interface identifier", ErrProtocol)
		}
		g.Prefix, g.InterfaceID = netip.PrefixFrom(netip.AddrFrom16([16]byte(six)), 64).Masked(), [8]byte(six[8:])
	}
	return nil
}

// suits tells whether the terminal can do with what it got: what it asked for,
// or one family of the two with a cause that says why (TS 23.401 5.3.1.1).
func (g *Granted) suits(who Subscriber, preference, single uint8) error {
	got, narrowed := g.PDNType(), g.Cause == preference || g.Cause == single
	both := who.PDNType == IPv4v6 && !who.SingleAddress
	switch {
	case got == who.PDNType && !narrowed && (got != IPv4v6 || both):
		return nil
	case who.PDNType == IPv4v6 && got != IPv4v6 && narrowed:
		return nil
	}
	return fmt.Errorf("%w: PDN type %d with cause %d, asked for %d", ErrProtocol, got, g.Cause, who.PDNType)
}
