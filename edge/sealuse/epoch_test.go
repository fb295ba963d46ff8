package sealuse_test

import (
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// After a restore nothing is granted until the barrels have signed how often they
// stamped; a use that the ledger forgot comes back by its statement.
func TestFrozenUntilBarrelsAreCounted(t *testing.T) {
	s := newStage(t)
	s.Do(&command.RaiseEpoch{Cause: state.CauseRestore})
	ask := s.parse(usetest.Request("r1", s.now))
	from := usetest.Address(usetest.Terminal)
	for name, step := range map[string]sealuse.Step{
		"screen": sealuse.Screen(s.gather(from, ask), s.rules, ask),
		"permit": sealuse.Permit(s.gather(from, ask), s.rules, ask, usetest.Answer(s.now)),
	} {
		if step.Refusal == nil || step.Refusal.Code != wire.CodeOrderFrozen || step.Refusal.Hint == "" {
			t.Errorf("%s: %+v", name, step)
		}
	}

	statement := func(by string, change func(*grant.Statement)) []byte {
		t.Helper()
		var b *command.Barrel
		s.View(func(m *state.Machine) { b = m.Barrel(by) })
		st := grant.Statement{Barrel: by, Order: state.EpochOrder(2), UseID: b.AskedUse, Counter: b.AskedCounter, Lifetime: 3, At: start}
		if change != nil {
			change(&st)
		}
		raw, err := grant.SignStatement(st, usetest.Key(by))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	// What was never asked: another counter, or stampings under the question.
	for name, change := range map[string]func(*grant.Statement){
		"another counter": func(st *grant.Statement) { st.Counter++ },
		"stampings":       func(st *grant.Statement) { st.Stamped = 1 },
	} {
		if step := sealuse.Statement(s, usetest.Barrel, 0, statement(usetest.Barrel, change)); step.Refusal == nil || step.Alarm == "" {
			t.Errorf("%s: %+v", name, step)
		}
	}
	// A forgotten use: its receipt waits for its statement, which brings it back.
	lost := func(st *grant.Statement) { st.UseID, st.Counter, st.Order, st.Stamped = 7, 5, "WO-7", 2 }
	receipt, err := grant.SignReceipt(grant.Receipt{
		Barrel: usetest.Barrel, Order: "WO-7", UseID: 7, Counter: 5, Number: 1, Lifetime: 1, At: start, Methods: []string{wire.MethodFace},
	}, usetest.Key(usetest.Barrel))
	if err != nil {
		t.Fatal(err)
	}
	if step := sealuse.Receipt(s, usetest.Barrel, 0, receipt); step.Refusal == nil || step.Refusal.Code != wire.CodeUseUnknown || step.Alarm != "" {
		t.Errorf("the receipt of a forgotten use: %+v", step)
	}
	if use := s.carry(sealuse.Statement(s, usetest.Barrel, 0, statement(usetest.Barrel, lost))); !use.GetRecovered() || use.Confirmed != 2 {
		t.Errorf("the forgotten use: %v", use)
	}
	s.carry(sealuse.Receipt(s, usetest.Barrel, 0, receipt))

	for _, by := range []string{usetest.Barrel, usetest.OtherBarrel, usetest.Spare} {
		s.carry(sealuse.Statement(s, by, 0, statement(by, nil)))
	}
	s.View(func(m *state.Machine) {
		for b := range m.Uncounted() {
			t.Errorf("barrel %s is not counted", b.Id)
		}
		if m.Unaccounted() != 1+3+3 {
			t.Errorf("%d are unaccounted", m.Unaccounted())
		}
	})
	s.Do(&command.CloseEpoch{Epoch: 2})
	f := s.gather(from, ask)
	if f.Frozen || f.Unaccounted != 7 {
		t.Errorf("%+v", f)
	}
}
