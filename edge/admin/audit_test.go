package admin

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/chain/chaintest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// audited is a server with a chain: suspensions of orders WO-0 to WO-9 by li and wu
// in turn, and from entry 4 on the tree.
func audited(t *testing.T) (*Server, *chaintest.Chain) {
	t.Helper()
	n := &oneNode{machine: state.New()}
	kept := new(chaintest.Chain)
	apply := func(c *command.Command) {
		t.Helper()
		n.index++
		c.LeaderTime = int64(n.index) * 1e9
		_, e, err := n.machine.Apply(n.index, 1, command.Marshal(c))
		if err != nil {
			t.Fatal(err)
		}
		kept.Add(n.machine, e)
	}
	for i := range 10 {
		apply(command.New("test", "", "operator:"+[]string{"li", "wu"}[i%2], &command.SuspendOrder{Order: fmt.Sprint("WO-", i), Reason: "test"}))
		if i == 2 {
			c := command.New("node:n1", "", "node:n1", &command.RaiseLevel{Level: 2})
			c.Level = 2
			apply(c)
		}
	}
	return New(Config{Cluster: n, Chain: kept, Logger: slog.New(slog.DiscardHandler)}), kept
}

// ask asks as an auditor, or whatever role is given.
func ask(t *testing.T, s *Server, path string, role ...string) *httptest.ResponseRecorder {
	t.Helper()
	if role == nil {
		role = []string{"auditor"}
	}
	u := &url.URL{Scheme: "sealedge", Host: "operator", Path: "/rao"}
	r := httptest.NewRequest("GET", path, nil)
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{URIs: []*url.URL{u}, Subject: pkix.Name{OrganizationalUnit: role}}}}}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

func answer[T any](t *testing.T, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAuditIsSearched(t *testing.T) {
	s, _ := audited(t)
	for query, want := range map[string]string{
		"?from=2&to=3":                   "2 3",
		"?order=WO-7":                    "9",
		"?person=wu":                     "2 5 7 9 11",
		"?person=operator:wu&limit=2":    "2 5 7 9 11",
		"?newest=true&limit=4":           "11 10 9 8 7 6 5 4 3 2 1",
		"?person=wu&newest=true&limit=2": "11 9 7 5 2",
		"?type=raise-level":              "4",
		"?since=1970-01-01T00:00:10Z":    "10 11",
		"?until=1970-01-01T00:00:03Z":    "1 2",
		"?device=SB-1":                   "",
	} {
		var got []string
		for after := ""; ; {
			l := answer[adminapi.List[adminapi.AuditLine]](t, ask(t, s, "/v1/audit"+query+after))
			for _, i := range l.Items {
				if i.Words == "" || !strings.Contains(i.Words, " ") {
					t.Errorf("entry %d has no words", i.Sequence)
				}
				got = append(got, fmt.Sprint(i.Sequence))
			}
			if l.Next == "" {
				break
			}
			after = "&after=" + url.QueryEscape(l.Next)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: found %v, want %s", query, got, want)
		}
	}
	for _, bad := range []string{"from=0", "to=x", "since=yesterday", "until=1", "type=NOTHING", "type=TYPE_UNSPECIFIED", "limit=0", "limit=10001", "after=!"} {
		if w := ask(t, s, "/v1/audit?"+bad); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), strings.SplitN(bad, "=", 2)[0]) {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
}

func TestAuditIsForAuditors(t *testing.T) {
	s, _ := audited(t)
	for _, path := range []string{"/v1/audit", "/v1/audit/export", "/v1/audit/head", "/v1/audit/proof/5"} {
		if w := ask(t, s, path, "viewer", "operator", "seal-administrator", "backup"); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// What the gateway answers is proven without it: an entry against a head, and a head
// against an older one.
func TestAuditIsProven(t *testing.T) {
	s, _ := audited(t)
	head := answer[adminapi.AuditHead](t, ask(t, s, "/v1/audit/head"))
	if head.Sequence != 11 || head.TreeFirst != 4 || head.TreeSize() != 8 || len(head.Root) != 64 {
		t.Fatalf("%+v", head)
	}
	status := adminapi.AuditHead{Sequence: 11, Hash: head.Hash, TreeFirst: 4, Root: head.Root}
	var older adminapi.AuditHead
	for sequence := 4; sequence <= 11; sequence++ {
		for upTo := sequence; upTo <= 11; upTo++ {
			p := answer[adminapi.AuditProof](t, ask(t, s, fmt.Sprintf("/v1/audit/proof/%d?head=%d", sequence, upTo)))
			if _, err := p.Check(); err != nil || p.Entry.Sequence != uint64(sequence) || p.Head.Sequence != uint64(upTo) || p.Entry.Words == "" {
				t.Fatalf("entry %d up to %d: %v, %+v", sequence, upTo, err, p)
			}
			if older = p.Head; upTo == 11 && p.Head.Agrees(&status) != nil {
				t.Fatalf("another head: %+v", p.Head)
			}
		}
	}
	older = answer[adminapi.AuditProof](t, ask(t, s, "/v1/audit/proof/5?head=6")).Head
	newer := answer[adminapi.AuditHead](t, ask(t, s, "/v1/audit/head?since=6"))
	if err := newer.CheckSince(&older); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]int{
		"/v1/audit/proof/3":         http.StatusNotFound, // before the tree
		"/v1/audit/proof/12":        http.StatusNotFound,
		"/v1/audit/proof/9?head=8":  http.StatusNotFound,
		"/v1/audit/proof/9?head=12": http.StatusNotFound,
		"/v1/audit/head?since=3":    http.StatusNotFound,
		"/v1/audit/head?since=x":    http.StatusBadRequest,
		"/v1/audit/proof/x":         http.StatusBadRequest,
		"/v1/audit/proof/9?head=0":  http.StatusBadRequest,
	} {
		if w := ask(t, s, path); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
