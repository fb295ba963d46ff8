package session

import (
	"github.com/sealedge/sealedge/apn/gtp"
)

// defaultQCI is what a default bearer gets whose asked QCI can't be one: best
// effort for a data service (TS 23.203 table 6.1.7).
const defaultQCI = 9

// within keeps a bit rate asked for within the APN's; not asked for, or 0, is
// the APN's own.
func within(asked, limit uint32) uint32 {
	if asked == 0 || limit != 0 && asked > limit {
		return limit
	}
	return asked
}

// askedKbps is the bit rate that a GTPv1 peer asks for: the APN-AMBR where the
// network knows it, else the maximum bit rate of the bearer.
func askedKbps(q gtp.QoSProfile, ambrUp, ambrDown uint32) (up, down uint32) {
	up, down = q.MaxKbps()
	if ambrUp != 0 {
		up = ambrUp
	}
	if ambrDown != 0 {
		down = ambrDown
	}
	return up, down
}

// qci keeps what a default bearer can have: a standardised class without
// guaranteed bit rate (TS 23.203 6.1.7.2) or an operator's own.
func qci(asked uint8) uint8 {
	switch {
	case asked >= 5 && asked <= 9, asked == 69, asked == 70, asked == 79, asked == 80, asked >= 128 && asked <= 254:
		return asked
	}
	return defaultQCI
}
