package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// entropySize is what a command that needs TEIDs must bring, in bytes.
const entropySize = 16

// maxPDNType is the last that has addresses (TS 29.274 8.34).
const maxPDNType = 3

// openSession attaches a subscriber through the carrier. The carrier's path
// becomes the active one: the terminal has just come over it.
func (m *Machine) openSession(p *command.OpenSession) outcome {
	switch {
	case p.Imsi == "" || p.Apn == "" || p.Gtp == nil:
		return invalid("a session needs an IMSI, an APN and a GTP path")
	case len(p.Entropy) < entropySize:
		return invalid("%d bytes of entropy, %d are needed", len(p.Entropy), entropySize)
	case p.Gtp.PdnType > maxPDNType:
		return invalid("PDN type %d has no address to give", p.Gtp.PdnType)
	}
	sub, o := m.decidedOn(p.Imsi, p.PolicyRevision, p.SubscriberVersion)
	if o.refused() {
		return o
	}
	before := m.SessionByKey(p.Imsi, p.Apn)
	bind := p.BindHandset && m.level >= bindingLevel
	if o := m.bindable(sub, p.Gtp.Imei); bind && o.refused() {
		return o
	}
	s := m.sessionFor(sub, p.Apn, before)
	s.Gtp, s.Active = p.Gtp, command.PathKind_GTP
	if !m.provide(sub, s) {
		return refuse(command.Code_NO_ADDRESS, "no inner address is left on %s", p.Apn)
	}
	answer := &command.Opened{Session: s}
	if before.GetGtp() != nil {
		answer.Replaced = append(answer.Replaced, before)
	}
	// TS 29.274 7.2.1: a Create Session Request for an IMSI and EBI that exist
	// already replaces what is there, here a path on another APN.
	for _, other := range slices.Collect(m.SessionsByIMSI(p.Imsi)) {
		if other.Apn != p.Apn && other.Gtp != nil && other.Gtp.Ebi == p.Gtp.Ebi {
			answer.Replaced = append(answer.Replaced, other)
			m.removePath(other, command.PathKind_GTP)
		}
	}
	m.nextChargingID++
	if m.nextChargingID == 0 {
		m.nextChargingID = 1
	}
	s.Gtp.LocalTeidC, s.Gtp.LocalTeidU = m.newTEIDs(p.Entropy)
	s.Gtp.ChargingId, s.Gtp.Opened = m.nextChargingID, m.clock
	if m.pathsAreTied() && s.Wireguard != nil && before.GatewayAddress != p.GatewayAddress && s.Wireguard.GatewayAddress == "" {
		s.Wireguard = shallow(s.Wireguard)
		s.Wireguard.GatewayAddress = before.GatewayAddress
	}
	s.PolicyRevision, s.GatewayAddress = p.PolicyRevision, p.GatewayAddress
	m.addSession(s)
	if bind {
		m.bindHandset(sub, p.Gtp.Imei)
	}
	return done(answer, sessionScope(s.Id))
}

// attachWireGuard attaches a subscriber through the fallback path.
func (m *Machine) attachWireGuard(p *command.AttachWireGuard) outcome {
	if p.Imsi == "" || p.Apn == "" {
		return invalid("a session needs an IMSI and an APN")
	}
	sub, o := m.decidedOn(p.Imsi, p.PolicyRevision, p.SubscriberVersion)
	if o.refused() {
		return o
	}
	if len(p.PublicKey) == 0 || !bytes.Equal(p.PublicKey, sub.WireguardPublicKey) {
		return invalid(notItsKey)
	}
	path, o := m.fallbackPath(sub, p)
	if o.refused() {
		return o
	}
	s := m.sessionFor(sub, p.Apn, m.SessionByKey(p.Imsi, p.Apn))
	s.Wireguard, s.Active = path, command.PathKind_WIREGUARD
	if !m.provide(sub, s) {
		return refuse(command.Code_NO_ADDRESS, "no inner address is left on %s", p.Apn)
	}
	// Each path stays with the address that it was made at.
	switch {
	case s.Gtp == nil || !m.pathsAreTied():
		s.GatewayAddress = p.GatewayAddress
	case s.GatewayAddress != p.GatewayAddress:
		s.Wireguard.GatewayAddress = p.GatewayAddress
	}
	s.PolicyRevision = p.PolicyRevision
	m.addSession(s)
	return done(&command.Opened{Session: s}, sessionScope(s.Id))
}

// pathsAreTied tells whether the two paths of a session may be tied to different
// gateway addresses: nodes of level 1 know of one address only.
func (m *Machine) pathsAreTied() bool { return m.level >= 2 }

// sessionFor returns a copy of the subscriber's session on an APN, or a new one
// that has no id and no address yet, to be filled in. Strings are shared with
// the subscriber's record: there are many sessions.
func (m *Machine) sessionFor(sub *command.Subscriber, apn string, before *command.Session) *command.Session {
	if before != nil {
		s := shallow(before)
		s.Version++
		return s
	}
	if i := slices.Index(sub.Apns, apn); i >= 0 {
		apn = sub.Apns[i]
	}
	return &command.Session{Imsi: sub.Imsi, Apn: apn, Opened: m.clock, Msisdn: sub.Msisdn, Version: 1}
}

// addSession puts a session in its place, a new one with the next id.
func (m *Machine) addSession(s *command.Session) {
	if s.Id == 0 {
		m.nextSession++
		s.Id = m.nextSession
	}
	m.putSession(s)
}

// newTEIDs derives two TEIDs from the entropy: the first two of SHA-256(entropy
// || be32(i)), i = 0, 1, ..., cut to 4 bytes, that are neither 0 nor held.
func (m *Machine) newTEIDs(entropy []byte) (control, user uint32) {
	in := slices.Concat(entropy, make([]byte, 4))
	for i := uint32(0); ; i++ {
		binary.BigEndian.PutUint32(in[len(entropy):], i)
		sum := sha256.Sum256(in)
		teid := binary.BigEndian.Uint32(sum[:])
		switch {
		case teid == 0 || teid == control || m.teids.has(teid):
		case control == 0:
			control = teid
		default:
			return control, teid
		}
	}
}

// selectPath moves downlink packets to another path.
func (m *Machine) selectPath(p *command.SelectPath) outcome {
	before := m.sessions.get(p.Session)
	switch {
	case before == nil:
		return refuse(command.Code_NOT_FOUND, "no such session")
	case p.Path != command.PathKind_GTP && p.Path != command.PathKind_WIREGUARD:
		return invalid("no such kind of path")
	case !attached(before, p.Path):
		return refuse(command.Code_CONFLICT, "the session is not attached through this path")
	case before.Active == p.Path:
		return done(before, sessionScope(before.Id))
	}
	s := shallow(before)
	s.Active = p.Path
	s.Version++
	m.putSession(s)
	return done(s, sessionScope(s.Id))
}

// closePath removes one path of a session, or all.
func (m *Machine) closePath(p *command.ClosePath) outcome {
	s := m.sessions.get(p.Session)
	all := p.Path == command.PathKind_PATH_KIND_UNSPECIFIED
	switch {
	case s == nil:
		return refuse(command.Code_NOT_FOUND, "no such session")
	case p.LocalTeidC != 0 && p.Path != command.PathKind_WIREGUARD && s.GetGtp().GetLocalTeidC() != p.LocalTeidC:
		return refuse(command.Code_CONFLICT, "the session has another GTP path by now, or none")
	case !all && !attached(s, p.Path):
		return refuse(command.Code_NOT_FOUND, "the session is not attached through this path")
	}
	answer := &command.Closed{Session: s}
	if all {
		m.endSession(s)
		answer.Ended = true
	} else {
		answer.Ended = m.removePath(s, p.Path)
	}
	if answer.Ended {
		return done(answer, "")
	}
	return done(answer, sessionScope(s.Id))
}

func attached(s *command.Session, path command.PathKind) bool {
	switch path {
	case command.PathKind_GTP:
		return s.Gtp != nil
	case command.PathKind_WIREGUARD:
		return s.Wireguard != nil
	}
	return false
}

// removePath takes an attached path away, and with the last one the session;
// it tells whether it was the last.
func (m *Machine) removePath(before *command.Session, path command.PathKind) (ended bool) {
	s := shallow(before)
	if path == command.PathKind_GTP {
		s.Gtp, s.Active = nil, command.PathKind_WIREGUARD
	} else {
		s.Wireguard, s.Active = nil, command.PathKind_GTP
	}
	if s.Gtp == nil && s.Wireguard == nil {
		m.endSession(before)
		return true
	}
	m.shed(s)
	s.Version++
	m.putSession(s)
	return false
}

func (m *Machine) putSession(s *command.Session) {
	old := m.sessions.get(s.Id)
	m.noteSwitch(old, s)
	if old.GetGtp() != nil {
		m.teids.delete(old.Gtp.LocalTeidC)
		m.teids.delete(old.Gtp.LocalTeidU)
	}
	m.indexSession(s)
	m.meetPeer(s.Gtp)
	if was, is := peerOf(old), peerOf(s); was != is {
		m.leavePeer(was, s.Id)
	}
}

func (m *Machine) indexSession(s *command.Session) {
	m.sessions.set(s.Id, s)
	m.journal.session(s.Id)
	m.touch(SessionRecord, s.Id, "")
	m.bySubscriber.set(pair{s.Imsi, s.Apn}, s)
	if s.Gtp != nil {
		m.teids.set(s.Gtp.LocalTeidC, s.Id)
		m.teids.set(s.Gtp.LocalTeidU, s.Id)
	}
	if k := peerOf(s); k != (peerKey{}) {
		m.sessionsOfPeer.set(peerSession{k, s.Id}, s)
	}
}

// endSession removes a session, whatever it is attached through, and releases
// its addresses.
func (m *Machine) endSession(s *command.Session) {
	m.sessions.delete(s.Id)
	m.journal.session(s.Id)
	m.touch(SessionRecord, s.Id, "")
	m.bySubscriber.delete(pair{s.Imsi, s.Apn})
	if s.Gtp != nil {
		m.teids.delete(s.Gtp.LocalTeidC)
		m.teids.delete(s.Gtp.LocalTeidU)
	}
	m.leavePeer(peerOf(s), s.Id)
	m.forgetScope(sessionScope(s.Id))
	m.release(s, func(family) bool { return true })
}
