package state

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// An address lease is in one of three conditions: in use by a session; pinned,
// that is kept for its subscriber alone; or waiting, kept for its subscriber
// until no other address is left, then given to another, the longest released
// first.

func waiting(l *command.AddressLease) bool { return !l.InUse && !l.Pinned }

// putLease adds or replaces a subscriber's lease on an APN. The address must
// not be another's.
func (m *Machine) putLease(l *command.AddressLease) {
	old := m.leases.get(pair{l.Imsi, l.Apn})
	if old != nil && bytes.Equal(old.Address, l.Address) {
		if waiting(old) {
			m.released.delete(numbered{old.Apn, old.ReleasedSeq})
		}
	} else {
		if old != nil {
			m.dropLease(old)
		}
		m.take(binary.BigEndian.Uint32(l.Address))
	}
	m.indexLease(l)
}

func (m *Machine) indexLease(l *command.AddressLease) {
	m.leases.set(pair{l.Imsi, l.Apn}, l)
	m.journal.devices++
	m.byAddress.set(binary.BigEndian.Uint32(l.Address), l)
	if waiting(l) {
		m.released.set(numbered{l.Apn, l.ReleasedSeq}, l)
	}
}

func (m *Machine) dropLease(l *command.AddressLease) {
	a := binary.BigEndian.Uint32(l.Address)
	m.leases.delete(pair{l.Imsi, l.Apn})
	m.journal.devices++
	m.byAddress.delete(a)
	if waiting(l) {
		m.released.delete(numbered{l.Apn, l.ReleasedSeq})
	}
	m.give(a)
}

// staticOn returns the static address of a subscriber if it has one for this
// APN: the APN whose pool the address is in, otherwise the first of its list.
func (m *Machine) staticOn(s *command.Subscriber, apn string) (uint32, bool) {
	if len(s.GetStaticAddress()) != 4 || len(s.Apns) == 0 {
		return 0, false
	}
	a := binary.BigEndian.Uint32(s.StaticAddress)
	home := m.pools.owner(a)
	if !slices.Contains(s.Apns, home) {
		home = s.Apns[0]
	}
	return a, apn == home
}

// findAddress chooses the address for a subscriber on an APN: the static one,
// the one it had, one that nobody had, the one released longest ago. The lease
// that has to go for it is nil unless it is another's. Nothing is changed yet.
func (m *Machine) findAddress(s *command.Subscriber, apn string) (a uint32, evict *command.AddressLease, ok bool) {
	if a, static := m.staticOn(s, apn); static {
		l := m.byAddress.get(a)
		if l == nil || l.Imsi == s.Imsi && l.Apn == apn {
			return a, nil, true
		}
		return a, l, waiting(l)
	}
	if l := m.leases.get(pair{s.Imsi, apn}); l != nil {
		if a := binary.BigEndian.Uint32(l.Address); m.pools.owner(a) == apn {
			return a, nil, true
		}
	}
	if a, ok := m.firstFree(apn); ok {
		return a, nil, true
	}
	for k, l := range m.released.from(numbered{apn, 0}) {
		if k.name == apn {
			return binary.BigEndian.Uint32(l.Address), l, true
		}
		break
	}
	return 0, nil, false
}

// lease ties an address that findAddress chose to a subscriber.
func (m *Machine) lease(s *command.Subscriber, apn string, a uint32, evict *command.AddressLease, inUse bool) *command.AddressLease {
	if evict != nil {
		m.dropLease(evict)
	}
	l := &command.AddressLease{
		Apn: apn, Address: binary.BigEndian.AppendUint32(nil, a), Imsi: s.Imsi,
		InUse: inUse, Pinned: m.wantsPin(s, apn),
	}
	m.putLease(l)
	return l
}

// wantsPin tells whether an address is to be kept for a subscriber while it
// has no session: a static one, or that of a WireGuard peer, which has to be
// known before the peer's first packet.
func (m *Machine) wantsPin(s *command.Subscriber, apn string) bool {
	if s == nil || s.State == command.DeviceState_REVOKED_DEVICE || !slices.Contains(s.Apns, apn) {
		return false
	}
	_, static := m.staticOn(s, apn)
	return static || len(s.WireguardPublicKey) > 0
}

// settleLeases brings the leases of a subscriber into line with its record and
// with the pools, after either changed or a session ended. A lease in use
// keeps its address until the session ends.
func (m *Machine) settleLeases(imsi string) {
	s := m.subscribers.get(imsi)
	for _, l := range slices.Collect(m.LeasesByIMSI(imsi)) {
		m.settleLease(s, l)
	}
	for _, apn := range s.GetApns() {
		if !m.wantsPin(s, apn) || m.leases.has(pair{imsi, apn}) {
			continue
		}
		if a, evict, ok := m.findAddress(s, apn); ok {
			m.lease(s, apn, a, evict, false)
		}
	}
}

func (m *Machine) settleLease(s *command.Subscriber, l *command.AddressLease) {
	pin := m.wantsPin(s, l.Apn)
	if l.InUse {
		if l.Pinned != pin {
			m.putLease(&command.AddressLease{Apn: l.Apn, Address: l.Address, Imsi: l.Imsi, InUse: true, Pinned: pin})
		}
		return
	}
	a := binary.BigEndian.Uint32(l.Address)
	fits := m.pools.owner(a) == l.Apn
	if static, ok := m.staticOn(s, l.Apn); ok && pin {
		fits = a == static
	} else if len(s.GetStaticAddress()) > 0 && bytes.Equal(s.StaticAddress, l.Address) {
		fits = false // free it for the APN that it moved to
	}
	switch {
	case !fits:
		m.dropLease(l)
	case pin != l.Pinned:
		next := &command.AddressLease{Apn: l.Apn, Address: l.Address, Imsi: l.Imsi, Pinned: pin}
		if !pin {
			m.releaseSeq++
			next.ReleasedSeq = m.releaseSeq
		}
		m.putLease(next)
	}
}

// release ends the use of a lease by a session.
func (m *Machine) release(imsi, apn string) {
	l := m.leases.get(pair{imsi, apn})
	m.releaseSeq++
	m.putLease(&command.AddressLease{Apn: l.Apn, Address: l.Address, Imsi: l.Imsi, ReleasedSeq: m.releaseSeq})
	m.settleLeases(imsi)
}
