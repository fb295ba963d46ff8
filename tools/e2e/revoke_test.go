package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// A phone is revoked in the middle of a use: its tunnel ends, the carrier is told,
// its barrel locks, and the answer says how many milliseconds each took. Another
// phone notices nothing.
func TestRevokedInTheMiddleOfAUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.startServer()
	office := s.office()
	c, tap := s.carrier(1)
	w := s.worker(1, c)
	bystander := s.attach(c, s.enlist(2))
	use := w.request(office.Order("WO-1", 3), 3)
	w.unlock(use)
	w.press(use)

	var out adminapi.Revoked
	holder := string(s.cfgs[s.held()].Admin.Listen) // who knows what the carrier answered
	text := s.sealctl("device", "revoke", imsi(1), "--reason", "snatched", "--yes", "-o", "json", "--wait", "10s", "--address", holder)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	t.Logf("revoked: %s", text)
	if len(out.Sessions) != 1 || len(out.Uses) != 1 || len(out.Locks) != 1 {
		t.Errorf("ended: %+v", out)
	}
	ms := out.Timing
	switch {
	case ms.Committed <= 0:
		t.Error("when it was committed isn't told")
	case len(ms.Elsewhere) > 0:
		t.Log("the gateway address went to another node meanwhile, which a busy machine can bring about")
	case ms.TunnelsDown == nil || *ms.TunnelsDown <= 0:
		t.Error("when the tunnel ended isn't told")
	case ms.CarrierAnswered == nil || *ms.CarrierAnswered < *ms.TunnelsDown:
		t.Error("when the carrier answered isn't told")
	case ms.Locked == nil && len(ms.Unlocked) == 0:
		t.Error("nothing is said of the barrel's lock")
	}
	s.until("the carrier is told", func() bool { return tap.heardDistinct(deleteBearerRequest) > 0 })
	if n := tap.heardDistinct(deleteBearerRequest); n != 1 {
		t.Errorf("%d Delete Bearer Requests, want 1", n)
	}
	// Whether it heard the lock or lost its lease: no further stamping.
	w.awaitBarrel("locked", func(b wire.BarrelStatus) bool { return b.Locked })
	before := w.barrel.Impressions()
	if _, err := w.barrel.Press(); err == nil || w.barrel.Impressions() != before {
		t.Error("the barrel of a revoked phone stamps")
	}
	if err := w.phone.Attach(s.soon()); err == nil {
		t.Error("a revoked phone attached")
	}
	if len(s.sessions(imsi(1))) != 0 {
		t.Error("the revoked phone has a session")
	}
	s.ping(bystander)
	s.auditVerifies()
}

// A policy that admits fewer ends the sessions that it doesn't admit any more, and
// the carrier is told; the others go on.
func TestPolicyEndsSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	c, tap := s.carrier(1)
	s.attach(c, s.enlist(1))
	stays := s.attach(c, s.enlist(2, func(t *adminapi.Terminal) { t.Groups = []string{"finance"} }))
	doc, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		t.Fatal(err)
	}
	tighter := s.file("tighter.yaml")
	s.write(tighter, strings.Replace(string(doc), "\n  changeControl:", "\n  rules:\n    - {id: only-finance, action: attach, effect: permit, match: {groups: [finance]}}\n  changeControl:", 1))
	s.sealctl("policy", "apply", tighter, "--reason", "only finance")
	s.until("the session that isn't admitted any more has ended", func() bool { return len(s.sessions(imsi(1))) == 0 })
	s.until("the carrier was told", func() bool {
		return tap.heardDistinct(deleteBearerRequest) == 1
	})
	s.ping(stays)
	if len(s.sessions(imsi(2))) != 1 {
		t.Error("the session that is admitted has ended")
	}
	// Back to the document before: that widens, so another person has to agree.
	if out, err := s.trySealctl("policy", "rollback", "1"); err == nil || !strings.Contains(err.Error(), "waits for 1 approval") {
		t.Errorf("%s %v", out, err)
	}
}
