package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Rules never widen: what the document allows with a table it allows without one.
func TestRulesNeverWiden(t *testing.T) {
	rnd := rand.New(rand.NewPCG(22, 5))
	allowed, narrowed := 0, 0
	for range 3000 {
		base := rules()
		base.Admission.Handset, base.Admission.TACs = HandsetBinding(1+rnd.IntN(5)), []string{"35693803"}
		base.Locations = map[string]Location{"office": {TAIs: []string{"46001-0001"}}, "home": {TAIs: []string{"46001-0001", "46001-0002"}}}
		base.Fallback.PlaceAge = time.Duration(rnd.IntN(3)) * time.Hour
		ruled := *base
		ruled.Table = randomTable(rnd, 1+rnd.IntN(6))
		for i := range ruled.Table {
			if r := &ruled.Table[i]; r.Permit && rnd.IntN(2) == 0 {
				r.Require = Require{
					Handset: HandsetBinding(rnd.IntN(6)), Credentials: Credentials(rnd.IntN(4)), Methods: Methods(rnd.IntN(4)), Level: rnd.IntN(3),
					MaxCount: uint32(rnd.IntN(12)), MaxWindow: time.Duration(rnd.IntN(100)) * time.Hour, EvidenceWithin: time.Duration(rnd.IntN(400)) * time.Second,
				}
			}
		}
		ruled.Index()

		a := admission()
		a.Now, a.Shown, a.Subscriber.Groups = noon, Credentials(rnd.IntN(4)), some(rnd, someGroups)
		if rnd.IntN(2) == 0 {
			a.Subscriber.IMEIs = nil
		}
		if rnd.IntN(3) == 0 {
			announced(&a)
		}
		u := use()
		u.Shown, u.Terminal.Groups, u.Answer.Count = Credentials(rnd.IntN(4)), some(rnd, someGroups), uint32(rnd.IntN(12))
		u.Answer.Level, u.Access.RAT = 1+rnd.IntN(2), one(rnd, someRATs)
		if rnd.IntN(3) == 0 { // over the fallback, where the carrier was there until some time ago
			a.Path, u.Path, u.Shown = PathWireGuard, PathWireGuard, CredentialWireGuard|u.Shown
			u.Barrel.SealType, u.Answer.SealType = "business", "business"
			if rnd.IntN(2) == 0 {
				a.Told = noon.Add(-time.Duration(rnd.IntN(180)) * time.Minute)
			}
			u.Access.Told = a.Told
		}
		a.Place.TAI = one(rnd, someTAIs)
		u.Access.Place = a.Place
		for _, d := range [][2]Decision{{ruled.Admit(a), base.Admit(a)}, {ruled.PermitUse(u), base.PermitUse(u)}, {ruled.ScreenUse(u), base.ScreenUse(u)}} {
			with, without := d[0], d[1]
			if with.Allowed && !without.Allowed {
				t.Fatalf("allowed only with the rules %+v: %v", ruled.Table, without.Denials())
			}
			if with.Allowed {
				allowed++
			} else if without.Allowed {
				narrowed++
			}
		}
		if ruled.PermitUse(u).Allowed {
			x, y := ruled.Terms(u), base.Terms(u)
			if x.EvidenceSeconds > y.EvidenceSeconds || x.Count > y.Count || x.NotAfter.After(y.NotAfter) || x.Level > y.Level {
				t.Fatalf("granted %+v with the rules, %+v without", x, y)
			}
		}
	}
	if allowed < 300 || narrowed < 300 {
		t.Errorf("%d allowed, %d narrowed: the test is too easy", allowed, narrowed)
	}
}
