package gtpu

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// Tunnel is the user plane of one session's path through the carrier.
type Tunnel struct {
	Session  uint64     // id of the session
	Local    uint32     // the TEID that the peer puts into uplink G-PDUs, never 0
	Peer     uint32     // the TEID that we put into downlink G-PDUs
	PeerAddr netip.Addr // the peer's user-plane address, IPv4
	Inner    netip.Addr // the terminal's address inside the tunnel, IPv4
	Active   bool       // this path carries the session's downlink
}

// Want lists the tunnels of the sessions that have a path through the carrier,
// sorted by session. A session without a usable one (a TEID of 0, an address
// that isn't IPv4) is left out: a packet for it is better dropped than sent to
// nowhere.
func Want(sessions iter.Seq[*command.Session]) []Tunnel {
	var want []Tunnel
	for s := range sessions {
		if t, ok := tunnelOf(s); ok {
			want = append(want, t)
		}
	}
	slices.SortFunc(want, func(a, b Tunnel) int { return cmp.Compare(a.Session, b.Session) })
	return want
}

func tunnelOf(s *command.Session) (Tunnel, bool) {
	path := s.GetGtp()
	if path == nil {
		return Tunnel{}, false
	}
	inner, ok := netip.AddrFromSlice(s.GetAddress())
	peer, ok2 := netip.AddrFromSlice(path.GetPeerU().GetAddress())
	t := Tunnel{
		Session:  s.GetId(),
		Local:    path.GetLocalTeidU(),
		Peer:     path.GetPeerU().GetTeid(),
		PeerAddr: peer.Unmap(),
		Inner:    inner.Unmap(),
		Active:   s.GetActive() == command.PathKind_GTP,
	}
	return t, ok && ok2 && t.Inner.Is4() && t.PeerAddr.Is4() && t.Local != 0 && t.Peer != 0
}

// Plan is what must change. Deletes go first, because an address or TEID may
// pass from one session to another.
type Plan struct {
	Delete []Tunnel
	Put    []Tunnel
}

// Empty tells whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Delete) == 0 && len(p.Put) == 0 }

// Diff plans the way from old to wanted. Both are sorted by session, as Want
// leaves them, with one tunnel a session.
func Diff(old, wanted []Tunnel) Plan {
	var p Plan
	for len(old) > 0 || len(wanted) > 0 {
		switch {
		case len(wanted) == 0 || len(old) > 0 && old[0].Session < wanted[0].Session:
			p.Delete = append(p.Delete, old[0])
			old = old[1:]
		case len(old) == 0 || wanted[0].Session < old[0].Session:
			p.Put = append(p.Put, wanted[0])
			wanted = wanted[1:]
		default:
			was, is := old[0], wanted[0]
			if was.Local != is.Local || was.Inner != is.Inner {
				p.Delete = append(p.Delete, was)
			}
			if was != is {
				p.Put = append(p.Put, is)
			}
			old, wanted = old[1:], wanted[1:]
		}
	}
	return p
}
