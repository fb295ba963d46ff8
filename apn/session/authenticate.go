package session

import (
	"crypto/subtle"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
)

// CodeAuthentication is the code under which a failed authentication is
// recorded.
const CodeAuthentication = "authentication-failed"

// Authentication is what a request's PAP or CHAP options are worth, checked
// against one version of the subscriber's record. The zero value says that
// nothing was shown.
type Authentication struct {
	method  policy.Authentication // that was shown; AuthenticationNone: none
	right   bool
	why     string // it isn't right
	version uint64 // of the record
}

// NeedsAuthentication tells whether a request shows PAP or CHAP, and so has to
// go through Authenticate before Decide.
func NeedsAuthentication(m gtp.Message) bool {
	pco := pcoOf(m)
	return pco != nil && (pco.PAP != nil || pco.CHAP != nil)
}

// Authenticate checks what a request shows. It takes milliseconds: hold no lock.
// unwrap opens the secret that a CHAP response is checked with, which is
// wrapped for its owner, "chap:" and the IMSI. sub may be nil.
func Authenticate(m gtp.Message, sub *command.Subscriber, unwrap func(owner string, wrapped []byte) ([]byte, error)) Authentication {
	a := Authentication{version: sub.GetVersion()}
	pco, c := pcoOf(m), sub.GetCredentials()
	switch {
	case pco == nil:
	case pco.CHAP != nil:
		a.method = policy.AuthenticationCHAP
		a.right, a.why = checkCHAP(pco.CHAP, sub, c, unwrap)
	case pco.PAP != nil:
		a.method = policy.AuthenticationPAP
		a.right, a.why = checkPAP(pco.PAP, c)
	}
	return a
}

// Unchecked is what a request shows when it isn't looked at, for a reason: it is
// taken for wrong.
func Unchecked(m gtp.Message, sub *command.Subscriber, why string) Authentication {
	a := Authentication{version: sub.GetVersion(), why: why}
	switch pco := pcoOf(m); {
	case pco == nil:
	case pco.CHAP != nil:
		a.method = policy.AuthenticationCHAP
	case pco.PAP != nil:
		a.method = policy.AuthenticationPAP
	}
	return a
}

// Wrong tells that something was shown, and isn't right.
func (a Authentication) Wrong() bool { return a.method != policy.AuthenticationNone && !a.right }

// shown is what the terminal has proved to be by; stale that it was checked against
// another version of the record.
func (a Authentication) shown(sub *command.Subscriber) (c policy.Credentials, stale bool) {
	switch {
	case a.method == policy.AuthenticationNone:
		return 0, false
	case a.version != sub.GetVersion():
		return 0, true
	case a.right:
		return policy.CredentialPassword, false
	}
	return 0, false
}

func pcoOf(m gtp.Message) *gtp.PCO {
	switch m := m.(type) {
	case *gtp.CreateSessionRequest:
		return m.PCO
	case *gtp.CreatePDPContextRequest:
		return m.PCO
	}
	return nil
}

func checkPAP(p *gtp.PAP, c *command.Credentials) (right bool, why string) {
	if len(c.GetPapSalt()) == 0 {
		return false, "PAP was shown, and the subscriber has no password for it"
	}
	// The password is hashed whatever the user name is: who asks learns nothing
	// from how long it takes.
	password := credential.VerifyPAP([]byte(p.Password), c.GetPapSalt(), c.GetPapHash(), c.GetPapIterations())
	if !sameText(p.User, c.GetUser()) || !password {
		return false, "user name or password is wrong (PAP)"
	}
	return true, ""
}

func checkCHAP(p *gtp.CHAP, sub *command.Subscriber, c *command.Credentials, unwrap func(string, []byte) ([]byte, error)) (right bool, why string) {
	if len(c.GetChapSecret()) == 0 {
		return false, "CHAP was shown, and the subscriber has no secret for it; add it with \"sealctl device update --chap\""
	}
	secret, err := unwrap("chap:"+sub.GetImsi(), c.GetChapSecret())
	if err != nil {
		return false, "the subscriber's CHAP secret can't be opened on this node: " + err.Error()
	}
	answered := credential.VerifyCHAP(p.ID, secret, p.Challenge, p.Response)
	if !sameText(p.User, c.GetUser()) || !answered {
		return false, "user name or response is wrong (CHAP)"
	}
	return true, ""
}

func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// judge compares what was shown with what an APN demands. why says what is
// wrong; stale that it was checked against another version of the record.
func (a Authentication) judge(demanded policy.Authentication, sub *command.Subscriber) (why string, stale bool) {
	if a.method == policy.AuthenticationNone {
		if demanded != policy.AuthenticationNone {
			return "the APN demands " + methods(demanded) + ", and the terminal showed neither user name nor password", false
		}
		return "", false
	}
	if a.version != sub.GetVersion() {
		return "", true
	}
	switch {
	case demanded == policy.AuthenticationNone && sub.GetCredentials() == nil:
		return "", false // many phones send a user name that nobody asked for
	case demanded > policy.AuthenticationAny && demanded != a.method:
		return "the APN demands " + methods(demanded), false
	case !a.right:
		return a.why, false
	}
	return "", false
}

func methods(a policy.Authentication) string {
	switch a {
	case policy.AuthenticationPAP:
		return "PAP"
	case policy.AuthenticationCHAP:
		return "CHAP"
	}
	return "PAP or CHAP"
}
