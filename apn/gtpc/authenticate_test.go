package gtpc

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
)

// showing is a Create Session Request with an authentication container.
func showing(s gtptest.SGW, protocol uint16, packets ...[]byte) []byte {
	pco := []byte{0x80}
	for _, p := range packets {
		pco = append(append(pco, byte(protocol>>8), byte(protocol), byte(len(p))), p...)
	}
	elements := s.CreateElements()
	for i, e := range elements {
		if e.Type == ie.ProtocolConfigurationOptions {
			elements[i] = ie.New(ie.ProtocolConfigurationOptions, 0, pco)
		}
	}
	return s.Request(gtp.TypeCreateSessionRequest, 0, elements...)
}

// pap is an Authenticate-Request (RFC 1334).
func pap(user, password string) []byte {
	b := []byte{1, 1, 0, byte(6 + len(user) + len(password)), byte(len(user))}
	b = append(append(b, user...), byte(len(password)))
	return append(b, password...)
}

const password = "tr0ub4dor"

// withPassword gives the subscriber credentials, and has the APN demand them.
func withPassword(t testing.TB, s *site) {
	t.Helper()
	salt := []byte("0123456789abcdef")
	s.do(t, &command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: imsi, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE,
		Credentials: &command.Credentials{
			User: "phone", PapSalt: salt, PapHash: credential.Hash([]byte(password), salt, 1000), PapIterations: 1000, ChapSecret: []byte("wrapped"),
		},
	}, AnyVersion: true})
}

func demanding(a policy.Authentication) func(*ProceduresConfig) {
	return func(c *ProceduresConfig) {
		rules := c.Rules
		c.Rules = func() *policy.Rules {
			r := rules()
			for name, apn := range r.APNs {
				apn.Authentication = a
				r.APNs[name] = apn
			}
			return r
		}
	}
}

func TestPasswordIsChecked(t *testing.T) {
	s, peer := newSite(t, demanding(policy.AuthenticationAny)), gtptest.New()
	withPassword(t, s)
	for i, c := range []struct {
		request []byte
		cause   uint8
	}{
		{showing(peer, 0xc023, pap("phone", "wrong horse")), 92},
		{peer.Create(), 92},
		{showing(peer, 0xc023, pap("phone", password)), 16},
	} {
		if a := gtptest.Read(s.handle(t, c.request)); a.Cause() != c.cause {
			t.Errorf("request %d: cause %d, want %d", i, a.Cause(), c.cause)
		}
	}
	if log := s.log.String(); strings.Contains(log, password) || strings.Contains(log, "wrong horse") || !strings.Contains(log, "authentication") {
		t.Errorf("the log: %s", log)
	}
}

// changing is a cluster where something happens just before each view.
type changing struct {
	*oneNode
	before func(view int)
	views  int
}

func (c *changing) View(fn func(*state.Machine)) {
	c.views++
	c.before(c.views)
	c.oneNode.View(fn)
}

// A password that was changed while the old one was being checked is checked
// anew; a record that changes without end ends in silence.
func TestPasswordChangesMeanwhile(t *testing.T) {
	for changes, want := range map[int]uint8{1: 16, maxAttempts - 1: 16, maxAttempts: 0} {
		var s *site
		s = newSite(t, demanding(policy.AuthenticationPAP), func(c *ProceduresConfig) {
			node := c.Cluster.(*oneNode)
			c.Cluster = &changing{oneNode: node, before: func(view int) {
				if view%2 == 0 && view/2 <= changes { // the views of decisions
					withPassword(t, s)
				}
			}}
		})
		withPassword(t, s)
		answer := s.handle(t, showing(gtptest.New(), 0xc023, pap("phone", password)))
		switch {
		case want == 0 && answer != nil:
			t.Errorf("%d changes: % x", changes, answer)
		case want != 0 && (answer == nil || gtptest.Read(answer).Cause() != want):
			t.Errorf("%d changes: % x", changes, answer)
		}
	}
}

// Checks wait for each other when there are many, and no longer
// than a request has time.
func TestChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		s := newSite(t, demanding(policy.AuthenticationCHAP), func(c *ProceduresConfig) {
			c.Unwrap = func(string, []byte) ([]byte, error) {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(3 * time.Second)
				mu.Lock()
				running--
				mu.Unlock()
				return nil, fmt.Errorf("no key")
			}
		})
		withPassword(t, s)
		challenge, response := []byte{1, 1, 0, 6, 1, 0xaa}, append([]byte{2, 1, 0, 26, 16}, make([]byte, 21)...)
		replies := make(chan Reply, 3*maxChecks())
		for i := range cap(replies) {
			m, err := gtp.Parse(showing(numbered(uint32(i)), 0xc223, challenge, response))
			if err != nil {
				t.Fatal(err)
			}
			go func() { replies <- s.Handle(context.Background(), sgw, m) }()
		}
		start := time.Now()
		refused, silent := 0, 0
		for range cap(replies) {
			if r := <-replies; r.Datagram == nil {
				silent++
			} else if r.Cause == gtp.CauseAuthenticationFailed {
				refused++
			}
		}
		// The first lot is through after 3 s and the second after 6; the third has
		// no time any more after 4.
		if n := maxChecks(); most != n || refused != 2*n || silent != n || time.Since(start) != 6*time.Second {
			t.Errorf("%d at once, %d refused, %d silent after %v", most, refused, silent, time.Since(start))
		}
	})
}
