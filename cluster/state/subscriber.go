package state

import (
	"bytes"
	"encoding/binary"
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
	case len(s.WireguardPublicKey) != 0 && len(s.WireguardPublicKey) != 32:
		return invalid("a WireGuard key has 32 bytes")
	case len(s.DeviceCertSha256) != 0 && len(s.DeviceCertSha256) != 32:
		return invalid("the SHA-256 of a certificate has 32 bytes")
	}
	if other := m.SubscriberByWireGuardKey(s.WireguardPublicKey); other != nil && other.Imsi != s.Imsi {
		return invalid("another subscriber has this WireGuard key")
	}
	if o := m.addressesFor(s); o.refused() {
		return o
	}

	s.Version = old.GetVersion() + 1
	m.indexSubscriber(old, s)
	m.applyToSessions(s)
	if s.State != command.DeviceState_ACTIVE {
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
// carrier's path of a handset that isn't bound, the fallback path of another
// key.
func (m *Machine) applyToSessions(s *command.Subscriber) {
	for _, session := range slices.Collect(m.SessionsByIMSI(s.Imsi)) {
		if s.State != command.DeviceState_ACTIVE || !slices.Contains(s.Apns, session.Apn) {
			m.endSession(session)
			continue
		}
		if w := session.Wireguard; w != nil && !bytes.Equal(w.PublicKey, s.WireguardPublicKey) && m.removePath(session, command.PathKind_WIREGUARD) {
			continue
		}
		if session = m.sessions.get(session.Id); session.Gtp != nil && len(s.Imeis) > 0 && !slices.Contains(s.Imeis, session.Gtp.Imei) {
			m.removePath(session, command.PathKind_GTP)
		}
	}
}

// addressesFor checks that the addresses to be kept for a subscriber can be
// had.
func (m *Machine) addressesFor(s *command.Subscriber) outcome {
	if len(s.StaticAddress) == 4 {
		a := binary.BigEndian.Uint32(s.StaticAddress)
		if excludes(m.policy.GetPools(), s.StaticAddress) {
			return invalid("%v is excluded by the policy", address(a))
		}
		if l := m.byAddress.get(a); l != nil && l.Imsi != s.Imsi && !waiting(l) {
			return invalid("%v is another subscriber's", address(a))
		}
	}
	for _, apn := range s.Apns {
		if !m.wantsPin(s, apn) || m.leases.has(pair{s.Imsi, apn}) || !m.pools.serves(apn) {
			continue
		}
		if _, _, ok := m.findAddress(s, apn); !ok {
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

	answer.Sessions = slices.Collect(m.SessionsByIMSI(p.Imsi))
	for _, session := range answer.Sessions {
		m.endSession(session)
	}
	m.settleLeases(p.Imsi)
	locked := map[string]bool{}
	for _, u := range slices.Collect(m.OpenUsesOf(p.Imsi)) {
		m.stopUse(u, p.Reason)
		answer.Uses = append(answer.Uses, u.Id)
		answer.Locks = append(answer.Locks, m.lockUse(u, p.Reason, "").Id)
		locked[u.Barrel] = true
	}
	for _, b := range slices.Collect(m.BarrelsOf(p.Imsi)) {
		if !locked[b.Id] {
			answer.Locks = append(answer.Locks, m.lockBarrel(b, p.Reason, "").Id)
		}
	}
	// Locks that only this terminal had not acknowledged wait no more.
	for _, l := range m.PendingLocks() {
		if l.Imsi == p.Imsi {
			m.indexLock(l)
		}
	}
	return done(answer, "")
}
