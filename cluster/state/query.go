package state

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// Records that queries return are shared and immutable: never change them.
// A record that is not there is nil. Iterators go in the order of the keys and
// must be drained before the machine applies the next entry.

// Index returns the log index of the last entry applied.
func (m *Machine) Index() uint64 { return m.index }

// Level returns the highest level of a command that was applied, at least 1: every
// member is known to apply commands up to it.
func (m *Machine) Level() uint32 { return max(1, m.level) }

// Clock returns the cluster's time: the highest leader's stamp so far.
func (m *Machine) Clock() time.Time { return time.Unix(0, m.clock).UTC() }

// AuditHead returns the last link of the audit chain.
func (m *Machine) AuditHead() (seq uint64, hash [32]byte) { return m.auditSeq, m.auditHead }

// Policy returns the current revision, nil before the first.
func (m *Machine) Policy() *command.Policy { return m.policy }

// PolicyRevision returns the number of the current revision, 0 before the
// first.
func (m *Machine) PolicyRevision() uint64 { return m.policy.GetRevision() }

// Subscriber finds a subscriber by IMSI.
func (m *Machine) Subscriber(imsi string) *command.Subscriber { return m.subscribers.get(imsi) }

// Subscribers goes through all subscribers by IMSI, revoked ones too.
func (m *Machine) Subscribers() iter.Seq[*command.Subscriber] { return m.subscribers.values() }

// SubscriberByWireGuardKey finds whose public key it is; revoked ones too.
func (m *Machine) SubscriberByWireGuardKey(key []byte) *command.Subscriber {
	if len(key) == 0 {
		return nil
	}
	return m.subscribers.get(m.byWireGuardKey.get(string(key)))
}

// WireGuardPeers goes through the IPv4 leases of subscribers with a WireGuard
// key: the inner addresses that the fallback path accepts packets from. A
// subscriber with more than one APN has more than one.
func (m *Machine) WireGuardPeers() iter.Seq2[*command.Subscriber, *command.AddressLease] {
	return func(yield func(*command.Subscriber, *command.AddressLease) bool) {
		for imsi := range m.byWireGuardKey.values() {
			s := m.subscribers.get(imsi)
			if s.GetState() != command.DeviceState_ACTIVE {
				continue
			}
			for l := range m.spaces[ipv4].leasesOf(imsi) {
				if slices.Contains(s.Apns, l.Apn) && !yield(s, l) {
					return
				}
			}
		}
	}
}

// Barrel finds a barrel by its serial number.
func (m *Machine) Barrel(id string) *command.Barrel { return m.barrels.get(id) }

// Barrels goes through all barrels by serial number, revoked ones too.
func (m *Machine) Barrels() iter.Seq[*command.Barrel] { return m.barrels.values() }

// BarrelByMAC finds a barrel by its Wi-Fi address, as ident.MAC writes it.
func (m *Machine) BarrelByMAC(mac string) *command.Barrel { return m.barrels.get(m.byMAC.get(mac)) }

// BarrelByPSKIdentity finds a barrel by its DTLS pre-shared key identity.
func (m *Machine) BarrelByPSKIdentity(id string) *command.Barrel {
	return m.barrels.get(m.byPSKIdentity.get(id))
}

// BarrelByCert finds a barrel by the SHA-256 of its DER certificate.
func (m *Machine) BarrelByCert(sha256 []byte) *command.Barrel {
	return m.barrels.get(m.byCert.get(string(sha256)))
}

// BarrelsOf goes through the barrels that are checked out to a terminal.
func (m *Machine) BarrelsOf(imsi string) iter.Seq[*command.Barrel] {
	return func(yield func(*command.Barrel) bool) {
		for k := range m.checkouts.from(pair{imsi, ""}) {
			if k.first != imsi || !yield(m.barrels.get(k.second)) {
				return
			}
		}
	}
}

// Session finds a session by its id.
func (m *Machine) Session(id uint64) *command.Session { return m.sessions.get(id) }

// Sessions goes through all sessions by id, the oldest first.
func (m *Machine) Sessions() iter.Seq[*command.Session] { return m.sessions.values() }

// SessionByTEIDC finds the session whose GTP path has this control TEID here.
func (m *Machine) SessionByTEIDC(teid uint32) *command.Session {
	if s := m.sessions.get(m.teids.get(teid)); teid != 0 && s.GetGtp().GetLocalTeidC() == teid {
		return s
	}
	return nil
}

// SessionByTEIDU finds the session whose GTP path has this user-plane TEID
// here.
func (m *Machine) SessionByTEIDU(teid uint32) *command.Session {
	if s := m.sessions.get(m.teids.get(teid)); teid != 0 && s.GetGtp().GetLocalTeidU() == teid {
		return s
	}
	return nil
}

// SessionByAddress finds the session that holds an inner address: its IPv4
// address, or any in its /64.
func (m *Machine) SessionByAddress(a netip.Addr) *command.Session {
	b := a.Unmap().AsSlice()
	f, ok := familyOf(b)
	if !ok {
		return nil
	}
	l := m.spaces[f].byAddress.get(f.number(b))
	if !l.GetInUse() {
		return nil
	}
	return m.SessionByKey(l.Imsi, l.Apn)
}

// SessionByKey finds the session of a subscriber on an APN.
func (m *Machine) SessionByKey(imsi, apn string) *command.Session {
	return m.bySubscriber.get(pair{imsi, apn})
}

// SessionsByIMSI goes through the sessions of a subscriber by APN.
func (m *Machine) SessionsByIMSI(imsi string) iter.Seq[*command.Session] {
	return func(yield func(*command.Session) bool) {
		for k, s := range m.bySubscriber.from(pair{imsi, ""}) {
			if k.first != imsi || !yield(s) {
				return
			}
		}
	}
}

// SessionsByPeer goes through the sessions whose GTP path leads to a peer's
// control plane address, the oldest first.
func (m *Machine) SessionsByPeer(peer netip.Addr) iter.Seq[*command.Session] {
	return m.sessionsBy(peerKey(peer.As16()))
}

// Peer finds what is known of a peer by its control plane address; nil while no
// path leads there.
func (m *Machine) Peer(peer netip.Addr) *command.GTPPeer { return m.peers.get(peer.As16()) }

// Peers goes through the peers that GTP paths lead to, IPv4 first.
func (m *Machine) Peers() iter.Seq[*command.GTPPeer] { return m.peers.values() }

// Lease finds the IPv4 address that is tied to a subscriber on an APN, in use
// or not.
func (m *Machine) Lease(apn, imsi string) *command.AddressLease {
	return m.spaces[ipv4].leases.get(pair{imsi, apn})
}

// Lease6 finds the IPv6 prefix that is tied to a subscriber on an APN, in use or
// not.
func (m *Machine) Lease6(apn, imsi string) *command.AddressLease {
	return m.spaces[ipv6].leases.get(pair{imsi, apn})
}

// LeasesByIMSI goes through the leases of a subscriber: IPv4 by APN, then IPv6.
// Former ones, which only wait out their quarantine, are not among them.
func (m *Machine) LeasesByIMSI(imsi string) iter.Seq[*command.AddressLease] {
	return func(yield func(*command.AddressLease) bool) {
		for f := range m.spaces {
			for l := range m.spaces[f].leasesOf(imsi) {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// Address finds a gateway address by name: who holds it and since which epoch.
func (m *Machine) Address(name string) *command.GatewayAddress { return m.addresses.get(name) }

// Addresses goes through the gateway's addresses by name.
func (m *Machine) Addresses() iter.Seq[*command.GatewayAddress] { return m.addresses.values() }

// Order finds the ledger's account of a work order; nil until something of it
// was reserved, suspended or ended.
func (m *Machine) Order(number string) *command.Order { return m.orders.get(number) }

// Orders goes through all orders by number.
func (m *Machine) Orders() iter.Seq[*command.Order] { return m.orders.values() }

// Use finds a use by its id.
func (m *Machine) Use(id uint64) *command.Use { return m.uses.get(id) }

// Uses goes through all uses, the oldest first.
func (m *Machine) Uses() iter.Seq[*command.Use] { return m.uses.values() }

// UsesOfOrder goes through the uses of an order, the oldest first.
func (m *Machine) UsesOfOrder(number string) iter.Seq[*command.Use] {
	return func(yield func(*command.Use) bool) {
		for k := range m.usesOfOrder.from(numbered{number, 0}) {
			if k.name != number || !yield(m.uses.get(k.n)) {
				return
			}
		}
	}
}

// UseByRequest finds the use that a terminal's request made, however long ago.
func (m *Machine) UseByRequest(imsi, requestID string) *command.Use {
	return m.uses.get(m.byRequest.get(pair{imsi, requestID}))
}

// OpenUseOfBarrel finds the barrel's unsettled use, of which there is at most
// one.
func (m *Machine) OpenUseOfBarrel(barrel string) *command.Use {
	return m.uses.get(m.openOfBarrel.get(barrel))
}

// OpenUsesOf goes through the unsettled uses of a terminal, the oldest first.
func (m *Machine) OpenUsesOf(imsi string) iter.Seq[*command.Use] {
	return func(yield func(*command.Use) bool) {
		for k := range m.openOfIMSI.from(numbered{imsi, 0}) {
			if k.name != imsi || !yield(m.uses.get(k.n)) {
				return
			}
		}
	}
}

// Lock finds a lock by its id.
func (m *Machine) Lock(id uint64) *command.Lock { return m.locks.get(id) }

// Locks goes through all locks, the oldest first, carried out or not.
func (m *Machine) Locks() iter.Seq[*command.Lock] { return m.locks.values() }

// PendingLocks returns the locks that the barrel, or the terminal if one is to
// be told, has not acknowledged; the oldest first. A revoked terminal is not
// waited for.
func (m *Machine) PendingLocks() []*command.Lock { return slices.Collect(m.pendingLocks.values()) }

// LockOfBarrel finds the oldest lock that the barrel itself has not
// acknowledged. While there is one, the barrel gets no use.
func (m *Machine) LockOfBarrel(barrel string) *command.Lock {
	for k := range m.locksOfBarrel.from(numbered{barrel, 0}) {
		if k.name != barrel {
			break
		}
		return m.locks.get(k.n)
	}
	return nil
}

// LockBySource finds the lock that a disconnect made, by the disconnect's id.
func (m *Machine) LockBySource(id string) *command.Lock { return m.locks.get(m.bySource.get(id)) }

// Overdue names a stamping whose evidence is due and missing.
type Overdue struct {
	Use    uint64
	Number uint32
	Due    time.Time
}

// OverdueCandidates returns the stampings whose evidence was due by now, has
// not come and is not marked overdue yet: one MarkOverdue each.
func (m *Machine) OverdueCandidates(now time.Time) []Overdue {
	var out []Overdue
	for k := range m.evidenceDue.from(dueKey{}) {
		if k.due > now.UnixNano() {
			break
		}
		out = append(out, Overdue{k.use, k.number, time.Unix(0, k.due).UTC()})
	}
	return out
}

// ExpiredUses returns the uses whose grant ran out before now and that are not
// settled or stopped: one ExpireUse each.
func (m *Machine) ExpiredUses(now time.Time) []*command.Use {
	var out []*command.Use
	for id := range m.openOfBarrel.values() {
		if u := m.uses.get(id); u.GetState() == command.UseState_RESERVED && u.NotAfter < now.UnixNano() {
			out = append(out, u)
		}
	}
	return out
}

// NextEvidenceDue returns when evidence is due next, and false if none is: the
// time to call OverdueCandidates again.
func (m *Machine) NextEvidenceDue() (time.Time, bool) {
	for k := range m.evidenceDue.from(dueKey{}) {
		return time.Unix(0, k.due).UTC(), true
	}
	return time.Time{}, false
}

// Counts tells how many records there are of each kind; leases are those of
// both families, former ones too.
type Counts struct {
	Subscribers, Barrels, Sessions, Leases, Orders, Uses, Locks, PendingLocks, Remembered, Peers int
}

// Counts returns the number of records of each kind.
func (m *Machine) Counts() Counts {
	return Counts{
		Subscribers: m.subscribers.len(), Barrels: m.barrels.len(), Sessions: m.sessions.len(),
		Leases: m.spaces[ipv4].byAddress.len() + m.spaces[ipv6].byAddress.len(), Peers: m.peers.len(),
		Orders: m.orders.len(), Uses: m.uses.len(), Locks: m.locks.len(), PendingLocks: m.pendingLocks.len(),
		Remembered: m.remembered.len(),
	}
}
