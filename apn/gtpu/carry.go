package gtpu

import (
	"net"
	"net/netip"
	"slices"

	"github.com/sealedge/sealedge/apn/gtp"
)

// Carry makes a plan true. It is idempotent, and calls are carried out one
// after the other. A tunnel whose peer changed gets an End Marker on its old
// way (TS 29.281 7.3.2). A session that gets another tunnel within a plan keeps
// what its maximum bit rate has left.
func (p *Plane) Carry(plan Plan) {
	now := p.clock()
	var moved []*flow // as they were
	var kept map[uint64]*flow
	p.mu.Lock()
	for _, t := range plan.Delete {
		// A TEID may have a new owner by now, whose tunnel stays.
		f := p.find(byTEID, uint64(t.Local))
		if f == nil || f.session() != t.Session {
			continue
		}
		p.forget(f, nil)
		if len(plan.Put) > 0 {
			if kept == nil {
				kept = make(map[uint64]*flow)
			}
			kept[t.Session] = f
		}
	}
	for _, t := range plan.Put {
		was := p.find(bySession, t.Session)
		if was == nil {
			was = kept[t.Session]
		}
		if p.put(newFlow(t), t.PeerAddr, was, now) {
			moved = append(moved, was)
		}
	}
	p.mu.Unlock()
	for _, was := range moved {
		p.endMarker(was)
	}
}

// put adds f, or puts it in the place of was, the session's tunnel so far (nil:
// none). It tells whether the peer of a tunnel that stays has changed. p.mu is
// held.
func (p *Plane) put(f *flow, peer netip.Addr, was *flow, now int64) (moved bool) {
	f.use, moved = succeed(f, peer, was, now)
	f.peer = p.acquire(peer)
	var replaced [numKeys]*flow
	for by := range numKeys {
		if other := p.find(by, f.keys[by]); f.has[by] && other != nil && !slices.Contains(replaced[:], other) {
			replaced[by] = other
			p.forget(other, f)
		}
	}
	for by := range numKeys {
		if f.has[by] {
			p.index[by].put(f)
		}
	}
	p.byPeer[f.peerKey()] = f
	if f.has[byPrefix] && (was == nil || !f.is(was, byTEID) || !f.is(was, byPrefix)) {
		p.announce(f, now)
	}
	return moved
}

// succeed makes what f goes on with of was.
func succeed(f *flow, peer netip.Addr, was *flow, now int64) (u *usage, moved bool) {
	if was == nil {
		return newUsage(now), false
	}
	u = was.use
	if !f.is(was, byTEID) { // another path of the same session
		u = newUsage(now)
		u.up.arrival.Store(was.use.up.arrival.Load())
		u.down.arrival.Store(was.use.down.arrival.Load())
	} else {
		switch {
		case was.active && !f.active:
			u.pathReport.Store(now) // hold-down, see Config.OnUplinkPath
		case !was.active && f.active:
			u.last.Store(now) // until now the other path was the one to be active on
		}
		if moved = was.peer.addr != peer || was.peerTEID != f.peerTEID; moved {
			u.errorReport.Store(0)
			u.sequence.Store(0)
		}
	}
	u.up.change(now, was.up, f.up)
	u.down.change(now, was.down, f.down)
	return u, moved
}

// forget removes of old what next doesn't replace in place: a packet finds the
// one or the other, never neither. A nil next replaces nothing. p.mu is held.
func (p *Plane) forget(old, next *flow) {
	for by := range numKeys {
		if old.has[by] && (next == nil || !old.is(next, by)) {
			p.index[by].remove(old)
		}
	}
	if k := old.peerKey(); p.byPeer[k] == old {
		delete(p.byPeer, k)
	}
	if old.peer.tunnels--; old.peer.tunnels == 0 {
		delete(p.peers, old.peer.addr)
		delete(p.paths, old.peer.addr)
	}
}

// acquire finds or makes the peer at addr and counts one tunnel more. p.mu is
// held.
func (p *Plane) acquire(addr netip.Addr) *peer {
	n := p.peers[addr]
	if n == nil {
		to := netip.AddrPortFrom(addr, p.cfg.PeerPort)
		n = &peer{addr: addr, to: to, udp: net.UDPAddrFromAddrPort(to)}
		p.peers[addr] = n
	}
	n.tunnels++
	return n
}

// endMarker tells the peer that was that no more packets come through its end
// of the tunnel.
func (p *Plane) endMarker(was *flow) {
	s := p.socket.Load()
	if s == nil || !p.cfg.Holds() {
		return
	}
	var room [16]byte
	if _, err := s.conn.WriteToUDPAddrPort(gtp.AppendUserEndMarker(room[:0], was.peerTEID), was.peer.to); err != nil {
		p.count.add(dropSendFailed, 1)
		return
	}
	p.count.add(endMarkersOut, 1)
}

// Tunnels returns how many tunnels there are.
func (p *Plane) Tunnels() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.index[byTEID].live
}
