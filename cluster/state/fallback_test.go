package state

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// fallbackHolds: there is one current server key or none, and one that it replaced at
// most; a lease is of an active subscriber and its key, and a path came by a lease that
// there is or was before it; a session knows a place that was told only while it has no
// carrier's path.
func fallbackHolds(m *Machine) error {
	current, before := 0, 0
	for _, k := range m.ServerKeys() {
		if k.Until == 0 {
			current++
		} else {
			before++
		}
		if len(k.PublicKey) != 32 || len(k.PrivateKey) == 0 || k.Until != 0 && k.Until < k.Since || m.serverKeys.get(string(k.PublicKey)) != k {
			return fmt.Errorf("server key %v", k)
		}
	}
	if current > 1 || before > current || current+before != m.serverKeys.len() || current == 1 && m.ServerKeys()[0].Until != 0 {
		return fmt.Errorf("%d current server keys, %d before", current, before)
	}
	for l := range m.FallbackLeases() {
		s := m.Subscriber(l.Imsi)
		switch {
		case s.GetState() != command.DeviceState_ACTIVE || !bytes.Equal(l.PublicKey, s.WireguardPublicKey) || len(l.PublicKey) != 32:
			return fmt.Errorf("lease %v of %v", l, s)
		case l.Number == 0 || l.Number > m.index || len(l.PresharedKey) == 0 || l.Expires <= l.Issued || m.FallbackLease(l.Imsi) != l:
			return fmt.Errorf("lease %v", l)
		}
	}
	for s := range m.Sessions() {
		w := s.Wireguard
		switch {
		case w.GetLease() > m.FallbackLease(s.Imsi).GetNumber() || w.GetLease() == 0 && w.GetShown() != 0:
			return fmt.Errorf("session %v came by a lease that isn't there", s)
		case s.Gtp != nil && s.LastPlace != nil || s.LastPlace.GetAt() > m.clock || s.PathSince > m.clock:
			return fmt.Errorf("session %v: place or time of its path", s)
		case len(w.GetEndpoint()) == 0 && w.GetEndpointPort() != 0:
			return fmt.Errorf("session %v: a port of no endpoint", s)
		case m.level < 2 && (s.PathSince != 0 || s.LastPlace != nil || w.GetLease() != 0 || w.GetEndpointPort() != 0):
			return fmt.Errorf("session %v has what level %d doesn't know", s, m.level)
		}
	}
	if m.level < 2 && m.serverKeys.len()+m.fallbackLeases.len() > 0 {
		return errors.New("server keys or leases in a log of level 1")
	}
	return nil
}

// good is a terminal's lease while it hasn't expired at a time.
func good(m *Machine, imsi string, now time.Time) *command.FallbackLease {
	if l := m.FallbackLease(imsi); l != nil && max(m.clock, now.UnixNano()) < l.Expires {
		return l
	}
	return nil
}

// keyOf is one of a few server keys.
func (w *world) keyOf() []byte { return bytes.Repeat([]byte{byte(w.choose(5))}, 32) }

// fallback does something about the fallback path, mostly what makes sense.
func (w *world) fallback() proto.Message {
	var p proto.Message
	switch m := w.log.m; w.choose(9) {
	case 0, 1:
		p = &command.PutServerKey{PublicKey: w.keyOf(), OverlapSeconds: pick[uint32](w, 0, 60, 600)}
	case 2:
		retire := &command.RetireServerKey{PublicKey: w.keyOf(), Reason: w.text()}
		if keys := m.ServerKeys(); len(keys) == 2 && !w.rarely() {
			retire.PublicKey = keys[1].PublicKey
		}
		p = retire
	case 3, 4, 5:
		p = &command.LeaseFallback{Imsi: w.keyed(), Shown: uint32(w.choose(8)), LifetimeSeconds: pick[uint32](w, 0, 60, 600, 3600), IssuedByOperator: w.rarely()}
	case 6:
		end := &command.EndFallback{Imsi: w.imsi(), Reason: w.text()}
		for l := range m.FallbackLeases() {
			if !w.rarely() {
				end.Imsi, end.Number = l.Imsi, pick(w, 0, l.Number, l.Number, l.Number+1)
			}
		}
		p = end
	default:
		p = &command.RoamWireGuard{Session: w.onFallback(), Endpoint: w.peer(), EndpointPort: uint32(w.choose(3))}
	}
	if !w.rarely() {
		w.log.fill(p, nil)
	}
	return p
}

// keyed is a terminal that has a WireGuard key, mostly.
func (w *world) keyed() string {
	for range 3 {
		if imsi := w.imsi(); len(w.log.m.Subscriber(imsi).GetWireguardPublicKey()) > 0 {
			return imsi
		}
	}
	return w.imsi()
}

// onFallback is a session with a fallback path, mostly.
func (w *world) onFallback() uint64 {
	id := w.session()
	for s := range w.log.m.Sessions() {
		if s.Wireguard != nil && !w.rarely() {
			id = s.Id
		}
	}
	return id
}

// attachment comes by the fallback path, from somewhere.
func (w *world) attachment() *command.AttachWireGuard {
	p := &command.AttachWireGuard{Imsi: w.imsi(), Apn: w.apn(), Endpoint: w.peer()}
	if len(p.Endpoint) > 0 || w.rarely() {
		p.EndpointPort = uint32(w.choose(3))
	}
	return p
}

// onLease is a log in which a terminal has a lease and came by it.
func onLease(t testing.TB) *testLog {
	l := demo(t)
	l.put(&command.PutServerKey{PublicKey: bytes.Repeat([]byte{1}, 32)})
	l.put(&command.PutServerKey{PublicKey: bytes.Repeat([]byte{2}, 32), OverlapSeconds: 60})
	l.put(&command.LeaseFallback{Imsi: "460010000000001", LifetimeSeconds: 600, Shown: 3})
	l.put(&command.AttachWireGuard{Imsi: "460010000000001", Apn: "seal.corp", Endpoint: []byte{192, 0, 2, 1}, EndpointPort: 4000})
	return l
}

// Whoever follows the machine by its journal is told of keys and leases.
func TestFallbackIsTold(t *testing.T) {
	l := onLease(t)
	_, at := l.m.Since(Cursor{})
	for _, p := range []proto.Message{
		&command.RetireServerKey{PublicKey: bytes.Repeat([]byte{1}, 32)},
		&command.PutServerKey{PublicKey: bytes.Repeat([]byte{3}, 32)},
		&command.LeaseFallback{Imsi: "460010000000001", LifetimeSeconds: 600},
		&command.EndFallback{Imsi: "460010000000001"},
	} {
		l.put(p)
		var c Changes
		if c, at = l.m.Since(at); !c.Devices {
			t.Errorf("%T: not told", p)
		}
	}
	l.put(&command.AttachWireGuard{Imsi: "460010000000001", Apn: "seal.corp"})
	_, at = l.m.Since(at)
	l.put(&command.RoamWireGuard{Session: 1, Endpoint: []byte{192, 0, 2, 2}, EndpointPort: 5})
	if c, _ := l.m.Since(at); c.Devices || len(c.Sessions) != 1 {
		t.Errorf("a roaming terminal: %+v", c)
	}
}

// A log of level 1 is read by nodes that keep nothing of this: it leaves nothing.
func TestFallbackBeforeItsLevel(t *testing.T) {
	l := newLog(t)
	l.put(&command.PutPolicy{Pools: []*command.Pool{{Apn: "a", PrefixAddress: []byte{10, 0, 0, 0}, PrefixBits: 28}}})
	l.put(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "1", Apns: []string{"a"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: bytes.Repeat([]byte{1}, 32)}})
	l.put(&command.OpenSession{Imsi: "1", Apn: "a", Gtp: &command.GTPPath{Ebi: 5, ServingPlmn: "46000"}})
	l.put(&command.AttachWireGuard{Imsi: "1", Apn: "a", Lease: 7, Endpoint: []byte{1}, EndpointPort: 9})
	l.put(&command.ClosePath{Session: 1, Path: command.PathKind_GTP})
	if s := l.m.Session(1); s.PathSince != 0 || s.LastPlace != nil || !proto.Equal(s.Wireguard, &command.WireGuardPath{PublicKey: bytes.Repeat([]byte{1}, 32)}) {
		t.Errorf("at level 1: %v", s)
	}
	if l.m.level != 1 {
		t.Fatalf("the log is of level %d", l.m.level)
	}
	l.put(&command.RaiseLevel{Level: 2})
	l.put(&command.OpenSession{Imsi: "1", Apn: "a", Gtp: &command.GTPPath{Ebi: 5, ServingPlmn: "46000"}})
	l.put(&command.ClosePath{Session: 1, Path: command.PathKind_GTP})
	if s := l.m.Session(1); s.PathSince == 0 || s.LastPlace.GetServingPlmn() != "46000" {
		t.Errorf("at level 2: %v", s)
	}
}

func TestSnapshotsOfFallback(t *testing.T) {
	l := onLease(t)
	l.restore()
	base := func() (*command.Subscriber, *command.FallbackLease, []*command.ServerKey) {
		return &command.Subscriber{Imsi: "1", State: command.DeviceState_ACTIVE, WireguardPublicKey: bytes.Repeat([]byte{1}, 32)},
			&command.FallbackLease{Imsi: "1", Number: 3, PublicKey: bytes.Repeat([]byte{1}, 32), PresharedKey: []byte("wrapped"), Expires: 1},
			[]*command.ServerKey{{PublicKey: bytes.Repeat([]byte{1}, 32), PrivateKey: []byte("w")}, {PublicKey: bytes.Repeat([]byte{2}, 32), PrivateKey: []byte("w"), Until: 5}}
	}
	for name, spoil := range map[string]func(*command.Subscriber, *command.FallbackLease, []*command.ServerKey){
		"":          func(*command.Subscriber, *command.FallbackLease, []*command.ServerKey) {},
		"of nobody": func(_ *command.Subscriber, l *command.FallbackLease, _ []*command.ServerKey) { l.Imsi = "2" },
		"of a suspended one": func(s *command.Subscriber, _ *command.FallbackLease, _ []*command.ServerKey) {
			s.State = command.DeviceState_SUSPENDED_DEVICE
		},
		"of another key": func(s *command.Subscriber, _ *command.FallbackLease, _ []*command.ServerKey) {
			s.WireguardPublicKey[0]++
		},
		"of no key": func(s *command.Subscriber, l *command.FallbackLease, _ []*command.ServerKey) {
			s.WireguardPublicKey, l.PublicKey = nil, nil
		},
		"beyond the index":            func(_ *command.Subscriber, l *command.FallbackLease, _ []*command.ServerKey) { l.Number = 10 },
		"without a number":            func(_ *command.Subscriber, l *command.FallbackLease, _ []*command.ServerKey) { l.Number = 0 },
		"without a key":               func(_ *command.Subscriber, l *command.FallbackLease, _ []*command.ServerKey) { l.PresharedKey = nil },
		"two current server keys":     func(_ *command.Subscriber, _ *command.FallbackLease, k []*command.ServerKey) { k[1].Until = 0 },
		"no current server key":       func(_ *command.Subscriber, _ *command.FallbackLease, k []*command.ServerKey) { k[0].Until = 1 },
		"server keys out of order":    func(_ *command.Subscriber, _ *command.FallbackLease, k []*command.ServerKey) { k[0], k[1] = k[1], k[0] },
		"a server key without secret": func(_ *command.Subscriber, _ *command.FallbackLease, k []*command.ServerKey) { k[0].PrivateKey = nil },
		"a short server key": func(_ *command.Subscriber, _ *command.FallbackLease, k []*command.ServerKey) {
			k[0].PublicKey = k[0].PublicKey[:31]
		},
	} {
		s, l, k := base()
		spoil(s, l, k)
		b := forge(t, &command.SnapshotHeader{Version: 1, LastIndex: 9},
			&command.SnapshotRecord{Record: &command.SnapshotRecord_Subscriber{Subscriber: s}},
			&command.SnapshotRecord{Record: &command.SnapshotRecord_ServerKey{ServerKey: k[0]}},
			&command.SnapshotRecord{Record: &command.SnapshotRecord_ServerKey{ServerKey: k[1]}},
			&command.SnapshotRecord{Record: &command.SnapshotRecord_FallbackLease{FallbackLease: l}})
		if _, err := ReadSnapshot(bytes.NewReader(b)); errors.Is(err, ErrSnapshot) != (name != "") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A path that came by a lease goes with it; a snapshot in which it hasn't is refused.
func TestSnapshotOfAPathWithoutItsLease(t *testing.T) {
	l := onLease(t)
	var records []*command.SnapshotRecord
	for r := range l.m.records() {
		if r.GetFallbackLease() == nil && r.GetRemembered() == nil {
			records = append(records, r)
		}
	}
	h := &command.SnapshotHeader{Version: 1, LastIndex: l.index, NextSession: 1, AuditTreeFirst: 0}
	if _, err := ReadSnapshot(bytes.NewReader(forge(t, h, records...))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("read: %v", err)
	}
	for _, r := range records {
		if s := r.GetSession(); s != nil {
			s.Wireguard.Lease = 0
		}
	}
	if _, err := ReadSnapshot(bytes.NewReader(forge(t, h, records...))); err != nil {
		t.Errorf("without it: %v", err)
	}
}
