package barrel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
)

func TestOneUseFromGrantToSettlement(t *testing.T) {
	r := newRig()
	for _, step := range []struct {
		name  string
		do    func() error
		err   error
		state string
		did   string
	}{
		{"press while locked", r.press, ErrLocked, wire.BarrelIdle, ""},
		{"finger unasked", func() error { return r.verify(wire.MethodFingerprint, "lin") }, ErrNotAsked, wire.BarrelIdle, ""},
		{"grant", func() error { return r.unlock(claims(1, 1)) }, nil, wire.BarrelVerifying, "persist say say"},
		{"the same grant again", func() error { return r.unlock(claims(1, 1)) }, nil, wire.BarrelVerifying, ""},
		{"press before verification", r.press, ErrLocked, wire.BarrelVerifying, ""},
		{"somebody's finger", func() error { return r.verify(wire.MethodFingerprint, "wu") }, ErrNotRecognised, wire.BarrelVerifying, "persist say"},
		{"face first", func() error { return r.verify(wire.MethodFace, "lin") }, nil, wire.BarrelVerifying, "say say"},
		{"face again", func() error { return r.verify(wire.MethodFace, "lin") }, ErrNotAsked, wire.BarrelVerifying, ""},
		{"finger", func() error { return r.verify(wire.MethodFingerprint, "lin") }, nil, wire.BarrelUnlocked, "open say"},
		{"another grant meanwhile", func() error { return code(r.unlock(claims(2, 2)), CodeBusy) }, nil, wire.BarrelUnlocked, "persist say"},
		{"first stamping", r.press, nil, wire.BarrelUnlocked, "persist stamp say"},
		{"second stamping", r.press, nil, wire.BarrelIdle, "persist stamp close say"},
		{"third stamping", r.press, ErrLocked, wire.BarrelIdle, ""},
		{"the grant again", func() error { return code(r.unlock(claims(1, 1)), CodeReplayed) }, nil, wire.BarrelIdle, "persist say"},
	} {
		r.done = nil
		if err := step.do(); !errors.Is(err, step.err) {
			t.Fatalf("%s: %v, want %v", step.name, err, step.err)
		}
		if got := r.Status(r.now).State; got != step.state {
			t.Errorf("%s: %s, want %s", step.name, got, step.state)
		}
		if got := strings.Join(r.done, " "); got != step.did {
			t.Errorf("%s: did %q, want %q", step.name, got, step.did)
		}
	}
	if r.stamped != 2 || r.open {
		t.Errorf("%d impressions, open %v", r.stamped, r.open)
	}
	receipts, statements := r.receipts(t), r.statements(t)
	if len(receipts) != 2 || receipts[0].Number != 1 || receipts[1].Number != 2 || receipts[1].Lifetime != 2 ||
		!slices.Equal(receipts[0].Methods, claims(1, 1).Methods) {
		t.Errorf("receipts: %+v", receipts)
	}
	if len(statements) != 1 || statements[0].Stamped != 2 || statements[0].UseID != 1 || statements[0].Counter != 1 {
		t.Errorf("statements: %+v", statements)
	}
	kept := r.Receipts(1)
	if len(kept.Receipts) != 2 || kept.Statement == nil {
		t.Errorf("kept for the terminal: %d receipts, statement %v", len(kept.Receipts), kept.Statement != nil)
	}
}

// code turns an expected refusal into nil.
func code(err error, want wire.Code) error {
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == want {
		return nil
	}
	return fmt.Errorf("got %v, want %s", err, want)
}

func TestGrantsThatAreNotObeyed(t *testing.T) {
	change := func(fn func(*grant.Claims)) []byte {
		c := claims(9, 9)
		fn(&c)
		return signed(c)
	}
	for _, c := range []struct {
		name   string
		grant  []byte
		before func(*rig)
		user   string
		want   wire.Code
		spent  bool // the counter is used up and the use settled with nothing
	}{
		{name: "noise", grant: []byte("noise"), want: CodeGrantInvalid},
		{name: "signed by the barrel's own key", grant: func() []byte {
			raw, _ := grant.Sign(claims(9, 9), barrelKey)
			return raw
		}(), want: CodeGrantInvalid},
		{name: "for another barrel", grant: change(func(c *grant.Claims) { c.Barrel = "SB-0002" }), want: CodeOtherBarrel},
		{name: "an old counter", grant: change(func(c *grant.Claims) { c.Counter = 3 }), want: CodeReplayed},
		{name: "the last counter", grant: change(func(c *grant.Claims) { c.Counter = 4 }), want: CodeReplayed},
		{name: "a sensor it hasn't", grant: change(func(c *grant.Claims) { c.Methods = []string{"iris"} }), want: CodeMethodUnknown},
		{name: "another seal", grant: change(func(c *grant.Claims) { c.SealType = "finance" }), want: CodeSealType},
		{name: "another user", grant: signed(claims(9, 9)), user: "wu", want: CodeUserMismatch},
		{name: "not yet", grant: change(func(c *grant.Claims) { c.NotBefore = epoch.Add(time.Minute) }), want: CodeNotYetValid},
		{name: "no lease", grant: signed(claims(9, 9)), before: func(r *rig) { r.now = r.now.Add(10 * time.Second) }, want: CodeNoLease},
		{name: "opened case", grant: signed(claims(9, 9)), before: func(r *rig) { r.do(r.Tamper(r.now)) }, want: CodeTampered},
		{name: "expired", grant: change(func(c *grant.Claims) { c.NotAfter = epoch.Add(-time.Second) }), want: CodeExpired, spent: true},
		{name: "locked before it came", grant: signed(claims(9, 9)), before: func(r *rig) { r.beat(wire.LockOrder{ID: 1, Use: 9}) }, want: CodeVoid, spent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig()
			r.st.Counter = 4
			if c.before != nil {
				c.before(r)
			}
			user := c.user
			if user == "" {
				user = "lin"
			}
			_, acts, err := r.Unlock(r.now, wire.UnlockRequest{Grant: c.grant, User: user})
			r.do(acts)
			if err := code(err, c.want); err != nil {
				t.Fatal(err)
			}
			if r.open || r.Status(r.now).Use != 0 {
				t.Error("something was unlocked")
			}
			counter, statements := uint64(4), 0
			if c.spent {
				counter, statements = 9, 1
			}
			if r.durable.Counter != counter || len(r.statements(t)) != statements {
				t.Errorf("counter %d, %d statements; want %d, %d", r.durable.Counter, len(r.statements(t)), counter, statements)
			}
			if c.spent && r.statements(t)[0].Stamped != 0 {
				t.Error("a use that never began was settled with stampings")
			}
			if got := r.events(); got[len(got)-1] != wire.EventRefused {
				t.Errorf("events: %v", got)
			}
		})
	}
}

func TestWhatLocks(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*rig)
	}{
		{"lock order for the use", func(r *rig) { r.do(r.Lock(r.now, wire.LockOrder{ID: 3, Use: 1, Reason: "wrong page"})) }},
		{"lock order for the barrel", func(r *rig) { r.do(r.Lock(r.now, wire.LockOrder{ID: 3, Reason: "revoked"})) }},
		{"lock order in a heartbeat", func(r *rig) { r.beat(wire.LockOrder{ID: 3, Use: 1, Reason: "wrong page"}) }},
		{"the terminal", func(r *rig) { r.do(r.LocalLock(r.now, "done")) }},
		{"link lost", func(r *rig) { r.do(r.LinkLost(r.now)) }},
		{"case opened", func(r *rig) { r.do(r.Tamper(r.now)) }},
		{"lease lost", func(r *rig) { r.now = r.Deadline(); r.do(r.Tick(r.now)) }},
		{"lease lost, found at the press", func(r *rig) { r.now = r.now.Add(10 * time.Second); _ = r.press() }},
		{"time over", func(r *rig) {
			for r.now.Before(epoch.Add(5 * time.Minute)) {
				r.now = r.now.Add(5 * time.Second)
				r.beat()
			}
			r.now = r.Deadline()
			r.do(r.Tick(r.now))
		}},
		{"power lost", func(r *rig) {
			r.open = false // the spring
			r.Machine = NewMachine(identity(), r.durable)
			r.do(r.Boot(r.now))
			r.beat()
		}},
	} {
		for _, phase := range []string{"verifying", "unlocked", "stamped once"} {
			t.Run(c.name+" while "+phase, func(t *testing.T) {
				r := opened(t)
				want := uint32(0)
				switch phase {
				case "verifying":
					r = newRig()
					if err := r.unlock(claims(1, 1)); err != nil {
						t.Fatal(err)
					}
				case "stamped once":
					if err := r.press(); err != nil {
						t.Fatal(err)
					}
					want = 1
				}
				c.do(r)
				if s := r.Status(r.now); r.open || !s.Locked || s.Use != 0 {
					t.Fatalf("not locked: open %v, %+v", r.open, s)
				}
				if i, j := slices.Index(r.done, "close"), slices.Index(r.done, "persist"); j >= 0 && i > j && c.name != "power lost" {
					t.Errorf("locking waited for the memory: %v", r.done)
				}
				if s := r.statements(t); len(s) != 1 || s[0].Stamped != want {
					t.Errorf("statements %+v, want one of %d stampings", s, want)
				}
				if err := r.press(); !errors.Is(err, ErrLocked) {
					t.Errorf("press: %v", err)
				}
				if err := code(r.unlock(claims(1, 1)), CodeReplayed); err != nil && c.name != "case opened" {
					t.Error(err)
				}
			})
		}
	}
}

func TestLockOrders(t *testing.T) {
	r := opened(t)
	r.do(r.Lock(r.now, wire.LockOrder{ID: 1, Use: 77}))
	if !r.open {
		t.Error("a lock for another use locked this one")
	}
	r.beat(wire.LockOrder{ID: 2, Use: 1}, wire.LockOrder{ID: 3, Use: 1})
	if r.open || !slices.Equal(r.acked, []uint64{2, 3}) {
		t.Errorf("open %v, acknowledged %v", r.open, r.acked)
	}
	r.beat(wire.LockOrder{ID: 2, Use: 1})
	if len(r.statements(t)) != 1 || len(r.acked) != 3 {
		t.Error("a repeated lock must be acknowledged again and do nothing more")
	}
	if r.done[len(r.done)-1] != "ack" {
		t.Errorf("the acknowledgement must come last: %v", r.done)
	}
}

// A grant that never arrived is settled by a lock that names its counter, and
// can't be used any more; without the counter it is only void.
func TestLockSettlesAGrantThatNeverArrived(t *testing.T) {
	r := newRig()
	r.beat(wire.LockOrder{ID: 1, Use: 1, Reason: "expired"})
	if got := r.statements(t); len(got) != 0 {
		t.Fatalf("without a counter it signed %+v", got)
	}
	for range 2 { // a repeated lock signs once
		r.beat(wire.LockOrder{ID: 2, Use: 1, Reason: "expired", Order: "WO-1", Counter: 1})
	}
	got := r.statements(t)
	if len(got) != 1 || got[0].UseID != 1 || got[0].Order != "WO-1" || got[0].Counter != 1 || got[0].Stamped != 0 {
		t.Fatalf("signed %+v", got)
	}
	if err := code(r.unlock(claims(1, 1)), CodeReplayed); err != nil {
		t.Error(err)
	}
}

// A lock with a higher counter ends a use that it doesn't name: the gateway forgot
// that one, and asks how often the barrel has stamped.
func TestLockWithAHigherCounterEndsTheUseUnderWay(t *testing.T) {
	r := opened(t)
	if err := r.press(); err != nil {
		t.Fatal(err)
	}
	r.beat(wire.LockOrder{ID: 1, Use: 900, Reason: "counted", Order: "epoch/2", Counter: 900})
	got := r.statements(t)
	if len(got) != 2 || got[0].UseID != 1 || got[0].Stamped != 1 || got[1].UseID != 900 || got[1].Stamped != 0 || got[1].Lifetime != got[0].Lifetime {
		t.Fatalf("signed %+v", got)
	}
	if err := r.press(); err == nil || r.open {
		t.Error("it can still stamp")
	}
	if err := code(r.unlock(claims(2, 2)), CodeReplayed); err != nil {
		t.Error(err)
	}
}

// A use that was stamped is not settled with nothing by a lock that comes late.
func TestLateLockDoesNotSettleAgain(t *testing.T) {
	r := opened(t)
	if err := r.press(); err != nil {
		t.Fatal(err)
	}
	r.do(r.LocalLock(r.now, "done"))
	r.beat(wire.LockOrder{ID: 1, Use: 1, Order: "WO-1", Counter: 1})
	if got := r.statements(t); len(got) != 1 || got[0].Stamped != 1 {
		t.Errorf("signed %+v", got)
	}
}

func TestThreeFailuresEndTheUse(t *testing.T) {
	r := newRig()
	if err := r.unlock(claims(1, 1)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.verify(wire.MethodFace, "wu"); !errors.Is(err, ErrNotRecognised) {
			t.Fatal(err)
		}
	}
	if err := r.verify(wire.MethodFace, "lin"); !errors.Is(err, ErrNotAsked) {
		t.Errorf("after three failures: %v", err)
	}
	if s := r.statements(t); len(s) != 1 || s[0].Stamped != 0 {
		t.Errorf("statements: %+v", s)
	}
}

// A barrel whose clock is a year off still keeps to the gateway's time.
func TestClockComesFromHeartbeats(t *testing.T) {
	r := newRig()
	r.now = epoch.AddDate(-1, 0, 0)
	gateway := epoch
	r.do(r.HeartbeatAnswered(r.now.Add(-200*time.Millisecond), r.now, wire.HeartbeatAnswer{LeaseMillis: 600_000, Time: gateway.UnixMilli()}))
	if err := r.unlock(claims(1, 1)); err != nil {
		t.Fatal(err)
	}
	left := 5*time.Minute - 100*time.Millisecond // half the round trip
	if got := r.Deadline().Sub(r.now); got != left+time.Nanosecond {
		t.Errorf("the grant ends in %v, want %v", got, left)
	}
	r.now = r.now.Add(left)
	if r.do(r.Tick(r.now)); r.Status(r.now).Use == 0 {
		t.Error("ended too early")
	}
	r.now = r.Deadline()
	if r.do(r.Tick(r.now)); r.Status(r.now).Use != 0 {
		t.Error("didn't end")
	}
}

func TestLeaseCountsFromWhenTheHeartbeatWasSent(t *testing.T) {
	r := newRig()
	sent := r.now
	r.now = r.now.Add(4 * time.Second)
	r.do(r.HeartbeatAnswered(sent, r.now, wire.HeartbeatAnswer{LeaseMillis: 10_000, Time: r.now.UnixMilli()}))
	if got := r.Status(r.now).LeaseMs; got != 6000 {
		t.Errorf("lease of %d ms left, want 6000", got)
	}
}

func TestOutboxForgetsOnlyWhatIsAcknowledged(t *testing.T) {
	r := opened(t)
	if err := errors.Join(r.press(), r.press()); err != nil {
		t.Fatal(err)
	}
	for range 2 * maxEvents {
		_ = r.unlock(claims(1, 1))
	}
	if len(r.events()) != maxEvents || len(r.receipts(t)) != 2 || len(r.statements(t)) != 1 {
		t.Fatalf("outbox holds %d events, %d receipts, %d statements", len(r.events()), len(r.receipts(t)), len(r.statements(t)))
	}
	last := uint64(0)
	for len(r.Outbox()) > 0 {
		i := r.Outbox()[0]
		if i.Sequence <= last {
			t.Fatalf("item %d after %d", i.Sequence, last)
		}
		last = i.Sequence
		r.do(r.Delivered(i.Sequence))
		r.do(r.Delivered(i.Sequence)) // a second acknowledgement changes nothing
	}
	if len(r.durable.Outbox) != 0 || len(r.Receipts(1).Receipts) != 2 {
		t.Error("the outbox must be empty, and the receipts still be there for the terminal")
	}
}

func TestBatteryAndHeartbeat(t *testing.T) {
	r := opened(t)
	if err := r.press(); err != nil {
		t.Fatal(err)
	}
	r.do(r.SetBattery(r.now, 9))
	r.do(r.SetBattery(r.now, 8))
	if n := len(r.events()); n != 2 { // the boot and one warning
		t.Errorf("events: %v", r.events())
	}
	want := wire.Heartbeat{State: wire.BarrelUnlocked, Battery: 8, Counter: 1, Use: 1, Lifetime: 1, Stamped: 1, Boots: 1, Firmware: "sim-1"}
	if got := r.Heartbeat(); got != want {
		t.Errorf("heartbeat %+v, want %+v", got, want)
	}
}

func TestServiceAfterTamper(t *testing.T) {
	r := newRig()
	r.do(r.Tamper(r.now))
	if s := r.Status(r.now).State; s != wire.BarrelTampered {
		t.Errorf("state %s", s)
	}
	r.Machine = NewMachine(identity(), r.durable)
	r.do(r.Boot(r.now))
	r.beat()
	if err := code(r.unlock(claims(1, 1)), CodeTampered); err != nil {
		t.Errorf("after a reset: %v", err)
	}
	r.do(r.Service())
	if err := r.unlock(claims(1, 1)); err != nil {
		t.Error(err)
	}
}

// Power is lost after every single action of a whole use. The impressions on
// paper never exceed the count, nor what the barrel says in the end.
func TestPowerLossAtEveryAction(t *testing.T) {
	script := []func(*rig) []Action{
		func(r *rig) []Action {
			_, acts, _ := r.Unlock(r.now, wire.UnlockRequest{Grant: signed(claims(1, 1))})
			return acts
		},
		func(r *rig) []Action { acts, _ := r.Verify(r.now, wire.MethodFace, "lin"); return acts },
		func(r *rig) []Action { acts, _ := r.Verify(r.now, wire.MethodFingerprint, "lin"); return acts },
		func(r *rig) []Action { _, acts, _ := r.Press(r.now); return acts },
		func(r *rig) []Action { _, acts, _ := r.Press(r.now); return acts },
	}
	// run carries out the script until so many actions are done.
	run := func(r *rig, limit int) (finished bool) {
		for _, step := range script {
			for _, a := range step(r) {
				if limit == 0 {
					return false
				}
				limit--
				r.one(a)
			}
		}
		return true
	}
	for limit := 0; ; limit++ {
		r := newRig()
		finished := run(r, limit)
		r.open = false
		r.Machine = NewMachine(identity(), r.durable)
		r.do(r.Boot(r.now))
		r.beat()
		replayed := r.unlock(claims(1, 1))
		settled := r.statements(t)
		if r.durable.Counter == 1 && len(settled) == 1 {
			if err := code(replayed, CodeReplayed); err != nil {
				t.Errorf("after %d actions: %v", limit, err)
			}
			if s := settled[0]; r.stamped > int(s.Stamped) || s.Stamped > 2 || int(s.Stamped) != len(r.receipts(t)) {
				t.Errorf("after %d actions: %d impressions, %d in the statement, %d receipts", limit, r.stamped, s.Stamped, len(r.receipts(t)))
			}
		} else if r.stamped != 0 || replayed != nil {
			t.Errorf("after %d actions: %d impressions, the grant again: %v, statements %v", limit, r.stamped, replayed, settled)
		}
		if finished {
			if limit < 10 {
				t.Errorf("the script had only %d actions", limit)
			}
			return
		}
	}
}
