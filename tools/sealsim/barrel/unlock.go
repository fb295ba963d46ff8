package barrel

import (
	"fmt"
	"slices"
	"time"

	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
)

// earlyTolerance allows for the time that a heartbeat's answer took, by which
// the barrel's clock may be behind the gateway's.
const earlyTolerance = 2 * time.Second

// Unlock takes a grant from the terminal. A repeated request for the use under
// way gets the same answer again.
func (m *Machine) Unlock(now time.Time, req wire.UnlockRequest) (wire.UnlockAnswer, []Action, error) {
	acts := m.Tick(now)
	claims, err := grant.Verify(req.Grant, m.id.Gateway)
	if err != nil {
		return m.refuse(now, acts, CodeGrantInvalid, err.Error())
	}
	if u := m.st.Use; u != nil && u.ID == claims.UseID && u.Counter == claims.Counter && claims.Barrel == m.id.ID.String() {
		return answer(u), acts, nil
	}
	if code, why := m.check(now, claims, req.User); code != "" {
		return m.refuse(now, acts, code, why)
	}
	m.st.Counter = claims.Counter
	use := &Use{
		ID: claims.UseID, Order: claims.Order, Counter: claims.Counter, Count: claims.Count,
		Methods: claims.Methods, User: claims.User, NotAfter: claims.NotAfter,
	}
	if use.User == "" {
		use.User = req.User
	}
	m.st.Use = use
	if code, why := m.dead(now, claims); code != "" {
		// It can't ever be used: the counter is spent and the use is over
		// with nothing stamped, so that the order gets its count back.
		acts = append(acts, m.end(now, why)...)
		return m.refuse(now, acts, code, why)
	}
	m.phase, m.awaiting, m.failures = verifying, claims.Methods, 0
	acts = append(acts, Persist{m.st}, m.say(greeting(req.Title, claims.Count)), m.say(prompts[claims.Methods[0]]))
	return answer(use), acts, nil
}

func answer(u *Use) wire.UnlockAnswer {
	return wire.UnlockAnswer{Use: u.ID, Count: u.Count, Methods: u.Methods}
}

// check lists why a grant isn't obeyed now, and might be later or elsewhere.
func (m *Machine) check(now time.Time, c grant.Claims, user string) (wire.Code, string) {
	for _, method := range c.Methods {
		if prompts[method] == "" {
			return CodeMethodUnknown, fmt.Sprintf("there is no sensor for %q", method)
		}
	}
	switch {
	case c.Barrel != m.id.ID.String():
		return CodeOtherBarrel, "the grant is for barrel " + c.Barrel
	case c.Counter <= m.st.Counter:
		return CodeReplayed, fmt.Sprintf("counter %d is not above %d", c.Counter, m.st.Counter)
	case m.id.SealType != "" && c.SealType != m.id.SealType:
		return CodeSealType, fmt.Sprintf("the grant is for a %s seal, this is a %s seal", c.SealType, m.id.SealType)
	case user != "" && c.User != "" && user != c.User:
		return CodeUserMismatch, "the grant is for another user"
	case m.st.Tampered:
		return CodeTampered, "the barrel was opened and must be serviced"
	case m.st.Use != nil:
		return CodeBusy, fmt.Sprintf("use %d is under way", m.st.Use.ID)
	case !m.leased(now):
		return CodeNoLease, "the gateway's heartbeats are missing"
	case m.wall(now).Add(earlyTolerance).Before(c.NotBefore):
		return CodeNotYetValid, "the grant is valid from " + c.NotBefore.Format(time.RFC3339)
	}
	return "", ""
}

// dead tells why a grant can't be obeyed ever.
func (m *Machine) dead(now time.Time, c grant.Claims) (wire.Code, string) {
	switch {
	case slices.Contains(m.st.Locked, c.UseID):
		return CodeVoid, fmt.Sprintf("use %d was locked by the gateway", c.UseID)
	case m.wall(now).After(c.NotAfter):
		return CodeExpired, "the grant ended at " + c.NotAfter.Format(time.RFC3339)
	}
	return "", ""
}

func (m *Machine) refuse(now time.Time, acts []Action, code wire.Code, why string) (wire.UnlockAnswer, []Action, error) {
	m.event(now, wire.EventRefused, string(code))
	return wire.UnlockAnswer{}, append(acts, Persist{m.st}, m.say("The grant was refused.")), &RefusedError{code, why}
}

// Verify is a finger on the sensor or a face before the camera. Methods may be
// passed in any order; the third failure ends the use.
func (m *Machine) Verify(now time.Time, method, person string) ([]Action, error) {
	acts := m.Tick(now)
	if m.phase != verifying || !slices.Contains(m.awaiting, method) {
		return acts, ErrNotAsked
	}
	if person == "" || m.st.Use.User != "" && person != m.st.Use.User {
		m.failures++
		m.event(now, wire.EventVerifyFail, method)
		if m.failures < maxFailures {
			return append(acts, Persist{m.st}, m.say("Not recognised. Please try again.")), ErrNotRecognised
		}
		return append(acts, m.end(now, "the verification failed")...), ErrNotRecognised
	}
	left := make([]string, 0, len(m.awaiting))
	for _, w := range m.awaiting {
		if w != method {
			left = append(left, w)
		}
	}
	if m.awaiting = left; len(left) > 0 {
		return append(acts, m.say("Thank you."), m.say(prompts[left[0]])), nil
	}
	m.phase = unlocked
	return append(acts, Latch{Open: true}, m.say(fmt.Sprintf("Unlocked. You may stamp %d times.", m.st.Use.Count))), nil
}

// prompts name the methods that the barrel has sensors for.
var prompts = map[string]string{
	wire.MethodFingerprint: "Please place your finger on the sensor.",
	wire.MethodFace:        "Please look into the camera.",
}

func greeting(title string, count uint32) string {
	if title == "" {
		return fmt.Sprintf("Granted: %d stampings.", count)
	}
	return fmt.Sprintf("%s: %d stampings.", title, count)
}
