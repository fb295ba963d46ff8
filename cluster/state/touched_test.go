package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// records of the kinds that can be followed.
func followed(m *Machine) map[Touched]proto.Message {
	all := map[Touched]proto.Message{}
	for s := range m.Sessions() {
		all[Touched{Kind: SessionRecord, ID: s.Id}] = s
	}
	for u := range m.Uses() {
		all[Touched{Kind: UseRecord, ID: u.Id}] = u
	}
	for b := range m.Barrels() {
		all[Touched{Kind: BarrelRecord, Name: b.Id}] = b
	}
	return all
}

// Whatever differs between two states was told, to a follower who looks now and
// then; also to one who comes back with nothing but a sequence number.
func TestTouchedTellsEveryChange(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, rand.New(rand.NewPCG(seed, 9)).IntN, false)
		w.log.loose = true
		last, at := followed(w.log.m), uint64(0)
		for n := range 600 {
			w.step()
			if n%7 != 0 {
				continue
			}
			changes, ok := w.log.m.TouchedSince(at)
			if !ok {
				t.Fatalf("seed %d: what came after entry %d is forgotten", seed, at)
			}
			told := map[Touched]bool{}
			for _, c := range changes {
				if c.Sequence <= at || c.Sequence > w.log.m.auditSeq {
					t.Fatalf("a change of entry %d after %d", c.Sequence, at)
				}
				c.Sequence = 0
				if told[c] {
					t.Fatalf("%+v is told twice", c)
				}
				told[c] = true
			}
			now := followed(w.log.m)
			for k, r := range now {
				if last[k] != r && !told[k] {
					t.Fatalf("seed %d: nobody tells that %+v changed", seed, k)
				}
			}
			for k := range last {
				if now[k] == nil && !told[k] {
					t.Fatalf("seed %d: nobody tells that %+v is gone", seed, k)
				}
			}
			last, at = now, w.log.m.auditSeq
		}
	}
}

func TestTouchedIsForgotten(t *testing.T) {
	l := newLog(t)
	l.loose = true
	put := func(n int) {
		t.Helper()
		b := &command.Barrel{Id: fmt.Sprint("B-", n), State: command.DeviceState_ACTIVE}
		if r := l.apply(command.New("t", "", "t", &command.PutBarrel{Barrel: b, AnyVersion: true})); r.Code != command.Code_OK {
			t.Fatal(r)
		}
	}
	for n := range touchedSize {
		put(n)
	}
	if all, ok := l.m.TouchedSince(0); !ok || len(all) != touchedSize {
		t.Errorf("as many as fit: %v, %d", ok, len(all))
	}
	put(1)
	if _, ok := l.m.TouchedSince(0); ok {
		t.Error("the first is forgotten, and nobody says so")
	}
	all, ok := l.m.TouchedSince(1)
	if !ok || len(all) != touchedSize-1 || all[len(all)-1].Name != "B-1" {
		t.Errorf("all but the first: %v, %d", ok, len(all))
	}
	if all, ok := l.m.TouchedSince(l.m.auditSeq); !ok || len(all) != 0 {
		t.Errorf("nothing new: %v %v", all, ok)
	}
	if _, ok := l.m.TouchedSince(l.m.auditSeq + 1); ok {
		t.Error("it tells of what it hasn't come to")
	}

	// A machine that was read from a snapshot, or cloned, begins anew.
	at := l.m.auditSeq
	clone := l.m.Clone()
	l.restore()
	for name, m := range map[string]*Machine{"restored": l.m, "cloned": clone} {
		if _, ok := m.TouchedSince(at - 1); ok {
			t.Errorf("%s: it tells of what it never saw", name)
		}
		if all, ok := m.TouchedSince(at); !ok || len(all) != 0 {
			t.Errorf("%s: %v %v", name, all, ok)
		}
	}
	put(5)
	if all, ok := l.m.TouchedSince(at); !ok || !slices.Equal(all, []Touched{{at + 1, BarrelRecord, 0, "B-5"}}) {
		t.Errorf("after a change: %v %v", all, ok)
	}
}
