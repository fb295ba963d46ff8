package gtpu

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// receive handles one datagram. Whatever a datagram does to it, the next one
// is handled. now is when it was read, on the plane's clock.
func (p *Plane) receive(s *socket, from netip.AddrPort, b []byte, now int64) {
	defer func() {
		if r := recover(); r != nil {
			p.count.add(dropPanic, 1)
			p.log.Error("gtpu: a datagram broke its handling; please report it with these bytes",
				"peer", from, "panic", r, "bytes", hex.EncodeToString(b[:min(len(b), 256)]))
		}
	}()
	h, err := gtp.ParseUser(b)
	if err != nil {
		p.refuse(s, from, h, err)
		return
	}
	switch h.Type {
	case gtp.UserGPDU:
		p.uplink(s, from, h, now)
	case gtp.UserEchoRequest:
		p.echo(s, from, h, now)
	case gtp.UserEchoResponse:
		p.echoResponse(from.Addr(), h)
	case gtp.UserErrorIndication:
		p.errorIndication(from, h, now)
	case gtp.UserEndMarker:
		// The peer has switched to another path (TS 29.281 7.3.2). Nothing is
		// put in order here, so nothing waits for it.
		p.count.add(endMarkersIn, 1)
	case gtp.UserExtensionHeaders:
		// We send no extension headers, so whatever the peer supports is enough.
		p.count.add(extensionNoticesIn, 1)
	default:
		p.count.add(dropMessageType, 1)
	}
}

// refuse counts a datagram whose header can't be used, and answers the one kind
// that has an answer.
func (p *Plane) refuse(s *socket, from netip.AddrPort, h gtp.UserHeader, err error) {
	switch {
	case errors.Is(err, gtp.ErrUserShort):
		p.count.add(dropShort, 1)
	case errors.Is(err, gtp.ErrUserVersion):
		p.count.add(dropVersion, 1)
	case errors.Is(err, gtp.ErrUserLength):
		p.count.add(dropLength, 1)
	case errors.Is(err, gtp.ErrUserNotComprehended):
		p.count.add(dropExtensionUnknown, 1)
		// TS 29.281 5.2.1: tell the sender what we understand.
		if p.mayAnswer(from) {
			p.answer(s, from, extensionNoticesOut, gtp.AppendUserExtensionHeaders(nil, h.Seq))
		}
	default:
		p.count.add(dropExtension, 1)
	}
}

// uplink takes a G-PDU through the firewall and hands its packet on. That a
// session is suspended changes nothing here, nor does its packet change that:
// the control plane says when it is resumed.
func (p *Plane) uplink(s *socket, from netip.AddrPort, h gtp.UserHeader, now int64) {
	f := p.find(byTEID, uint64(h.TEID))
	if f == nil {
		p.unknownTEID(s, from, h)
		return
	}
	if src := from.Addr(); src != f.peer.addr && !p.allowed(src) {
		p.count.add(dropPeer, 1)
		return
	}
	pkt, discovery, reason := p.inspect(f, h.Payload)
	switch {
	case reason != 0:
		p.count.add(reason, 1)
		return
	case discovery != nil:
		p.discover(s, f, pkt, discovery, now)
		return
	}
	f.use.hear(now)
	// Before what the bit rate has waiting: else who fills his path loses it.
	if p.probe(s, f, pkt, now) {
		return
	}
	switch p.shape(f, true, pkt, now) {
	case waits:
		return
	case exceeds:
		p.count.add(dropAMBRUp, 1)
		return
	}
	f.use.touch(now)
	p.count.add(uplinkPackets, 1)
	p.count.add(uplinkBytes, len(pkt))
	// A packet of IPv6 could not have come another way and proves nothing.
	if !f.active && pkt[0]>>4 == 4 && p.cfg.OnUplinkPath != nil && p.due(&f.use.pathReport, now) {
		p.cfg.OnUplinkPath(f.session())
	}
	p.cfg.Uplink(pkt)
}

// unknownTEID answers a G-PDU for a tunnel that isn't there with an Error
// Indication, so that the peer lets go of it; never for TEID 0 (TS 29.281
// 7.3.1).
func (p *Plane) unknownTEID(s *socket, from netip.AddrPort, h gtp.UserHeader) {
	if !p.knows(from.Addr()) {
		p.count.add(dropPeer, 1)
		return
	}
	p.count.add(dropTEID, 1)
	if h.TEID == 0 || !p.mayAnswer(from) {
		return
	}
	to := netip.AddrPortFrom(from.Addr(), p.cfg.PeerPort)
	p.answer(s, to, errorIndicationsOut, gtp.AppendUserErrorIndication(nil, 0, h.TEID, s.local))
}

// errorIndication reports the session whose tunnel the peer doesn't know. Only
// the tunnel's own peer is believed, and only about its own address.
func (p *Plane) errorIndication(from netip.AddrPort, h gtp.UserHeader, now int64) {
	teid, addr, err := gtp.ParseUserErrorIndication(h.Payload)
	if err != nil {
		p.count.add(dropElement, 1)
		return
	}
	if !addr.Is4() || addr != from.Addr() {
		p.count.add(dropErrorForeign, 1)
		return
	}
	p.mu.RLock()
	f := p.byPeer[peerKey{addr.As4(), teid}]
	p.mu.RUnlock()
	if f == nil {
		p.count.add(dropErrorForeign, 1)
		return
	}
	p.count.add(errorIndicationsIn, 1)
	if p.cfg.OnErrorIndication != nil && p.due(&f.use.errorReport, now) {
		p.cfg.OnErrorIndication(f.session(), f.local())
	}
}

// Echo Responses to one peer of tunnels: ten a second, where TS 29.281 7.2.1 has
// it ask once a minute.
const (
	echoedCost  = int64(100*time.Millisecond) * units
	echoedBurst = 10 * echoedCost
)

// echo answers an Echo Request (TS 29.281 7.2.1, 7.2.2). A peer that gets no answer
// believes that its path has failed and lets go of its sessions, so what others
// make us answer must not take its answer away: a peer of tunnels has a limit of
// its own.
func (p *Plane) echo(s *socket, from netip.AddrPort, h gtp.UserHeader, now int64) {
	p.count.add(echoRequests, 1)
	p.mu.RLock()
	known := p.peers[from.Addr()]
	p.mu.RUnlock()
	switch {
	case known == nil:
		if !p.mayAnswer(from) {
			return
		}
	case !known.echoed.spend(now, echoedCost, echoedBurst):
		p.count.add(dropAnswerLimit, 1)
		return
	}
	p.answer(s, from, echoResponsesOut, gtp.AppendUserEchoResponse(nil, h.Seq))
}

// mayAnswer tells whether a datagram of from may cost us an answer, and counts
// why not.
func (p *Plane) mayAnswer(from netip.AddrPort) bool {
	if !p.knows(from.Addr()) {
		p.count.add(dropPeer, 1)
		return false
	}
	if !p.answers.Allow() {
		p.count.add(dropAnswerLimit, 1)
		return false
	}
	return true
}

func (p *Plane) answer(s *socket, to netip.AddrPort, kind counter, b []byte) {
	if !p.cfg.Holds() {
		p.count.add(dropFenced, 1)
		return
	}
	if _, err := s.conn.WriteToUDPAddrPort(b, to); err != nil {
		p.count.add(dropSendFailed, 1)
		return
	}
	p.count.add(kind, 1)
}
