package gtpu

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// peer is one user-plane node of the carrier, shared by its tunnels.
type peer struct {
	addr    netip.Addr
	to      netip.AddrPort
	udp     *net.UDPAddr // the same, as WriteBatch wants it
	tunnels int          // owner: Carry, under Plane.mu
	echoed  bucket       // Echo Responses to it
}

// What flows are found by. A flow has the last two as its tunnel has addresses.
const (
	byTEID    = iota // the local TEID
	bySession        // the session's id
	byInner          // the terminal's IPv4 address
	byPrefix         // the upper half of the terminal's /64
	numKeys
)

// flow is a tunnel as the packet path sees it. It is replaced, never changed:
// what packets change is in use.
type flow struct {
	keys      [numKeys]uint64
	has       [numKeys]bool
	active    bool
	suspended bool
	peerTEID  uint32
	linkLocal uint64 // lower half of the terminal's link-local address
	up, down  limit
	peer      *peer
	use       *usage
}

func newFlow(t Tunnel) *flow {
	f := &flow{
		active:    t.Active,
		suspended: t.Suspended,
		peerTEID:  t.Peer,
		up:        newLimit(t.UpKbps),
		down:      newLimit(t.DownKbps),
	}
	f.key(byTEID, uint64(t.Local))
	f.key(bySession, t.Session)
	if t.Inner.IsValid() {
		f.key(byInner, uint64(key4(t.Inner)))
	}
	if t.Prefix6.IsValid() {
		f.key(byPrefix, key6(t.Prefix6))
		f.linkLocal = binary.BigEndian.Uint64(t.InterfaceID[:])
	}
	return f
}

func (f *flow) key(by int, k uint64) { f.keys[by], f.has[by] = k, true }

// is tells whether f is found by the same as other.
func (f *flow) is(other *flow, by int) bool {
	return f.has[by] == other.has[by] && f.keys[by] == other.keys[by]
}

func (f *flow) session() uint64 { return f.keys[bySession] }
func (f *flow) local() uint32   { return uint32(f.keys[byTEID]) }

func (f *flow) peerKey() peerKey { return peerKey{f.peer.addr.As4(), f.peerTEID} }

// usage is what the packets of a tunnel leave behind. It stays when the flow is
// replaced; any goroutine changes it. Times are on the plane's clock, 0 for
// never.
type usage struct {
	up, down bucket // what the AMBR has left, each way
	// What waits for it, down and up; nil before anything did.
	queues     [2]atomic.Pointer[queue]
	solicited  bucket       // answers to solicitations
	probed     bucket       // answers to probes
	last       atomic.Int64 // when a packet was carried, within activityGrain; at first when the tunnel was made
	heard      atomic.Int64 // when the terminal was heard, within activityGrain; at first when the tunnel was made
	advertised atomic.Int64 // when the last Router Advertisement left
	// Times of the last reports.
	pathReport, errorReport atomic.Int64
	sequence                atomic.Uint32 // of the next G-PDU, modulo 2^16
}

// newUsage is that of a tunnel made now.
func newUsage(now int64) *usage {
	u := new(usage)
	u.last.Store(now)
	u.heard.Store(now)
	return u
}

// activityGrain is how exact LastActive is: most packets then only read what
// both directions share.
const activityGrain = int64(time.Second)

func (u *usage) touch(now int64) {
	if now-u.last.Load() >= activityGrain {
		u.last.Store(now)
	}
}

// hear is touch for what comes from the terminal.
func (u *usage) hear(now int64) {
	if now-u.heard.Load() >= activityGrain {
		u.heard.Store(now)
	}
}

// LastActive tells when a session's tunnel last carried a packet, either way,
// within a second. What isn't carried doesn't count, nor do Router
// Advertisements. A tunnel that carried nothing since it was made, or since
// this node began to serve, counts as active at that time: who takes over knows
// nothing of what was before. False when there is no such tunnel, or when this
// node isn't serving and so can't know.
func (p *Plane) LastActive(session uint64) (time.Time, bool) {
	s, f := p.socket.Load(), p.find(bySession, session)
	if s == nil || f == nil {
		return time.Time{}, false
	}
	return p.at(max(f.use.last.Load(), s.since)), true
}
