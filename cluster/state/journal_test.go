package state

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
)

// change puts a session as Apply would.
func change(m *Machine, id uint64) {
	m.indexSession(&command.Session{Id: id, Imsi: "460010000000001", Apn: "seal.corp"})
}

func TestSince(t *testing.T) {
	m := New()
	all, at := m.Since(Cursor{})
	if !all.All || !all.Devices {
		t.Errorf("the first look: %+v, want everything", all)
	}
	if c, _ := m.Since(at); c.All || c.Devices || len(c.Sessions) != 0 {
		t.Errorf("nothing happened: %+v", c)
	}
	change(m, 7)
	change(m, 9)
	change(m, 7)
	c, next := m.Since(at)
	if c.All || !slices.Equal(c.Sessions, []uint64{7, 9, 7}) {
		t.Errorf("after three changes: %+v", c)
	}
	if c, _ := m.Since(next); len(c.Sessions) != 0 {
		t.Errorf("seen already: %+v", c)
	}
	m.putSubscriberRecord(t)
	if c, _ := m.Since(next); !c.Devices || c.All {
		t.Errorf("after a device's change: %+v", c)
	}
}

func (m *Machine) putSubscriberRecord(t *testing.T) {
	t.Helper()
	raw := command.Marshal(command.New("t", "", "t", &command.PutSubscriber{
		Subscriber: &command.Subscriber{Imsi: "460010000000001", Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}, AnyVersion: true,
	}))
	if r, _, err := m.Apply(m.Index()+1, 1, raw); err != nil || r.Code != command.Code_OK {
		t.Fatalf("put subscriber: %v, %v", r, err)
	}
}

func TestSinceFallsBehind(t *testing.T) {
	m := New()
	_, at := m.Since(Cursor{})
	for id := range uint64(journalSize) {
		change(m, id)
	}
	if c, _ := m.Since(at); c.All || len(c.Sessions) != journalSize {
		t.Errorf("as many as fit: all %v, %d sessions", c.All, len(c.Sessions))
	}
	change(m, 1)
	if c, _ := m.Since(at); !c.All {
		t.Error("one more than fits, and the oldest is lost without a word")
	}
}

// Sessions that end with their peer's memory are reported like any others, and
// so is one that goes on without the path.
func TestSinceReleasedPaths(t *testing.T) {
	l := demo(t)
	l.put(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460010000000002", Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
	l.put(&command.OpenSession{Imsi: "460010000000002", Apn: "seal.corp", Gtp: &command.GTPPath{Ebi: 5, PeerC: &command.FTEID{Teid: 8, Address: []byte{127, 0, 20, 1}}}})
	l.put(&command.AttachWireGuard{Imsi: "460010000000001", Apn: "seal.corp"})
	_, at := l.m.Since(Cursor{})
	l.put(&command.ReleasePaths{Peer: []byte{127, 0, 20, 1}})
	if c, _ := l.m.Since(at); c.All || !slices.Equal(c.Sessions, []uint64{1, 2}) {
		t.Errorf("after both paths were released: %+v", c)
	}
	if l.m.Session(1).GetActive() != command.PathKind_WIREGUARD || l.m.Session(2) != nil {
		t.Errorf("sessions %v and %v", l.m.Session(1), l.m.Session(2))
	}
}

// A cursor of a machine that was replaced says nothing about the new one.
func TestSinceOfAnotherMachine(t *testing.T) {
	m := New()
	_, at := m.Since(Cursor{})
	var b bytes.Buffer
	if err := m.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	restored, err := ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*Machine{"restored": restored, "cloned": m.Clone()} {
		if c, _ := other.Since(at); !c.All {
			t.Errorf("%s: %+v, want everything", name, c)
		}
	}
}
