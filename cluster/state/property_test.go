package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// next makes a payload. Preconditions are filled in right, mostly.
func (w *world) next() proto.Message {
	if w.choose(25) == 0 {
		return w.token()
	}
	if w.choose(11) == 0 {
		return w.fallback()
	}
	var p proto.Message
	switch w.choose(44) {
	case 40, 41, 42:
		p = w.change()
	case 43:
		p = w.suspension()
	case 0:
		p = &command.PutPolicy{Pools: w.pools()}
	case 1, 2:
		p = &command.PutSubscriber{Subscriber: w.subscriber()}
	case 3:
		p = w.devices()
	case 4:
		if !w.rarely() {
			p = &command.PutSubscriber{Subscriber: w.subscriber()}
		} else {
			p = &command.RevokeSubscriber{Imsi: w.imsi(), Reason: w.text()}
		}
	case 5:
		p = &command.PutBarrel{Barrel: &command.Barrel{Id: w.barrel(), State: command.DeviceState_ACTIVE, Mac: w.text(), PskIdentity: w.text(), GrantCounter: w.id(9)}}
	case 6:
		switch {
		case w.rarely():
			p = &command.RevokeBarrel{Id: w.barrel(), Reason: w.text()}
		default:
			p = &command.PutBarrel{Barrel: &command.Barrel{Id: w.barrel(), State: pick(w, command.DeviceState_ACTIVE, command.DeviceState_SUSPENDED_DEVICE)}}
		}
	case 7, 8:
		p = &command.CheckOut{Barrel: w.barrel(), Imsi: w.imsi()}
	case 9:
		p = &command.CheckIn{Barrel: w.barrel()}
	case 10, 11, 12:
		p = w.opening()
	case 13:
		p = w.modification()
	case 14, 15:
		p = w.attachment()
	case 16:
		p = &command.SelectPath{Session: w.session(), Path: command.PathKind(w.choose(3))}
	case 17:
		p = &command.ClosePath{Session: w.session(), Path: command.PathKind(w.choose(3))}
	case 18:
		p = pick[proto.Message](w, &command.AcquireAddress{Name: "gw", Node: "n1"}, &command.BumpRestartCounter{Name: "gw"}, &command.RecordDecision{Kind: "x"}, &command.Checkpoint{}, &command.RaiseLevel{Level: 2},
			&command.AssignAddress{Name: "gw", Node: "n2", Granted: true}, &command.SurrenderAddress{Name: "gw", Node: "n2", To: "n1"}, &command.MoveAddress{Name: "gw", To: "n1", Home: true})
	case 19, 20, 21:
		count := uint32(1 + w.choose(3))
		b := w.custody()
		p = &command.ReserveUses{Order: w.order(), Barrel: b, Imsi: w.log.m.Barrel(b).GetCheckedOutTo(), Count: count, Permitted: uint32(w.choose(12)), EvidenceSeconds: uint32(w.choose(2) * 60)}
	case 22, 23:
		return w.stamp()
	case 24:
		return w.settle()
	case 25:
		p = &command.RecordEvidence{Use: w.useID(), Number: w.number(), Digest: bytes.Repeat(w.content(), 32), Size: 9}
	case 26:
		p = &command.Disconnect{SourceId: w.text() + w.text(), Use: pick(w, 0, w.useID()), Order: pick(w, "", "", w.order()), Barrel: pick(w, "", w.barrel())}
		if !w.rarely() {
			overdue := &command.MarkOverdue{Use: w.useID(), Number: w.number()}
			for _, o := range w.log.m.OverdueCandidates(w.log.now) {
				overdue.Use, overdue.Number = o.Use, o.Number
			}
			p = overdue
		}
	case 30:
		p = &command.ExpireUse{Use: w.useID()}
	case 31, 32:
		p = w.release()
	case 33, 38:
		return w.proposeRelease()
	case 34, 39:
		return w.confirmRelease()
	case 35, 36, 37:
		return w.lose()
	case 27, 28:
		p = &command.AckLock{Lock: w.lockID(), Barrel: w.choose(3) > 0, Terminal: w.choose(2) == 0}
	case 29:
		p = pick[proto.Message](w, &command.SuspendOrder{Order: w.order(), Reason: "x"}, &command.ResumeOrder{Order: w.order()}, &command.ResumeOrder{Order: w.order()})
	}
	if !w.rarely() {
		// Entropy that came before makes TEIDs collide.
		w.log.fill(p, map[string]bool{"entropy": w.choose(2) == 0})
	}
	return p
}

// stamp is a receipt. An honest barrel stamps, while it has a grant with uses
// left; what it does after a lock, or beside its gateway, it signs for too.
func (w *world) stamp() proto.Message {
	if !w.honest {
		return &command.RecordReceipt{Use: w.useID(), Number: w.number(), Receipt: w.content()}
	}
	s := w.seals[w.barrel()]
	if s.left > 0 {
		s.left--
		s.stamped++
		s.total[s.order]++
	}
	n := uint32(1 + w.choose(int(max(s.stamped, 1)))) // any receipt so far, again or late
	if n > s.stamped {
		return &command.RecordDecision{Kind: "nothing stamped"}
	}
	return &command.RecordReceipt{Use: s.use, Number: n, Receipt: fmt.Append(nil, "receipt ", n)}
}

// proposeRelease gives a use up. Administrators who know nothing count all of it as
// stamped, whatever the barrel did or will do yet.
func (w *world) proposeRelease() proto.Message {
	id := w.openUse()
	p := &command.ReleaseUse{Use: id, Stamped: w.log.m.Use(id).GetCount(), Reason: w.text()}
	if !w.honest {
		p.Stamped = w.number()
	}
	return p
}

func (w *world) confirmRelease() proto.Message {
	id := w.openUse()
	for u := range w.log.m.Uses() {
		if u.State != command.UseState_SETTLED && u.Release != nil && !w.rarely() {
			id = u.Id
		}
	}
	r := w.log.m.Use(id).GetRelease()
	p := &command.ConfirmRelease{Use: id, Stamped: r.GetStamped(), ProposedBy: r.GetProposedBy()}
	if w.rarely() {
		p.Stamped++
	}
	return p
}

// openUse is the number of an unsettled use, mostly.
func (w *world) openUse() uint64 {
	for range 3 {
		if u := w.log.m.OpenUseOfBarrel(w.barrel()); u != nil {
			return u.Id
		}
	}
	return w.useID()
}

func (w *world) settle() proto.Message {
	if !w.honest {
		p := &command.SettleUse{Use: w.useID(), Stamped: pick[uint32](w, 0, 1, 2, 3, 7, 1<<32-1), Lifetime: w.id(20)}
		if w.choose(3) == 0 {
			p.Use, p.Barrel, p.Order, p.Counter = w.id(60), w.barrel(), w.order(), w.id(9)
		}
		return p
	}
	s := w.seals[w.barrel()]
	s.left = 0 // the statement is the last word on this grant
	return &command.SettleUse{Use: s.use, Stamped: s.stamped}
}

// step applies one command to both machines.
func (w *world) step() {
	t, m := w.log, w.log.m
	t.Helper()
	before := m.Clone()
	if w.choose(4) == 0 {
		t.now = t.now.Add(time.Duration(w.choose(200)-20) * time.Second)
	}
	request := ""
	if w.choose(3) == 0 {
		request = fmt.Sprint("r", w.choose(40))
	}
	payload := w.next()
	c := command.New(pick(w, "c1", "c2"), request, pick(w, "ann", "bob", "eve"), payload)
	if epoch := m.Address("gw").GetEpoch(); epoch > 0 && w.choose(8) == 0 {
		c.At("gw", epoch-w.id(1))
	}
	result := t.apply(c)
	monotone(t, before, t.m)
	w.grant(result, payload)
	if w.honest {
		w.count()
	}

	if w.choose(10) == 0 {
		var b bytes.Buffer
		if err := w.twin.Clone().WriteSnapshot(&b); err != nil {
			t.Fatal(err)
		}
		var err error
		if w.twin, err = ReadSnapshot(&b); err != nil {
			t.Fatal(err)
		}
	}
	again, _, err := w.twin.Apply(t.index, 1, slices.Clone(t.raw[len(t.raw)-1]))
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(result, again) {
		t.Fatalf("%v: one machine says %v, its twin %v", c.Type, result, again)
	}
	if w.choose(10) == 0 && w.twin.Digest() != t.m.Digest() {
		t.Fatalf("after %v the digests differ", c.Type)
	}
}

// grant hands a reservation to its barrel, which takes it if its counter is
// higher than any before. A repeated answer is a replayed grant.
func (w *world) grant(result *command.Result, payload proto.Message) {
	if _, ok := payload.(*command.ReserveUses); !ok || result.Code != command.Code_OK {
		return
	}
	u := new(command.Use)
	if err := result.Into(u); err != nil {
		w.log.Fatal(err)
	}
	s := w.seals[u.Barrel]
	if u.GrantCounter > s.counter {
		s.counter, s.use, s.order, s.left, s.stamped = u.GrantCounter, u.Id, u.Order, u.Count, 0
	}
}

// count checks that no more was stamped, really, than the order permits.
func (w *world) count() {
	for o := range w.log.m.Orders() {
		var stamped uint64
		for _, s := range w.seals {
			stamped += s.total[o.Number]
		}
		if stamped > uint64(o.Permitted) {
			w.log.Fatalf("order %v: %d were stamped", o, stamped)
		}
		if o.Excess > 0 {
			w.log.Fatalf("order %v: excess, though all barrels are honest", o)
		}
	}
}

// TestRandomCommands checks all invariants after every command of random logs,
// that two machines agree, one of them restored from snapshots now and then,
// and that nothing is stamped beyond what is permitted.
func TestRandomCommands(t *testing.T) {
	codes := map[string]int{}
	for seed := range uint64(60) {
		honest := seed%2 == 0
		t.Run(fmt.Sprintf("seed=%d,honest=%v", seed, honest), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, rng.IntN, honest)
			for range 480 {
				w.step()
			}
			if w.twin.Digest() != w.log.m.Digest() {
				t.Fatal("the digests differ")
			}
			for _, f := range families {
				for l := range w.log.m.spaces[f].byAddress.values() {
					if l.Former {
						codes[fmt.Sprint("former lease of ", f)]++
					}
				}
			}
			for i, e := range w.log.chain {
				c, _, _ := command.Decode(e.Command)
				r := new(command.Result)
				if err := proto.Unmarshal(e.Result, r); err != nil {
					t.Fatal(err)
				}
				codes[fmt.Sprint(c.Type, " ", r.Code)]++
				if c.AddressEpoch != 0 {
					codes[fmt.Sprint("at an epoch: ", r.Code)]++
				}
				if c.Type == command.Type_RELEASE_PATHS && r.Code == command.Code_OK {
					released := new(command.Released)
					if err := r.Into(released); err != nil {
						t.Fatal(err)
					}
					codes["paths released"] += len(released.Sessions)
					if released.More {
						codes["paths left for the next command"]++
					}
				}
				if e.Sequence != uint64(i+1) {
					t.Fatalf("link %d has sequence %d", i, e.Sequence)
				}
			}
		})
	}
	// A generator that no longer reaches a command finds nothing in it.
	for number, name := range command.Type_name {
		if number != 0 && codes[name+" OK"] < 5 {
			t.Errorf("%s was carried out %d times only", name, codes[name+" OK"])
		}
	}
	for _, want := range []string{
		"OPEN_SESSION CONFLICT", "OPEN_SESSION NO_ADDRESS", "MODIFY_SESSION INVALID", "RELEASE_PATHS INVALID", "OPEN_SESSION REVOKED", "RESERVE_USES EXHAUSTED", "RESERVE_USES SUSPENDED",
		"paths released", "paths left for the next command", "former lease of IPv4", "former lease of IPv6",
		"RESERVE_USES ENDED", "RESERVE_USES BUSY", "RECORD_RECEIPT DUPLICATE", "SETTLE_USE DUPLICATE", "CHECK_IN BUSY",
		"APPROVE_CHANGE INVALID", "APPROVE_CHANGE CONFLICT", "APPROVE_CHANGE ENDED", "PROPOSE_CHANGE CONFLICT", "PROPOSE_CHANGE INVALID", "REVIEW_CHANGE ENDED",
		"CONFIRM_RELEASE CONFLICT", "CONFIRM_RELEASE INVALID", "RELEASE_USE ENDED",
		"PUT_SERVER_KEY CONFLICT", "PUT_SERVER_KEY DUPLICATE", "RETIRE_SERVER_KEY INVALID", "LEASE_FALLBACK INVALID", "LEASE_FALLBACK CONFLICT", "LEASE_FALLBACK REVOKED",
		"at an epoch: OK", "at an epoch: CONFLICT", "END_FALLBACK CONFLICT", "ROAM_WIREGUARD CONFLICT", "ATTACH_WIREGUARD CONFLICT",
	} {
		if codes[want] == 0 {
			t.Errorf("%s never happened", want)
		}
	}
}

// FuzzCommands is the same with the fuzzer's choices.
func FuzzCommands(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 {
			return
		}
		honest := b[0]&1 == 0
		b = b[1:min(len(b), 600)]
		w := newWorld(t, func(n int) int {
			if len(b) == 0 {
				return 0
			}
			c := int(b[0]) % n
			b = b[1:]
			return c
		}, honest)
		for len(b) > 0 {
			w.step()
		}
		if w.twin.Digest() != w.log.m.Digest() {
			t.Fatal("the digests differ")
		}
	})
}
