package session

import (
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// counter is the restart counter that a request tells of its peer's control plane.
// It counts only from the address that it belongs to: who could tell it of another
// would have that one's sessions released. A request without control plane is
// about the sender's.
func (d *deciding) counter(control gtp.FTEID, told *uint8) *uint8 {
	if control.Addr.IsValid() && control.Addr != d.peer.Addr().Unmap() {
		return nil
	}
	return told
}

// restarted compares the restart counter that a request brought with the one on
// record for its sender (TS 23.007 18). Nil: it didn't restart.
func (d *deciding) restarted(peer netip.Addr, counter *uint8) *Restart {
	if counter == nil || !HasRestarted(d.State, peer, *counter) {
		return nil
	}
	return &Restart{Peer: peer, Counter: *counter}
}

// HasRestarted tells whether a restart counter that a peer sends means that it
// has lost its sessions: it is newer than the one on record. An older one is a
// message that was overtaken (TS 23.007 18). Counters wrap at 256.
func HasRestarted(m *state.Machine, peer netip.Addr, counter uint8) bool {
	p := m.Peer(peer)
	return p.GetRestartKnown() && int8(counter-uint8(p.GetRestartCounter())) > 0
}

// AfterRestart is the command that releases what a restarted peer has lost; to
// be proposed until its result says that there is no more. noticed is the
// cluster's clock when the restart was: the peer tells its counter in its first
// messages only, and what it makes from then on it hasn't lost.
func AfterRestart(r Restart, noticed time.Time) *command.Command {
	return command.New("restoration", "", "carrier:"+r.Peer.String(), &command.ReleasePaths{
		Peer: r.Peer.AsSlice(), RestartCounter: uint32(r.Counter), RestartKnown: true,
		OpenedBefore: noticed.UnixNano() + 1, Reason: "the peer has restarted",
	})
}
