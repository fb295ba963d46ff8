package state

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
)

// opening is a session to be opened, in a handset that may be bound by it.
func (w *world) opening() *command.OpenSession {
	p := &command.OpenSession{Imsi: w.imsi(), Apn: w.apn(), Gtp: w.path(), Entropy: bytes.Repeat(w.content(), 16)}
	p.Gtp.Imei, p.BindHandset = w.handset(), w.choose(4) == 0
	return p
}

func (w *world) handset() string { return pick(w, "35693803564380", "35693803564381", "") }

// handsets binds and announces some.
func (w *world) handsets(s *command.Subscriber) *command.Subscriber {
	if w.choose(3) == 0 {
		s.Imeis = []string{"35693803564380"}
	}
	if w.choose(3) == 0 {
		s.AnnouncedImei, s.AnnouncedUntil = "35693803564381", w.log.m.clock+int64(w.choose(3))*1_000_000_000
	}
	return s
}

const (
	oldHandset = "35693803564380"
	newHandset = "35693803564381"
)

// bindingLog has a subscriber on two access points, at the level that binds.
func bindingLog(t *testing.T, change func(*command.Subscriber)) *testLog {
	l := newLog(t)
	l.put(&command.RaiseLevel{Level: 2, Nodes: []string{"n1"}})
	l.put(&command.PutPolicy{Document: []byte("policy"), Pools: []*command.Pool{
		{Apn: "a", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 24}, {Apn: "b", PrefixAddress: []byte{10, 91, 0, 0}, PrefixBits: 24},
	}})
	s := &command.Subscriber{Imsi: "460010000000001", Apns: []string{"a", "b"}, State: command.DeviceState_ACTIVE}
	change(s)
	l.put(&command.PutSubscriber{Subscriber: s})
	return l
}

func opens(apn, imei string, ebi uint32, bind bool) *command.OpenSession {
	return &command.OpenSession{Imsi: "460010000000001", Apn: apn, Gtp: &command.GTPPath{Ebi: ebi, Imei: imei, PeerC: &command.FTEID{Teid: 7, Address: []byte{127, 0, 20, 1}}}, BindHandset: bind}
}

// The first handset that the SIM is used in becomes its only one.
func TestBindOnFirstUse(t *testing.T) {
	l := bindingLog(t, func(*command.Subscriber) {})
	l.put(opens("a", oldHandset, 5, true))
	s := l.m.Subscriber("460010000000001")
	if !slices.Equal(s.Imeis, []string{oldHandset}) || s.Version != 2 || l.m.SessionByKey(s.Imsi, "a").GetGtp() == nil {
		t.Fatalf("%v", s)
	}
	// Another can't be bound after it.
	p := opens("b", newHandset, 6, true)
	l.fill(p, nil)
	if r := l.apply(command.New("test", "", "tester", p)); r.Code != command.Code_INVALID || l.m.SessionByKey(s.Imsi, "b") != nil {
		t.Errorf("%v", r)
	}
	// Who decided upon the record before decides once more.
	q := opens("b", newHandset, 6, true)
	l.fill(q, nil)
	q.SubscriberVersion = 1
	if r := l.apply(command.New("test", "", "tester", q)); r.Code != command.Code_CONFLICT {
		t.Errorf("%v", r)
	}
}

// An announced handset takes the place of the one before, whose paths end, and the
// announcement with it.
func TestBindAnnounced(t *testing.T) {
	l := bindingLog(t, func(s *command.Subscriber) {
		s.Imeis, s.AnnouncedImei, s.AnnouncedUntil = []string{oldHandset, "35693803564382"}, newHandset, 1<<62
	})
	l.put(opens("a", oldHandset, 5, false))
	l.put(opens("b", newHandset, 6, true))
	s := l.m.Subscriber("460010000000001")
	if !slices.Equal(s.Imeis, []string{newHandset}) || s.AnnouncedImei != "" || s.AnnouncedUntil != 0 {
		t.Errorf("%v", s)
	}
	if l.m.SessionByKey(s.Imsi, "a") != nil || l.m.SessionByKey(s.Imsi, "b").GetGtp().GetImei() != newHandset {
		t.Error("the sessions are not those of the new handset")
	}
	if err := invariants(l.m); err != nil {
		t.Error(err)
	}
}

func TestBindRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*command.Subscriber)
		imei   string
		code   command.Code
	}{
		"no handset":    {func(*command.Subscriber) {}, "", command.Code_INVALID},
		"not announced": {func(s *command.Subscriber) { s.Imeis = []string{oldHandset} }, newHandset, command.Code_INVALID},
		"announced, too late": {func(s *command.Subscriber) {
			s.Imeis, s.AnnouncedImei, s.AnnouncedUntil = []string{oldHandset}, newHandset, 1
		}, newHandset, command.Code_CONFLICT},
		"announced too late, but none bound": {func(s *command.Subscriber) { s.AnnouncedImei, s.AnnouncedUntil = newHandset, 1 }, newHandset, command.Code_OK},
	} {
		l := bindingLog(t, c.change)
		before := l.m.Subscriber("460010000000001").Version
		p := opens("a", c.imei, 5, true)
		l.fill(p, nil)
		r := l.apply(command.New("test", "", "tester", p))
		s := l.m.Subscriber("460010000000001")
		if r.Code != c.code || (r.Code == command.Code_OK) != (s.Version > before) || (r.Code == command.Code_OK) != (l.m.SessionByKey(s.Imsi, "a") != nil) {
			t.Errorf("%s: %v, version %d", name, r, s.Version)
		}
	}
}

// Nodes of level 1 don't bind, so none does while there may be one.
func TestBindWaitsForTheLevel(t *testing.T) {
	l := newLog(t)
	l.put(&command.PutPolicy{Document: []byte("policy"), Pools: []*command.Pool{{Apn: "a", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 24}}})
	l.put(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460010000000001", Apns: []string{"a"}, State: command.DeviceState_ACTIVE}})
	l.put(opens("a", oldHandset, 5, true))
	if s := l.m.Subscriber("460010000000001"); len(s.Imeis) != 0 || s.Version != 1 {
		t.Errorf("%v", s)
	}
}

// Policy may take a handset that isn't listed: a change of something else doesn't
// end its session, but taking it from the list does.
func TestChangeOfOtherThings(t *testing.T) {
	l := bindingLog(t, func(s *command.Subscriber) { s.Imeis = []string{oldHandset} })
	l.put(opens("a", newHandset, 5, false))
	l.put(opens("b", oldHandset, 6, false))
	put := func(label string, imeis ...string) {
		s := shallow(l.m.Subscriber("460010000000001"))
		s.Label, s.Imeis = label, imeis
		l.put(&command.PutSubscriber{Subscriber: s, AnyVersion: true})
	}
	put("x", oldHandset)
	if l.m.SessionByKey("460010000000001", "a") == nil || l.m.SessionByKey("460010000000001", "b") == nil {
		t.Fatal("a label ended a session")
	}
	put("x", newHandset)
	if l.m.SessionByKey("460010000000001", "a") == nil || l.m.SessionByKey("460010000000001", "b") != nil {
		t.Error("the session of the handset that was taken from the list, and no other, ends")
	}
}
