package adminapi

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealedge/sealedge/cluster/command"
)

// Credentials are the user name and password of a terminal's APN settings, which
// it shows by PAP or CHAP.
//
// The gateway keeps a salted hash of the password, which is enough for PAP. CHAP
// can't be checked by a hash of the gateway's own making: the terminal answers
// with MD5 over the password itself (RFC 1994 4.1), so that the gateway has to
// keep it too, encrypted. It does so only when a request says chap, and refuses
// CHAP otherwise.
//
// A request with a password replaces everything that is stored. One without has
// to say what is stored, as an answer does; that keeps it. No user at all removes
// the credentials.
type Credentials struct {
	User     string   `json:"user,omitempty" yaml:"user"`
	Password Password `json:"password,omitempty" yaml:"password"` // never in an answer
	CHAP     bool     `json:"chap" yaml:"chap"`                   // CHAP is possible
	PAP      bool     `json:"pap" yaml:"-"`                       // PAP is possible; ignored in requests
}

// Password is a text that doesn't show itself in logs and errors.
type Password string

// String hides the password.
func (p Password) String() string {
	if p == "" {
		return ""
	}
	return "[password]"
}

// GoString hides the password.
func (p Password) GoString() string { return p.String() }

// LogValue hides the password.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// The sizes of user and password, in bytes. Both have to fit into one container
// of the protocol configuration options, whose length is one octet (TS 24.008
// 10.5.6.3); what is shorter than least can be guessed.
const (
	leastPassword = 8
	mostPassword  = 100
	mostUser      = 100
)

// Removed tells whether the document asks to remove the credentials.
func (c *Credentials) Removed() bool { return c != nil && c.User == "" && c.Password == "" && !c.CHAP }

// check names every mistake; nil credentials have none.
func (c *Credentials) check(m *mistakes) {
	if c == nil || c.Removed() {
		return
	}
	if c.User == "" {
		m.add("credentials.user", errors.New("missing: a password goes with a user name"))
	}
	if len(c.User) > mostUser || !utf8.ValidString(c.User) || strings.ContainsFunc(c.User, unicode.IsControl) {
		m.add("credentials.user", fmt.Errorf("want at most %d bytes of text without control characters", mostUser))
	}
	if n := len(c.Password); n != 0 && n < leastPassword || n > mostPassword {
		m.add("credentials.password", fmt.Errorf("has %d bytes, want %d to %d", n, leastPassword, mostPassword))
	}
}

func credentialsOf(c *command.Credentials) *Credentials {
	if c == nil {
		return nil
	}
	return &Credentials{User: c.User, PAP: len(c.PapHash) > 0, CHAP: len(c.ChapSecret) > 0}
}
