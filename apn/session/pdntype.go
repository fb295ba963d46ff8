package session

import (
	"encoding/binary"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

// narrow chooses the PDN type for what was asked of an APN (TS 23.401 5.3.1.1,
// TS 29.274 7.2.2). Without a cause of acceptance there is none.
func narrow(asked uint8, dual bool, apn policy.APN) (uint8, gtp.Cause) {
	v4, v6 := apn.ServesIPv4(), apn.ServesIPv6()
	given := uint8(0)
	switch {
	case asked == gtp.PDNTypeIPv4 && v4, asked == gtp.PDNTypeIPv6 && v6:
		given = asked
	case asked == gtp.PDNTypeIPv4v6 && v4 && v6 && dual:
		given = gtp.PDNTypeIPv4v6
	case asked == gtp.PDNTypeIPv4v6 && v4:
		given = gtp.PDNTypeIPv4
	case asked == gtp.PDNTypeIPv4v6 && v6:
		given = gtp.PDNTypeIPv6
	default:
		return 0, gtp.CausePDNTypeNotSupported
	}
	return given, narrowed(asked, given)
}

// narrowed is the acceptance that says whether less was given than asked. It is
// the network's preference also where the peer carries only one family in a
// bearer: cause 19, "single address bearer only", would invite the terminal to ask
// for a second connection for the other family, and that one would replace the
// first, because a terminal has one session on an APN.
func narrowed(asked, given uint8) gtp.Cause {
	if asked != gtp.PDNTypeIPv4v6 || given == gtp.PDNTypeIPv4v6 {
		return gtp.CauseAccepted
	}
	return gtp.CauseNewPDNTypeByPreference
}

// pdnTypeOf is what the carrier's path of a session was answered.
func pdnTypeOf(s *command.Session) uint8 {
	return max(uint8(s.GetGtp().GetPdnType()), gtp.PDNTypeIPv4) // unset in records of old
}

// InterfaceID is what the terminal of a session is to make its link-local
// address of (TS 29.061 11.2.1.3.2). It only has to differ from the gateway's
// own, fe80::1.
func InterfaceID(session uint64) (id [8]byte) {
	binary.BigEndian.PutUint64(id[:], session+1<<32)
	return id
}
