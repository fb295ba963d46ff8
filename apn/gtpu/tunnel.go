package gtpu

import (
	"cmp"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// Tunnel is the user plane of one session's path through the carrier. It has an
// IPv4 address, a /64 of IPv6, or both.
type Tunnel struct {
	Session     uint64     // id of the session
	Local       uint32     // the TEID that the peer puts into uplink G-PDUs, never 0
	Peer        uint32     // the TEID that we put into downlink G-PDUs
	PeerAddr    netip.Addr // the peer's user-plane address, IPv4
	Inner       netip.Addr // the terminal's IPv4 address inside the tunnel; invalid: none
	Prefix6     netip.Addr // the first address of the terminal's /64; invalid: none
	InterfaceID [8]byte    // of the terminal's link-local address, when it has a /64
	UpKbps      uint32     // maximum bit rates in 1,000 bits a second; 0: no limit
	DownKbps    uint32
	Active      bool // this path carries all of its downlink; else IPv4 goes another way
	Suspended   bool // the terminal can't be reached: no downlink
}

// Want lists the tunnels of the sessions that have a path through the carrier,
// sorted by session. The families are those that the carrier was answered. A
// session without a usable tunnel (a TEID of 0, a peer that isn't IPv4, no
// address inside) is left out: a packet for it is better dropped than sent to
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
	peer, ok := netip.AddrFromSlice(path.GetPeerU().GetAddress())
	t := Tunnel{
		Session:   s.GetId(),
		Local:     path.GetLocalTeidU(),
		Peer:      path.GetPeerU().GetTeid(),
		PeerAddr:  peer.Unmap(),
		UpKbps:    path.GetAmbrUpKbps(),
		DownKbps:  path.GetAmbrDownKbps(),
		Suspended: path.GetSuspended(),
	}
	families := path.GetPdnType()
	if families == 0 {
		families = pdnIPv4
	}
	if a, ok := netip.AddrFromSlice(s.GetAddress()); ok && families&pdnIPv4 != 0 && a.Unmap().Is4() {
		t.Inner = a.Unmap()
	}
	if a, ok := netip.AddrFromSlice(s.GetPrefix6()); ok && families&pdnIPv6 != 0 && a.Is6() && !a.Is4In6() {
		t.Prefix6, t.InterfaceID = a, interfaceID(s.GetId())
	}
	// The other path carries IPv4 alone.
	t.Active = s.GetActive() == command.PathKind_GTP || !t.Inner.IsValid()
	inside := t.Inner.IsValid() || t.Prefix6.IsValid()
	return t, ok && inside && t.PeerAddr.Is4() && t.Local != 0 && t.Peer != 0
}

// PDN types as the carrier was answered (TS 29.274 8.34): 3 is both.
const (
	pdnIPv4 = 1
	pdnIPv6 = 2
)

// interfaceID is what the terminal was told to make its link-local address of:
// one for each session, and never the gateway's own, which is 1.
func interfaceID(session uint64) (id [8]byte) {
	binary.BigEndian.PutUint64(id[:], session+1<<32)
	return id
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
			if was.Local != is.Local || was.Inner != is.Inner || was.Prefix6 != is.Prefix6 {
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
