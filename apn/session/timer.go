package session

import (
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

// The reasons that timers end sessions for, as the audit chain has them.
const (
	ReasonIdle = "idle for longer than its APN allows"
	ReasonOver = "open for longer than its APN allows"
)

// Overstayed tells whether a session has to end because of its APN's timers
// (TS 29.061 16.4, Session-Timeout and Idle-Timeout). lastActive is when its
// terminal last sent or received a packet through the carrier, as far as is
// known: not before its path was made. now is the cluster's clock. On the fallback path nothing counts as idle: WireGuard keeps
// its own time.
func Overstayed(s *command.Session, apn policy.APN, lastActive, now time.Time) (reason string, over bool) {
	opened := s.GetOpened()
	if t := s.GetGtp().GetOpened(); t != 0 {
		opened = t
	}
	if limit := apn.SessionTimeout; limit > 0 && now.Sub(time.Unix(0, opened)) >= limit {
		return ReasonOver, true
	}
	carrier := s.GetActive() == command.PathKind_GTP
	if made := time.Unix(0, opened); made.After(lastActive) {
		lastActive = made // its tunnel may not have been there to look at
	}
	if limit := apn.IdleTimeout; carrier && limit > 0 && now.Sub(lastActive) >= limit {
		return ReasonIdle, true
	}
	return "", false
}
