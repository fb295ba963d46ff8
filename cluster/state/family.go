package state

import (
	"encoding/binary"
	"net/netip"

	"github.com/sealedge/sealedge/cluster/command"
)

// A family is one of the two kinds of inner address. What a terminal gets of it
// is an IPv4 address or an IPv6 /64. Either is counted as a number, the address
// or the upper half of it, so that pools and leases of both are handled alike.
type family int

const (
	ipv4 family = iota
	ipv6
)

var families = [...]family{ipv4, ipv6}

// familyOf tells an address's family by its length, 4 or 16 bytes.
func familyOf(address []byte) (family, bool) {
	switch len(address) {
	case 4:
		return ipv4, true
	case 16:
		return ipv6, true
	}
	return 0, false
}

// String names the family.
func (f family) String() string {
	if f == ipv4 {
		return "IPv4"
	}
	return "IPv6"
}

// bits is how long a number is.
func (f family) bits() uint32 {
	if f == ipv4 {
		return 32
	}
	return 64
}

// number counts an address of this family; of IPv6 all of a /64 are one.
func (f family) number(address []byte) uint64 {
	if f == ipv4 {
		return uint64(binary.BigEndian.Uint32(address))
	}
	return binary.BigEndian.Uint64(address)
}

// bytes is the address with a number as records hold it.
func (f family) bytes(n uint64) []byte {
	if f == ipv4 {
		return binary.BigEndian.AppendUint32(nil, uint32(n))
	}
	return binary.BigEndian.AppendUint64(make([]byte, 0, 16), n)[:16]
}

// text is what a terminal gets, for people.
func (f family) text(n uint64) string {
	a, _ := netip.AddrFromSlice(f.bytes(n))
	if f == ipv4 {
		return a.String()
	}
	return netip.PrefixFrom(a, 64).String()
}

// routable tells whether an IPv6 address is one that terminals can be reached
// at. What is not includes the last /64 of all, so that a number plus one never
// wraps.
func routable(address []byte) bool {
	a, ok := netip.AddrFromSlice(address)
	return ok && a.IsGlobalUnicast() && !a.Is4In6()
}

// static is the address of this family that a subscriber always gets; empty for
// a dynamic one.
func (f family) static(s *command.Subscriber) []byte {
	if f == ipv4 {
		return s.GetStaticAddress()
	}
	return s.GetStaticPrefix6()
}

// held is the address of this family that a session has, or nothing.
func (f family) held(s *command.Session) []byte {
	if f == ipv4 {
		return s.GetAddress()
	}
	return s.GetPrefix6()
}

func (f family) set(s *command.Session, address []byte) {
	if f == ipv4 {
		s.Address = address
	} else {
		s.Prefix6 = address
	}
}

// usedBy tells whether a path of the session carries this family. PDN types
// (TS 29.274 8.34) are sets of families: 1 IPv4, 2 IPv6, 3 both.
func (f family) usedBy(s *command.Session) bool {
	if f == ipv4 && s.GetWireguard() != nil {
		return true
	}
	return s.GetGtp() != nil && max(s.Gtp.PdnType, 1)&(1<<f) != 0
}
