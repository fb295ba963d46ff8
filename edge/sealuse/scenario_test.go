package sealuse_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// stage is a world with a clock to be turned, and what a gateway would do with
// the decisions.
type stage struct {
	*usetest.World
	t     *testing.T
	now   time.Time
	rules *policy.Rules
	dead  map[string]bool // barrels that don't heartbeat
	shown policy.Credentials
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, now: start, rules: usetest.Rules(), dead: map[string]bool{}}
	s.World = usetest.New(t, func() time.Time { return s.now })
	return s
}

func (s *stage) gather(from netip.Addr, ask sealuse.Ask) (f sealuse.Facts) {
	s.View(func(m *state.Machine) { f = sealuse.Gather(m, s.now, from, ask) })
	f.BarrelAlive = f.Barrel != nil && !s.dead[f.Barrel.Id]
	f.Shown = s.shown
	return f
}

func (s *stage) parse(req wire.UseRequest) sealuse.Ask {
	s.t.Helper()
	ask, bad := sealuse.Parse(req)
	if bad != nil {
		s.t.Fatal(bad)
	}
	return ask
}

// request takes a request all the way, as a node does.
func (s *stage) request(from netip.Addr, req wire.UseRequest, answer wire.VerifyAnswer) (*command.Use, sealuse.Step) {
	s.t.Helper()
	ask := s.parse(req)
	if step := sealuse.Screen(s.gather(from, ask), s.rules, ask); step.Refusal != nil || step.Repeat != nil {
		return step.Repeat, step
	}
	return s.permit(from, ask, answer)
}

// check does all of a request but the reservation.
func (s *stage) check(from netip.Addr, req wire.UseRequest, answer wire.VerifyAnswer) (wire.UseCheck, sealuse.Step) {
	s.t.Helper()
	ask := s.parse(req)
	if step := sealuse.Screen(s.gather(from, ask), s.rules, ask); step.Refusal != nil {
		return wire.UseCheck{}, step
	}
	would, step := sealuse.Check(s.gather(from, ask), s.rules, ask, answer)
	if step.Propose != nil {
		s.t.Error("a check proposes something")
	}
	return would, step
}

func (s *stage) permit(from netip.Addr, ask sealuse.Ask, answer wire.VerifyAnswer) (*command.Use, sealuse.Step) {
	s.t.Helper()
	step := sealuse.Permit(s.gather(from, ask), s.rules, ask, answer)
	if step.Propose == nil {
		return step.Repeat, step
	}
	return s.commit(step.Propose, ask)
}

func (s *stage) commit(c *command.Command, ask sealuse.Ask) (*command.Use, sealuse.Step) {
	s.t.Helper()
	res, err := s.Propose(context.Background(), c)
	if err != nil {
		return nil, sealuse.Step{Refusal: sealuse.FromError(err)}
	}
	use, _, refusal := sealuse.Reserved(res, ask)
	return use, sealuse.Step{Refusal: refusal}
}

// granted is a use of two stampings.
func (s *stage) granted() *command.Use {
	s.t.Helper()
	use, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), usetest.Answer(s.now))
	if use == nil {
		s.t.Fatalf("refused: %v", step.Refusal)
	}
	return use
}

// carry proposes what a step asks for; it must be carried out.
func (s *stage) carry(step sealuse.Step) *command.Use {
	s.t.Helper()
	if step.Refusal != nil || step.Propose == nil {
		s.t.Fatalf("want a command, got %+v", step)
	}
	res, err := s.Propose(context.Background(), step.Propose)
	if err != nil {
		s.t.Fatal(err)
	}
	use := new(command.Use)
	if err := res.Into(use); err != nil {
		s.t.Fatal(err)
	}
	return use
}

// ledger checks the account of the order.
func (s *stage) ledger(reserved, confirmed uint32) {
	s.t.Helper()
	o := s.Order(usetest.Order)
	if o.GetReserved() != reserved || o.GetConfirmed() != confirmed || o.GetReserved()+o.GetConfirmed() > o.GetPermitted() {
		s.t.Errorf("the ledger has %v; want %d reserved and %d confirmed", o, reserved, confirmed)
	}
}

func grantKey() ed25519.PrivateKey { return usetest.Key("") }

func verified(t *testing.T, raw []byte) grant.Claims {
	t.Helper()
	c, err := grant.Verify(raw, grantKey().Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The whole way of one use: two permitted, one stamped, its image stored, the
// rest given back.
func TestOneUse(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	s.ledger(2, 0)
	answer, err := sealuse.Granted(use, grantKey())
	if err != nil {
		t.Fatal(err)
	}
	c := verified(t, answer.Grant)
	want := grant.Claims{
		Barrel: usetest.Barrel, Order: usetest.Order, IMSI: usetest.Terminal, UseID: use.Id, Count: 2, Methods: []string{"fingerprint", "face"},
		Level: 1, Counter: 1, NotBefore: start.Add(-30 * time.Second), NotAfter: start.Add(10 * time.Minute), SealType: "company",
		EvidenceSeconds: 120, User: usetest.User, DocumentDigest: bytes.Repeat([]byte{0xd0}, 32),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("granted is %+v, want %+v", c, want)
	}

	s.now = s.now.Add(30 * time.Second)
	receipt := usetest.Receipt(t, use, 1)
	use = s.carry(sealuse.Receipt(s, usetest.Barrel, use.Id, receipt))
	s.ledger(1, 1)
	if step := sealuse.Receipt(s, usetest.Barrel, 0, receipt); step.Repeat == nil || step.Alarm != "" {
		t.Errorf("the same receipt again, from the barrel: %+v, want a repeat", step)
	}

	digest := [32]byte{7}
	if step := sealuse.EvidenceWanted(use, 1, digest); !reflect.DeepEqual(step, sealuse.Step{}) {
		t.Errorf("an image that is due: %+v, want it taken", step)
	}
	use = s.carry(sealuse.Evidence(use, 1, digest, 1000, wire.EvidenceState{Offset: 1000, Length: 1000, Digest: digest, Complete: true}))
	if step := sealuse.EvidenceWanted(use, 1, digest); step.Repeat == nil {
		t.Errorf("the same image again: %+v, want a repeat", step)
	}
	if step := sealuse.EvidenceWanted(use, 1, [32]byte{8}); step.Refusal == nil || step.Refusal.Code != wire.CodeEvidenceConflict {
		t.Errorf("another image: %+v, want %s", step, wire.CodeEvidenceConflict)
	}

	use = s.carry(sealuse.Statement(s, usetest.Barrel, use.Id, usetest.Statement(t, use, 1)))
	s.ledger(0, 1)
	status, report := sealuse.Status(use), sealuse.Settled(use)
	if status.State != wire.UseSettled || status.Confirmed != 1 || status.Refunded != 1 || len(status.Stamps) != 1 || !bytes.Equal(status.Stamps[0].EvidenceDigest, digest[:]) {
		t.Errorf("the use ends as %+v", status)
	}
	if report.Stamped != 1 || report.Refunded != 1 || report.User != usetest.User || !report.SettledAt.Equal(s.now) {
		t.Errorf("it is reported as %+v", report)
	}
}

func TestRepeatGivesTheSameGrant(t *testing.T) {
	s := newStage(t)
	first, err := sealuse.Granted(s.granted(), grantKey())
	if err != nil {
		t.Fatal(err)
	}
	// Later, at another node, with another answer of the server.
	s.now = s.now.Add(time.Minute)
	again, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), wire.VerifyAnswer{})
	if again == nil {
		t.Fatalf("refused: %v", step.Refusal)
	}
	second, err := sealuse.Granted(again, grantKey())
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("the grant is %+v first and %+v then, %v", first, second, err)
	}
	s.ledger(2, 0)
}

// Two nodes get the same request at once: both decide, both propose; one
// reservation is made and both answer with it.
func TestSameRequestAtTwoNodes(t *testing.T) {
	s := newStage(t)
	ask := s.parse(usetest.Request("r1", s.now))
	from := usetest.Address(usetest.Terminal)
	one := sealuse.Permit(s.gather(from, ask), s.rules, ask, usetest.Answer(s.now))
	s.now = s.now.Add(time.Second)
	two := sealuse.Permit(s.gather(from, ask), s.rules, ask, usetest.Answer(s.now))
	a, _ := s.commit(one.Propose, ask)
	b, step := s.commit(two.Propose, ask)
	if a == nil || b == nil || a.Id != b.Id || a.NotAfter != b.NotAfter {
		t.Fatalf("got uses %v and %v, %v; want the same one", a, b, step.Refusal)
	}
	s.ledger(2, 0)

	less := ask
	less.Count = 1
	if use, step := s.commit(two.Propose, less); use != nil || step.Refusal.Code != wire.CodeRequestReused {
		t.Errorf("with another count: %v, %v; want %s", use, step.Refusal, wire.CodeRequestReused)
	}
}

func TestRequestIDIsForOneRequest(t *testing.T) {
	for name, change := range map[string]func(*wire.UseRequest){
		"another order":  func(r *wire.UseRequest) { r.Order = "WO-2026-002" },
		"another barrel": func(r *wire.UseRequest) { r.Barrel = usetest.Spare },
		"another count":  func(r *wire.UseRequest) { r.Count = 1 },
	} {
		s := newStage(t)
		s.granted()
		req := usetest.Request("r1", s.now)
		change(&req)
		if _, step := s.request(usetest.Address(usetest.Terminal), req, usetest.Answer(s.now)); step.Refusal == nil || step.Refusal.Code != wire.CodeRequestReused {
			t.Errorf("%s: %+v, want %s", name, step, wire.CodeRequestReused)
		}
		s.ledger(2, 0)
	}
	// The id is the terminal's: another terminal may have the same.
	s := newStage(t)
	s.granted()
	req := usetest.Request("r1", s.now)
	req.TerminalAddress, req.Barrel, req.Order = usetest.Address(usetest.Other).String(), usetest.OtherBarrel, "WO-2026-002"
	if use, step := s.request(usetest.Address(usetest.Other), req, usetest.Answer(s.now)); use == nil || use.Id == 1 {
		t.Errorf("another terminal's request with this id: %v, %v; want a use of its own", use, step.Refusal)
	}
}

// An ended use's grant is not handed out again.
func TestRepeatOfAnEndedUse(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	end, bad := sealuse.Disconnect(wire.Disconnect{ID: "d1", Order: usetest.Order, Use: use.Id, Reason: "wrong page"})
	if bad != nil {
		t.Fatal(bad)
	}
	if _, err := s.Propose(context.Background(), end); err != nil {
		t.Fatal(err)
	}
	if _, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), usetest.Answer(s.now)); step.Refusal == nil ||
		step.Refusal.Code != wire.CodeUseEnded || !strings.Contains(step.Refusal.Detail, "Wrong page") {
		t.Errorf("a stopped use: %+v, want %s with its reason", step, wire.CodeUseEnded)
	}
	s.carry(sealuse.Statement(s, usetest.Barrel, use.Id, usetest.Statement(t, use, 0)))
	if _, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), usetest.Answer(s.now)); step.Refusal == nil || step.Refusal.Code != wire.CodeUseEnded {
		t.Errorf("a settled use: %+v, want %s", step, wire.CodeUseEnded)
	}
}

// Two phones ask for the last remaining use of an order at once; both were
// told yes by policy, one gets it.
func TestTwoPhonesForTheLastUse(t *testing.T) {
	s := newStage(t)
	answer := usetest.Answer(s.now)
	answer.Count = 1
	mine := s.parse(usetest.Request("a", s.now))
	req := usetest.Request("b", s.now)
	req.TerminalAddress, req.Barrel = usetest.Address(usetest.Other).String(), usetest.OtherBarrel
	theirs := s.parse(req)
	one := sealuse.Permit(s.gather(usetest.Address(usetest.Terminal), mine), s.rules, mine, answer)
	two := sealuse.Permit(s.gather(usetest.Address(usetest.Other), theirs), s.rules, theirs, answer)
	if one.Propose == nil || two.Propose == nil {
		t.Fatalf("both should be told yes: %+v, %+v", one, two)
	}
	if use, step := s.commit(one.Propose, mine); use == nil {
		t.Fatalf("the first: %v", step.Refusal)
	}
	if use, step := s.commit(two.Propose, theirs); use != nil || step.Refusal.Code != wire.CodeOrderExhausted {
		t.Errorf("the second: %v, %v; want %s", use, step.Refusal, wire.CodeOrderExhausted)
	}
	s.ledger(1, 0)
}

func TestPreconditionsThatChangedAreDecidedAgain(t *testing.T) {
	s := newStage(t)
	ask := s.parse(usetest.Request("r1", s.now))
	step := sealuse.Permit(s.gather(usetest.Address(usetest.Terminal), ask), s.rules, ask, usetest.Answer(s.now))
	s.Do(&command.CheckIn{Barrel: usetest.Barrel})
	res, err := s.Propose(context.Background(), step.Propose)
	if err != nil {
		t.Fatal(err)
	}
	if use, again, p := sealuse.Reserved(res, ask); use != nil || !again {
		t.Fatalf("after a check-in: %v, %v, %v; want to decide again", use, again, p)
	}
	if _, step := s.permit(usetest.Address(usetest.Terminal), ask, usetest.Answer(s.now)); step.Refusal == nil || step.Refusal.Code != wire.CodeBarrelNotBound {
		t.Errorf("decided again: %+v, want %s", step, wire.CodeBarrelNotBound)
	}
}

// Time is the later of the node's clock and the cluster's: a node whose clock
// is behind doesn't open a window again that is over.
func TestNodeWithASlowClock(t *testing.T) {
	s := newStage(t)
	answer := usetest.Answer(s.now)
	s.now = answer.NotAfter.Add(time.Minute)
	s.Do(&command.SuspendOrder{Order: "WO-other", Reason: "any entry, to tell the cluster the time"})
	late := s.now
	s.now = start
	if _, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", late), answer); step.Refusal == nil || step.Refusal.Code != wire.CodeOrderNotOpen {
		t.Errorf("got %+v, want %s", step, wire.CodeOrderNotOpen)
	}
}

func TestOverdueEvidence(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	use = s.carry(sealuse.Receipt(s, usetest.Barrel, 0, usetest.Receipt(t, use, 1)))
	due := func() (mark []*command.Command) {
		s.View(func(m *state.Machine) { mark = sealuse.Overdue(m, s.now) })
		return mark
	}
	s.now = s.now.Add(119 * time.Second)
	if mark := due(); len(mark) != 0 {
		t.Fatalf("a second before it is due: %v", mark)
	}
	s.now = s.now.Add(time.Second)
	mark := due()
	if len(mark) != 1 {
		t.Fatalf("when it is due: %d marks, want 1", len(mark))
	}
	if res, err := s.Propose(context.Background(), mark[0]); err != nil || res.Code != command.Code_OK {
		t.Fatal(res, err)
	}
	if mark := due(); len(mark) != 0 {
		t.Errorf("marked, it is proposed again: %v", mark)
	}
	s.carry(sealuse.Statement(s, usetest.Barrel, use.Id, usetest.Statement(t, use, 1)))

	next := usetest.Request("r2", s.now)
	refused := func(want wire.Code) {
		t.Helper()
		if _, step := s.request(usetest.Address(usetest.Terminal), next, usetest.Answer(s.now)); step.Refusal == nil || step.Refusal.Code != want {
			t.Errorf("another use: %+v, want %s", step, want)
		}
	}
	refused(wire.CodeEvidenceOverdue)
	digest := [32]byte{9}
	s.carry(sealuse.Evidence(s.Use(use.Id), 1, digest, 10, wire.EvidenceState{Offset: 10, Length: 10, Digest: digest, Complete: true}))
	refused(wire.CodeOrderSuspended) // until somebody resumes it
	s.Do(&command.ResumeOrder{Order: usetest.Order})
	if again, step := s.request(usetest.Address(usetest.Terminal), next, usetest.Answer(s.now)); again == nil || again.Count != 1 {
		t.Errorf("resumed: %v, %v; want the use that is left", again, step.Refusal)
	}
}

func TestDisconnect(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	for range 2 { // the seal server says it until it is answered
		end, bad := sealuse.Disconnect(wire.Disconnect{ID: "d1", Order: usetest.Order, Reason: "wrong\npage"})
		if bad != nil {
			t.Fatal(bad)
		}
		if res, err := s.Propose(context.Background(), end); err != nil || res.Code != command.Code_OK {
			t.Fatal(res, err)
		}
	}
	var mine, theirs []*command.Lock
	s.View(func(m *state.Machine) {
		mine, theirs = sealuse.LocksFor(m, usetest.Terminal), sealuse.LocksFor(m, usetest.Other)
	})
	if len(mine) != 1 || len(theirs) != 0 {
		t.Fatalf("locks %v and %v; want one, for the terminal of the use", mine, theirs)
	}
	if e := sealuse.LockEvent(mine[0]); e.Barrel != usetest.Barrel || e.Use != use.Id || e.Order != usetest.Order || e.Reason != "wrong page" || !e.Created.Equal(start) {
		t.Errorf("the terminal is told %+v", e)
	}
	ack := func(imsi string, lock uint64) (*command.Command, *wire.Problem) {
		var c *command.Command
		var p *wire.Problem
		s.View(func(m *state.Machine) { c, p = sealuse.Acknowledge(m, imsi, lock) })
		return c, p
	}
	if _, p := ack(usetest.Other, mine[0].Id); p == nil || p.Code != wire.CodeLockUnknown {
		t.Errorf("another terminal's acknowledgement: %v, want %s", p, wire.CodeLockUnknown)
	}
	c, p := ack(usetest.Terminal, mine[0].Id)
	if p != nil {
		t.Fatal(p)
	}
	if _, err := s.Propose(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	s.View(func(m *state.Machine) { mine = sealuse.LocksFor(m, usetest.Terminal) })
	if len(mine) != 0 {
		t.Errorf("acknowledged, still pending: %v", mine)
	}
	// The barrel has not acknowledged: it gets no other use.
	req := usetest.Request("r2", s.now)
	req.Order = "WO-2026-002"
	if _, step := s.request(usetest.Address(usetest.Terminal), req, usetest.Answer(s.now)); step.Refusal == nil || step.Refusal.Code != wire.CodeBarrelBusy {
		t.Errorf("a use while a lock is pending: %+v, want %s", step, wire.CodeBarrelBusy)
	}
	if _, bad := sealuse.Disconnect(wire.Disconnect{ID: "", Order: usetest.Order}); bad == nil {
		t.Error("a disconnect without an id is taken")
	}
	if _, bad := sealuse.Disconnect(wire.Disconnect{ID: "d2"}); bad == nil {
		t.Error("a disconnect without an order is taken")
	}
}

// A grant that nobody brought to the barrel gives its uses back, once the
// barrel has signed that it never stamped.
func TestExpiredGrant(t *testing.T) {
	s := newStage(t)
	use := s.granted()
	stop := func() (stop []*command.Command) {
		s.View(func(m *state.Machine) { stop = sealuse.Expired(m, s.now) })
		return stop
	}
	s.now = time.Unix(0, use.NotAfter).Add(time.Minute)
	if c := stop(); len(c) != 0 {
		t.Fatalf("within the time that the barrel has to settle by itself: %v", c)
	}
	s.now = s.now.Add(time.Second)
	c := stop()
	if len(c) != 1 {
		t.Fatalf("after it: %d commands, want 1", len(c))
	}
	if res, err := s.Propose(context.Background(), c[0]); err != nil || res.Code != command.Code_OK {
		t.Fatal(res, err)
	}
	if c := stop(); len(c) != 0 {
		t.Errorf("stopped, it is proposed again: %v", c)
	}
	s.carry(sealuse.Statement(s, usetest.Barrel, use.Id, usetest.Statement(t, use, 0)))
	if u := s.Use(use.Id); u.State != command.UseState_SETTLED || u.Refunded != use.Count {
		t.Errorf("settled: %v", u)
	}
}
