package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/docs/api"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

var start = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// office is a server with its people.
type office struct {
	t    *testing.T
	srv  *Server
	st   *store.Store
	now  time.Time
	wake chan struct{}
}

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(t.Context(), filepath.Join(dir, "seal.db"), filepath.Join(dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	o := &office{t: t, st: st, now: start, wake: make(chan struct{}, 1)}
	o.srv = New(Config{
		Store: st, Gateway: "sealedge://gateway", Now: func() time.Time { return o.now }, Wake: o.wake,
		Logger: slog.New(slog.DiscardHandler),
	})
	for name, role := range map[string]string{"li": store.RoleApplicant, "wu": store.RoleApprover, "rao": store.RoleReviewer, "root": store.RoleAdmin} {
		if err := st.AddUser(t.Context(), store.User{Name: name, Roles: []string{role}}, name+"-password-1"); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// call sends a request; as "gateway" with the gateway's certificate, as a
// person with his token, as "gateway:TOKEN" with both.
func (o *office) call(as, method, path string, body any, headers ...string) *httptest.ResponseRecorder {
	o.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			o.t.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	req := httptest.NewRequestWithContext(o.t.Context(), method, path, r)
	if token, ok := strings.CutPrefix(as, "gateway"); ok {
		req.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{URIs: []*url.URL{{Scheme: "sealedge", Host: "gateway"}}}}}}
		as = strings.TrimPrefix(token, ":")
	}
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+as)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	o.srv.ServeHTTP(w, req)
	return w
}

func (o *office) login(user string) string {
	o.t.Helper()
	w := o.call("", "POST", "/v1/login", wire.LoginRequest{User: user, Password: user + "-password-1"})
	var a wire.LoginAnswer
	decode(o.t, w, http.StatusOK, &a)
	return a.Token
}

func decode(t *testing.T, w *httptest.ResponseRecorder, status int, into any) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
	}
}

func code(t *testing.T, w *httptest.ResponseRecorder) wire.Code {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("no problem but %d %q", w.Code, w.Body)
	}
	return p.Code
}

func application() Application {
	return Application{Number: "WO-1", Reason: "lease", SealType: "contract", Count: 2, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour)}
}

// approved applies for an order as li and approves it as wu.
func (o *office) approved(a Application) (li string) {
	o.t.Helper()
	li = o.login("li")
	decode(o.t, o.call(li, "POST", "/v1/work-orders", a), http.StatusCreated, nil)
	decode(o.t, o.call(o.login("wu"), "POST", "/v1/work-orders/"+a.Number+"/approve", Words{}), http.StatusOK, nil)
	return li
}

func (o *office) verify(token, order string) wire.VerifyAnswer {
	o.t.Helper()
	var a wire.VerifyAnswer
	decode(o.t, o.call("gateway:"+token, "POST", wire.PathServerVerify, wire.VerifyRequest{Order: order}), http.StatusOK, &a)
	return a
}

func TestOrderFromApplicationToUse(t *testing.T) {
	o := newOffice(t)
	li := o.login("li")
	decode(t, o.call(li, "POST", "/v1/work-orders", application()), http.StatusCreated, nil)
	if a := o.verify(li, "WO-1"); a.Pass || a.Code != wire.CodeServerRefused {
		t.Errorf("an order that isn't approved: %+v", a)
	}
	if w := o.call(li, "POST", "/v1/work-orders/WO-1/approve", Words{}); w.Code != http.StatusForbidden {
		t.Errorf("an applicant approved: %d", w.Code)
	}
	wu := o.login("wu")
	decode(t, o.call(wu, "POST", "/v1/work-orders/WO-1/approve", Words{}), http.StatusOK, nil)
	if w := o.call(wu, "POST", "/v1/work-orders/WO-1/reject", Words{}); w.Code != http.StatusConflict {
		t.Errorf("decided twice: %d", w.Code)
	}
	a := o.verify(li, "WO-1")
	if !a.Pass || a.Count != 2 || a.Level != 1 || !slices.Equal(a.Methods, []string{"fingerprint", "face"}) || a.User != "li" {
		t.Errorf("approved order: %+v", a)
	}
	var list wire.OrderList
	decode(t, o.call(li, "GET", "/v1/orders", nil), http.StatusOK, &list)
	if len(list.Orders) != 1 || list.Orders[0].Number != "WO-1" {
		t.Errorf("orders: %+v", list)
	}
	if a := o.verify(wu, "WO-1"); a.Pass || a.Code != wire.CodeOrderUnknown {
		t.Errorf("somebody else's order: %+v", a)
	}
	if a := o.verify(li, "WO-2"); a.Pass || a.Code != wire.CodeOrderUnknown {
		t.Errorf("no such order: %+v", a)
	}
	o.now = start.Add(2 * time.Hour)
	if a := o.verify(li, "WO-1"); a.Pass || a.Code != wire.CodeOrderNotOpen || a.NotAfter.IsZero() {
		t.Errorf("after its window: %+v", a)
	}
	o.now = start
	report := wire.SettledReport{Use: 7, Order: "WO-1", Stamped: 2}
	for range 2 { // a repeat counts once
		decode(t, o.call("gateway", "POST", wire.PathServerSettled, report), http.StatusNoContent, nil)
	}
	if a := o.verify(li, "WO-1"); a.Pass || a.Code != wire.CodeOrderExhausted {
		t.Errorf("used up: %+v", a)
	}
	if got, err := o.st.Order(t.Context(), "WO-1"); err != nil || got.Used != 2 {
		t.Errorf("used %d, %v; want 2", got.Used, err)
	}
}

func TestNobodyApprovesHisOwn(t *testing.T) {
	o := newOffice(t)
	if err := o.st.AddUser(t.Context(), store.User{Name: "both", Roles: []string{store.RoleApplicant, store.RoleApprover}}, "both-password-1"); err != nil {
		t.Fatal(err)
	}
	both := o.login("both")
	decode(t, o.call(both, "POST", "/v1/work-orders", application()), http.StatusCreated, nil)
	if w := o.call(both, "POST", "/v1/work-orders/WO-1/approve", Words{}); w.Code != http.StatusConflict {
		t.Errorf("approved his own order: %d %s", w.Code, w.Body)
	}
}

func TestGatewayRoutesNeedTheGatewayCertificate(t *testing.T) {
	o := newOffice(t)
	root := o.login("root")
	for _, rt := range o.srv.routes() {
		path := strings.NewReplacer("{order}", "WO-1", "{use}", "1", "{stamp}", "1", "{number}", "WO-1", "{name}", "x").Replace(rt.path)
		switch rt.access {
		case gateway:
			if w := o.call(root, rt.method, path, nil); w.Code != http.StatusForbidden {
				t.Errorf("%s %s without certificate: %d", rt.method, path, w.Code)
			}
		case person:
			if w := o.call("gateway", rt.method, path, nil); w.Code != http.StatusUnauthorized {
				t.Errorf("%s %s without token: %d", rt.method, path, w.Code)
			}
		}
	}
}

func TestLogin(t *testing.T) {
	o := newOffice(t)
	bad := wire.LoginRequest{User: "li", Password: "wrong"}
	for range freeFailures {
		if w := o.call("", "POST", "/v1/login", bad); w.Code != http.StatusUnauthorized {
			t.Fatalf("wrong password: %d", w.Code)
		}
	}
	w := o.call("", "POST", "/v1/login", wire.LoginRequest{User: "li", Password: "li-password-1"})
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("after %d failures: %d", freeFailures, w.Code)
	}
	if w := o.call("", "POST", "/v1/login", wire.LoginRequest{User: "ghost", Password: "wrong"}); w.Code != http.StatusUnauthorized {
		t.Errorf("no such user: %d", w.Code)
	}
	o.now = o.now.Add(2 * time.Second)
	token := o.login("li")
	if w := o.call(token, "GET", "/v1/orders", nil); w.Code != http.StatusOK {
		t.Errorf("with a token: %d", w.Code)
	}
	o.now = o.now.Add(tokenLife + time.Second)
	if w := o.call(token, "GET", "/v1/orders", nil); w.Code != http.StatusUnauthorized || code(t, w) != wire.CodeTokenInvalid {
		t.Errorf("with an expired token: %d", w.Code)
	}
}

// The report of the longest use that the gateway grants is taken: refused, it
// would be sent again for ever.
func TestReportOfALongUse(t *testing.T) {
	o := newOffice(t)
	o.approved(application())
	rep := wire.SettledReport{Use: 7, Order: "WO-1", Barrel: "SB-0001", Terminal: "460010000000001", User: "li", Granted: 1000, Stamped: 1000, SettledAt: start}
	for n := range uint32(1000) {
		rep.Stamps = append(rep.Stamps, wire.SettledStamp{Number: n + 1, At: start.Add(time.Duration(n)), EvidenceDigest: bytes.Repeat([]byte{0xff}, 32)})
	}
	if w := o.call("gateway", "POST", wire.PathServerSettled, rep); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Guesses that are sent all at once are no way around the waiting.
func TestGuessesAtOnce(t *testing.T) {
	o := newOffice(t)
	const guesses = freeFailures + 8
	o.srv.hashes <- struct{}{} // one at a time, and none yet
	o.srv.hashes <- struct{}{}
	answers := make(chan int, guesses)
	body, err := json.Marshal(wire.LoginRequest{User: "li", Password: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	for range guesses {
		go func() {
			w := httptest.NewRecorder()
			o.srv.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/v1/login", bytes.NewReader(body)))
			answers <- w.Code
		}()
	}
	<-o.srv.hashes
	got := map[int]int{}
	for range guesses {
		got[<-answers]++
	}
	<-o.srv.hashes
	if got[http.StatusUnauthorized] != freeFailures || got[http.StatusTooManyRequests] != guesses-freeFailures {
		t.Errorf("answered %v; want %d tried", got, freeFailures)
	}
}

// Names that nobody can have don't fill the memory of failures, nor the log.
func TestLongNamesAreNotRemembered(t *testing.T) {
	o := newOffice(t)
	w := o.call("", "POST", "/v1/login", wire.LoginRequest{User: strings.Repeat("x", store.MaxUser+1), Password: "wrong"})
	if w.Code != http.StatusUnauthorized || len(o.srv.logins.users) != 0 {
		t.Errorf("answered %d, and remembers %d", w.Code, len(o.srv.logins.users))
	}
}

// A body that doesn't come doesn't hold the server: anybody may begin a login.
func TestBodyThatNeverComes(t *testing.T) {
	o := newOffice(t)
	o.srv.body = time.Millisecond
	hs := httptest.NewServer(o.srv)
	defer hs.Close()
	conn, err := net.Dial("tcp", hs.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/login HTTP/1.1\r\nHost: seal\r\nContent-Length: 50\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn) // until the server gives up
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
		t.Errorf("answered %q, %v", answer, err)
	}
}

// patch sends a piece of an image.
func (o *office) patch(path string, image []byte, from, to int) *httptest.ResponseRecorder {
	o.t.Helper()
	return o.call("gateway", "PATCH", path, image[from:to], "Content-Type", "image/png",
		wire.HeaderUploadOffset, strconv.Itoa(from), wire.HeaderUploadLength, strconv.Itoa(len(image)),
		wire.HeaderReprDigest, wire.FormatReprDigest(sha256.Sum256(image)))
}

func TestEvidenceIsResumable(t *testing.T) {
	o := newOffice(t)
	o.approved(application())
	image := bytes.Repeat([]byte("page "), 1000)
	path := wire.ServerEvidencePath(wire.EvidenceRef{Order: "WO-1", Use: 7, Stamp: 1})

	if w := o.call("gateway", "HEAD", path, nil); w.Header().Get(wire.HeaderUploadOffset) != "0" || w.Header().Get(wire.HeaderUploadLength) != "" {
		t.Errorf("before it began: %v", w.Header())
	}
	if w := o.patch(path, image, 0, 2000); w.Code != http.StatusNoContent || w.Header().Get(wire.HeaderUploadOffset) != "2000" {
		t.Fatalf("first part: %d %v", w.Code, w.Header())
	}
	if w := o.call("gateway", "HEAD", path, nil); w.Header().Get(wire.HeaderUploadOffset) != "2000" || w.Header().Get(wire.HeaderUploadLength) != "5000" {
		t.Errorf("in the middle: %v", w.Header())
	}
	if w := o.patch(path, image, 3000, 5000); code(t, w) != wire.CodeUploadOffset || w.Header().Get(wire.HeaderUploadOffset) != "2000" {
		t.Errorf("with a gap: %d %v", w.Code, w.Header())
	}
	var a wire.EvidenceAnswer
	decode(t, o.patch(path, image, 2000, 5000), http.StatusOK, &a)
	if sum := sha256.Sum256(image); !bytes.Equal(a.Digest, sum[:]) || a.Size != 5000 {
		t.Errorf("answer: %+v", a)
	}
	decode(t, o.patch(path, image, 5000, 5000), http.StatusOK, nil) // asks again
	other := bytes.Repeat([]byte("other"), 1000)
	if w := o.patch(path, other, 0, 5000); code(t, w) != wire.CodeEvidenceConflict {
		t.Errorf("another image: %d", w.Code)
	}
	if w := o.call(o.login("rao"), "GET", path+"/image", nil); !bytes.Equal(w.Body.Bytes(), image) || w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("the stored image has %d bytes, %v", w.Body.Len(), w.Header())
	}
}

func TestEvidenceOfAWrongDigestBeginsAnew(t *testing.T) {
	o := newOffice(t)
	o.approved(application())
	path := wire.ServerEvidencePath(wire.EvidenceRef{Order: "WO-1", Use: 7, Stamp: 1})
	w := o.call("gateway", "PATCH", path, []byte("page"), wire.HeaderUploadOffset, "0", wire.HeaderUploadLength, "4",
		wire.HeaderReprDigest, wire.FormatReprDigest([32]byte{1}))
	if code(t, w) != wire.CodeDigestMismatch {
		t.Fatalf("wrong digest: %d %s", w.Code, w.Body)
	}
	if w := o.call("gateway", "HEAD", path, nil); w.Header().Get(wire.HeaderUploadOffset) != "0" {
		t.Errorf("offset after it: %v", w.Header())
	}
	decode(t, o.patch(path, []byte("page"), 0, 4), http.StatusOK, nil)
	if w := o.patch(wire.ServerEvidencePath(wire.EvidenceRef{Order: "none", Use: 7, Stamp: 1}), []byte("page"), 0, 4); w.Code != http.StatusNotFound {
		t.Errorf("of no order: %d", w.Code)
	}
	huge := o.call("gateway", "PATCH", path, nil, wire.HeaderUploadOffset, "0", wire.HeaderUploadLength, strconv.Itoa(wire.MaxEvidence+1), wire.HeaderReprDigest, wire.FormatReprDigest([32]byte{}))
	if code(t, huge) != wire.CodeTooLarge {
		t.Errorf("too large: %d", huge.Code)
	}
}

func TestMismatchEndsTheOrderAndQueuesADisconnect(t *testing.T) {
	o := newOffice(t)
	li := o.approved(application())
	path := wire.ServerEvidencePath(wire.EvidenceRef{Order: "WO-1", Use: 7, Stamp: 1})
	decode(t, o.patch(path, []byte("page"), 0, 4), http.StatusOK, nil)
	rao := o.login("rao")
	if w := o.call(rao, "POST", path+"/verdict", Verdict{Match: false}); w.Code != http.StatusBadRequest {
		t.Errorf("a mismatch without words: %d", w.Code)
	}
	decode(t, o.call(rao, "POST", path+"/verdict", Verdict{Match: false, Words: "another page"}), http.StatusOK, nil)
	if w := o.call(rao, "POST", path+"/verdict", Verdict{Match: true}); w.Code != http.StatusConflict {
		t.Errorf("a second verdict: %d", w.Code)
	}
	select {
	case <-o.wake:
	default:
		t.Error("the outbox was not woken")
	}
	pending, err := o.st.Disconnects(context.Background(), true)
	if err != nil || len(pending) != 1 || pending[0].Order != "WO-1" || pending[0].Use != 7 || pending[0].Reason != "another page" {
		t.Errorf("pending: %+v, %v", pending, err)
	}
	if a := o.verify(li, "WO-1"); a.Pass || a.Code != wire.CodeServerRefused {
		t.Errorf("after the disconnect: %+v", a)
	}
}

// The document lists the routes that are there, and no others.
func TestOpenAPIListsEveryRoute(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := yaml.Unmarshal(api.SealServer, &doc); err != nil {
		t.Fatal(err)
	}
	var documented []string
	for path, ops := range doc.Paths {
		for method := range ops {
			if method != "parameters" {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	served := (&Server{}).Paths()
	slices.Sort(served)
	slices.Sort(documented)
	if !slices.Equal(served, documented) {
		t.Errorf("served:\n%s\ndocumented:\n%s", strings.Join(served, "\n"), strings.Join(documented, "\n"))
	}
}
