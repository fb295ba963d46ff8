package state

import (
	"bytes"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// An address lease is in one of three conditions: in use by a session; pinned,
// that is kept for its subscriber alone; or waiting, kept for its subscriber
// until no other address is left, then given to another, the longest released
// first. What waits goes to another only after its pool's quarantine, so that
// late packets, and records that name an address, are not taken for another's.
//
// A lease is its subscriber's on an APN, one of each family. A subscriber that
// gets by another address, because of a new static one or a new policy, leaves
// the old lease behind as a former one if it is in quarantine yet.

func waiting(l *command.AddressLease) bool { return !l.InUse && !l.Pinned }

// putLease adds or replaces a subscriber's lease on an APN. The address must
// not be another's.
func (m *Machine) putLease(f family, l *command.AddressLease) {
	s := &m.spaces[f]
	old := s.leases.get(pair{l.Imsi, l.Apn})
	if old != nil && bytes.Equal(old.Address, l.Address) {
		if waiting(old) {
			s.released.delete(numbered{old.Apn, old.ReleasedSeq})
		}
	} else {
		if old != nil {
			m.retire(f, old)
		}
		s.take(f.number(l.Address))
	}
	m.indexLease(f, l)
}

func (m *Machine) indexLease(f family, l *command.AddressLease) {
	s := &m.spaces[f]
	s.byAddress.set(f.number(l.Address), l)
	m.journal.devices++
	if !l.Former {
		s.leases.set(pair{l.Imsi, l.Apn}, l)
	}
	if waiting(l) {
		s.released.set(numbered{l.Apn, l.ReleasedSeq}, l)
	}
}

func (m *Machine) dropLease(f family, l *command.AddressLease) {
	s := &m.spaces[f]
	s.byAddress.delete(f.number(l.Address))
	m.journal.devices++
	if !l.Former {
		s.leases.delete(pair{l.Imsi, l.Apn})
	}
	if waiting(l) {
		s.released.delete(numbered{l.Apn, l.ReleasedSeq})
	}
	s.give(f.number(l.Address))
}

// retire drops a lease that its subscriber gets by no more. While it is in
// quarantine it stays as a former one, of the APN that gives its address out
// now.
func (m *Machine) retire(f family, l *command.AddressLease) {
	m.dropLease(f, l)
	n := f.number(l.Address)
	home, ok := m.spaces[f].pools.at(n)
	if !ok || home.quarantine == 0 {
		return
	}
	left := &command.AddressLease{
		Apn: home.apn, Address: l.Address, Imsi: l.Imsi, Former: true, ReleasedSeq: l.ReleasedSeq, Released: l.Released,
	}
	if !waiting(l) {
		m.wait(left)
	}
	if m.quarantined(f, left) {
		m.spaces[f].take(n)
		m.indexLease(f, left)
	}
}

// wait notes that nobody uses a lease from now on.
func (m *Machine) wait(l *command.AddressLease) {
	m.releaseSeq++
	l.ReleasedSeq, l.Released = m.releaseSeq, m.clock
}

// quarantined tells whether a waiting lease is for its own subscriber only.
func (m *Machine) quarantined(f family, l *command.AddressLease) bool {
	home, _ := m.spaces[f].pools.at(f.number(l.Address))
	return m.clock-l.Released < home.quarantine
}

// available tells whether the address of a lease can be had by a subscriber.
func (m *Machine) available(f family, l *command.AddressLease, imsi string) bool {
	return waiting(l) && (l.Imsi == imsi || !m.quarantined(f, l))
}

// staticOn returns the static address of a subscriber if it has one for this
// APN: the APN whose pool the address is in, otherwise the first of its list.
func (m *Machine) staticOn(f family, s *command.Subscriber, apn string) (uint64, bool) {
	a := f.static(s)
	if len(a) == 0 || len(s.Apns) == 0 {
		return 0, false
	}
	n := f.number(a)
	home := m.spaces[f].pools.owner(n)
	if !slices.Contains(s.Apns, home) {
		home = s.Apns[0]
	}
	return n, apn == home
}

// A choice is an address that a subscriber can have, and the lease that has to
// go for it: nil unless there is another one of it.
type choice struct {
	n     uint64
	evict *command.AddressLease
}

// findAddress chooses the address for a subscriber on an APN: the static one,
// the one it had, one that nobody had, the one released longest ago. Nothing is
// changed yet.
func (m *Machine) findAddress(f family, s *command.Subscriber, apn string) (choice, bool) {
	sp := &m.spaces[f]
	own := sp.leases.get(pair{s.Imsi, apn})
	if n, static := m.staticOn(f, s, apn); static {
		l := sp.byAddress.get(n)
		if l == nil || l == own {
			return choice{n: n}, true
		}
		return choice{n, l}, m.available(f, l, s.Imsi)
	}
	if own != nil {
		if n := f.number(own.Address); sp.pools.owner(n) == apn {
			return choice{n: n}, true
		}
	}
	if n, ok := sp.firstFree(apn); ok {
		return choice{n: n}, true
	}
	for k, l := range sp.released.from(numbered{apn, 0}) {
		if k.name == apn {
			return choice{f.number(l.Address), l}, m.available(f, l, s.Imsi)
		}
		break
	}
	return choice{}, false
}

// lease ties an address that findAddress chose to a subscriber.
func (m *Machine) lease(f family, s *command.Subscriber, apn string, c choice, inUse bool) *command.AddressLease {
	if c.evict != nil {
		m.dropLease(f, c.evict)
	}
	l := &command.AddressLease{
		Apn: apn, Address: f.bytes(c.n), Imsi: s.Imsi, InUse: inUse, Pinned: m.wantsPin(f, s, apn),
	}
	m.putLease(f, l)
	return l
}

// wantsPin tells whether an address is to be kept for a subscriber while it
// has no session: a static one, or the IPv4 address of a WireGuard peer, which
// has to be known before the peer's first packet.
func (m *Machine) wantsPin(f family, s *command.Subscriber, apn string) bool {
	if s == nil || s.State == command.DeviceState_REVOKED_DEVICE || !slices.Contains(s.Apns, apn) {
		return false
	}
	_, static := m.staticOn(f, s, apn)
	return static || f == ipv4 && len(s.WireguardPublicKey) > 0
}

// settleLeases brings the leases of a subscriber into line with its record and
// with the pools, after either changed or a session let go of one. A lease in
// use keeps its address until then.
func (m *Machine) settleLeases(imsi string) {
	s := m.subscribers.get(imsi)
	for _, f := range families {
		for _, l := range slices.Collect(m.spaces[f].leasesOf(imsi)) {
			m.settleLease(f, s, l)
		}
		for _, apn := range s.GetApns() {
			if !m.wantsPin(f, s, apn) || m.spaces[f].leases.has(pair{imsi, apn}) {
				continue
			}
			if c, ok := m.findAddress(f, s, apn); ok {
				m.lease(f, s, apn, c, false)
			}
		}
	}
}

func (m *Machine) settleLease(f family, s *command.Subscriber, l *command.AddressLease) {
	pin := m.wantsPin(f, s, l.Apn)
	if l.InUse {
		if l.Pinned != pin {
			m.putLease(f, &command.AddressLease{Apn: l.Apn, Address: l.Address, Imsi: l.Imsi, InUse: true, Pinned: pin})
		}
		return
	}
	n := f.number(l.Address)
	fits := m.spaces[f].pools.owner(n) == l.Apn
	if static, ok := m.staticOn(f, s, l.Apn); ok && pin {
		fits = n == static
	} else if a := f.static(s); len(a) > 0 && bytes.Equal(a, l.Address) {
		fits = false // free it for the APN that it moved to
	}
	switch {
	case !fits:
		m.retire(f, l)
	case pin != l.Pinned:
		next := &command.AddressLease{Apn: l.Apn, Address: l.Address, Imsi: l.Imsi, Pinned: pin}
		if !pin {
			m.wait(next)
		}
		m.putLease(f, next)
	}
}

// provide gives a session the addresses that its paths use and it lacks, and
// takes from it those that none of them uses any more. It is false, and nothing
// is changed, if one cannot be had. The session is the caller's own copy.
func (m *Machine) provide(sub *command.Subscriber, s *command.Session) bool {
	var chosen [len(families)]choice
	for _, f := range families {
		if f.usedBy(s) && len(f.held(s)) == 0 {
			var ok bool
			if chosen[f], ok = m.findAddress(f, sub, s.Apn); !ok {
				return false
			}
		}
	}
	for _, f := range families {
		if f.usedBy(s) && len(f.held(s)) == 0 {
			f.set(s, m.lease(f, sub, s.Apn, chosen[f], true).Address)
		}
	}
	m.shed(s)
	return true
}

// shed takes from a session the addresses that none of its paths uses any more.
// The session is the caller's own copy.
func (m *Machine) shed(s *command.Session) {
	idle := func(f family) bool { return !f.usedBy(s) }
	m.release(s, idle)
	for _, f := range families {
		if idle(f) {
			f.set(s, nil)
		}
	}
}

// release ends the use of a session's leases, those of the families chosen.
func (m *Machine) release(s *command.Session, chosen func(family) bool) {
	let := false
	for _, f := range families {
		if len(f.held(s)) == 0 || !chosen(f) {
			continue
		}
		held := m.spaces[f].leases.get(pair{s.Imsi, s.Apn})
		l := &command.AddressLease{Apn: held.Apn, Address: held.Address, Imsi: held.Imsi}
		m.wait(l)
		m.putLease(f, l)
		let = true
	}
	if let {
		m.settleLeases(s.Imsi)
	}
}
