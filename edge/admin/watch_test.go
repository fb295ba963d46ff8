package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// tape keeps what is sent to a client.
type tape struct {
	head http.Header
	mu   sync.Mutex
	code int
	text bytes.Buffer
}

func (t *tape) Header() http.Header { return t.head }
func (t *tape) WriteHeader(c int)   { t.code = c }
func (t *tape) Flush()              {}

func (t *tape) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

// told are the events so far, "event id data" with as much of the data as names the
// record; and what was told is forgotten.
func (t *tape) told() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for block := range strings.SplitSeq(strings.TrimSpace(t.text.String()), "\n\n") {
		fields := map[string]string{}
		for line := range strings.SplitSeq(block, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			fields[name] = value
		}
		var data map[string]any
		if json.Unmarshal([]byte(fields["data"]), &data) != nil {
			continue // a comment
		}
		words := []string{fields["event"], fields["id"]}
		for _, name := range []string{"id", "state", "alive", "sequence", "type", "code"} {
			if v, ok := data[name]; ok {
				words = append(words, fmt.Sprint(v))
			}
		}
		all = append(all, strings.Join(words, " "))
	}
	t.text.Reset()
	return all
}

// watching follows in the background; stop ends it and waits for it.
func watching(t *testing.T, s *Server, query, lastID string) (out *tape, stop func()) {
	t.Helper()
	return watchingAs(t, s, query, func(r *http.Request) {
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{certificate(operator, "viewer", "auditor")}}}
		if lastID != "" {
			r.Header.Set("Last-Event-ID", lastID)
		}
	})
}

func watchingAs(t *testing.T, s *Server, query string, as func(*http.Request)) (out *tape, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequest("GET", "/v1/watch?"+query, nil).WithContext(ctx)
	as(r)
	out = &tape{head: http.Header{}}
	over := make(chan struct{})
	go func() { defer close(over); s.mux.ServeHTTP(out, r) }()
	time.Sleep(time.Second)
	synctest.Wait()
	return out, func() { cancel(); <-over }
}

func tells(t *testing.T, out *tape, when string, want ...string) {
	t.Helper()
	time.Sleep(roundEvery + aliveEvery)
	synctest.Wait()
	if got := out.told(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant:\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (n *oneNode) putBarrel(t *testing.T, id string) {
	t.Helper()
	n.must(t, &command.PutBarrel{Barrel: &command.Barrel{Id: id, State: command.DeviceState_ACTIVE}, AnyVersion: true})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newServer(t)
		alive := map[string]bool{}
		var mu sync.Mutex
		s.cfg.Alive = func(b string) bool { mu.Lock(); defer mu.Unlock(); return alive[b] }
		n.attach(t)            // entries 1 to 4
		n.putBarrel(t, "SB-1") // 5
		out, stop := watching(t, s, "kinds=sessions,uses,barrels", "")
		if out.code != http.StatusOK || out.head.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%d %v", out.code, out.head)
		}
		tells(t, out, "at first", "reset ", "session  1", "barrel  SB-1 active false", "at 5 5")
		tells(t, out, "when nothing happens")

		n.putBarrel(t, "SB-2")
		n.must(t, &command.ClosePath{Session: 1, Reason: "test"})
		tells(t, out, "after two changes", "barrel  SB-2 active false", "session-ended  1", "at 7 7")
		n.must(t, &command.RecordDecision{Kind: "test"})
		tells(t, out, "after what changes no record", "at 8 8")
		mu.Lock()
		alive["SB-2"] = true
		mu.Unlock()
		tells(t, out, "when a barrel is heard from", "barrel  SB-2 active true", "at 8 8")
		stop()
		if s.streams.Load() != 0 {
			t.Errorf("%d watches are left", s.streams.Load())
		}

		// Who comes back gets what he missed, and all leases.
		n.must(t, &command.RevokeBarrel{Id: "SB-1", Reason: "test"})
		out, stop = watching(t, s, "kinds=sessions,barrels", "8")
		tells(t, out, "back again", "barrel  SB-1 revoked false", "at 9 9", "barrel  SB-2 active true", "at 9 9")
		stop()

		// What this node never saw, or has forgotten, is told anew.
		n.mu.Lock()
		n.machine = n.machine.Clone()
		n.mu.Unlock()
		out, stop = watching(t, s, "kinds=sessions,barrels", "8")
		tells(t, out, "back at another node", "reset ", "barrel  SB-1 revoked false", "barrel  SB-2 active true", "at 9 9")
		stop()
		out, stop = watching(t, s, "kinds=sessions", "1000")
		tells(t, out, "with the id of another cluster", "reset ", "at 9 9")
		stop()
		out, stop = watching(t, s, "kinds=uses&after=9", "")
		tells(t, out, "with the id in the query", "at 9 9")
		stop()
	})
}

// chained is a node that has the whole chain.
type chained struct {
	Node
	entries []*command.AuditEntry
}

func (c *chained) AuditRange(_ context.Context, from uint64, fn func(*command.AuditEntry) error) error {
	for _, e := range c.entries {
		if e.Sequence >= from {
			if err := fn(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestWatchAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newServer(t)
		c := new(chained)
		s.cfg.Node = c
		add := func() {
			t.Helper()
			raw := command.Marshal(command.New("t", "", "t", &command.RecordDecision{Kind: "test"}))
			n.mu.Lock()
			defer n.mu.Unlock()
			n.index++
			_, e, err := n.machine.Apply(n.index, 1, raw)
			if err != nil {
				t.Fatal(err)
			}
			c.entries = append(c.entries, e)
		}
		add()
		add()
		out, stop := watching(t, s, "kinds=audit", "")
		tells(t, out, "from here on", "at 2 2")
		add()
		tells(t, out, "after an entry", "audit  3 RECORD_DECISION OK", "at 3 3")
		stop()
		out, stop = watching(t, s, "kinds=audit", "1")
		tells(t, out, "from the second on", "audit  2 RECORD_DECISION OK", "audit  3 RECORD_DECISION OK", "at 3 3")
		stop()
	})
}

func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newServer(t)
		s.cfg.Streams = 2
		lost := &losing{oneNode: n}
		s.cfg.Cluster = lost
		issued := issue(t, s, `{"roles":["viewer"],"lifetime_seconds":3600}`)
		out, stop := watchingAs(t, s, "kinds=uses", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+issued.Bearer) })
		tells(t, out, "with a token", "reset ", "at 1 1")
		other, stopOther := watching(t, s, "kinds=uses", "")
		tells(t, other, "another", "reset ", "at 1 1")
		if w := s.send(t, operator, "GET", "/v1/watch?kinds=uses", "", ""); w.Code != http.StatusTooManyRequests || codeOf(t, w) != "too-many-streams" {
			t.Errorf("one too many: %d %s", w.Code, w.Body)
		}

		// A node that has lost the others says so.
		lost.set(true)
		time.Sleep(askEvery)
		tells(t, other, "alone", "stale ")
		tells(t, other, "still alone")
		lost.set(false)
		time.Sleep(askEvery)
		tells(t, other, "together again", "fresh ")
		out.told()

		// A revoked token watches no more.
		n.must(t, &command.RevokeToken{Id: issued.Token.ID})
		time.Sleep(askEvery)
		tells(t, out, "when revoked", "at 2 2", "end  urn:sealedge:problem:token-invalid token-invalid")
		stop()

		// With the server watches end at once.
		close(s.ending)
		synctest.Wait()
		if s.streams.Load() != 0 {
			t.Errorf("%d watches are left", s.streams.Load())
		}
		stopOther()
	})
}

// losing has a quorum or not.
type losing struct {
	*oneNode
	mu   sync.Mutex
	lost bool
}

func (l *losing) set(lost bool) { l.mu.Lock(); defer l.mu.Unlock(); l.lost = lost }

func (l *losing) ReadIndex(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		return command.ErrNoQuorum
	}
	return nil
}

func TestWatchRefused(t *testing.T) {
	s, _ := newServer(t)
	for query, code := range map[string]int{
		"": http.StatusBadRequest, "kinds=": http.StatusBadRequest, "kinds=orders": http.StatusBadRequest, "kinds=uses,": http.StatusBadRequest,
		"kinds=uses&after=x": http.StatusBadRequest, "kinds=audit": http.StatusForbidden, "kinds=uses,audit": http.StatusForbidden,
	} {
		if w := s.send(t, operator, "GET", "/v1/watch?"+query, "", ""); w.Code != code {
			t.Errorf("%q: %d %s", query, w.Code, w.Body)
		}
	}
	if s.streams.Load() != 0 {
		t.Errorf("%d watches are left", s.streams.Load())
	}
}

// A comment now and then tells both sides that the other is there.
func TestWatchIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t)
		out, stop := watching(t, s, "kinds="+adminapi.WatchUses, "")
		out.told()
		time.Sleep(2 * sayEvery)
		synctest.Wait()
		out.mu.Lock()
		text := out.text.String()
		out.mu.Unlock()
		if strings.Count(text, ":\n\n") < 1 || strings.Contains(text, "event") {
			t.Errorf("while nothing happens: %q", text)
		}
		time.Sleep(watchAtMost)
		if s.streams.Load() != 0 {
			t.Error("it goes on for ever")
		}
		stop()
	})
}
