package admin

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// newLoss is a server with a use of five whose grant has expired.
func newLoss(t *testing.T) (*Server, *oneNode) {
	t.Helper()
	s, n := newServer(t)
	const imsi = "460010000000001"
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	for _, p := range []proto.Message{
		&command.PutPolicy{Document: []byte("policy"), Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 24}}},
		&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: imsi, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}},
		&command.PutBarrel{Barrel: &command.Barrel{Id: "SB-0001", State: command.DeviceState_ACTIVE}},
		&command.CheckOut{Barrel: "SB-0001", Imsi: imsi},
		&command.OpenSession{Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16), Gtp: &command.GTPPath{Ebi: 5}},
		&command.ReserveUses{
			Order: "WO-1", Barrel: "SB-0001", Imsi: imsi, Count: 5, Permitted: 5, GrantNotAfter: now.Add(time.Minute).UnixNano(),
			PolicyRevision: 1, SubscriberVersion: 1, BarrelVersion: 2, Session: 1,
		},
		&command.ExpireUse{Use: 1},
	} {
		c := command.New("test", "", "test", p)
		c.LeaderTime = now.UnixNano()
		if _, ok := p.(*command.ExpireUse); ok {
			c.LeaderTime = now.Add(time.Hour).UnixNano()
		}
		if r, err := n.Propose(t.Context(), c); err != nil || r.Code != command.Code_OK {
			t.Fatalf("%T: %v %v", p, r, err)
		}
	}
	return s, n
}

const (
	second  = "sealedge://operator/zhao"
	release = "/v1/uses/1/release"
)

// A repeated request gets the first answer, also when there is nothing to release
// any more.
func TestTwoPeopleRelease(t *testing.T) {
	s, n := newLoss(t)
	for range 2 {
		w := s.send(t, operator, "POST", release, "propose", `{"reason":"lost"}`)
		var u adminapi.Use
		if err := json.Unmarshal(w.Body.Bytes(), &u); w.Code != http.StatusOK || err != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if r := u.Release; r == nil || r.Stamped != 5 || r.ProposedBy != "operator:li" || r.ConfirmedBy != "" || r.Until.Sub(r.Proposed) != command.ReleaseFor {
			t.Errorf("without a number the proposal is %+v", r)
		}
	}
	body := `{"stamped":5,"proposed_by":"operator:li"}`
	if w := s.send(t, operator, "POST", release+"/confirm", "", body); w.Code != http.StatusForbidden || codeOf(t, w) != "second-person-needed" {
		t.Errorf("by who proposed: %d %s", w.Code, w.Body)
	}
	if w := s.send(t, second, "POST", release+"/confirm", "", `{"stamped":4,"proposed_by":"operator:li"}`); w.Code != http.StatusConflict || codeOf(t, w) != "conflict" {
		t.Errorf("of what was not proposed: %d %s", w.Code, w.Body)
	}
	for range 2 {
		if w := s.send(t, second, "POST", release+"/confirm", "confirm", body); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if u := n.machine.Use(1); u.State != command.UseState_SETTLED || u.Confirmed != 5 || u.Release.ConfirmedBy != "operator:zhao" {
		t.Errorf("the use is %v", u)
	}
	if w := s.send(t, operator, "POST", release, "", `{"reason":"once more"}`); w.Code != http.StatusConflict || codeOf(t, w) != "use-ended" {
		t.Errorf("of a use that is settled: %d %s", w.Code, w.Body)
	}
}

func TestReleaseRefused(t *testing.T) {
	s, n := newLoss(t)
	alive := false
	s.cfg.Alive = func(barrel string) bool { return alive && barrel == "SB-0001" }
	for name, c := range map[string]struct {
		path, body string
		alive      bool
		code       int
	}{
		"no number":                 {"/v1/uses/one/release", `{"reason":"lost"}`, false, http.StatusBadRequest},
		"no such use":               {"/v1/uses/2/release", `{"reason":"lost"}`, false, http.StatusNotFound},
		"no reason":                 {release, `{"stamped":5,"reason":" "}`, false, http.StatusBadRequest},
		"an unknown field":          {release, `{"stamps":5,"reason":"lost"}`, false, http.StatusBadRequest},
		"more than granted":         {release, `{"stamped":6,"reason":"lost"}`, false, http.StatusUnprocessableEntity},
		"a barrel that is there":    {release, `{"reason":"lost"}`, true, http.StatusConflict},
		"nothing proposed":          {release + "/confirm", `{"stamped":5,"proposed_by":"operator:wu"}`, false, http.StatusNotFound},
		"confirming, barrel there":  {release + "/confirm", `{"stamped":5,"proposed_by":"operator:wu"}`, true, http.StatusConflict},
		"confirming without a body": {release + "/confirm", ``, false, http.StatusBadRequest},
	} {
		alive = c.alive
		before := n.machine.Digest()
		w := s.send(t, operator, "POST", c.path, "", c.body)
		if w.Code != c.code || w.Code < 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if w.Code == http.StatusBadRequest && n.machine.Digest() != before {
			t.Errorf("%s: something was proposed", name)
		}
		if u := n.machine.Use(1); u.Release != nil || u.State != command.UseState_STOPPED {
			t.Fatalf("%s: the use is %v", name, u)
		}
	}
}
