package state

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// putSubscriber adds or replaces a subscriber. A subscriber that becomes
// suspended loses its sessions; a changed WireGuard key ends the paths of the
// old one. Revoking has a command of its own, but a record may be imported as
// revoked, so that its identity stays taken.
func (m *Machine) putSubscriber(p *command.PutSubscriber) outcome {
	s := p.Subscriber
	if s.GetImsi() == "" {
		return invalid("a subscriber without an IMSI")
	}
	old := m.subscribers.get(s.Imsi)
	switch {
	case old.GetState() == command.DeviceState_REVOKED_DEVICE:
		return refuse(command.Code_REVOKED, "the subscriber is revoked, for ever")
	case !p.AnyVersion && old.GetVersion() != p.BaseVersion:
		return refuse(command.Code_CONFLICT, "the subscriber is at version %d, not %d", old.GetVersion(), p.BaseVersion)
	case old != nil && s.State == command.DeviceState_REVOKED_DEVICE:
		return invalid("revoking is a command of its own: it ends sessions and uses")
	case s.State < command.DeviceState_ACTIVE || s.State > command.DeviceState_REVOKED_DEVICE:
		return invalid("the state of a subscriber is active, suspended or revoked")
	case len(s.StaticAddress) != 0 && len(s.StaticAddress) != 4:
		return invalid("a static address has 4 bytes")
	case len(s.StaticPrefix6) != 0 && !isPrefix6(s.StaticPrefix6):
		return invalid("a static IPv6 prefix is a unicast /64: 16 bytes, the last 8 of them 0")
	case len(s.WireguardPublicKey) != 0 && len(s.WireguardPublicKey) != 32:
		return invalid("a WireGuard key has 32 bytes")
	case len(s.DeviceCertSha256) != 0 && len(s.DeviceCertSha256) != 32:
		return invalid("the SHA-256 of a certificate has 32 bytes")
	}
	s.State, s.SuspendReason = keptState(old.GetState(), old.GetSuspendReason(), s.State), old.GetSuspendReason()
	if o := credible(s.Credentials); o.refused() {
		return o
	}
	if other := m.SubscriberByWireGuardKey(s.WireguardPublicKey); other != nil && other.Imsi != s.Imsi {
		return invalid("another subscriber has this WireGuard key")
	}
	if o := m.addressesFor(s); o.refused() {
		return o
	}

	s.Version = old.GetVersion() + 1
	m.indexSubscriber(old, s)
	m.applyToSessions(old, s)
	if s.State != command.DeviceState_ACTIVE && s.SuspendReason == "" { // a SuspendDevice did it already
		const reason = "the terminal is suspended"
		for _, u := range slices.Collect(m.OpenUsesOf(s.Imsi)) {
			m.stopUse(u, reason)
			m.lockUse(u, reason, "")
		}
	}
	m.settleLeases(s.Imsi)
	return done(s, "")
}

// applyToSessions ends what a changed record no longer allows: a session of a
// subscriber that isn't active or on an access point that isn't listed, the
// carrier's path of a handset that isn't bound any more, the fallback path of another
// key.
func (m *Machine) applyToSessions(old, s *command.Subscriber) {
	for _, session := range slices.Collect(m.SessionsByIMSI(s.Imsi)) {
		if s.State != command.DeviceState_ACTIVE || !slices.Contains(s.Apns, session.Apn) {
			m.endSession(session)
			continue
		}
		if w := session.Wireguard; w != nil && !bytes.Equal(w.PublicKey, s.WireguardPublicKey) && m.removePath(session, command.PathKind_WIREGUARD) {
			continue
		}
		if session = m.sessions.get(session.Id); session.Gtp != nil && m.unbinds(old, s, session.Gtp.Imei) {
			m.removePath(session, command.PathKind_GTP)
		}
	}
}

// isPrefix6 tells whether 16 bytes are a /64 that a terminal can have.
func isPrefix6(b []byte) bool {
	return len(b) == 16 && routable(b) && bytes.Equal(b[8:], make([]byte, 8))
}

// maxIterations bounds what checking one password may cost.
const maxIterations = 1_000_000

// credible checks that credentials can be used, as far as their form tells.
func credible(c *command.Credentials) outcome {
	switch {
	case len(c.GetPapSalt()) == 0 && len(c.GetPapHash()) != 0:
		return invalid("the hash of a password goes with a salt")
	case len(c.GetPapSalt()) != 0 && len(c.GetPapHash()) != sha256.Size:
		return invalid("the hash of a password has %d bytes", sha256.Size)
	case len(c.GetPapSalt()) != 0 && (c.PapIterations < 1 || c.PapIterations > maxIterations):
		return invalid("a password is hashed in 1 to %d iterations", maxIterations)
	}
	return outcome{code: command.Code_OK}
}

// addressesFor checks that the addresses to be kept for a subscriber can be
// had.
func (m *Machine) addressesFor(s *command.Subscriber) outcome {
	for _, f := range families {
		a := f.static(s)
		if len(a) == 0 {
			continue
		}
		n := f.number(a)
		l := m.spaces[f].byAddress.get(n)
		switch {
		case f.excludes(m.policy.GetPools(), n):
			return invalid("%s is excluded by the policy", f.text(n))
		case l == nil || l.Imsi == s.Imsi:
		case !waiting(l):
			return invalid("%s is another subscriber's", f.text(n))
		case m.quarantined(f, l):
			return invalid("%s was another subscriber's, and its quarantine is not over; try again later", f.text(n))
		}
	}
	fallback := &m.spaces[ipv4] // the family that a WireGuard peer uses
	for _, apn := range s.Apns {
		if !m.wantsPin(ipv4, s, apn) || fallback.leases.has(pair{s.Imsi, apn}) || !fallback.pools.serves(apn) {
			continue
		}
		if _, ok := m.findAddress(ipv4, s, apn); !ok {
			return refuse(command.Code_NO_ADDRESS, "the pools of %s have no address left to keep for this WireGuard peer", apn)
		}
	}
	return outcome{code: command.Code_OK}
}

func (m *Machine) indexSubscriber(old, s *command.Subscriber) {
	if k := old.GetWireguardPublicKey(); len(k) > 0 {
		m.byWireGuardKey.delete(string(k))
	}
	if k := s.WireguardPublicKey; len(k) > 0 {
		m.byWireGuardKey.set(string(k), s.Imsi)
	}
	m.subscribers.set(s.Imsi, s)
	m.heedFallback(s)
	m.journal.devices++
}

// revokeSubscriber asks for nothing but the subscriber: its sessions end, its
// uses stop, and the barrels that it has lock.
func (m *Machine) revokeSubscriber(p *command.RevokeSubscriber) outcome {
	old := m.subscribers.get(p.Imsi)
	if old == nil {
		return refuse(command.Code_NOT_FOUND, "no such subscriber")
	}
	answer := new(command.Revocation)
	if old.State == command.DeviceState_REVOKED_DEVICE {
		return done(answer, "") // nothing of it lives
	}
	s := shallow(old)
	s.State, s.RevokeReason, s.Version = command.DeviceState_REVOKED_DEVICE, p.Reason, old.Version+1
	m.indexSubscriber(old, s)
	answer = m.endAll(p.Imsi, p.Reason)
	// Locks that only this terminal had not acknowledged wait no more.
	for _, l := range m.PendingLocks() {
		if l.Imsi == p.Imsi {
			m.indexLock(l)
		}
	}
	return done(answer, "")
}
