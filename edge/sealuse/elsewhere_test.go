package sealuse_test

import (
	"testing"

	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// What the seal server counts that the gateway has no part in is used up for
// two terminals that ask at the same time, too.
func TestUsedElsewhereByTwoAtOnce(t *testing.T) {
	s := newStage(t)
	answer := usetest.Answer(s.now)
	answer.Count, answer.Used = 4, 1
	var asks [2]sealuse.Ask
	var steps [2]sealuse.Step
	for i, who := range []struct{ imsi, barrel string }{{usetest.Terminal, usetest.Barrel}, {usetest.Other, usetest.OtherBarrel}} {
		req := usetest.Request("r1", s.now)
		req.TerminalAddress, req.Barrel, req.Count = usetest.Address(who.imsi).String(), who.barrel, 2
		asks[i] = s.parse(req)
		steps[i] = sealuse.Permit(s.gather(usetest.Address(who.imsi), asks[i]), s.rules, asks[i], answer)
	}
	if use, step := s.commit(steps[0].Propose, asks[0]); use.GetCount() != 2 {
		t.Fatalf("the first of two: %v, %v", use, step.Refusal)
	}
	if use, step := s.commit(steps[1].Propose, asks[1]); use != nil || step.Refusal.Code != wire.CodeOrderExhausted {
		t.Errorf("of 4, 1 is used elsewhere and 2 are granted; 2 more gave %v, %v", use, step.Refusal)
	}
}

// A stamping that is not reported to the seal server yet is not the one that it
// counts.
func TestUsedElsewhereIsNotWhatIsUnderWay(t *testing.T) {
	s := newStage(t)
	use := s.granted() // 2
	s.carry(sealuse.Receipt(s, usetest.Barrel, use.Id, usetest.Receipt(t, use, 1)))
	answer := usetest.Answer(s.now)
	answer.Count, answer.Used = 3, 1
	req := usetest.Request("r2", s.now)
	req.TerminalAddress, req.Barrel = usetest.Address(usetest.Other).String(), usetest.OtherBarrel
	if use, step := s.request(usetest.Address(usetest.Other), req, answer); use != nil || step.Refusal.Code != wire.CodeOrderExhausted {
		t.Errorf("of 3, 1 is used elsewhere, 1 stamped and 1 reserved; one more gave %v, %v", use, step.Refusal)
	}

	// Once reported, it is.
	s.carry(sealuse.Statement(s, usetest.Barrel, use.Id, usetest.Statement(t, use, 1)))
	req.RequestID = "r3"
	if use, step := s.request(usetest.Address(usetest.Other), req, answer); use.GetCount() != 2 {
		t.Errorf("of 3, 1 is stamped and reported: got %v, %v", use, step.Refusal)
	}
}

// An order of more stampings than one grant can have is used in several.
func TestOrderOfMoreThanAGrant(t *testing.T) {
	s := newStage(t)
	kind := s.rules.SealTypes["company"]
	kind.MaxCount = 2 * state.MaxCount
	s.rules.SealTypes["company"] = kind
	answer := usetest.Answer(s.now)
	answer.Count = state.MaxCount + 1
	use, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), answer)
	if use.GetCount() != state.MaxCount {
		t.Fatalf("got %v, %v", use, step.Refusal)
	}
	s.carry(sealuse.Statement(s, usetest.Barrel, use.Id, usetest.Statement(t, use, state.MaxCount)))
	answer.Used = state.MaxCount
	if use, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r2", s.now), answer); use.GetCount() != 1 {
		t.Errorf("of the rest: got %v, %v", use, step.Refusal)
	}
}
