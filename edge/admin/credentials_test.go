package admin

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/credential"
)

const (
	phone     = "460011234567890"
	phonePath = "/v1/terminals/" + phone
)

// terminalDocument is a terminal with what goes into "credentials"; "" for nothing.
func terminalDocument(credentials string) string {
	if credentials != "" {
		credentials = `,"credentials":` + credentials
	}
	return `{"imsi":"` + phone + `","apns":["seal.corp"]` + credentials + `}`
}

func put(t *testing.T, s *Server, body string) {
	t.Helper()
	if w := s.send(t, operator, "PUT", phonePath, "", body); w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", body, w.Code, w.Body)
	}
}

// kept is what the replicated record has.
func kept(n *oneNode) *command.Credentials { return n.machine.Subscriber(phone).GetCredentials() }

// works tells whether a terminal with the password gets through by PAP and by
// CHAP, as apn/session checks it.
func works(t *testing.T, s *Server, n *oneNode, password string) (pap, chap bool) {
	t.Helper()
	c := kept(n)
	pap = credential.VerifyPAP([]byte(password), c.GetPapSalt(), c.GetPapHash(), c.GetPapIterations())
	if len(c.GetChapSecret()) == 0 {
		return pap, false
	}
	secret, err := s.cfg.Secrets.Unwrap("chap:"+phone, c.ChapSecret)
	if err != nil {
		t.Fatal(err)
	}
	response := md5.Sum([]byte("\x07" + password + "challenge"))
	return pap, credential.VerifyCHAP(7, secret, []byte("challenge"), response[:])
}

func TestCredentialsAreKept(t *testing.T) {
	s, n := newServer(t)
	put(t, s, terminalDocument(`{"user":"phone","password":"open sesame"}`))
	if c := kept(n); c.User != "phone" || len(c.PapSalt) != 16 || c.PapIterations != 10_000 || len(c.ChapSecret) != 0 {
		t.Errorf("a secret that can be read back is kept though nobody asked for CHAP: %v", c)
	}
	if pap, _ := works(t, s, n, "open sesame"); !pap {
		t.Error("PAP doesn't work")
	}
	if pap, _ := works(t, s, n, "open sesamE"); pap {
		t.Error("another password works")
	}

	put(t, s, terminalDocument(`{"user":"phone","password":"open sesame","chap":true}`))
	if pap, chap := works(t, s, n, "open sesame"); !pap || !chap {
		t.Errorf("PAP %v, CHAP %v", pap, chap)
	}
	if raw := command.Marshal(n.machine.Subscriber(phone)); bytes.Contains(raw, []byte("sesame")) {
		t.Error("the record has the password in clear")
	}

	// The secret is this terminal's alone.
	if _, err := s.cfg.Secrets.Unwrap("chap:460011234567891", kept(n).ChapSecret); err == nil {
		t.Error("another terminal's record could have the secret")
	}
}

func TestCredentialsOfUpdates(t *testing.T) {
	s, n := newServer(t)
	put(t, s, terminalDocument(`{"user":"phone","password":"open sesame","chap":true}`))
	first := kept(n)
	same := func(what string) {
		t.Helper()
		if !proto.Equal(kept(n), first) {
			t.Fatalf("%s changed the credentials to %v", what, kept(n))
		}
	}
	put(t, s, terminalDocument(""))
	same("an update without credentials")
	put(t, s, terminalDocument("null"))
	same("null")
	put(t, s, terminalDocument(`{"user":"phone","password":"open sesame","chap":true}`))
	same("the same password")

	// An answer put back changes nothing.
	w := s.send(t, operator, "GET", phonePath+"?stale=true", "", "")
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "sesame") || !strings.Contains(w.Body.String(), `"credentials":{"user":"phone","chap":true,"pap":true}`) {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	put(t, s, w.Body.String())
	same("the answer put back")

	// Without the password nothing else can be asked for.
	for _, c := range []string{`{"user":"other","chap":true}`, `{"user":"phone"}`, `{"user":"phone","chap":false,"pap":true}`} {
		w := s.send(t, operator, "PUT", phonePath, "", terminalDocument(c))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "credentials.password: missing") {
			t.Errorf("%s: %d %s", c, w.Code, w.Body)
		}
		same(c)
	}

	put(t, s, terminalDocument(`{"user":"other","password":"close sesame"}`))
	if pap, chap := works(t, s, n, "close sesame"); !pap || chap || kept(n).User != "other" || len(kept(n).ChapSecret) != 0 {
		t.Errorf("the new password: PAP %v, CHAP %v, %v", pap, chap, kept(n))
	}
	put(t, s, terminalDocument(`{}`))
	if kept(n) != nil {
		t.Errorf("{} left %v", kept(n))
	}
	if w := s.send(t, operator, "PUT", phonePath, "", terminalDocument(`{"user":"other"}`)); w.Code != http.StatusBadRequest {
		t.Errorf("a user without a password: %d %s", w.Code, w.Body)
	}
}

// A request whose answer was lost is repeated, though salt and nonce are drawn
// anew and the record's version has risen.
func TestCredentialsOfRepeats(t *testing.T) {
	s, n := newServer(t)
	for _, body := range []string{
		terminalDocument(`{"user":"phone","password":"open sesame","chap":true}`),
		terminalDocument(""),
		terminalDocument(`{}`),
	} {
		var answers [2]string
		for i := range answers {
			w := s.send(t, operator, "PUT", phonePath, body, body)
			if w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", body, w.Code, w.Body)
			}
			answers[i] = w.Body.String()
		}
		if answers[0] != answers[1] {
			t.Errorf("answers %s and %s", answers[0], answers[1])
		}
	}
	if v := n.machine.Subscriber(phone).GetVersion(); v != 3 {
		t.Errorf("the record is at version %d, want 3", v)
	}
	// The key of one request for another is a mistake that is told.
	key := terminalDocument("")
	for _, other := range []string{
		terminalDocument(`{"user":"phone","password":"open sesame"}`),
		`{"imsi":"` + phone + `","apns":["other.corp"]}`,
	} {
		if w := s.send(t, operator, "PUT", phonePath, key, other); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("the key for %s: %d %s", other, w.Code, w.Body)
		}
	}
}

// racing lets somebody else change something between what a request read and
// what it proposes.
type racing struct {
	*oneNode
	others []proto.Message
}

func (n *racing) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if len(n.others) > 0 {
		other := n.others[0]
		n.others = n.others[1:]
		if r, err := n.oneNode.Propose(ctx, command.New("other", "", "", other)); err != nil || r.Code != command.Code_OK {
			return r, err
		}
	}
	return n.oneNode.Propose(ctx, c)
}

// An update that names no credentials must not bring back those that somebody
// changes at the same time.
func TestCredentialsChangedMeanwhile(t *testing.T) {
	s, n := newServer(t)
	put(t, s, terminalDocument(`{"user":"phone","password":"leaked password"}`))
	renewed := func() proto.Message {
		return &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
			Imsi: phone, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, Credentials: &command.Credentials{User: "renewed"},
		}}
	}
	race := &racing{oneNode: n, others: []proto.Message{renewed()}}
	s.cfg.Cluster = race
	put(t, s, `{"imsi":"`+phone+`","apns":["seal.corp"],"label":"phone 1"}`)
	if got := n.machine.Subscriber(phone); got.Label != "phone 1" || got.Credentials.GetUser() != "renewed" {
		t.Errorf("the record is %v", got)
	}

	// With a version it is for the operator to look again; without one not for ever.
	race.others = []proto.Message{renewed()}
	if w := s.send(t, operator, "PUT", phonePath, "", `{"imsi":"`+phone+`","apns":["seal.corp"],"version":3}`); w.Code != http.StatusConflict {
		t.Errorf("a version that is past: %d %s", w.Code, w.Body)
	}
	for range 100 {
		race.others = append(race.others, renewed())
	}
	if w := s.send(t, operator, "PUT", phonePath, "", terminalDocument("")); w.Code != http.StatusConflict || len(race.others) < 90 {
		t.Errorf("%d %s, %d left", w.Code, w.Body, len(race.others))
	}
}

func TestNewTerminals(t *testing.T) {
	s, n := newServer(t)
	if w := s.send(t, operator, "PUT", phonePath+"?new=true", "k", terminalDocument("")); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := s.send(t, operator, "PUT", phonePath+"?new=true", "k", terminalDocument("")); w.Code != http.StatusOK {
		t.Errorf("the repeat: %d %s", w.Code, w.Body)
	}
	if w := s.send(t, operator, "PUT", phonePath+"?new=true", "", terminalDocument("")); w.Code != http.StatusConflict {
		t.Errorf("a second one: %d %s", w.Code, w.Body)
	}
	if w := s.send(t, operator, "PUT", phonePath+"?new=true", "", `{"imsi":"`+phone+`","apns":["a"],"version":1}`); w.Code != http.StatusBadRequest {
		t.Errorf("a new one with a version: %d %s", w.Code, w.Body)
	}
	if v := n.machine.Subscriber(phone).GetVersion(); v != 1 {
		t.Errorf("version %d", v)
	}
}

// Whatever is wrong with a document, its password is not in the answer or the log.
func TestPasswordsStaySecret(t *testing.T) {
	s, _ := newServer(t)
	var log bytes.Buffer
	s.cfg.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	const secret = "hunter2hunter2"
	for _, body := range []string{
		terminalDocument(`{"user":"phone","password":"` + secret + strings.Repeat("x", 200) + `"}`),
		terminalDocument(`{"password":"` + secret + `"}`),
		terminalDocument(`"` + secret + `"`),
		terminalDocument(`{"user":"phone","password":["` + secret + `"]}`),
		terminalDocument(`{"user":"phone","password":"` + secret + `","chap":"` + secret + `"}`),
		terminalDocument(`{"user":"phone","password":"` + secret),
		`{"imsi":"1","credentials":{"user":"phone","password":"` + secret + `"}}`,
	} {
		w := s.send(t, operator, "PUT", phonePath, "", body)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", body, w.Code)
		}
		if strings.Contains(w.Body.String()+log.String(), secret) {
			t.Errorf("%s: the answer or the log has the password: %s %s", body, w.Body, log.String())
		}
	}
	put(t, s, terminalDocument(`{"user":"phone","password":"`+secret+`","chap":true}`))
	for _, path := range []string{"/v1/terminals", phonePath} {
		if w := s.send(t, operator, "GET", path, "", ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), secret) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log has the password: %s", log.String())
	}
}
