package gtp

import (
	"encoding/binary"

	"github.com/sealedge/sealedge/policy/ident"
)

// UserLocation is what a User Location Information element of GTPv2 says of where a
// terminal is (TS 29.274 8.21), as far as it is of use here. What isn't told is zero.
type UserLocation struct {
	TAI  ident.TAI
	ECGI ident.ECGI
}

// The flags of the element's first octet, in the order of what they tell of.
const (
	locationCGI = 1 << iota
	locationSAI
	locationRAI
	locationTAI
	locationECGI
)

// The sizes of what comes before the tracking area: a network, an area and a cell
// or routing area each (TS 29.274 8.21.1 to 8.21.3).
const sizeOfAreaAndCell = 7

// ParseUserLocation reads the value of the element as it is kept with a session. Of
// one that is cut short, or names no network, nothing is known.
func ParseUserLocation(b []byte) UserLocation {
	var l UserLocation
	if len(b) == 0 {
		return l
	}
	flags, rest := b[0], b[1:]
	for _, before := range [...]byte{locationCGI, locationSAI, locationRAI} {
		if flags&before == 0 {
			continue
		}
		if len(rest) < sizeOfAreaAndCell {
			return UserLocation{}
		}
		rest = rest[sizeOfAreaAndCell:]
	}
	if flags&locationTAI != 0 {
		if len(rest) < 5 {
			return UserLocation{}
		}
		if plmn := plmnOf(rest); !plmn.IsZero() {
			l.TAI = ident.NewTAI(plmn, binary.BigEndian.Uint16(rest[3:]))
		}
		rest = rest[5:]
	}
	if flags&locationECGI != 0 {
		if len(rest) < 7 {
			return UserLocation{}
		}
		if plmn := plmnOf(rest); !plmn.IsZero() { // the top four bits of the cell are spare
			l.ECGI = ident.NewECGI(plmn, binary.BigEndian.Uint32(rest[3:]))
		}
	}
	return l
}

// plmnOf reads the three octets of a network (TS 24.008 10.5.1.3). One that makes no
// sense is as good as none.
func plmnOf(v []byte) ident.PLMN {
	if len(v) < 3 {
		return ident.PLMN{}
	}
	nibbles := []byte{v[0] & 15, v[0] >> 4, v[1] & 15, v[2] & 15, v[2] >> 4, v[1] >> 4}
	if nibbles[5] == 15 { // an MNC of two digits
		nibbles = nibbles[:5]
	}
	for i := range nibbles {
		if nibbles[i] > 9 {
			return ident.PLMN{}
		}
		nibbles[i] += '0'
	}
	p, err := ident.ParsePLMN(string(nibbles))
	if err != nil {
		return ident.PLMN{}
	}
	return p
}
