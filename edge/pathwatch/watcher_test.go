package pathwatch

import (
	"strings"
	"testing"
	"time"
)

func TestAttachesAndFetchesALease(t *testing.T) {
	r := newRig(t, Config{})
	r.tell(LinkUp{Carrier}, LinkUp{Fallback})
	r.until(time.Minute)
	r.expect("0s Connect{carrier}", "150ms Select{carrier}", "150ms Announce{carrier}", "150ms RequestConnection{carrier}")
	if r.sent[Carrier] > 6 || r.sent[Fallback] != 0 {
		t.Errorf("%v probes in an idle minute", r.sent)
	}
	// Two thirds of its time later another one is asked for.
	r.until(9 * time.Hour)
	r.expect("8h0m0.25s RequestConnection{carrier}")
}

func TestIdleTerminalFindsOutThatTheCarrierDied(t *testing.T) {
	r := onCarrier(t, Config{})
	r.nets[Carrier].dead = true
	r.until(90 * time.Second)
	// A probe at 60.1 s, lost a second later; the fallback meanwhile; three lost at 63.1 s.
	r.expect("1m1.1s Connect{fallback}", "1m3.1s Select{fallback}", "1m3.1s Announce{fallback}")
}

// In use the fallback is up beforehand, and a carrier's path that dies is left within
// the four seconds that leave a barrel's lease in peace.
func TestCarrierDiesDuringAUse(t *testing.T) {
	r := onCarrier(t, Config{})
	r.tell(UseBegan{})
	r.until(70 * time.Second)
	r.expect("1m0s Connect{fallback}")
	r.nets[Carrier].dead = true
	r.until(90 * time.Second)
	r.expect("1m14s Select{fallback}", "1m14s Announce{fallback}")
}

func TestTrafficMakesTheWatcherLookCloser(t *testing.T) {
	r := onCarrier(t, Config{})
	before := r.sent[Carrier]
	r.tell(Traffic{})
	r.until(65 * time.Second)
	if n := r.sent[Carrier] - before; n < 5 || n > 6 {
		t.Errorf("%d probes in the five seconds after", n)
	}
	before = r.sent[Carrier]
	r.until(95 * time.Second)
	if n := r.sent[Carrier] - before; n > 2 {
		t.Errorf("%d probes in the thirty seconds after those", n)
	}
}

// One probe that is lost costs nothing but a standby for a minute.
func TestOneLossIsNoDeath(t *testing.T) {
	r := onCarrier(t, Config{})
	r.nets[Carrier].dead = true
	r.until(61100 * time.Millisecond) // one lost
	r.nets[Carrier].dead = false
	r.until(4 * time.Minute)
	r.expect("1m1.1s Connect{fallback}", "2m2.1s Release{fallback}")
}

// Probes may be told to follow each other faster than answers time out: one at a time.
func TestProbesWaitForTheirAnswers(t *testing.T) {
	r := onCarrier(t, Config{InUse: 100 * time.Millisecond, Idle: 100 * time.Millisecond})
	r.nets[Carrier].dead = true
	r.until(65 * time.Second)
	if r.w.Path() != Fallback {
		t.Errorf("on %v: %q", r.w.Path(), r.done())
	}
}

// A link with answers later than the timeout is slow, not dead.
func TestLateAnswersAreLife(t *testing.T) {
	r := onCarrier(t, Config{})
	r.nets[Carrier].late = 1500 * time.Millisecond
	r.until(10 * time.Minute)
	if r.w.Path() != Carrier {
		t.Errorf("on %v: %v", r.w.Path(), r.done())
	}
}

func TestReturnsWhenTheCarrierHasBeenSteady(t *testing.T) {
	r := onCarrier(t, Config{})
	r.nets[Carrier].dead = true
	r.until(80 * time.Second)
	r.done()
	r.nets[Carrier].dead = false // the next probe is at 83.1 s
	r.until(86 * time.Second)
	r.nets[Carrier].dead = true // a loss at 86.1 s
	r.until(87 * time.Second)
	r.nets[Carrier].dead = false // and an answer at 87.15 s
	r.until(100 * time.Second)
	if r.w.Path() != Carrier {
		t.Errorf("on %v", r.w.Path())
	}
	got := r.done()
	if len(got) != 2 || got[0] != "1m37.15s Select{carrier}" {
		t.Errorf("done %q", got)
	}
	r.until(4 * time.Minute)
	r.expect("2m37.15s Release{fallback}")
}

// Each loss soon after a return doubles what the next one takes, up to five minutes; a
// carrier that lasted starts from ten seconds again.
func TestFlapsMakeReturnsRarer(t *testing.T) {
	r := onCarrier(t, Config{})
	await := func(p Path) time.Duration {
		t.Helper()
		began := r.now
		for r.w.Path() != p {
			if r.now.Sub(began) > 10*time.Minute {
				t.Fatalf("not on %v after ten minutes", p)
			}
			r.until(r.now.Sub(noon) + 50*time.Millisecond)
		}
		return r.now.Sub(began)
	}
	fall := func() {
		r.nets[Carrier].dead = true
		await(Fallback)
		r.nets[Carrier].dead = false
	}
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		fall()
		if took := await(Carrier); took < want*time.Second || took > want*time.Second+20*time.Second {
			t.Errorf("return %d took %v, want about %d s", i, took, want)
		}
	}
	r.until(r.now.Sub(noon) + 5*time.Minute)
	fall()
	if took := await(Carrier); took > 20*time.Second {
		t.Errorf("after five good minutes the return took %v", took)
	}
}

// What died is selected again only if it answers; nobody is selected while both are
// dead, and the one that comes first carries.
func TestBothDead(t *testing.T) {
	for _, first := range []Path{Carrier, Fallback} {
		r := onCarrier(t, Config{})
		r.tell(UseBegan{})
		r.until(70 * time.Second)
		r.nets[Carrier].dead, r.nets[Fallback].dead = true, true
		r.done()
		r.until(3 * time.Minute)
		rekeys := 0
		for _, a := range r.done() {
			if a[len(a)-1] == '}' && contains(a, "Select") {
				t.Errorf("selected between two dead paths: %s", a)
			}
			if contains(a, "Rekey") {
				rekeys++
			}
		}
		if rekeys < 15 || rekeys > 25 {
			t.Errorf("%d handshakes in 107 s", rekeys)
		}
		r.nets[first].dead = false
		r.until(3*time.Minute + 17*time.Second)
		if r.w.Path() != first {
			t.Errorf("%v came back, on %v", first, r.w.Path())
		}
	}
}

// After a failover the new holder has no session with the terminal.
func TestHolderDiesOnTheFallback(t *testing.T) {
	r := onCarrier(t, Config{})
	r.tell(UseBegan{}, LinkDown{Carrier})
	r.until(70 * time.Second)
	if r.w.Path() != Fallback {
		t.Fatalf("on %v: %q", r.w.Path(), r.done())
	}
	r.done()
	r.nets[Fallback].deaf = true
	r.until(80 * time.Second)
	got := r.done()
	if len(got) == 0 || !contains(got[0], "Rekey{0}") || contains(got[len(got)-1], "Rekey{1}") {
		t.Errorf("done %q", got)
	}
	if f := &r.w.paths[Fallback]; !f.usable() {
		t.Error("the path is not back")
	}
}

// A request that was under way over a path that dies is made anew, in public.
func TestRequestIsLostWithItsPath(t *testing.T) {
	r := newRig(t, Config{})
	r.tell(LinkUp{Carrier}, LinkUp{Fallback})
	r.until(140 * time.Millisecond)
	r.nets[Carrier].late = 0
	r.until(150 * time.Millisecond)
	r.queue = nil // nothing comes of it
	r.nets[Carrier].dead = true
	r.done()
	r.until(25 * time.Second)
	r.expect("18.1s RequestConnection{none}", "18.2s Connect{fallback}", "18.35s Select{fallback}", "18.35s Announce{fallback}")
}

// A fallback that doesn't answer to handshakes may have other keys by now.
func TestStaleLeaseIsAskedForAnew(t *testing.T) {
	r := newRig(t, Config{})
	r.tell(LinkUp{Fallback})
	r.until(10 * time.Second)
	r.expect("0s RequestConnection{none}", "100ms Connect{fallback}", "250ms Select{fallback}", "250ms Announce{fallback}")
	r.nets[Fallback].dead = true
	r.until(2 * time.Minute)
	asked := 0
	for _, a := range r.done() {
		if contains(a, "RequestConnection") {
			asked++
		}
	}
	if asked < 2 || asked > 6 { // failing ones are repeated, more and more seldom
		t.Errorf("asked %d times", asked)
	}
}

// What the gateway doesn't admit is not selected, however well it answers.
func TestRefusedFallbackIsNotSelected(t *testing.T) {
	r := onCarrier(t, Config{KeepStandby: true})
	r.nets[Fallback].refuses = true
	r.until(2 * time.Minute)
	r.nets[Carrier].dead = true
	r.until(3 * time.Minute)
	if r.w.Path() == Fallback {
		t.Error("on a path that isn't admitted")
	}
	r.nets[Fallback].refuses = false
	r.until(3*time.Minute + 16*time.Second)
	if r.w.Path() != Fallback {
		t.Errorf("on %v after it was admitted", r.w.Path())
	}
}

func TestGatewayThatSendsByTheOtherPathIsTold(t *testing.T) {
	r := onCarrier(t, Config{})
	r.active = Fallback
	r.until(80 * time.Second)
	r.expect("1m0.15s Announce{carrier}")
}

// A gateway that admits nobody on the fallback before there is data is sent some, but
// not before the carrier is lost.
func TestFallbackThatAdmitsOnDataOnly(t *testing.T) {
	r := onCarrier(t, Config{KeepStandby: true})
	r.nets[Fallback].shy = true
	r.until(70 * time.Second)
	r.tell(UseBegan{})
	r.expect()
	r.nets[Carrier].dead = true
	r.until(80 * time.Second)
	r.expect("1m14.05s Announce{fallback}", "1m14.3s Select{fallback}", "1m14.3s Announce{fallback}")
}

// What a minute costs, in probes: of the selected path and of the other.
func TestWhatProbingCosts(t *testing.T) {
	for _, c := range []struct {
		name              string
		prepare           func(*rig)
		carrier, fallback int
	}{
		{"idle", func(*rig) {}, 4, 4},
		{"in use", func(r *rig) { r.tell(UseBegan{}) }, 60, 12},
		{"a use that ended twice, and another", func(r *rig) { r.tell(UseBegan{}, UseEnded{}, UseEnded{}, UseBegan{}) }, 60, 12},
		{"in use, the fallback dead", func(r *rig) { r.tell(UseBegan{}); r.nets[Fallback].dead = true }, 60, 12},
		{"idle, the carrier dead", func(r *rig) { r.nets[Carrier].dead = true }, 12, 4},
		{"idle, both dead", func(r *rig) { r.nets[Carrier].dead, r.nets[Fallback].dead = true, true }, 12, 12},
	} {
		r := onCarrier(t, Config{KeepStandby: true})
		c.prepare(r)
		r.until(65 * time.Second)
		r.w.attach = time.Hour // what is dead stays up
		r.until(100 * time.Second)
		before := r.sent
		r.until(160 * time.Second)
		carrier, fallback := r.sent[Carrier]-before[Carrier], r.sent[Fallback]-before[Fallback]
		if carrier < c.carrier-1 || carrier > c.carrier+1 || fallback < c.fallback-1 || fallback > c.fallback+1 {
			t.Errorf("%s: %d and %d, want about %d and %d", c.name, carrier, fallback, c.carrier, c.fallback)
		}
	}
}

func TestLinkDownIsFasterThanProbes(t *testing.T) {
	r := onCarrier(t, Config{KeepStandby: true})
	r.tell(LinkDown{Carrier})
	if r.w.Path() != NoPath {
		t.Errorf("on %v", r.w.Path())
	}
	r.until(61 * time.Second)
	r.expect("1m0.05s Select{fallback}", "1m0.05s Announce{fallback}")
}

func TestBearerThatEndedIsMadeAnew(t *testing.T) {
	r := onCarrier(t, Config{NoFallback: true})
	r.tell(Disconnected{Carrier})
	r.until(62 * time.Second)
	r.expect("1m0s Connect{carrier}", "1m0.15s Select{carrier}", "1m0.15s Announce{carrier}")
}

// A bearer that is up but leads nowhere is given up after half a minute.
func TestDeadBearerIsMadeAnew(t *testing.T) {
	r := onCarrier(t, Config{NoFallback: true})
	r.nets[Carrier].dead = true
	r.until(95 * time.Second)
	r.expect("1m33.1s Connect{carrier}", "1m34.2s Connect{carrier}")
}

func TestConnectFailuresAreRetriedMoreAndMoreSeldom(t *testing.T) {
	r := newRig(t, Config{NoFallback: true})
	r.nets[Carrier].dead = true
	r.tell(LinkUp{Carrier})
	r.until(10 * time.Minute)
	if n := len(r.done()); n < 35 || n > 50 { // every 15 s in the end
		t.Errorf("%d tries in ten minutes", n)
	}
	// A longer wait that the network asks for is kept.
	r = newRig(t, Config{NoFallback: true})
	r.tell(LinkUp{Carrier})
	r.queue = nil
	r.tell(ConnectFailed{Carrier, time.Minute})
	r.until(2 * time.Minute)
	if got := r.done(); len(got) < 2 || got[1] != "1m0s Connect{carrier}" {
		t.Errorf("done %q", got)
	}
	// One that is never answered ends by itself.
	r = newRig(t, Config{NoFallback: true})
	r.tell(LinkUp{Carrier})
	r.queue = nil
	r.until(32 * time.Second)
	if got := r.done(); len(got) < 2 || got[1] != "31s Connect{carrier}" {
		t.Errorf("done %q", got)
	}
}

// While the fallback carries there is no hurry, and the carrier is spared.
func TestCarrierIsSparedWhileTheFallbackCarries(t *testing.T) {
	r := onCarrier(t, Config{})
	r.nets[Carrier].dead = true
	r.until(31 * time.Minute)
	n := 0
	for _, a := range r.done() {
		if contains(a, "Connect{carrier}") {
			n++
		}
	}
	if n < 12 || n > 25 {
		t.Errorf("%d tries in half an hour", n)
	}
	// When that fails, too, it is tried at once.
	r.nets[Fallback].dead = true
	r.until(31*time.Minute + detection)
	if got := strings.Join(r.done(), " "); !contains(got, "Connect{carrier}") {
		t.Errorf("done %s", got)
	}
}

func TestExpiredLeaseConnectsNothing(t *testing.T) {
	r := onCarrier(t, Config{})
	r.refuse = true
	r.until(13 * time.Hour)
	r.done()
	r.tell(UseBegan{})
	r.nets[Carrier].dead = true
	r.until(13*time.Hour + time.Minute)
	for _, a := range r.done() {
		if contains(a, "Connect{fallback}") {
			t.Errorf("%s with a lease that expired", a)
		}
	}
}

// Times that go back stand still, and nonsense changes nothing.
func TestStrangeEvents(t *testing.T) {
	r := onCarrier(t, Config{})
	for _, e := range []Event{
		ProbeAnswered{Path: Carrier, Nonce: 999_999},
		ProbeAnswered{Path: Carrier},
		ProbeAnswered{Path: NoPath, Nonce: 1},
		Connected{NoPath},
		LinkDown{7},
		ConnectFailed{Path: Carrier},
		UseEnded{},
		RequestFailed{},
		Disconnected{Fallback},
	} {
		r.w.Handle(noon, e)
	}
	r.expect()
	if r.w.Path() != Carrier {
		t.Errorf("on %v", r.w.Path())
	}
}
