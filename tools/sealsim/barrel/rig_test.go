package barrel

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

var (
	gatewayKey = key(1)
	barrelKey  = key(2)
	epoch      = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
)

func identity() Identity {
	id, err := ident.ParseBarrelID("SB-0001")
	if err != nil {
		panic(err)
	}
	return Identity{
		ID: id, SealType: "contract", Key: barrelKey, Firmware: "sim-1",
		Gateway: gatewayKey.Public().(ed25519.PublicKey),
	}
}

func claims(use, counter uint64) grant.Claims {
	return grant.Claims{
		Barrel: "SB-0001", Order: "WO-7", IMSI: "460010000000001", UseID: use, Count: 2,
		Methods: []string{wire.MethodFingerprint, wire.MethodFace}, Level: 1, Counter: counter,
		NotBefore: epoch.Add(-time.Minute), NotAfter: epoch.Add(5 * time.Minute), SealType: "contract", User: "lin",
	}
}

func signed(c grant.Claims) []byte {
	raw, err := grant.Sign(c, gatewayKey)
	if err != nil {
		panic(err)
	}
	return raw
}

// rig is a machine with a clock, and with what its actions did.
type rig struct {
	*Machine
	now     time.Time
	durable State // as last persisted
	open    bool
	stamped int // impressions on paper
	acked   []uint64
	done    []string // the last actions in short
}

func newRig() *rig {
	r := &rig{Machine: NewMachine(identity(), State{}), now: epoch}
	r.do(r.Boot(r.now))
	r.beat()
	return r
}

// do carries actions out.
func (r *rig) do(acts []Action) {
	r.done = nil
	for _, a := range acts {
		r.one(a)
	}
}

func (r *rig) one(a Action) {
	switch a := a.(type) {
	case Persist:
		r.durable = copied(a.State)
		r.done = append(r.done, "persist")
	case Latch:
		r.open = a.Open
		r.done = append(r.done, map[bool]string{true: "open", false: "close"}[a.Open])
	case Stamp:
		if !r.open {
			panic("stamped through a closed latch")
		}
		r.stamped++
		r.done = append(r.done, "stamp")
	case Say:
		r.done = append(r.done, "say")
	case AckLocks:
		r.acked = append(r.acked, a.IDs...)
		r.done = append(r.done, "ack")
	}
}

// copied goes through the form on disk.
func copied(s State) State {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	var out State
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	return out
}

// beat is an answered heartbeat.
func (r *rig) beat(locks ...wire.LockOrder) {
	r.do(r.HeartbeatAnswered(r.now, r.now, wire.HeartbeatAnswer{LeaseMillis: 10_000, Time: r.now.UnixMilli(), Locks: locks}))
}

func (r *rig) unlock(c grant.Claims) error {
	_, acts, err := r.Unlock(r.now, wire.UnlockRequest{Grant: signed(c), User: "lin", Title: "Contract 7"})
	r.do(acts)
	return err
}

func (r *rig) verify(method, person string) error {
	acts, err := r.Verify(r.now, method, person)
	r.do(acts)
	return err
}

func (r *rig) press() error {
	_, acts, err := r.Press(r.now)
	r.do(acts)
	return err
}

// opened is a rig with an unlocked use.
func opened(t *testing.T) *rig {
	t.Helper()
	r := newRig()
	if err := errors.Join(r.unlock(claims(1, 1)), r.verify(wire.MethodFingerprint, "lin"), r.verify(wire.MethodFace, "lin")); err != nil {
		t.Fatal(err)
	}
	return r
}

// statements reads what the outbox says of ended uses.
func (r *rig) statements(t *testing.T) (all []grant.Statement) {
	t.Helper()
	for _, i := range r.durable.Outbox {
		if i.Kind != ItemStatement {
			continue
		}
		s, err := grant.VerifyStatement(i.Signed, barrelKey.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func (r *rig) receipts(t *testing.T) (all []grant.Receipt) {
	t.Helper()
	for _, i := range r.durable.Outbox {
		if i.Kind != ItemReceipt {
			continue
		}
		s, err := grant.VerifyReceipt(i.Signed, barrelKey.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func (r *rig) events() (kinds []string) {
	for _, i := range r.durable.Outbox {
		if i.Kind == ItemEvent {
			kinds = append(kinds, i.Event.Kind)
		}
	}
	return kinds
}
