package adminapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/cluster/command"
)

func TestCredentialsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		c    *Credentials
		want string // "": good
	}{
		{"none", nil, ""},
		{"removal", &Credentials{}, ""},
		{"user and password", &Credentials{User: "phone", Password: "open sesame"}, ""},
		{"what is stored", &Credentials{User: "phone", CHAP: true, PAP: true}, ""},
		{"shortest password", &Credentials{User: "phone", Password: "12345678"}, ""},
		{"short password", &Credentials{User: "phone", Password: "1234567"}, "credentials.password: has 7 bytes, want 8 to 100"},
		{"long password", &Credentials{User: "phone", Password: Password(strings.Repeat("x", 101))}, "credentials.password: has 101 bytes"},
		{"no user", &Credentials{Password: "open sesame"}, "credentials.user: missing"},
		{"CHAP of nobody", &Credentials{CHAP: true}, "credentials.user: missing"},
		{"long user", &Credentials{User: strings.Repeat("x", 101)}, "credentials.user: want at most 100 bytes"},
		{"user that moves the cursor", &Credentials{User: "a\x1b[2J"}, "credentials.user: want"},
		{"user that is no text", &Credentials{User: "a\xff"}, "credentials.user: want"},
	} {
		_, err := Terminal{IMSI: "460010000000001", APNs: []string{"a"}, Credentials: c.c}.Record()
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err != nil && c.c.Password != "" && strings.Contains(err.Error(), string(c.c.Password)) {
			t.Errorf("%s: the error has the password", c.name)
		}
	}
}

// Absent and null keep, {} removes: in JSON and in YAML.
func TestCredentialsThatRemove(t *testing.T) {
	for doc, want := range map[string]string{
		`{}`: "keep", `{"credentials": null}`: "keep", `{"credentials": {}}`: "remove",
		`{"credentials": {"chap": false, "pap": true}}`: "remove",
		`{"credentials": {"user": "phone"}}`:            "say",
	} {
		var j, y Terminal
		if err := json.Unmarshal([]byte(doc), &j); err != nil {
			t.Fatal(err)
		}
		decoders := map[string]Terminal{"JSON": j}
		if !strings.Contains(doc, "pap") { // which a file can't have
			if err := yaml.Unmarshal([]byte(doc), &y); err != nil {
				t.Fatal(err)
			}
			decoders["YAML"] = y
		}
		for name, v := range decoders {
			got := "say"
			if v.Credentials == nil {
				got = "keep"
			} else if v.Credentials.Removed() {
				got = "remove"
			}
			if got != want {
				t.Errorf("%s %s: %s, want %s", name, doc, got, want)
			}
		}
	}
}

// An answer says which of the two can be used, and nothing else.
func TestAnswersHaveNoSecret(t *testing.T) {
	s := &command.Subscriber{Imsi: "460010000000001", Credentials: &command.Credentials{
		User: "phone", PapSalt: []byte("salt-salt"), PapHash: []byte("hash-hash"), PapIterations: 10, ChapSecret: []byte("wrapped-secret"),
	}}
	got := marshal(t, TerminalOf(s))
	if !strings.Contains(got, `"credentials":{"user":"phone","chap":true,"pap":true}`) {
		t.Errorf("answer %s", got)
	}
	s.Credentials.ChapSecret = nil
	if got := marshal(t, TerminalOf(s)); !strings.Contains(got, `"credentials":{"user":"phone","chap":false,"pap":true}`) {
		t.Errorf("answer %s", got)
	}
	s.Credentials = nil
	if got := marshal(t, TerminalOf(s)); strings.Contains(got, "credentials") {
		t.Errorf("answer %s", got)
	}
}

// A password that gets into a message by mistake doesn't show.
func TestPasswordHides(t *testing.T) {
	c := Credentials{User: "phone", Password: "open sesame"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "password", c.Password)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c.Password, c.Password), fmt.Sprint(&c), log.String()} {
		if strings.Contains(text, "sesame") {
			t.Error(text)
		}
	}
	if got := marshal(t, c); !strings.Contains(got, `"password":"open sesame"`) {
		t.Errorf("a request doesn't carry it: %s", got)
	}
}

// The readable part of the audit chain names the user, but not what a password
// could be guessed by. The chain still verifies.
func TestAuditOfCredentials(t *testing.T) {
	secrets := map[string][]byte{"salt": []byte("0123456789abcdef"), "hash": []byte("fedcba9876543210fedcba9876543210"), "chap": []byte("wrapped-wrapped-wrapped")}
	c := command.New("admin:li", "1", "operator:li", &command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: "460010000000001", Credentials: &command.Credentials{User: "phone", PapSalt: secrets["salt"], PapHash: secrets["hash"], PapIterations: 10, ChapSecret: secrets["chap"]},
	}})
	e := entry("")
	e.Command = command.Marshal(c)
	l, err := AuditLineOf(e)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range secrets {
		if strings.Contains(string(l.Detail), base64.StdEncoding.EncodeToString(b)) {
			t.Errorf("the detail has the %s: %s", name, l.Detail)
		}
	}
	for _, want := range []string{`"phone"`, "pap_iterations", "chap_secret"} {
		if !strings.Contains(string(l.Detail), want) {
			t.Errorf("the detail lacks %s: %s", want, l.Detail)
		}
	}
	again, err := ParseAuditLine([]byte(marshal(t, l)))
	if err != nil || !bytes.Equal(again.Command, e.Command) {
		t.Errorf("the line doesn't read back: %v", err)
	}
}
