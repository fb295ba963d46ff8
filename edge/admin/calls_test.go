package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// listening keeps what is proposed, and fails as it is told.
type listening struct {
	*oneNode
	mu   sync.Mutex
	got  []*command.Command
	fail func(*command.Command) error
}

func (l *listening) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if err := l.fail(c); err != nil {
			return nil, err
		}
	}
	l.got = append(l.got, proto.CloneOf(c))
	return l.oneNode.Propose(ctx, c)
}

// recorded are the calls in the chain.
func (l *listening) recorded(t *testing.T) (all []*command.Call, lost uint64) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.got {
		_, p, err := command.Decode(command.Marshal(c))
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := p.(*command.RecordCalls); ok {
			all, lost = append(all, r.Calls...), lost+r.Lost
		}
	}
	return all, lost
}

func newListening(t *testing.T) (*Server, *listening) {
	t.Helper()
	s, n := newServer(t)
	l := &listening{oneNode: n}
	s.cfg.Cluster = l
	return s, l
}

func TestCallsAreRecorded(t *testing.T) {
	s, l := newListening(t)
	issued := issue(t, s, `{"roles":["viewer","seal-administrator"],"lifetime_seconds":60}`)
	token := issued.Token.ID
	put(t, s, terminalDocument(""))
	for range 3 {
		s.send(t, operator, "GET", phonePath, "", "")
	}
	s.send(t, operator, "GET", "/v1/terminals?limit=5&stale=true", "", "")
	s.send(t, operator, "GET", "/v1/orders", "", "")
	s.send(t, operator, "GET", "/v1/terminals/460019", "", "")
	call(s, "POST", "/v1/orders/suspend?number=WO/1", certificate("sealedge://operator/wu", "viewer"))
	call(s, "GET", "/v1/terminals/460018", nil)
	call(s, "GET", "/v1/nowhere", nil)
	s.with(issued.Bearer, "POST", "/v1/orders/suspend?number=WO-2", `{"reason":"x"}`)
	s.with(issued.Bearer+"x", "GET", "/v1/orders", "")
	s.send(t, operator, "POST", "/v1/orders/resume?number=WO-3", "", `{"reason":"x"}`) // refused by its command

	if !s.recordAll(t.Context()) {
		t.Fatal("something is left")
	}
	var got []string
	all, lost := l.recorded(t)
	for _, c := range all {
		if d := time.Since(time.Unix(0, c.At)); d < 0 || d > time.Minute {
			t.Errorf("%v: at %v", c, d)
		}
		got = append(got, fmt.Sprintf("%s %s %s %q %d %v %d", c.Caller, strings.ReplaceAll(c.Token, token, "tk"), c.Operation, c.Subject, c.Status, c.Personal, c.Times))
	}
	want := []string{
		`operator:li  GET /v1/terminals/{imsi} "460011234567890" 200 true 3`,
		`operator:li  GET /v1/terminals "" 200 true 0`,
		`operator:li  GET /v1/orders "" 200 false 0`,
		`operator:li  GET /v1/terminals/{imsi} "460019" 404 false 0`,
		`operator:wu  POST /v1/orders/suspend "number=WO%2F1" 403 false 0`,
		`unknown  GET /v1/terminals/{imsi} "" 401 false 0`,
		`unknown  unknown path "" 404 false 0`,
		`operator:li tk POST /v1/orders/suspend "number=WO-2" 200 true 0`,
		`unknown  GET /v1/orders "" 401 false 0`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || lost != 0 {
		t.Errorf("recorded are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Within a second of a call it stands in the chain; the last ones when the server
// ends.
func TestCallsAreRecordedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newListening(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.record(ctx) }()
		for range 10 {
			s.send(t, operator, "GET", "/v1/orders", "", "")
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(recordEvery)
		synctest.Wait()
		if all, _ := l.recorded(t); len(all) != 1 || all[0].Times != 10 {
			t.Errorf("recorded are %v", all)
		}
		time.Sleep(time.Hour)
		if n := len(l.got); n != 1 {
			t.Errorf("an idle node proposed %d commands", n)
		}
		s.send(t, operator, "GET", "/v1/uses", "", "")
		cancel()
		<-ended
		if all, _ := l.recorded(t); len(all) != 2 {
			t.Errorf("at the end there are %v", all)
		}
	})
}

// What can't be recorded now is recorded later, once.
func TestCallsWithoutQuorum(t *testing.T) {
	s, l := newListening(t)
	var ids []string
	l.fail = func(c *command.Command) error {
		ids = append(ids, c.RequestId)
		return command.ErrUnknownOutcome
	}
	s.send(t, operator, "GET", "/v1/orders?stale=true", "", "")
	for range 3 {
		if s.recordAll(t.Context()) {
			t.Fatal("it says that it is recorded")
		}
		s.send(t, operator, "GET", "/v1/uses?stale=true", "", "")
	}
	l.fail = nil
	if !s.recordAll(t.Context()) {
		t.Fatal("something is left")
	}
	if ids[0] == "" || ids[0] != ids[1] || ids[1] != ids[2] || l.got[0].RequestId != ids[0] {
		t.Errorf("sent as %q, then as %q", ids, l.got[0].RequestId)
	}
	if all, _ := l.recorded(t); len(all) != 2 || all[1].Times != 3 {
		t.Errorf("recorded are %v", all)
	}
}

// A node that can't be rid of calls shows nothing more, except to who asks it for
// what it knows; those that were lost are counted.
func TestNothingIsShownUnrecorded(t *testing.T) {
	s, l := newListening(t)
	for i := range mostCalls {
		s.calls.note(&command.Call{Caller: "test", Subject: fmt.Sprint(i)})
	}
	if w := s.send(t, operator, "GET", "/v1/orders", "", ""); w.Code != http.StatusServiceUnavailable || codeOf(t, w) != "audit-behind" || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := s.send(t, operator, "GET", "/v1/orders?stale=true", "", ""); w.Code != http.StatusOK {
		t.Errorf("stale: %d %s", w.Code, w.Body)
	}
	if w := s.send(t, operator, "POST", "/v1/orders/suspend?number=WO-1", "", `{"reason":"x"}`); w.Code != http.StatusOK {
		t.Errorf("a change, which is recorded by itself: %d %s", w.Code, w.Body)
	}
	if !s.recordAll(t.Context()) {
		t.Fatal("something is left")
	}
	if all, lost := l.recorded(t); len(all) != mostCalls || lost != 2 {
		t.Errorf("%d are recorded and %d lost, want %d and 2", len(all), lost, mostCalls)
	}
	if w := s.send(t, operator, "GET", "/v1/orders", "", ""); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

// While a cluster is upgraded calls are recorded in words that all nodes know.
func TestCallsInAMixedCluster(t *testing.T) {
	s, l := newListening(t)
	l.fail = func(c *command.Command) error {
		if c.Type == command.Type_RECORD_CALLS {
			return command.ErrLevel
		}
		return nil
	}
	s.send(t, operator, "GET", phonePath, "", "")
	if !s.recordAll(t.Context()) || len(l.got) != 1 {
		t.Fatalf("%v", l.got)
	}
	_, p, _ := command.Decode(command.Marshal(l.got[0]))
	if d, ok := p.(*command.RecordDecision); !ok || d.Kind != "calls" || len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0], "operator:li GET /v1/terminals/{imsi} "+phone+": 404") {
		t.Errorf("recorded is %v", p)
	}
}

func TestTextThatNoRecordHolds(t *testing.T) {
	s, l := newListening(t)
	for _, path := range []string{"/v1/terminals/%ff", "/v1/trace?imsi=%ff", "/v1/orders?after=%c3%28"} {
		if w := s.send(t, operator, "GET", path, "", ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := s.send(t, operator, "POST", "/v1/orders/suspend?number=1", "\xff", `{"reason":"x"}`); w.Code != http.StatusBadRequest {
		t.Errorf("key: %d %s", w.Code, w.Body)
	}
	s.send(t, operator, "GET", "/v1/terminals/"+strings.Repeat("ü", 500), "", "")
	if !s.recordAll(t.Context()) {
		t.Fatal("something is left")
	}
	if all, _ := l.recorded(t); len(all) != 5 || len(all[4].Subject) > maxSubject {
		t.Errorf("recorded are %v", all)
	}
}

func TestRateLimits(t *testing.T) {
	s, _ := newListening(t)
	now := time.Now()
	s.cfg.Now = func() time.Time { return now }
	s.limits = newLimits(10)
	issued := issue(t, s, `{"roles":["viewer"],"lifetime_seconds":60}`)
	get := func(uri string) int { return s.send(t, uri, "GET", "/v1/orders", "", "").Code }
	for i := range 19 {
		if c := get(operator); c != http.StatusOK {
			t.Fatalf("request %d: %d", i, c)
		}
	}
	w := s.send(t, operator, "GET", "/v1/orders", "", "")
	if w.Code != http.StatusTooManyRequests || codeOf(t, w) != "rate-limited" || w.Header().Get("Retry-After") != "1" {
		t.Errorf("one too many: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := s.with(issued.Bearer, "GET", "/v1/orders", ""); w.Code != http.StatusOK {
		t.Errorf("his token: %d %s", w.Code, w.Body)
	}
	if c := get(second); c != http.StatusOK {
		t.Errorf("another: %d", c)
	}
	now = now.Add(100 * time.Millisecond)
	if c := get(operator); c != http.StatusOK {
		t.Errorf("a tenth of a second later: %d", c)
	}
	if c := get(operator); c != http.StatusTooManyRequests {
		t.Errorf("and again: %d", c)
	}
	// Strangers are told apart by where they come from.
	for range 20 {
		call(s, "GET", "/v1/orders", nil)
	}
	if w := call(s, "GET", "/v1/nowhere", nil); w.Code != http.StatusTooManyRequests {
		t.Errorf("a stranger: %d", w.Code)
	}
}

func TestRateLimitsForgetTheIdle(t *testing.T) {
	l := newLimits(1)
	now := time.Now()
	for i := range mostCallers {
		l.admit(fmt.Sprint(i), now)
	}
	if _, ok := l.admit("new", now); ok {
		t.Error("more callers are remembered than may be")
	}
	if _, ok := l.admit("new", now.Add(2*time.Second)); !ok || len(l.callers) > 1 {
		t.Errorf("%d callers that have long been idle keep others out", len(l.callers))
	}
}
