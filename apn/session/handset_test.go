package session

import (
	"slices"
	"testing"
	"time"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

const (
	handsetA = "35209900176148" // as gtptest has it
	handsetB = "35209900176149" // of the same model
	handsetC = "49209900176148" // of another
)

// attachIn has the subscriber attach in a handset; a new request each time.
func (w *world) attachIn(s *gtptest.SGW, imei string) gtp.Cause {
	w.t.Helper()
	s.Seq++
	s.IMEI = imei + "23"
	_, _, done := w.carry(s.Create())
	return done.Cause
}

// record changes the subscriber's record.
func (w *world) record(change func(*command.Subscriber)) {
	w.t.Helper()
	s := &command.Subscriber{
		Imsi: "460011234567890", Msisdn: "8613912345678", Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE,
	}
	change(s)
	w.do(&command.PutSubscriber{Subscriber: s, AnyVersion: true})
}

func (w *world) imeis() []string { return w.state.Subscriber("460011234567890").Imeis }

// bindingWorld binds in a way, and has a pool of one model.
func bindingWorld(t *testing.T, h policy.HandsetBinding) (*world, gtptest.SGW) {
	w := newWorld(t)
	w.do(&command.RaiseLevel{Level: 2, Nodes: []string{"n1"}})
	w.rules.Admission.Handset, w.rules.Admission.TACs = h, []string{handsetA[:8]}
	return w, gtptest.New()
}

func TestHandsetListed(t *testing.T) {
	w, s := bindingWorld(t, policy.HandsetListed)
	if got := w.attachIn(&s, handsetB); got != gtp.CauseAPNDenied {
		t.Errorf("another handset: %v", got)
	}
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAccepted || !slices.Equal(w.imeis(), []string{handsetA}) {
		t.Errorf("its handset: %v", got)
	}
	w.record(func(*command.Subscriber) {})
	if got := w.attachIn(&s, handsetB); got != gtp.CauseAccepted || w.imeis() != nil {
		t.Errorf("any, as none is listed: %v, %v", got, w.imeis())
	}
}

func TestHandsetExact(t *testing.T) {
	w, s := bindingWorld(t, policy.HandsetExact)
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAccepted {
		t.Errorf("its handset: %v", got)
	}
	w.record(func(*command.Subscriber) {})
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAPNDenied {
		t.Errorf("none is listed: %v", got)
	}
}

func TestHandsetPool(t *testing.T) {
	w, s := bindingWorld(t, policy.HandsetPool)
	w.record(func(*command.Subscriber) {})
	for imei, want := range map[string]gtp.Cause{handsetA: gtp.CauseAccepted, handsetB: gtp.CauseAccepted, handsetC: gtp.CauseAPNDenied} {
		if got := w.attachIn(&s, imei); got != want {
			t.Errorf("%s: %v", imei, got)
		}
	}
	w.record(func(s *command.Subscriber) { s.Imeis = []string{handsetB} })
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAPNDenied {
		t.Errorf("of the pool, but not the one that is bound: %v", got)
	}
}

func TestHandsetFirstUse(t *testing.T) {
	w, s := bindingWorld(t, policy.HandsetFirstUse)
	w.record(func(*command.Subscriber) {})
	if got := w.attachIn(&s, handsetB); got != gtp.CauseAccepted || !slices.Equal(w.imeis(), []string{handsetB}) {
		t.Fatalf("the first: %v, bound %v", got, w.imeis())
	}
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAPNDenied || !slices.Equal(w.imeis(), []string{handsetB}) {
		t.Errorf("another: %v, bound %v", got, w.imeis())
	}
	if got := w.attachIn(&s, handsetB); got != gtp.CauseAccepted {
		t.Errorf("the first again: %v", got)
	}
}

// Of two handsets that are tried at once one is bound, and the other refused.
func TestHandsetFirstUseRace(t *testing.T) {
	w, s := bindingWorld(t, policy.HandsetFirstUse)
	w.record(func(*command.Subscriber) {})
	other := s
	s.IMEI, other.IMEI, other.Seq = handsetA+"23", handsetB+"23", s.Seq+1
	one, two := w.decide(s.Create(), 0), w.decide(other.Create(), 0)
	if a := one.Finish(w.apply(one.Command)); a.Cause != gtp.CauseAccepted {
		t.Fatalf("%+v", a)
	}
	if a := two.Finish(w.apply(two.Command)); !a.Again {
		t.Fatalf("%+v", a)
	}
	if o := w.decide(other.Create(), 1); o.Cause != gtp.CauseAPNDenied || !slices.Equal(w.imeis(), []string{handsetA}) {
		t.Errorf("%v, bound %v", o.Cause, w.imeis())
	}
}

func TestHandsetAnnounced(t *testing.T) {
	w, s := bindingWorld(t, policy.HandsetExact)
	until := w.state.Clock().Add(time.Hour)
	w.record(func(s *command.Subscriber) {
		s.Imeis, s.AnnouncedImei, s.AnnouncedUntil = []string{handsetA}, handsetB, until.UnixNano()
	})
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAccepted || !slices.Equal(w.imeis(), []string{handsetA}) {
		t.Errorf("still in the old one: %v, %v", got, w.imeis())
	}
	if got := w.attachIn(&s, handsetB); got != gtp.CauseAccepted || !slices.Equal(w.imeis(), []string{handsetB}) {
		t.Errorf("in the new one: %v, %v", got, w.imeis())
	}
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAPNDenied {
		t.Errorf("back in the old one: %v", got)
	}
	w.record(func(s *command.Subscriber) {
		s.Imeis, s.AnnouncedImei, s.AnnouncedUntil = []string{handsetB}, handsetA, until.UnixNano()
	})
	w.now = until
	if got := w.attachIn(&s, handsetA); got != gtp.CauseAPNDenied || !slices.Equal(w.imeis(), []string{handsetB}) {
		t.Errorf("too late: %v, %v", got, w.imeis())
	}
}

func TestHandsetAny(t *testing.T) {
	w, s := bindingWorld(t, policy.HandsetAny)
	if got := w.attachIn(&s, handsetC); got != gtp.CauseAccepted || !slices.Equal(w.imeis(), []string{handsetA}) {
		t.Errorf("%v, %v", got, w.imeis())
	}
}

// Before every node knows how to bind, what would bind has to wait.
func TestHandsetOfAMixedCluster(t *testing.T) {
	w, s := newWorld(t), gtptest.New()
	w.rules.Admission.Handset = policy.HandsetFirstUse
	w.record(func(*command.Subscriber) {})
	if got := w.attachIn(&s, handsetA); got != gtp.CauseSystemFailure || w.imeis() != nil {
		t.Errorf("%v, %v", got, w.imeis())
	}
}

// Rules see where and when a terminal attaches; a handover to elsewhere is refused
// as an attach there would be.
func TestRulesOfAttaching(t *testing.T) {
	w, s := newWorld(t), gtptest.New()
	noon := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC) // a Monday
	w.now = noon
	w.rules.Locations = map[string]policy.Location{"office": {ECGIs: []string{"46001-0000001"}}}
	w.rules.Table = []policy.Rule{
		{ID: "by-day", Action: policy.ActionAttach, Permit: true, Match: policy.Match{
			Locations: []string{"office"}, Hours: &policy.Hours{Days: [7]bool{time.Monday: true}, From: 8 * 60, To: 20 * 60},
		}},
	}
	w.rules.Index()
	refused := func(what string, now time.Time, raw []byte) {
		t.Helper()
		w.now = now
		if o := w.decide(raw, 0); o.Cause != gtp.CauseNotAuthorised || o.Decision.Code != policy.CodeNoRule {
			t.Errorf("%s: %v, %+v", what, o.Cause, o.Decision)
		}
	}
	refused("at night", noon.Add(9*time.Hour), s.Create())
	all := s.CreateElements()
	elsewhere := []byte{0x18, 0x64, 0xf0, 0x10, 0, 1, 0x64, 0xf0, 0x10, 0, 0, 0, 2}
	for i, e := range all {
		if e.Type == ie.UserLocationInformation {
			all[i] = ie.New(ie.UserLocationInformation, 0, elsewhere)
		}
	}
	refused("elsewhere", noon, s.Request(gtp.TypeCreateSessionRequest, 0, all...))
	w.now = noon
	a, _, done := w.carry(s.Create())
	if done.Cause != gtp.CauseAccepted {
		t.Fatal(done.Cause)
	}
	w.rules.Admission.RATs = append(w.rules.Admission.RATs, 10)
	teid := a.TEIDOf(1)
	s.Seq++
	o := w.decide(s.Request(gtp.TypeModifyBearerRequest, teid, ie.New(ie.UserLocationInformation, 0, elsewhere), ie.NewRATType(10)), 0)
	if o.Cause != gtp.CauseNotAuthorised || o.Decision.Code != policy.CodeNoRule {
		t.Errorf("handover to elsewhere: %v, %+v", o.Cause, o.Decision)
	}
	// A handover that doesn't say where to is where it was.
	s.Seq++
	if o := w.decide(s.Request(gtp.TypeModifyBearerRequest, teid, ie.NewRATType(10)), 0); o.Command == nil {
		t.Errorf("handover: %v, %+v", o.Cause, o.Decision)
	}
	// Where the terminal is reported to be is kept, though it could not attach there:
	// uses are decided by where it is.
	s.Seq++
	if a, _, _ := w.carry(s.Request(gtp.TypeModifyBearerRequest, teid, ie.New(ie.UserLocationInformation, 0, elsewhere))); a.Cause() != 16 {
		t.Errorf("report: cause %d", a.Cause())
	}
	if got := w.state.SessionByTEIDC(teid).GetGtp().GetUserLocation(); !slices.Equal(got, elsewhere) {
		t.Errorf("% x", got)
	}
}
