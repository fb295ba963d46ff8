package state

import (
	"github.com/sealedge/sealedge/cluster/command"
)

// modifySession takes over the peer's side of a GTP path.
func (m *Machine) modifySession(p *command.ModifySession) outcome {
	before := m.sessions.get(p.Session)
	switch {
	case before == nil:
		return refuse(command.Code_NOT_FOUND, "no such session")
	case before.Gtp == nil || before.Gtp.LocalTeidC != p.LocalTeidC:
		return refuse(command.Code_CONFLICT, "the session has another GTP path by now, or none")
	case p.Version > 2:
		return invalid("there is no GTP version %d", p.Version)
	case p.Suspension < command.Suspension_SUSPENSION_UNCHANGED || p.Suspension > command.Suspension_RESUME_PATH:
		return invalid("a path is suspended or resumed")
	}
	if p.Ebi != 0 {
		for other := range m.SessionsByIMSI(before.Imsi) {
			if other.Id != before.Id && other.Gtp != nil && other.Gtp.Ebi == p.Ebi {
				return invalid("another session of the subscriber has the bearer %d", p.Ebi)
			}
		}
	}
	s := shallow(before)
	s.Gtp = modified(before.Gtp, p)
	s.Version++
	m.putSession(s)
	return done(s, sessionScope(s.Id))
}

// modified is a path as the peer wants it. What the peer did not tell stays,
// except what belongs to another node or version than the path has now.
func modified(before *command.GTPPath, p *command.ModifySession) *command.GTPPath {
	g := shallow(before)
	if p.Version != 0 {
		if p.Version != g.Version {
			g.QosProfile, g.Csids = nil, nil
		}
		g.Version, g.InterfaceType = p.Version, p.InterfaceType
	}
	if p.PeerC != nil {
		if peerOfPath(before) != peerOfPath(&command.GTPPath{PeerC: p.PeerC}) {
			g.PeerRestartCounter, g.PeerRestartKnown = 0, false
		}
		g.PeerC = p.PeerC
	}
	if p.PeerU != nil {
		g.PeerU = p.PeerU
	}
	if p.PeerRestartKnown {
		g.PeerRestartCounter, g.PeerRestartKnown = p.PeerRestartCounter, true
	}
	update(&g.Ebi, p.Ebi)
	update(&g.RatType, p.RatType)
	update(&g.ServingPlmn, p.ServingPlmn)
	update(&g.AmbrUpKbps, p.AmbrUpKbps)
	update(&g.AmbrDownKbps, p.AmbrDownKbps)
	update(&g.Qci, p.Qci)
	update(&g.Arp, p.Arp)
	if len(p.UserLocation) > 0 {
		g.UserLocation = p.UserLocation
	}
	if len(p.QosProfile) > 0 {
		g.QosProfile = p.QosProfile
	}
	if p.CsidsKnown {
		g.Csids = p.Csids
	}
	if p.Suspension != command.Suspension_SUSPENSION_UNCHANGED {
		g.Suspended = p.Suspension == command.Suspension_SUSPEND_PATH
	}
	return g
}

// update sets a field unless the value is zero, which stands for unchanged.
func update[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}
