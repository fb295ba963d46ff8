package phoneapi

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// A user's way through the API: two stampings granted, one made.
func TestTheWayOfOneUse(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var st wire.Status
		r.send("GET", wire.PathStatus, nil).want(t, 200, &st)
		if st.Terminal != "10.90.0.11" || st.APN != usetest.APN || len(st.Barrels) != 1 || st.Barrels[0] != (wire.BarrelOnline{Barrel: usetest.Barrel, Alive: true}) {
			t.Errorf("status %+v", st)
		}
		var login wire.LoginAnswer
		r.send("POST", wire.PathLogin, wire.LoginRequest{User: usetest.User, Password: "correct horse"}).want(t, 200, &login)
		auth := "Bearer " + login.Token
		var orders wire.OrderList
		r.send("GET", wire.PathOrders, nil, "Authorization", auth).want(t, 200, &orders)
		if len(orders.Orders) != 1 || orders.Orders[0].Number != usetest.Order {
			t.Errorf("orders %+v", orders)
		}
		r.send("POST", wire.PathAssociations, wire.Association{MAC: usetest.MAC(usetest.Barrel), Event: wire.EventJoin}).want(t, 200, nil)

		var granted wire.UseAnswer
		r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", auth).want(t, 201, &granted)
		use := r.w.Use(granted.Use)
		if granted.Count != 2 || granted.Counter != 1 || len(granted.Grant) == 0 || use.Imsi != usetest.Terminal || use.User != usetest.User {
			t.Errorf("granted %+v, recorded %v", granted, use)
		}

		var status wire.UseStatus
		for range 2 {
			r.send("POST", wire.ReceiptsPath(use.Id), wire.ReceiptReport{Receipt: usetest.Receipt(t, use, 1)}).want(t, 200, &status)
		}
		if status.Confirmed != 1 || len(status.Stamps) != 1 || !status.Stamps[0].EvidenceDue.Equal(time.Now().Add(2*time.Minute)) {
			t.Errorf("after a receipt: %+v", status)
		}
		image := []byte("a page with a seal on it")
		r.upload(use.Id, 1, image, 0, len(image)).want(t, 200, nil)
		r.send("POST", wire.SettlementPath(use.Id), wire.SettlementReport{Statement: usetest.Statement(t, use, 1)}).want(t, 200, &status)
		if status.State != wire.UseSettled || status.Refunded != 1 || len(status.Stamps[0].EvidenceDigest) == 0 {
			t.Errorf("settled: %+v", status)
		}
		r.send("GET", wire.UsePath(use.Id), nil).want(t, 200, &status)
		if status.State != wire.UseSettled {
			t.Errorf("asked for: %+v", status)
		}
		// The leader tells the seal server, once.
		time.Sleep(5 * lookAgain)
		if reports := r.seal.reports(); len(reports) != 1 || reports[0].Use != use.Id || reports[0].Stamped != 1 {
			t.Errorf("reported: %+v", reports)
		}
	})
}

func TestTerminalIsTheHolderOfTheAddress(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.sendFrom(netip.MustParseAddr("10.90.7.7"), "GET", wire.PathStatus, nil).refused(t, wire.CodeTerminalUnknown)
		// The address in the body is the tunnel's own, or else.
		req := usetest.Request("r1", time.Now())
		r.sendFrom(usetest.Address(usetest.Other), "POST", wire.PathUses, req, "Authorization", bearer).refused(t, wire.CodeAddressMismatch)
		// A use is its terminal's.
		u := r.use("r1")
		r.sendFrom(usetest.Address(usetest.Other), "GET", wire.UsePath(u.Use), nil).refused(t, wire.CodeUseUnknown)
		r.send("GET", wire.UsePath(u.Use+1), nil).refused(t, wire.CodeUseUnknown)
		r.send("GET", "/v1/uses/none", nil).refused(t, wire.CodeNotFound)
		// Revoked is revoked at once, on a connection or not.
		r.w.Do(&command.RevokeSubscriber{Imsi: usetest.Terminal, Reason: "lost"})
		r.send("GET", wire.PathStatus, nil).refused(t, wire.CodeTerminalUnknown)
	})
}

func TestDeviceCertificate(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		mine := certificate(t, "phone")
		sum := sha256.Sum256(mine.Certificate[0])
		r.w.Do(&command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
			Imsi: usetest.Terminal, Apns: []string{usetest.APN}, State: command.DeviceState_ACTIVE,
			StaticAddress: usetest.Address(usetest.Terminal).AsSlice(), DeviceCertSha256: sum[:],
		}})
		r.send("GET", wire.PathStatus, nil).refused(t, wire.CodeDeviceCertificate)
		r.cert = certificate(t, "phone")
		r.send("GET", wire.PathStatus, nil).refused(t, wire.CodeDeviceCertificate)
		r.cert = mine
		r.send("GET", wire.PathStatus, nil).want(t, 200, nil)
		// Where none is on record, any is as good as none.
		r.sendFrom(usetest.Address(usetest.Other), "GET", wire.PathStatus, nil).want(t, 200, nil)
	})
}

// A node that can't know whether a use was locked elsewhere doesn't say that it
// wasn't.
func TestStatusOfAUseIsLinearizable(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		path := fmt.Sprintf("/v1/uses/%d", r.use("r1").Use)
		r.send("GET", path, nil).want(t, 200, nil)
		r.w.Fail(command.ErrNoQuorum)
		r.send("GET", path, nil).refused(t, wire.CodeNoQuorum)
		r.w.Fail(nil)
		r.send("GET", path, nil).want(t, 200, nil)
	})
}

func TestTheSameRequestGetsTheSameGrant(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		req := usetest.Request("r1", time.Now())
		r.w.LoseAnswer()
		lost := r.send("POST", wire.PathUses, req, "Authorization", bearer).refused(t, wire.CodeOutcomeUnknown)
		if lost.header.Get("Retry-After") == "" {
			t.Error("it doesn't say when to try again")
		}
		// The node dies; the phone finds the next one.
		r.stop()
		time.Sleep(time.Second)
		r.start()
		first := r.send("POST", wire.PathUses, req, "Authorization", bearer).want(t, 201, nil)
		second := r.send("POST", wire.PathUses, req, "Authorization", bearer).want(t, 201, nil)
		if !bytes.Equal(first.body, second.body) {
			t.Errorf("first %s, then %s", first.body, second.body)
		}
		if o := r.w.Order(usetest.Order); o.Reserved != 2 {
			t.Errorf("reserved %d, want 2", o.Reserved)
		}
		req.Barrel = usetest.Spare
		r.send("POST", wire.PathUses, req, "Authorization", bearer).refused(t, wire.CodeRequestReused)
	})
}

func TestNoQuorum(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.w.Fail(command.ErrNoQuorum)
		a := r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer).refused(t, wire.CodeNoQuorum)
		if a.header.Get("Retry-After") != "1" || a.problem.RetryAfterSeconds != 1 {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
		// Reading goes on, and the refusal is recorded once there is a quorum.
		r.send("GET", wire.PathStatus, nil).want(t, 200, nil)
		r.w.Fail(nil)
		time.Sleep(2 * time.Second)
		if d := r.w.Decisions(); len(d) != 1 || d[0].Code != string(wire.CodeNoQuorum) {
			t.Errorf("recorded %v", d)
		}
		r.use("r1")
	})
}

// Between the seal server's answer and the log, the barrel was checked in and
// out again: what was decided on is gone, but the answer is still yes.
func TestDecidesAgainWhenTheRecordsChanged(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		asked := 0
		r.seal.verify = func(string, wire.VerifyRequest) (wire.VerifyAnswer, error) {
			asked++
			return usetest.Answer(time.Now()), nil
		}
		// Rules that are older than the log's revision: a conflict each time
		// until they are recompiled.
		r.w.Do(&command.PutPolicy{BaseRevision: 1, Document: []byte("2"), Pools: nil})
		go func() {
			time.Sleep(100 * time.Millisecond)
			next := usetest.Rules()
			next.Revision = 2
			r.rules.Store(next)
		}()
		r.use("r1")
		if asked != 1 {
			t.Errorf("the seal server was asked %d times", asked)
		}
	})
	bubble(t, func(t *testing.T, r *rig) {
		r.w.Do(&command.PutPolicy{BaseRevision: 1, Document: []byte("2"), Pools: nil})
		r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer).refused(t, wire.CodeConflict)
	})
}

func TestRefusalsAreAnsweredAndRecorded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.dead.Store(true)
		a := r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer).refused(t, wire.CodeBarrelOffline)
		if len(a.problem.Reasons) == 0 || a.problem.Hint == "" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("answered %s", a.body)
		}
		r.dead.Store(false)
		r.seal.verify = func(string, wire.VerifyRequest) (wire.VerifyAnswer, error) {
			over := usetest.Answer(time.Now())
			over.Count = 99
			return over, nil
		}
		r.send("POST", wire.PathUses, usetest.Request("r2", time.Now()), "Authorization", bearer).refused(t, wire.CodeLevelNotMet)
		r.hotspot = func(string, wire.Association) (wire.AssociationAnswer, error) {
			return wire.AssociationAnswer{}, wire.NewProblem(wire.CodeMACNotAllowed, "No barrel has it.")
		}
		r.send("POST", wire.PathAssociations, wire.Association{MAC: "02:00:00:00:00:01", Event: wire.EventJoin}).refused(t, wire.CodeMACNotAllowed)
		synctest.Wait()
		var got []string
		for _, d := range r.w.Decisions() {
			got = append(got, d.Kind+" "+d.Code)
		}
		want := "use barrel-offline, alarm alarm, use level-not-met, hotspot mac-not-allowed, alarm alarm"
		if strings.Join(got, ", ") != want {
			t.Errorf("recorded %s; want %s", strings.Join(got, ", "), want)
		}
		if n := r.srv.Counters(); n[string(wire.CodeBarrelOffline)] != 1 || n[string(wire.CodeLevelNotMet)] != 1 {
			t.Errorf("counted %v", n)
		}
	})
}

// A terminal that is refused over and over doesn't keep out of the chain what it
// is allowed, and what administrators must hear of.
func TestRefusalsDoNotCrowdOut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.dead.Store(true)
		for range 30 {
			r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer).refused(t, wire.CodeBarrelOffline)
		}
		r.dead.Store(false)
		r.send("POST", wire.PathLogin, wire.LoginRequest{User: usetest.User, Password: "correct horse"}).want(t, 200, nil)
		r.seal.verify = func(string, wire.VerifyRequest) (wire.VerifyAnswer, error) {
			over := usetest.Answer(time.Now())
			over.Count = 99
			return over, nil
		}
		r.send("POST", wire.PathUses, usetest.Request("r2", time.Now()), "Authorization", bearer).refused(t, wire.CodeLevelNotMet)
		synctest.Wait()
		got := map[string]int{}
		for _, d := range r.w.Decisions() {
			got[d.Kind]++
		}
		if got["login"] != 1 || got["alarm"] != 1 || got["use"] >= 30 {
			t.Errorf("recorded %v; want one login, one alarm, and fewer than 30 refusals", got)
		}
	})
}

// Neither a password nor a token nor a whole IMSI is in the log, and neither a
// password nor a token in the replicated one.
func TestSecretsStayOut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.send("POST", wire.PathLogin, wire.LoginRequest{User: usetest.User, Password: "correct horse"}).want(t, 200, nil)
		r.send("POST", wire.PathLogin, wire.LoginRequest{User: usetest.User, Password: "battery staple"}).refused(t, wire.CodeLoginFailed)
		r.send("POST", wire.PathLogin, wire.LoginRequest{User: "wrong-field", Password: usetest.User}).refused(t, wire.CodeLoginFailed)
		a := r.send("POST", wire.PathLogin, strings.NewReader(`{"user":"li.wei","passwort":"paper clip"}`)).refused(t, wire.CodeBadRequest)
		b := r.send("POST", wire.PathLogin, strings.NewReader(`{"user":"li.wei","password":paper clip}`)).refused(t, wire.CodeBadRequest)
		r.dead.Store(true)
		r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", bearer)
		synctest.Wait()
		all := r.log.String() + string(a.body) + string(b.body)
		for _, raw := range r.w.Log() {
			all += string(raw)
		}
		for _, secret := range []string{"correct horse", "battery staple", "wrong-field", "paper", "token-of-li"} {
			if strings.Contains(all, secret) {
				t.Errorf("%q got out", secret)
			}
		}
		if strings.Contains(r.log.String(), usetest.Terminal) {
			t.Error("a whole IMSI is in the log")
		}
		var logins []bool
		for _, d := range r.w.Decisions() {
			if d.Kind == "login" {
				logins = append(logins, d.Allowed)
			}
		}
		if len(logins) != 3 || !logins[0] || logins[1] || logins[2] {
			t.Errorf("logins recorded: %v", logins)
		}
	})
}

func TestBadRequests(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, c := range []struct {
			method, path string
			body         any
			header       []string
			code         wire.Code
		}{
			{"GET", "/", nil, nil, wire.CodeNotFound},
			{"GET", "/v2/status", nil, nil, wire.CodeNotFound},
			{"DELETE", wire.PathUses, nil, nil, wire.CodeMethodNotAllowed},
			{"POST", wire.PathUses, usetest.Request("r1", time.Now()), nil, wire.CodeTokenInvalid},
			{"POST", wire.PathUses, usetest.Request("r1", time.Now()), []string{"Authorization", "Basic eA=="}, wire.CodeTokenInvalid},
			{"GET", wire.PathOrders, nil, []string{"Authorization", "Bearer " + strings.Repeat("x", 5000)}, wire.CodeTokenInvalid},
			{"POST", wire.PathUses, strings.NewReader("{"), []string{"Authorization", bearer}, wire.CodeBadRequest},
			{"POST", wire.PathUses, strings.NewReader("{}"), []string{"Authorization", bearer}, wire.CodeBadRequest},
			{"POST", wire.PathUses, strings.NewReader(`{"admin":true}`), []string{"Authorization", bearer}, wire.CodeBadRequest},
			{"POST", wire.PathUses, strings.NewReader("a=b"), []string{"Content-Type", "application/x-www-form-urlencoded"}, wire.CodeBadRequest},
			{"POST", wire.PathUses, strings.NewReader(`{"order":"` + strings.Repeat("x", 70<<10) + `"}`), nil, wire.CodeTooLarge},
			{"POST", wire.LockAckPath(7), nil, nil, wire.CodeLockUnknown},
			{"POST", "/v1/locks/0/ack", nil, nil, wire.CodeNotFound},
			{"POST", wire.ReceiptsPath(7), wire.ReceiptReport{}, nil, wire.CodeUseUnknown},
		} {
			a := r.send(c.method, c.path, c.body, c.header...).refused(t, c.code)
			if c.code == wire.CodeMethodNotAllowed && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
			if c.code == wire.CodeTokenInvalid && a.header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate with 401")
			}
		}
	})
}

func TestRateLimits(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for range 5 {
			r.send("POST", wire.PathLogin, wire.LoginRequest{User: "eve", Password: "guess"}).refused(t, wire.CodeLoginFailed)
		}
		a := r.send("POST", wire.PathLogin, wire.LoginRequest{User: "eve", Password: "guess"}).refused(t, wire.CodeRateLimited)
		if a.header.Get("Retry-After") != "3" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
		r.sendFrom(usetest.Address(usetest.Other), "POST", wire.PathLogin, wire.LoginRequest{User: "eve", Password: "guess"}).refused(t, wire.CodeLoginFailed)
		time.Sleep(3 * time.Second)
		r.send("POST", wire.PathLogin, wire.LoginRequest{User: "eve", Password: "guess"}).refused(t, wire.CodeLoginFailed)

		time.Sleep(3 * time.Second)
		for range 40 {
			r.send("GET", wire.PathStatus, nil).want(t, 200, nil)
		}
		r.send("GET", wire.PathStatus, nil).refused(t, wire.CodeRateLimited)
		r.sendFrom(usetest.Address(usetest.Other), "GET", wire.PathStatus, nil).want(t, 200, nil)
	})
}

// A terminal that asks for nothing but refusals doesn't fill the audit chain.
func TestRefusalsDontFloodTheLog(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.dead.Store(true)
		for i := range 200 {
			time.Sleep(50 * time.Millisecond)
			r.send("POST", wire.PathUses, usetest.Request(fmt.Sprint("r", i), time.Now()), "Authorization", bearer).refused(t, wire.CodeBarrelOffline)
		}
		synctest.Wait()
		if n := len(r.w.Decisions()); n < 20 || n > 26 {
			t.Errorf("%d of 200 refusals in 10 s were recorded; want 20 at once and one every 2 s", n)
		}
	})
}

func TestAPanicStaysWithItsRequest(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.hotspot = func(string, wire.Association) (wire.AssociationAnswer, error) { panic("boom") }
		r.send("POST", wire.PathAssociations, wire.Association{}).refused(t, wire.CodeInternal)
		r.send("GET", wire.PathStatus, nil).want(t, 200, nil)
		if !strings.Contains(r.log.String(), "boom") {
			t.Error("it is not in the log")
		}
	})
}

func TestOverdueEvidenceIsMarked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		u := r.use("r1")
		r.send("POST", wire.ReceiptsPath(u.Use), wire.ReceiptReport{Receipt: usetest.Receipt(t, r.w.Use(u.Use), 1)}).want(t, 200, nil)
		r.leading.Store(false)
		time.Sleep(3 * time.Minute)
		if o := r.w.Order(usetest.Order); o.State != command.OrderState_OPEN {
			t.Fatalf("a node that doesn't lead marked it: %v", o)
		}
		r.leading.Store(true)
		time.Sleep(2 * lookAgain)
		if o := r.w.Order(usetest.Order); o.State != command.OrderState_SUSPENDED_ORDER {
			t.Errorf("the order is %v, want it suspended", o)
		}
		if !strings.Contains(r.log.String(), "evidence is overdue") {
			t.Error("nobody is told")
		}
	})
}

// The seal server hears of a settled use although it was away, and again from a
// node that begins to lead.
func TestSettledUsesAreReported(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.seal.mu.Lock()
		r.seal.down = true
		r.seal.mu.Unlock()
		r.w.Do(&command.RecordDecision{Kind: "test"})
		u := r.seed("r1")
		time.Sleep(5 * lookAgain)
		if n := len(r.seal.reports()); n != 0 {
			t.Fatalf("%d reports", n)
		}
		r.seal.mu.Lock()
		r.seal.down = false
		r.seal.mu.Unlock()
		time.Sleep(2 * lookAgain)
		if got := r.seal.reports(); len(got) != 1 || got[0].Use != u {
			t.Fatalf("reports %+v", got)
		}
		r.leading.Store(false)
		time.Sleep(2 * lookAgain)
		r.leading.Store(true)
		time.Sleep(2 * lookAgain)
		if got := r.seal.reports(); len(got) != 2 || got[1].Use != u {
			t.Errorf("reports of the next leader: %+v", got)
		}
		r.leading.Store(false)
		time.Sleep(8 * 24 * time.Hour)
		r.w.Do(&command.RecordDecision{Kind: "test"}) // tells the cluster the time
		r.leading.Store(true)
		time.Sleep(2 * lookAgain)
		if got := r.seal.reports(); len(got) != 2 {
			t.Errorf("a use of last week is reported again: %+v", got)
		}
	})
}

// A report that the seal server refuses holds up no other, however many times
// it is refused.
func TestARefusedReportHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.w.Do(&command.RecordDecision{Kind: "test"})
		bad := r.seed("r1")
		r.seal.mu.Lock()
		r.seal.refuses = bad
		r.seal.mu.Unlock()
		var good []uint64
		for _, id := range []string{"r2", "r3", "r4"} {
			good = append(good, r.seed(id))
		}
		time.Sleep(2 * lookAgain)
		var got []uint64
		for _, rep := range r.seal.reports() {
			got = append(got, rep.Use)
		}
		slices.Sort(got)
		if !slices.Equal(got, good) {
			t.Fatalf("reported %v, want %v", got, good)
		}
		r.seal.mu.Lock()
		r.seal.refuses = 0
		r.seal.mu.Unlock()
		time.Sleep(2 * lookAgain)
		if n := len(r.seal.reports()); n != 4 {
			t.Errorf("%d reports after the server came to terms, want 4", n)
		}
	})
}

// seed makes a settled use without the seal server.
func (r *rig) seed(id string) uint64 {
	r.t.Helper()
	cmd := command.New("phone:"+usetest.Terminal, id, "test", &command.ReserveUses{
		Order: usetest.Order, Barrel: usetest.Barrel, Imsi: usetest.Terminal, User: usetest.User, SealType: "company", Level: 1,
		Methods: []string{"fingerprint", "face"}, Count: 2, Permitted: 2, GrantNotAfter: time.Now().Add(time.Hour).UnixNano(),
		PolicyRevision: 1, SubscriberVersion: 1, BarrelVersion: 2, Session: 1,
	})
	res, err := r.w.Propose(r.t.Context(), cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	use := new(command.Use)
	if err := res.Into(use); err != nil {
		r.t.Fatal(err)
	}
	r.w.Do(&command.SettleUse{Use: use.Id, Stamped: 0, Statement: usetest.Statement(r.t, use, 0)})
	return use.Id
}
