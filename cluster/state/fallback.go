package state

import (
	"bytes"
	"iter"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// fallbackLevel is the command level from which sessions note what the fallback path
// needs beside the terminal's key: leases, endpoints, since when a path is the active
// one, and where the carrier saw the terminal last.
const fallbackLevel = 2

const (
	keySize      = 32  // of Curve25519, bytes
	maxWrapped   = 512 // more than a wrapped key has, bytes
	maxPort      = 1<<16 - 1
	notItsKey    = "this is not the subscriber's WireGuard key"
	noSuchSecret = "a key is kept wrapped, in at most %d bytes"
)

// ServerKeys returns the gateway's keys on the fallback path: the current one, then
// the one that it replaced, until that is retired. Until may have passed already.
func (m *Machine) ServerKeys() []*command.ServerKey {
	keys := slices.Collect(m.serverKeys.values())
	slices.SortFunc(keys, func(a, b *command.ServerKey) int {
		if a.Until == 0 {
			return -1
		}
		return 1
	})
	return keys
}

// FallbackLease finds a terminal's lease of the fallback path; nil if it has none. It
// may have expired already.
func (m *Machine) FallbackLease(imsi string) *command.FallbackLease {
	return m.fallbackLeases.get(imsi)
}

// FallbackLeases goes through the leases of the fallback path by IMSI.
func (m *Machine) FallbackLeases() iter.Seq[*command.FallbackLease] {
	return m.fallbackLeases.values()
}

// FallbackLeasesAfter goes through the leases of the fallback path after an IMSI.
func (m *Machine) FallbackLeasesAfter(imsi string) iter.Seq[*command.FallbackLease] {
	return after(m.fallbackLeases, imsi)
}

// currentKey is the server key that isn't to be replaced yet; nil: there is none.
func (m *Machine) currentKey() *command.ServerKey {
	for _, k := range m.ServerKeys() {
		return k
	}
	return nil
}

// putServerKey makes a key the current one. The one before is good until the overlap
// is over, or gone at once; a third key there never is.
func (m *Machine) putServerKey(p *command.PutServerKey, actor string) outcome {
	current := m.currentKey()
	switch overlap := time.Duration(p.OverlapSeconds) * time.Second; {
	case len(p.PublicKey) != keySize:
		return invalid("a WireGuard key has 32 bytes")
	case len(p.PrivateKey) == 0 || len(p.PrivateKey) > maxWrapped:
		return invalid(noSuchSecret, maxWrapped)
	case overlap > command.OverlapFor:
		return invalid("an overlap of %v; at most %v", overlap, command.OverlapFor)
	case m.serverKeys.has(string(p.PublicKey)):
		return refuse(command.Code_DUPLICATE, "the gateway has this key already")
	case !bytes.Equal(p.Replaces, current.GetPublicKey()):
		return refuse(command.Code_CONFLICT, "the current server key is another, or there is none")
	}
	for _, k := range m.ServerKeys() {
		if k.Until > m.clock {
			return refuse(command.Code_CONFLICT, "the key before is good until %s yet; retire it first", time.Unix(0, k.Until).UTC().Format(time.RFC3339))
		}
	}
	for _, k := range m.ServerKeys() {
		if k.Until != 0 || p.OverlapSeconds == 0 {
			m.serverKeys.delete(string(k.PublicKey))
			continue
		}
		old := shallow(k)
		old.Until = m.clock + int64(p.OverlapSeconds)*int64(time.Second)
		m.serverKeys.set(string(old.PublicKey), old)
	}
	k := &command.ServerKey{PublicKey: p.PublicKey, PrivateKey: p.PrivateKey, Since: m.clock, By: actor}
	m.serverKeys.set(string(k.PublicKey), k)
	m.journal.devices++
	return done(withoutPrivateKey(k), "")
}

// retireServerKey forgets a key that was replaced.
func (m *Machine) retireServerKey(p *command.RetireServerKey) outcome {
	k := m.serverKeys.get(string(p.PublicKey))
	switch {
	case k == nil:
		return refuse(command.Code_NOT_FOUND, "the gateway has no such key")
	case k.Until == 0:
		return invalid("the current server key isn't retired but replaced")
	}
	m.serverKeys.delete(string(k.PublicKey))
	m.journal.devices++
	return done(withoutPrivateKey(k), "")
}

func withoutPrivateKey(k *command.ServerKey) *command.ServerKey {
	k = shallow(k)
	k.PrivateKey = nil
	return k
}

// leaseFallback lets a terminal use the fallback path for a time. Paths that came by
// the lease before stay as they are; they end with this one.
func (m *Machine) leaseFallback(p *command.LeaseFallback, actor string) outcome {
	lifetime := time.Duration(p.LifetimeSeconds) * time.Second
	switch {
	case p.Imsi == "":
		return invalid("a lease needs an IMSI")
	case len(p.PresharedKey) == 0 || len(p.PresharedKey) > maxWrapped:
		return invalid(noSuchSecret, maxWrapped)
	case lifetime == 0 || lifetime > command.FallbackFor:
		return invalid("a lease of %v; more than nothing, and at most %v", lifetime, command.FallbackFor)
	}
	sub, o := m.decidedOn(p.Imsi, p.PolicyRevision, p.SubscriberVersion)
	switch {
	case o.refused():
		return o
	case len(p.PublicKey) == 0 || !bytes.Equal(p.PublicKey, sub.WireguardPublicKey):
		return invalid(notItsKey)
	}
	m.forgetScope(fallbackScope(sub.Imsi)) // what was answered then is good no more
	l := &command.FallbackLease{
		Imsi: sub.Imsi, Number: m.index, PublicKey: sub.WireguardPublicKey, PresharedKey: p.PresharedKey, Shown: p.Shown,
		Issued: m.clock, Expires: m.clock + int64(lifetime), By: actor, IssuedByOperator: p.IssuedByOperator,
	}
	m.fallbackLeases.set(l.Imsi, l)
	m.journal.devices++
	return done(l, fallbackScope(l.Imsi))
}

// endFallback takes a lease back. A path that the terminal's key alone admitted stays.
func (m *Machine) endFallback(p *command.EndFallback) outcome {
	l := m.fallbackLeases.get(p.Imsi)
	switch {
	case l == nil:
		return refuse(command.Code_NOT_FOUND, "the terminal has no lease of the fallback path")
	case p.Number != 0 && p.Number != l.Number:
		return refuse(command.Code_CONFLICT, "the lease is number %d, not %d", l.Number, p.Number)
	}
	m.dropFallback(p.Imsi)
	for _, s := range slices.Collect(m.SessionsByIMSI(p.Imsi)) {
		if s.Wireguard.GetLease() != 0 {
			m.removePath(s, command.PathKind_WIREGUARD)
		}
	}
	l = shallow(l)
	l.PresharedKey = nil
	return done(l, "")
}

// dropFallback forgets a terminal's lease, if it has one, and the answers with its
// pre-shared key. What came by it is the caller's to close.
func (m *Machine) dropFallback(imsi string) {
	if m.fallbackLeases.has(imsi) {
		m.fallbackLeases.delete(imsi)
		m.forgetScope(fallbackScope(imsi))
		m.journal.devices++
	}
}

// heedFallback drops the lease of a subscriber that may have none any more: it isn't
// active, or has another key.
func (m *Machine) heedFallback(s *command.Subscriber) {
	l := m.fallbackLeases.get(s.Imsi)
	if l != nil && (s.State != command.DeviceState_ACTIVE || !bytes.Equal(l.PublicKey, s.WireguardPublicKey)) {
		m.dropFallback(s.Imsi)
	}
}

// fallbackScope is within which the answer with a lease is remembered: a repeat of the
// request gets the same one while it is the terminal's.
func fallbackScope(imsi string) string { return "fallback:" + imsi }

// goodLease is a terminal's lease while it hasn't expired.
func (m *Machine) goodLease(imsi string) *command.FallbackLease {
	if l := m.fallbackLeases.get(imsi); l != nil && m.clock < l.Expires {
		return l
	}
	return nil
}

// fallbackPath is the path that a terminal came to.
func (m *Machine) fallbackPath(sub *command.Subscriber, p *command.AttachWireGuard) (*command.WireGuardPath, outcome) {
	w := &command.WireGuardPath{PublicKey: sub.WireguardPublicKey}
	if m.level < fallbackLevel {
		return w, done(nil, "")
	}
	l := m.goodLease(sub.Imsi)
	switch {
	case l.GetNumber() != p.Lease:
		return nil, refuse(command.Code_CONFLICT, "the terminal's lease of the fallback path is number %d, not %d", l.GetNumber(), p.Lease)
	case len(p.Endpoint) != 0 && !isEndpoint(p.Endpoint, p.EndpointPort) || len(p.Endpoint) == 0 && p.EndpointPort != 0:
		return nil, invalid("an endpoint is an address of 4 or 16 bytes and a port")
	}
	w.Lease, w.Shown = p.Lease, l.GetShown()
	w.Endpoint, w.EndpointPort = p.Endpoint, p.EndpointPort
	return w, done(nil, "")
}

func isEndpoint(address []byte, port uint32) bool {
	_, ok := familyOf(address)
	return ok && port > 0 && port <= maxPort
}

// roamWireGuard notes where a terminal is heard from by now.
func (m *Machine) roamWireGuard(p *command.RoamWireGuard) outcome {
	before := m.sessions.get(p.Session)
	switch {
	case !isEndpoint(p.Endpoint, p.EndpointPort):
		return invalid("an endpoint is an address of 4 or 16 bytes and a port")
	case before == nil:
		return refuse(command.Code_NOT_FOUND, "no such session")
	case before.Wireguard == nil || !bytes.Equal(before.Wireguard.PublicKey, p.PublicKey):
		return refuse(command.Code_CONFLICT, "the session has another fallback path by now, or none")
	case bytes.Equal(before.Wireguard.Endpoint, p.Endpoint) && before.Wireguard.EndpointPort == p.EndpointPort:
		return done(before, sessionScope(before.Id))
	}
	s := shallow(before)
	s.Wireguard = shallow(before.Wireguard)
	s.Wireguard.Endpoint, s.Wireguard.EndpointPort = p.Endpoint, p.EndpointPort
	s.Version++
	m.putSession(s)
	return done(s, sessionScope(s.Id))
}

// noteSwitch keeps with a session since when its active path is that, and the place
// that its carrier told when that path went. The session is the caller's own copy.
func (m *Machine) noteSwitch(old, s *command.Session) {
	if m.level < fallbackLevel {
		return
	}
	if old.GetActive() != s.Active {
		s.PathSince = m.clock
	}
	switch g := old.GetGtp(); {
	case s.Gtp != nil:
		s.LastPlace = nil
	case g != nil:
		s.LastPlace = &command.ToldPlace{Version: g.Version, UserLocation: g.UserLocation, ServingPlmn: g.ServingPlmn, At: m.clock}
	}
}

// fits tells whether a server key of a snapshot goes with those before it.
func (m *Machine) fits(k *command.ServerKey) bool {
	for _, other := range m.ServerKeys() {
		if (other.Until == 0) == (k.Until == 0) {
			return false
		}
	}
	return len(k.PublicKey) == keySize && len(k.PrivateKey) > 0
}

// owned tells whether a lease of a snapshot is of a subscriber that may have it.
func (m *Machine) owned(l *command.FallbackLease) bool {
	s := m.subscribers.get(l.Imsi)
	return s.GetState() == command.DeviceState_ACTIVE && len(l.PublicKey) == keySize && bytes.Equal(l.PublicKey, s.WireguardPublicKey) &&
		l.Number > 0 && l.Number <= m.index && len(l.PresharedKey) > 0
}
