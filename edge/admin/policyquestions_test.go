package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// street is a server with a policy, two terminals of which one is attached and has
// a finance seal, and an order that was used once.
func street(t *testing.T) (*Server, *oneNode) {
	t.Helper()
	s, n := newServer(t)
	doc := bundle.Default(bundle.Params{})
	_, pools, err := bundle.Parse("policy", doc)
	if err != nil {
		t.Fatal(err)
	}
	n.must(t, &command.PutPolicy{Document: doc, Pools: pools})
	for _, imsi := range []string{"460010000000001", "460010000000002"} {
		n.must(t, &command.PutSubscriber{Subscriber: &command.Subscriber{
			Imsi: imsi, Apns: []string{"seal.corp"}, Imeis: []string{"3569380356438" + imsi[14:]}, State: command.DeviceState_ACTIVE, Groups: []string{"finance"},
		}})
	}
	n.must(t, &command.PutBarrel{Barrel: &command.Barrel{Id: "SB-0001", Mac: "02:00:00:00:00:11", SealType: "finance", State: command.DeviceState_ACTIVE, ReceiptPublicKey: make([]byte, 32), PskIdentity: "SB-0001", Psk: []byte{1}}})
	n.must(t, &command.CheckOut{Barrel: "SB-0001", Imsi: "460010000000001"})
	n.must(t, &command.AcquireAddress{Name: "gw1", Node: "node1"})
	n.must(t, &command.OpenSession{
		Imsi: "460010000000001", Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16), GatewayAddress: "gw1",
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, RatType: 6, PdnType: 1, ServingPlmn: "46001", Imei: "35693803564381", PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}}},
	})
	now := time.Now()
	n.must(t, &command.ReserveUses{
		Order: "WO-1", Barrel: "SB-0001", Imsi: "460010000000001", User: "li", SealType: "finance", Level: 1, Methods: []string{"fingerprint", "face"}, Count: 1, Permitted: 15,
		NotBefore: now.UnixNano(), NotAfter: now.Add(10 * time.Hour).UnixNano(), GrantNotAfter: now.Add(5 * time.Minute).UnixNano(),
		PolicyRevision: 1, SubscriberVersion: 1, BarrelVersion: n.machine.Barrel("SB-0001").Version, Session: 1,
	})
	return s, n
}

// posed sends a question and reads the answer.
func posed[T any](t *testing.T, s *Server, path string, body any) (out T) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	w := s.send(t, operator, http.MethodPost, path, "", string(b))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func edited(t *testing.T, from, to string) string {
	t.Helper()
	doc := string(bundle.Default(bundle.Params{}))
	if strings.Count(doc, from) != 1 {
		t.Fatalf("%q is there %d times", from, strings.Count(doc, from))
	}
	return strings.Replace(doc, from, to, 1)
}

func TestPolicyDiff(t *testing.T) {
	s, _ := street(t)
	doc := edited(t, "finance: {level: 1, maxCount: 20", "finance: {level: 1, maxCount: 10") +
		"  rules:\n    - {id: out, action: attach, effect: forbid, match: {imsis: ['460010000000001']}}\n    - {id: attach, action: attach, effect: permit}\n"
	d := posed[adminapi.PolicyDifference](t, s, "/v1/policy/diff", adminapi.PolicyDiff{Document: doc})
	var texts []string
	for _, e := range d.Effects {
		texts = append(texts, e.Text)
	}
	for _, want := range []string{"1 live session is no longer admitted, and end", "1 terminal can no longer attach to seal.corp", "1 order can no longer be stamped"} {
		if !slices.ContainsFunc(texts, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("nothing says %q: %q", want, texts)
		}
	}
	if d.Revision != 1 || d.Needed != 0 || !slices.Equal(d.Touches, []string{"tightening"}) || len(d.Settings) != 3 {
		t.Errorf("%+v", d)
	}
	if d := posed[adminapi.PolicyDifference](t, s, "/v1/policy/diff", adminapi.PolicyDiff{Document: edited(t, "finance: {level: 1", "finance: {level: 2")}); d.Needed != 2 || !slices.Equal(d.Touches, []string{"levels"}) {
		t.Errorf("a weaker level: %+v", d)
	}
	if w := s.send(t, operator, http.MethodPost, "/v1/policy/diff", "", `{"document": "kind: Polcy"}`); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "policy:1") {
		t.Errorf("a mistake: %d %s", w.Code, w.Body)
	}
}

func TestPolicyExplain(t *testing.T) {
	s, n := street(t)
	explain := func(action, document string, given map[string][]string) adminapi.PolicyAnswer {
		return posed[adminapi.PolicyAnswer](t, s, "/v1/policy/explain", adminapi.PolicyQuestion{Action: action, Document: document, Given: given})
	}
	phone := map[string][]string{"imsi": {"460010000000001"}}
	if a := explain("attach", "", phone); !a.Allowed || a.Revision != 1 || len(a.Reasons) < 10 {
		t.Errorf("attach: %+v", a)
	}
	if a := explain("attach", "", map[string][]string{"imsi": {"460010000000001"}, "imei": {"35693803564382"}}); a.Allowed || a.Code != "handset-not-bound" {
		t.Errorf("another handset: %+v", a)
	}
	// Where its session is, the terminal is.
	rules := string(bundle.Default(bundle.Params{})) + "  rules:\n    - {id: abroad, action: use, effect: forbid, match: {plmns: ['46001']}}\n    - {id: use, action: use, effect: permit}\n"
	a := explain("use", rules, map[string][]string{"imsi": {"460010000000001"}, "barrel": {"SB-0001"}})
	if a.Allowed || a.Rule != "abroad" || a.Revision != 0 || slices.ContainsFunc(a.Assumed, func(s string) bool { return strings.HasPrefix(s, "plmn") }) {
		t.Errorf("use: %+v", a)
	}
	if a := explain("use", rules, map[string][]string{"imsi": {"460010000000001"}, "barrel": {"SB-0001"}, "plmn": {"46002"}}); !a.Allowed || a.Rule != "use" {
		t.Errorf("elsewhere: %+v", a)
	}
	// Over the fallback it can show its key, and what its lease of that path says.
	n.must(t, &command.RaiseLevel{Level: command.Level})
	key := bytes.Repeat([]byte{7}, 32)
	n.must(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: "460010000000002", Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: key,
	}})
	certified := edited(t, "    requireIMEI: true", "    credentials: {fallback: [wireguard, certificate]}")
	fallback := map[string][]string{"imsi": {"460010000000002"}, "path": {"fallback"}}
	if a := explain("attach", certified, fallback); a.Allowed || a.Code != "credentials-missing" || !slices.Contains(a.Assumed, "shown wireguard") {
		t.Errorf("by its key alone: %+v", a)
	}
	n.must(t, &command.LeaseFallback{
		Imsi: "460010000000002", PublicKey: key, PresharedKey: make([]byte, 60), Shown: uint32(policy.CredentialCertificate), LifetimeSeconds: 3600,
		PolicyRevision: 1, SubscriberVersion: n.machine.Subscriber("460010000000002").Version,
	})
	if a := explain("attach", certified, fallback); !a.Allowed || !slices.Contains(a.Assumed, "shown wireguard, certificate") {
		t.Errorf("by its lease: %+v", a)
	}
	fallback["shown"] = []string{"wireguard", "password"}
	if a := explain("attach", certified, fallback); a.Allowed || a.Code != "credentials-missing" {
		t.Errorf("by what is said: %+v", a)
	}
	// A barrel of somebody else's, found by its MAC, and one that isn't listed.
	if a := explain("hotspot", "", map[string][]string{"imsi": {"460010000000002"}, "mac": {"02:00:00:00:00:11"}}); a.Allowed || a.Code != "barrel-not-bound" {
		t.Errorf("hotspot: %+v", a)
	}
	if a := explain("use", "", map[string][]string{"imsi": {"460010000000001"}, "barrel": {"SB-0002"}}); a.Allowed || !strings.Contains(a.Text, "the barrel is not on the allow-list") {
		t.Errorf("no barrel: %+v", a)
	}
	n.must(t, &command.RevokeSubscriber{Imsi: "460010000000001", Reason: "lost"})
	if a := explain("attach", "", phone); a.Allowed || a.Code != "subscriber-revoked" {
		t.Errorf("revoked: %+v", a)
	}
	for body, want := range map[string]string{
		`{"action": "dance", "given": {}}`:                                           "unknown action",
		`{"action": "attach", "given": {}}`:                                          "imsi: missing",
		`{"action": "attach", "given": {"imsi": ["1"]}}`:                             "imsi: invalid",
		`{"action": "attach", "given": {"imsi": ["460010000000001", "2"]}}`:          "want one value",
		`{"action": "attach", "given": {"weather": ["fine"]}}`:                       "there is no",
		`{"action": "use", "given": {"imsi": ["460010000000001"]}}`:                  "sealType: say which",
		`{"action": "use", "document": "x", "given": {"imsi": ["460010000000001"]}}`: "want a mapping",
	} {
		if w := s.send(t, operator, http.MethodPost, "/v1/policy/explain", "", body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}
