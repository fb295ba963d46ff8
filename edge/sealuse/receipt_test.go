package sealuse_test

import (
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// signed is a receipt for the first stamping of a use, altered, and signed by a
// barrel.
func signed(t *testing.T, use *command.Use, by string, alter func(*grant.Receipt)) []byte {
	t.Helper()
	r := grant.Receipt{
		Barrel: use.Barrel, Order: use.Order, UseID: use.Id, Counter: use.GrantCounter, Number: 1,
		Lifetime: 900, At: start, Methods: use.Methods,
	}
	if alter != nil {
		alter(&r)
	}
	raw, err := grant.SignReceipt(r, usetest.Key(by))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestReceiptsThatAreNot(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	for name, c := range map[string]struct {
		raw    []byte
		barrel string
		use    uint64
		code   wire.Code
		alarm  bool
	}{
		"noise":                  {[]byte("receipt"), usetest.Barrel, use.Id, wire.CodeReceiptInvalid, false},
		"nothing":                {nil, usetest.Barrel, use.Id, wire.CodeReceiptInvalid, false},
		"by another barrel":      {signed(t, use, usetest.OtherBarrel, nil), usetest.Barrel, use.Id, wire.CodeReceiptInvalid, true},
		"from another barrel":    {signed(t, use, usetest.OtherBarrel, nil), usetest.OtherBarrel, 0, wire.CodeReceiptInvalid, true},
		"by the gateway":         {signed(t, use, "", nil), usetest.Barrel, use.Id, wire.CodeReceiptInvalid, true},
		"a statement":            {usetest.Statement(t, use, 1), usetest.Barrel, use.Id, wire.CodeReceiptInvalid, true},
		"barrel not on the list": {signed(t, use, usetest.Barrel, nil), "SB-9999", 0, wire.CodeBarrelNotBound, false},
		"of another use":         {signed(t, use, usetest.Barrel, nil), usetest.Barrel, 77, wire.CodeReceiptInvalid, false},
		"of a use never granted": {signed(t, use, usetest.Barrel, func(r *grant.Receipt) { r.UseID = 77 }), usetest.Barrel, 0, wire.CodeReceiptInvalid, true},
		"of another grant":       {signed(t, use, usetest.Barrel, func(r *grant.Receipt) { r.Counter = 2 }), usetest.Barrel, 0, wire.CodeReceiptInvalid, true},
		"of another order":       {signed(t, use, usetest.Barrel, func(r *grant.Receipt) { r.Order = "WO-2" }), usetest.Barrel, 0, wire.CodeReceiptInvalid, true},
		"beyond the count":       {signed(t, use, usetest.Barrel, func(r *grant.Receipt) { r.Number = 3 }), usetest.Barrel, 0, wire.CodeReceiptInvalid, true},
	} {
		step := sealuse.Receipt(s, c.barrel, c.use, c.raw)
		if step.Refusal == nil || step.Refusal.Code != c.code || step.Propose != nil || (step.Alarm != "") != c.alarm {
			t.Errorf("%s: %+v; want %s, alarm %v", name, step, c.code, c.alarm)
		}
	}
	s.ledger(2, 0)
}

func TestTwoReceiptsForOneStamping(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	s.carry(sealuse.Receipt(s, usetest.Barrel, 0, signed(t, use, usetest.Barrel, nil)))
	other := signed(t, use, usetest.Barrel, func(r *grant.Receipt) { r.At = r.At.Add(time.Second) })
	if step := sealuse.Receipt(s, usetest.Barrel, 0, other); step.Refusal == nil || step.Refusal.Code != wire.CodeReceiptConflict || step.Alarm == "" {
		t.Errorf("got %+v; want %s and an alarm", step, wire.CodeReceiptConflict)
	}
	s.ledger(1, 1)
}

// A stamping that was done without asking for finger and face was done all the
// same: it is counted, and reported.
func TestStampedWithoutVerifying(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	step := sealuse.Receipt(s, usetest.Barrel, 0, signed(t, use, usetest.Barrel, func(r *grant.Receipt) { r.Methods = []string{wire.MethodFingerprint} }))
	if step.Alarm == "" {
		t.Error("no alarm")
	}
	s.carry(step)
	s.ledger(1, 1)
}

// What a barrel says against itself is never lost, and never frees a use.
func TestBarrelAgainstItself(t *testing.T) {
	t.Run("settles with less than it receipted", func(t *testing.T) {
		s := newStage(t)
		use := s.granted()
		s.carry(sealuse.Receipt(s, usetest.Barrel, 0, usetest.Receipt(t, use, 2)))
		step := sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 1))
		if step.Alarm == "" {
			t.Error("no alarm")
		}
		s.carry(step)
		s.ledger(0, 2)
	})
	t.Run("settles with more than was granted", func(t *testing.T) {
		s := newStage(t)
		use := s.granted()
		step := sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 3))
		if step.Alarm == "" {
			t.Error("no alarm")
		}
		s.carry(step)
		if o := s.Order(usetest.Order); o.State != command.OrderState_SUSPENDED_ORDER || o.Confirmed != 2 || o.Excess != 1 {
			t.Errorf("the ledger has %v; want it suspended with one stamping in excess", o)
		}
	})
	t.Run("receipts more than it settled", func(t *testing.T) {
		s := newStage(t)
		use := s.granted()
		s.carry(sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 1)))
		late := sealuse.Receipt(s, usetest.Barrel, 0, usetest.Receipt(t, use, 1))
		if late.Alarm != "" {
			t.Errorf("a receipt that was on its way: alarm %q", late.Alarm)
		}
		s.carry(late)
		step := sealuse.Receipt(s, usetest.Barrel, 0, usetest.Receipt(t, use, 2))
		if step.Alarm == "" {
			t.Error("no alarm")
		}
		s.carry(step)
		s.ledger(0, 2)
	})
	t.Run("turns up after it was given up", func(t *testing.T) {
		s := newStage(t)
		use := s.granted()
		s.now = s.now.Add(time.Hour)
		s.Do(&command.ExpireUse{Use: use.Id})
		for _, c := range []*command.Command{
			command.New("admin", "", "ann", &command.ReleaseUse{Use: use.Id, Stamped: 1, Reason: "lost"}),
			command.New("admin", "", "bob", &command.ConfirmRelease{Use: use.Id, Stamped: 1, ProposedBy: "ann"}),
		} {
			if r, err := s.Propose(t.Context(), c); err != nil || r.Code != command.Code_OK {
				t.Fatalf("%v: %v %v", c.Type, r, err)
			}
		}
		s.ledger(0, 1)
		less := sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 0))
		if less.Alarm != "" {
			t.Errorf("with less than people counted: alarm %q", less.Alarm)
		}
		s.carry(less)
		s.ledger(0, 1)
		more := sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 2))
		if more.Alarm == "" {
			t.Error("with more than people counted: no alarm")
		}
		s.carry(more)
		if o := s.Order(usetest.Order); o.State != command.OrderState_SUSPENDED_ORDER || o.Confirmed != 2 {
			t.Errorf("the ledger has %v; want it suspended with two stampings", o)
		}
	})
	t.Run("settles twice", func(t *testing.T) {
		s := newStage(t)
		use := s.granted()
		s.carry(sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 1)))
		if step := sealuse.Statement(s, usetest.Barrel, use.Id, usetest.Statement(t, use, 1)); step.Repeat == nil || step.Alarm != "" {
			t.Errorf("the same again: %+v, want a repeat", step)
		}
		if step := sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 0)); step.Refusal == nil || step.Refusal.Code != wire.CodeReceiptConflict || step.Alarm == "" {
			t.Errorf("with less: %+v, want %s", step, wire.CodeReceiptConflict)
		}
		s.ledger(0, 1)
	})
}

func TestEvidenceThatIsNot(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	sent := [32]byte{1}
	for name, c := range map[string]struct {
		number uint32
		stored wire.EvidenceState
		code   wire.Code
		alarm  bool
	}{
		"no such stamping":     {3, wire.EvidenceState{Length: 5, Digest: sent, Complete: true}, wire.CodeStampUnknown, false},
		"stamping 0":           {0, wire.EvidenceState{Length: 5, Digest: sent, Complete: true}, wire.CodeStampUnknown, false},
		"stored another image": {1, wire.EvidenceState{Length: 5, Digest: [32]byte{2}, Complete: true}, wire.CodeDigestMismatch, true},
		"stored less":          {1, wire.EvidenceState{Length: 4, Digest: sent, Complete: true}, wire.CodeDigestMismatch, true},
		"not stored yet":       {1, wire.EvidenceState{Length: 5, Digest: sent}, wire.CodeDigestMismatch, true},
	} {
		step := sealuse.Evidence(use, c.number, sent, 5, c.stored)
		if step.Refusal == nil || step.Refusal.Code != c.code || (step.Alarm != "") != c.alarm {
			t.Errorf("%s: %+v; want %s, alarm %v", name, step, c.code, c.alarm)
		}
	}
	// Settled with one stamping, it has no second.
	use = s.carry(sealuse.Statement(s, usetest.Barrel, 0, usetest.Statement(t, use, 1)))
	if _, unknown := sealuse.Stamping(use, 2); unknown == nil {
		t.Error("a settled use has a stamping that was not made")
	}
	if stamp, unknown := sealuse.Stamping(use, 1); unknown != nil || stamp == nil {
		t.Errorf("the stamping that was settled: %v, %v", stamp, unknown)
	}
}
