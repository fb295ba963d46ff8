package gtpu

import (
	"net"
	"net/netip"

	"github.com/sealedge/sealedge/apn/gtp"
)

// Carry makes a plan true. It is idempotent, and calls are carried out one
// after the other. A tunnel whose peer changed gets an End Marker on its old
// way (TS 29.281 7.3.2).
func (p *Plane) Carry(plan Plan) {
	var moved []*flow // as they were
	p.mu.Lock()
	for _, t := range plan.Delete {
		// A TEID may have a new owner by now, whose tunnel stays.
		if f := p.byTEID.get(t.Local); f != nil && f.session == t.Session {
			p.forget(f, nil)
		}
	}
	for _, t := range plan.Put {
		if was := p.put(t); was != nil {
			moved = append(moved, was)
		}
	}
	p.mu.Unlock()
	for _, was := range moved {
		p.endMarker(was)
	}
}

// put adds or replaces a tunnel and returns what it was if its peer changed.
// p.mu is held.
func (p *Plane) put(t Tunnel) (moved *flow) {
	f := &flow{
		keys:     [2]uint32{byTEID: t.Local, byInner: key4(t.Inner)},
		peerTEID: t.Peer,
		active:   t.Active,
		session:  t.Session,
	}
	was := p.byTEID.get(t.Local)
	if was != nil && was.session == t.Session {
		f.pathReport.Store(was.pathReport.Load())
		if was.active && !f.active {
			f.pathReport.Store(p.clock()) // hold-down, see Config.OnUplinkPath
		}
		if was.peer.addr != t.PeerAddr || was.peerTEID != t.Peer {
			moved = was
		} else {
			f.errorReport.Store(was.errorReport.Load())
		}
	}
	f.peer = p.acquire(t.PeerAddr)
	if was != nil {
		p.forget(was, f)
	}
	if other := p.byInner.get(f.keys[byInner]); other != nil && other != was {
		p.forget(other, f)
	}
	p.byTEID.put(f)
	p.byInner.put(f)
	p.byPeer[f.peerKey()] = f
	return moved
}

// forget removes of old what next doesn't replace in place: a packet finds the
// one or the other, never neither. A nil next replaces nothing. p.mu is held.
func (p *Plane) forget(old, next *flow) {
	if next == nil || old.keys[byTEID] != next.keys[byTEID] {
		p.byTEID.remove(old)
	}
	if next == nil || old.keys[byInner] != next.keys[byInner] {
		p.byInner.remove(old)
	}
	if k := old.peerKey(); p.byPeer[k] == old {
		delete(p.byPeer, k)
	}
	if old.peer.tunnels--; old.peer.tunnels == 0 {
		delete(p.peers, old.peer.addr)
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

func (f *flow) peerKey() peerKey { return peerKey{f.peer.addr.As4(), f.peerTEID} }

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
	return p.byTEID.live
}
