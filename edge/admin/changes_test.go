package admin

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/bundle"
)

// person is an operator with a certificate and its key.
type person struct {
	cert *x509.Certificate
	key  crypto.Signer
	name string
}

func newPerson(t *testing.T, name string, key crypto.Signer) person {
	t.Helper()
	u, err := url.Parse("sealedge://operator/" + name)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{u}, Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{"seal-administrator"}}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return person{cert, key, name}
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// does sends a request as a person.
func (p person) does(s *Server, method, path, key string, body any) *httptest.ResponseRecorder {
	b, _ := json.Marshal(body)
	r := httptest.NewRequest(method, path, bytes.NewReader(b))
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{p.cert}}}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

// signs makes the body of an approval.
func (p person) signs(t *testing.T, c adminapi.Change) adminapi.Approve {
	t.Helper()
	statement, err := c.Statement("operator:" + p.name)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := command.SignApproval(rand.Reader, p.key, statement)
	if err != nil {
		t.Fatal(err)
	}
	return adminapi.Approve{Digest: c.Digest, Signature: base64.StdEncoding.EncodeToString(sig)}
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder, code int) (v T) {
	t.Helper()
	if w.Code != code {
		t.Fatalf("%d %s, want %d", w.Code, w.Body, code)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// documents are the default policy, one that widens what seals are used for, and
// one that weakens a level.
func documents() (normal, wider, weaker string) {
	normal = string(bundle.Default(bundle.Params{}))
	return normal, strings.Replace(normal, "company: {level: 1, maxCount: 20", "company: {level: 1, maxCount: 40", 1),
		strings.Replace(normal, "company: {level: 1", "company: {level: 2", 1)
}

func TestApprovalsAreSigned(t *testing.T) {
	s, n := newServer(t)
	normal, wider, _ := documents()
	li, zhao := newPerson(t, "li", ecKey(t)), newPerson(t, "zhao", ecKey(t))
	decode[adminapi.Policy](t, li.does(s, "PUT", "/v1/policy", "", adminapi.Policy{Document: normal}), http.StatusOK)
	c := decode[adminapi.Change](t, li.does(s, "PUT", "/v1/policy", "", adminapi.Policy{Document: wider, BaseRevision: 1}), http.StatusAccepted)
	if c.State != adminapi.ChangePending || c.Needed != 1 || strings.Join(c.Touches, ",") != "seals" || c.ProposedBy != "operator:li" {
		t.Fatalf("proposed: %+v", c)
	}
	if c.Digest != adminapi.DocumentDigest(1, []byte(wider)) {
		t.Error("the digest can't be worked out of the document")
	}
	path := fmt.Sprintf("/v1/changes/%d", c.ID)
	if shown := decode[adminapi.Change](t, zhao.does(s, "GET", path, "", nil), http.StatusOK); shown.Document != wider {
		t.Error("the document isn't shown")
	}

	// Of another person, of another change, with another key, damaged.
	other := c
	other.ID++
	damaged := zhao.signs(t, c)
	damaged.Signature = "AAAA" + damaged.Signature[4:]
	forged := person{zhao.cert, ecKey(t), "zhao"}
	for name, body := range map[string]adminapi.Approve{
		"li's signature":       li.signs(t, c),
		"of another change":    zhao.signs(t, other),
		"with another key":     forged.signs(t, c),
		"damaged":              damaged,
		"no signature":         {Digest: c.Digest},
		"a statement for chen": person{zhao.cert, zhao.key, "chen"}.signs(t, c),
	} {
		if w := zhao.does(s, "POST", path+"/approve", "", body); w.Code != http.StatusUnprocessableEntity || codeOf(t, w) != "signature-invalid" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	wrong := zhao.signs(t, c)
	wrong.Digest = strings.Repeat("00", 32)
	if w := zhao.does(s, "POST", path+"/approve", "", wrong); w.Code != http.StatusConflict {
		t.Errorf("another digest: %d %s", w.Code, w.Body)
	}
	if w := li.does(s, "POST", path+"/approve", "", li.signs(t, c)); w.Code != http.StatusForbidden || codeOf(t, w) != "second-person-needed" {
		t.Errorf("one's own: %d %s", w.Code, w.Body)
	}
	if n.machine.PolicyRevision() != 1 || len(n.machine.Change(c.ID).Approvals) != 0 {
		t.Fatal("something of that counted")
	}
	yes := zhao.signs(t, c)
	done := decode[adminapi.Change](t, zhao.does(s, "POST", path+"/approve", "yes", yes), http.StatusOK)
	if done.Revision != 2 || string(n.machine.Policy().Document) != wider {
		t.Errorf("approved: %+v", done)
	}
	decode[adminapi.Change](t, zhao.does(s, "POST", path+"/approve", "yes", yes), http.StatusOK)

	// What is kept verifies without the gateway.
	rec := n.machine.Change(c.ID)
	cert, err := x509.ParseCertificate(rec.Approvals[0].Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := command.CheckApproval(cert, command.ApprovalStatement(rec, rec.Approvals[0].By), rec.Approvals[0].Signature); err != nil {
		t.Error(err)
	}
}

// Keys of every kind that certificates have sign approvals.
func TestApprovalsOfEveryKey(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	statement := []byte("sealedge change approval v1\n")
	for _, key := range []crypto.Signer{ecKey(t), ed, rs} {
		p := newPerson(t, "li", key)
		sig, err := command.SignApproval(rand.Reader, key, statement)
		if err != nil {
			t.Fatalf("%T: %v", key, err)
		}
		if err := command.CheckApproval(p.cert, statement, sig); err != nil {
			t.Errorf("%T: %v", key, err)
		}
		if err := command.CheckApproval(p.cert, append(statement, 'x'), sig); err == nil {
			t.Errorf("%T: another statement verifies", key)
		}
	}
}

// The gateway compares, never the client; a dry run changes nothing.
func TestProposals(t *testing.T) {
	s, n := newServer(t)
	normal, wider, weaker := documents()
	li := newPerson(t, "li", ecKey(t))
	for range 2 { // whose answer was lost
		first := decode[adminapi.Change](t, li.does(s, "POST", "/v1/changes", "first", adminapi.Proposal{Document: normal}), http.StatusOK)
		if first.ID != 0 || first.Revision != 1 || first.Digest != adminapi.DocumentDigest(0, []byte(normal)) {
			t.Errorf("the first policy: %+v", first)
		}
	}
	if w := li.does(s, "POST", "/v1/changes", "first", adminapi.Proposal{Document: wider}); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("its key for another document: %d %s", w.Code, w.Body)
	}
	plan := decode[adminapi.Plan](t, li.does(s, "POST", "/v1/changes?dry_run=true", "", adminapi.Proposal{Document: weaker, BaseRevision: 1}), http.StatusOK)
	if plan.Needed != 2 || plan.Same || !plan.BreakGlass || len(plan.Settings) != 1 || plan.Digest != adminapi.DocumentDigest(1, []byte(weaker)) {
		t.Errorf("plan: %+v", plan)
	}
	if same := decode[adminapi.Plan](t, li.does(s, "POST", "/v1/changes?dry_run=true", "", adminapi.Proposal{Document: normal, BaseRevision: 1}), http.StatusOK); !same.Same || same.Needed != 0 {
		t.Errorf("plan of the same: %+v", same)
	}
	if n.machine.PolicyRevision() != 1 || n.machine.Change(1) != nil {
		t.Fatal("a plan changed something")
	}
	for name, c := range map[string]struct {
		p    adminapi.Proposal
		code int
	}{
		"another base":           {adminapi.Proposal{Document: wider, BaseRevision: 2}, http.StatusConflict},
		"no document":            {adminapi.Proposal{BaseRevision: 1}, http.StatusBadRequest},
		"a mistake":              {adminapi.Proposal{Document: "kind: Policy", BaseRevision: 1}, http.StatusBadRequest},
		"back to nowhere":        {adminapi.Proposal{RollbackTo: 7, BaseRevision: 1}, http.StatusNotFound},
		"back to where it is":    {adminapi.Proposal{RollbackTo: 1, BaseRevision: 1}, http.StatusBadRequest},
		"glass without a reason": {adminapi.Proposal{Document: weaker, BaseRevision: 1, BreakGlass: true}, http.StatusBadRequest},
	} {
		if w := li.does(s, "POST", "/v1/changes", "", c.p); w.Code != c.code {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}

	// A repeated proposal is the first one; the key is for nothing else.
	again := [2]adminapi.Change{}
	for i := range again {
		again[i] = decode[adminapi.Change](t, li.does(s, "POST", "/v1/changes", "k", adminapi.Proposal{Document: wider, BaseRevision: 1}), http.StatusAccepted)
	}
	if again[0].ID != again[1].ID {
		t.Errorf("repeated: %+v", again)
	}
	if w := li.does(s, "POST", "/v1/changes", "k", adminapi.Proposal{Document: weaker, BaseRevision: 1}); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("the key for another: %d %s", w.Code, w.Body)
	}

	// Broken glass is for a review.
	glass := decode[adminapi.Change](t, li.does(s, "POST", "/v1/changes", "", adminapi.Proposal{Document: weaker, BaseRevision: 1, BreakGlass: true, Reason: "fire"}), http.StatusOK)
	if !glass.BreakGlass || glass.Revision != 2 || glass.ReviewDue.Sub(glass.Ended) != 72*time.Hour {
		t.Errorf("broken glass: %+v", glass)
	}
	// The one that waited was for another policy.
	list := decode[adminapi.List[adminapi.Change]](t, li.does(s, "GET", "/v1/changes?state=outdated", "", nil), http.StatusOK)
	if len(list.Items) != 1 || list.Items[0].ID != again[0].ID {
		t.Errorf("outdated: %+v", list.Items)
	}
	if w := li.does(s, "GET", "/v1/changes?state=odd", "", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a state that there is none: %d", w.Code)
	}
	history := decode[adminapi.List[adminapi.Revision]](t, li.does(s, "GET", "/v1/policy/history", "", nil), http.StatusOK)
	if len(history.Items) != 2 || history.Items[0].Revision != 2 || history.Items[0].Change != glass.ID || history.Items[1].Document != "" {
		t.Errorf("history: %+v", history.Items)
	}
	page := decode[adminapi.List[adminapi.Revision]](t, li.does(s, "GET", "/v1/policy/history?limit=1", "", nil), http.StatusOK)
	rest := decode[adminapi.List[adminapi.Revision]](t, li.does(s, "GET", "/v1/policy/history?limit=1&after="+page.Next, "", nil), http.StatusOK)
	if len(rest.Items) != 1 || rest.Items[0].Revision != 1 || rest.Next != "" {
		t.Errorf("the second page: %+v", rest)
	}
	if r := decode[adminapi.Revision](t, li.does(s, "GET", "/v1/policy/revisions/1", "", nil), http.StatusOK); r.Document != normal {
		t.Error("the former document isn't shown")
	}
}

// Where the policy asks for others about devices, what adds or changes one waits;
// what takes one out of service never does.
func TestDevicesWaitForOthers(t *testing.T) {
	s, n := newServer(t)
	normal, _, _ := documents()
	li, zhao := newPerson(t, "li", ecKey(t)), newPerson(t, "zhao", ecKey(t))
	careful := strings.Replace(normal, "devices: 0", "devices: 1", 1)
	decode[adminapi.Policy](t, li.does(s, "PUT", "/v1/policy", "", adminapi.Policy{Document: careful}), http.StatusOK)
	terminal := adminapi.Terminal{IMSI: "460010000000001", APNs: []string{"seal.corp"}}
	c := decode[adminapi.Change](t, li.does(s, "PUT", "/v1/terminals/460010000000001", "", terminal), http.StatusAccepted)
	if n.machine.Subscriber(terminal.IMSI) != nil {
		t.Fatal("the terminal is on the list")
	}
	decode[adminapi.Change](t, zhao.does(s, "POST", fmt.Sprintf("/v1/changes/%d/approve", c.ID), "", zhao.signs(t, c)), http.StatusOK)
	if n.machine.Subscriber(terminal.IMSI) == nil {
		t.Fatal("the terminal isn't on the list")
	}
	reason := adminapi.Reason{Reason: "lost"}
	decode[adminapi.Revoked](t, li.does(s, "POST", "/v1/terminals/460010000000001/suspend", "", reason), http.StatusOK)
	decode[adminapi.Change](t, li.does(s, "POST", "/v1/terminals/460010000000001/resume", "", reason), http.StatusAccepted)
	if w := li.does(s, "POST", "/v1/terminals/460010000000001/resume?break_glass=true", "", reason); w.Code != http.StatusNoContent || n.machine.Subscriber(terminal.IMSI).State != command.DeviceState_ACTIVE {
		t.Errorf("broken glass: %d %s", w.Code, w.Body)
	}
	terminal.Label = "burnt"
	if got := decode[adminapi.Terminal](t, li.does(s, "PUT", "/v1/terminals/460010000000001?break_glass=true&reason=fire", "", terminal), http.StatusOK); got.Label != "burnt" || got.IMSI != terminal.IMSI {
		t.Errorf("broken glass: %+v", got)
	}
	all := decode[adminapi.List[adminapi.Change]](t, li.does(s, "GET", "/v1/changes", "", nil), http.StatusOK)
	if last := all.Items[len(all.Items)-1]; !last.BreakGlass || last.Reason != "fire" {
		t.Errorf("broken glass: %+v", last)
	}
	out := decode[adminapi.Revoked](t, li.does(s, "POST", "/v1/terminals/460010000000001/revoke?wait=0s", "", reason), http.StatusOK)
	if out.Timing.Committed <= 0 {
		t.Errorf("%+v", out)
	}
}

// What one person may do alone isn't done under a policy that came meanwhile and
// asks for two.
func TestPolicyTightensMeanwhile(t *testing.T) {
	s, n := newServer(t)
	li := newPerson(t, "li", ecKey(t))
	alone := string(bundle.Default(bundle.Params{}))
	together := strings.Replace(alone, "devices: 0 ", "devices: 1 ", 1)
	if alone == together {
		t.Fatal("the default policy is written in another way")
	}
	decode[adminapi.Policy](t, li.does(s, "PUT", "/v1/policy", "", adminapi.Policy{Document: alone}), http.StatusOK)
	// The log has level 2, as soon as every node is of this version.
	if r, err := n.Propose(t.Context(), command.New("node", "", "node", &command.RecordCalls{})); err != nil || r.Code != command.Code_OK {
		t.Fatal(r, err)
	}
	_, pools, err := bundle.Parse("policy.yaml", []byte(together))
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Cluster = &racing{oneNode: n, others: []proto.Message{&command.PutPolicy{BaseRevision: 1, Document: []byte(together), Pools: pools}}}
	w := li.does(s, "PUT", phonePath, "", json.RawMessage(terminalDocument("")))
	if c := decode[adminapi.Change](t, w, http.StatusAccepted); c.Needed != 1 || n.machine.Subscriber(phone) != nil {
		t.Errorf("%+v, %v", c, n.machine.Subscriber(phone))
	}
}
