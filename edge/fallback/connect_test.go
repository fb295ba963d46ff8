package fallback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// The answer is all that a WireGuard client has to know, and the lease is in the records.
func TestTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.dial(home, nil)
		a := l.post(ask("r1")).granted(t)
		lease := r.lease()
		psk, err := r.secrets.Unwrap("wireguard-psk:"+usetest.Terminal, lease.PresharedKey)
		if err != nil || len(psk) != 32 || !bytes.Equal(psk, a.PresharedKey) {
			t.Errorf("pre-shared key %x, kept %x, %v", a.PresharedKey, psk, err)
		}
		if a.Connection != lease.Number || a.Address != usetest.Address(usetest.Terminal).String() || !slices.Equal(a.AllowedIPs, []string{"10.90.0.1/32"}) ||
			!slices.Equal(a.Endpoints, []string{"gw1.example.com:51820", "192.0.2.2:51820"}) || a.MTU != 1400 || a.Keepalive != 25 {
			t.Errorf("answered %+v, lease %v", a, lease)
		}
		if len(a.GatewayKeys) != 1 || !bytes.Equal(a.GatewayKeys[0].PublicKey, serverKey) || a.GatewayKeys[0].Until != nil {
			t.Errorf("gateway keys %+v", a.GatewayKeys)
		}
		if a.Expires.Sub(a.Issued) != 12*time.Hour || a.RenewAfter.Sub(a.Issued) != 8*time.Hour || !a.Issued.Equal(time.Now()) {
			t.Errorf("from %s, renewed after %s, until %s", a.Issued, a.RenewAfter, a.Expires)
		}
		if policy.Credentials(lease.Shown) != policy.CredentialPassword || lease.IssuedByOperator || lease.By != "phone:"+usetest.Terminal || !bytes.Equal(lease.PublicKey, terminalKey) {
			t.Errorf("lease %v", lease)
		}

		// In an overlap both keys are told, the current one first; afterwards one.
		next := bytes.Repeat([]byte{0xb2}, 32)
		r.w.Do(&command.PutServerKey{PublicKey: next, PrivateKey: []byte("wrapped"), Replaces: serverKey, OverlapSeconds: 3600})
		until := time.Now().Add(time.Hour)
		a = l.post(ask("r2")).granted(t)
		if len(a.GatewayKeys) != 2 || !bytes.Equal(a.GatewayKeys[0].PublicKey, next) || !a.GatewayKeys[1].Until.Equal(until) {
			t.Errorf("in an overlap: %+v", a.GatewayKeys)
		}
		time.Sleep(time.Hour)
		if a = r.dial(home, nil).post(ask("r3")).granted(t); len(a.GatewayKeys) != 1 || !bytes.Equal(a.GatewayKeys[0].PublicKey, next) {
			t.Errorf("after the overlap: %+v", a.GatewayKeys)
		}
	})
}

// state of a credential in a request.
type showing int

const (
	not showing = iota
	right
	wrong
)

// Whatever the policy demands, and whatever of it is shown rightly, wrongly or not at
// all: what is wrong refuses even when nobody asked, and what is right is in the lease.
// Something has to be shown: the key on its own is no secret.
func TestEveryCombinationOfCredentials(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.unlimited()
		lines := map[showing]*line{not: r.dial(home, nil), right: r.dial(home, r.device), wrong: r.dial(home, selfSigned(t, "terminal"))}
		kinds := [3]policy.Credentials{policy.CredentialCertificate, policy.CredentialPassword, policy.CredentialPreSharedKey}
		n := 0
		for demand := range 1 << len(kinds) {
			var demanded policy.Credentials
			for i, k := range kinds {
				if demand&(1<<i) != 0 {
					demanded |= k
				}
			}
			r.rules.Store(rules(demanded))
			for way := range 27 {
				show := [3]showing{showing(way % 3), showing(way / 3 % 3), showing(way / 9)}
				n++
				var shown policy.Credentials
				for i, k := range kinds {
					if show[i] == right {
						shown |= k
					}
				}
				l, req := lines[show[0]], bare(fmt.Sprint("r", n))
				switch show[1] {
				case right:
					req.Account, req.Password = account, password
				case wrong:
					req.Account, req.Password = account, "incorrect horse"
				}
				switch show[2] {
				case right:
					req = l.prove(req, sharedKey)
				case wrong:
					req = l.prove(req, "another")
				}
				a := l.post(req)
				time.Sleep(2 * time.Second) // connections don't idle away, and each refusal is recorded
				if slices.Contains(show[:], wrong) || !shown.Has(demanded) || shown == 0 {
					a.refused(t, wire.CodeConnectionRefused)
					continue
				}
				a.granted(t)
				if got := policy.Credentials(r.lease().Shown); got != shown {
					t.Errorf("demanded %s, shown %v: lease says %s", demanded, show, got)
				}
			}
		}
	})
}

// What the record has nothing for counts as not shown, right or wrong.
func TestCredentialsThatTheRecordHasNot(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.unlimited()
		var was *command.Subscriber
		r.w.View(func(m *state.Machine) { was = proto.CloneOf(m.Subscriber(usetest.Terminal)) })
		l := r.dial(home, r.device)
		for i, kept := range []policy.Credentials{policy.CredentialCertificate, policy.CredentialPassword, policy.CredentialPreSharedKey, 0} {
			r.change(usetest.Terminal, func(s *command.Subscriber) {
				s.DeviceCertSha256, s.Credentials = nil, &command.Credentials{User: account}
				switch kept {
				case policy.CredentialCertificate:
					s.DeviceCertSha256 = was.DeviceCertSha256
				case policy.CredentialPassword:
					s.Credentials.PapSalt, s.Credentials.PapHash, s.Credentials.PapIterations = was.Credentials.PapSalt, was.Credentials.PapHash, was.Credentials.PapIterations
				case policy.CredentialPreSharedKey:
					s.Credentials.ChapSecret = was.Credentials.ChapSecret
				}
			})
			r.rules.Store(rules(0))
			a := l.post(l.prove(ask(fmt.Sprint("r", i)), sharedKey))
			if kept == 0 {
				a.refused(t, wire.CodeConnectionRefused)
				continue
			}
			a.granted(t)
			if shown := policy.Credentials(r.lease().Shown); shown != kept {
				t.Errorf("on record: %s; shown: %s", kept, shown)
			}
			for _, demanded := range []policy.Credentials{policy.CredentialCertificate, policy.CredentialPassword, policy.CredentialPreSharedKey} {
				if demanded == kept {
					continue
				}
				r.rules.Store(rules(demanded))
				l.post(l.prove(ask(fmt.Sprint("d", i, "-", int(demanded))), sharedKey)).refused(t, wire.CodeConnectionRefused)
			}
		}
	})
}

// A proof is good on the connection and for the request that it was made for.
func TestProofIsBound(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.unlimited()
		r.rules.Store(rules(policy.CredentialPreSharedKey))
		mine, thief := r.dial(home, nil), r.dial(home, nil)
		req := mine.prove(ask("r1"), sharedKey)
		thief.post(req).refused(t, wire.CodeConnectionRefused)
		for name, change := range map[string]func(*wire.ConnectionRequest){
			"request id": func(r *wire.ConnectionRequest) { r.RequestID = "r2" },
			"time":       func(r *wire.ConnectionRequest) { r.Time = r.Time.Add(time.Second) },
			"proof":      func(r *wire.ConnectionRequest) { r.KeyProof = bytes.Clone(r.KeyProof); r.KeyProof[31] ^= 1 },
		} {
			other := req
			change(&other)
			if a := mine.post(other); a.problem.Code != wire.CodeConnectionRefused {
				t.Errorf("another %s: status %d", name, a.status)
			}
		}
		mine.post(req).granted(t)
	})
}

// The same request gets the same answer, from any node, as long as it is good.
func TestRepeats(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.unlimited()
		r.w.LoseAnswer()
		req := ask("r1")
		r.dial(home, nil).post(req).refused(t, wire.CodeOutcomeUnknown)
		first := r.dial(home, nil).post(req).granted(t)
		r.stop()
		r.start() // another node
		r.unlimited()
		again := r.dial(home, nil).post(req).granted(t)
		if again.Connection != first.Connection || !bytes.Equal(again.PresharedKey, first.PresharedKey) || !again.Expires.Equal(first.Expires) {
			t.Errorf("first %+v, then %+v", first, again)
		}
		// Who isn't let in any more hasn't it repeated.
		r.rules.Store(rules(policy.CredentialCertificate))
		r.dial(home, nil).post(req).refused(t, wire.CodeConnectionRefused)
		r.rules.Store(rules(0))
		// Another request takes its place.
		other := r.dial(home, nil).post(ask("r2")).granted(t)
		if other.Connection == first.Connection || bytes.Equal(other.PresharedKey, first.PresharedKey) {
			t.Error("another request got the same lease")
		}
		// What has expired is no answer.
		late := ask("r2")
		time.Sleep(12 * time.Hour)
		late.Time = time.Now()
		r.dial(home, nil).post(late).refused(t, wire.CodeRequestReused)
		r.dial(home, nil).post(ask("r3")).granted(t)
	})
}

// changing changes the records between a decision and its command.
type changing struct {
	*usetest.World
	changes []func()
}

func (c *changing) Propose(ctx context.Context, cmd *command.Command) (*command.Result, error) {
	if cmd.Type == command.Type_LEASE_FALLBACK && len(c.changes) > 0 {
		change := c.changes[0]
		c.changes = c.changes[1:]
		change()
	}
	return c.World.Propose(ctx, cmd)
}

// What was decided by records that have changed since is decided once more.
func TestDecidedAnew(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.stop()
		c := &changing{World: r.w}
		r.cluster = c
		r.start()
		label := func() { r.change(usetest.Terminal, func(s *command.Subscriber) { s.Label += "x" }) }
		c.changes = []func(){label, label}
		l := r.dial(home, nil)
		l.post(ask("r1")).granted(t)
		c.changes = []func(){func() {
			r.change(usetest.Terminal, func(s *command.Subscriber) { s.State = command.DeviceState_SUSPENDED_DEVICE })
		}}
		l.post(ask("r2")).refused(t, wire.CodeConnectionRefused)
		if r.lease() != nil {
			t.Error("a suspended terminal has a lease")
		}
		r.change(usetest.Terminal, func(s *command.Subscriber) { s.State = command.DeviceState_ACTIVE })
		c.changes = slices.Repeat([]func(){label}, 10)
		if a := l.post(ask("r3")).refused(t, wire.CodeConflict); a.problem.RetryAfterSeconds == 0 {
			t.Errorf("no word of when to come again: %s", a.body)
		}
	})
}

// What keeps the gateway from answering is told only to whom it would answer.
func TestNotNow(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.unlimited()
		l := r.dial(home, nil)
		stranger := ask("s")
		stranger.PublicKey = otherKey
		late := ask("late")
		late.Time = time.Now().Add(-time.Hour)
		for _, c := range []struct {
			name string
			set  func()
			req  wire.ConnectionRequest
			code wire.Code
		}{
			{"no quorum", func() { r.w.Fail(command.ErrNoQuorum) }, ask("r1"), wire.CodeNoQuorum},
			{"an upgrade under way", func() { r.w.Fail(command.ErrLevel) }, ask("r2"), wire.CodeFallbackNotReady},
			{"no room", func() { r.w.Fail(command.ErrNoRoom) }, ask("r3"), wire.CodeNoRoom},
			{"outcome unknown", func() { r.w.Fail(command.ErrUnknownOutcome) }, ask("r4"), wire.CodeOutcomeUnknown},
			{"a wrong clock", func() {}, late, wire.CodeClockSkew},
		} {
			c.set()
			a := l.post(c.req).refused(t, c.code)
			if a.status == 503 && (a.problem.RetryAfterSeconds == 0 || a.header.Get("Retry-After") == "") {
				t.Errorf("%s: no word of when to come again: %s", c.name, a.body)
			}
			s := c.req
			s.PublicKey = otherKey
			l.post(s).refused(t, wire.CodeConnectionRefused)
			r.w.Fail(nil)
		}
	})
}

// Before the cluster has a key there is nothing to answer with.
func TestNoKeyYet(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.stop()
		r.w = usetest.New(t, time.Now)
		r.cluster = r.w
		pinned := sha256.Sum256(r.device.Certificate[0])
		r.change(usetest.Terminal, func(s *command.Subscriber) { s.WireguardPublicKey, s.DeviceCertSha256 = terminalKey, pinned[:] })
		r.start()
		r.dial(home, r.device).post(bare("r1")).refused(t, wire.CodeFallbackNotReady)
		r.w.Do(&command.PutServerKey{PublicKey: serverKey, PrivateKey: []byte("wrapped")})
		r.dial(home, r.device).post(bare("r1")).granted(t)
	})
}

// Inside a tunnel only its own terminal can ask, and the carrier's word counts.
func TestAskedInsideATunnel(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.rules.Store(rules(policy.CredentialSIM))
		var mine, other *command.Session
		r.w.View(func(m *state.Machine) {
			mine, other = m.SessionByAddress(usetest.Address(usetest.Terminal)), m.SessionByAddress(usetest.Address(usetest.Other))
		})
		inside := func(id string, s *command.Session) *wire.Problem {
			_, p := r.srv.Connect(t.Context(), Request{Wire: bare(id), From: usetest.Address(usetest.Terminal), Session: s})
			return p
		}
		if p := inside("r1", other); p == nil || p.Code != wire.CodeConnectionRefused {
			t.Errorf("in another's tunnel: %v", p)
		}
		if p := inside("r2", nil); p == nil || p.Code != wire.CodeConnectionRefused {
			t.Errorf("outside: %v", p)
		}
		if p := inside("r3", mine); p != nil || policy.Credentials(r.lease().Shown) != policy.CredentialSIM {
			t.Errorf("over the carrier: %v, %v", p, r.lease())
		}
		mine.Active = command.PathKind_WIREGUARD
		if p := inside("r4", mine); p == nil || p.Code != wire.CodeConnectionRefused {
			t.Errorf("over the fallback path: %v", p)
		}
		if got := r.recorded(); !slices.Equal(got, []string{"address-mismatch", "credentials-missing", "credentials-missing"}) {
			t.Errorf("recorded %v", got)
		}
	})
}

// A refusal is in the audit chain with its reason and whence it came, and secrets are
// nowhere.
func TestRecords(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.dial(home, r.device)
		req := ask("r1")
		req.Account, req.Password = account, "incorrect horse"
		l.post(req).refused(t, wire.CodeConnectionRefused)
		synctest.Wait()
		d := r.w.Decisions()
		if len(d) != 1 || d[0].Kind != "connection" || d[0].Subject != usetest.Terminal || d[0].Allowed || d[0].Code != "password-wrong" || d[0].PolicyRevision != 1 {
			t.Fatalf("recorded %v", d)
		}
		if text := strings.Join(d[0].Reasons, "; "); !strings.Contains(text, "password") || !strings.Contains(text, "asked from 203.0.113.7") {
			t.Errorf("reasons %s", text)
		}
		req = ask("r2")
		req.Account, req.Password = account, password
		a := l.post(l.prove(req, sharedKey)).granted(t)
		for _, secret := range []string{password, "incorrect horse", sharedKey, string(a.PresharedKey), fmt.Sprintf("%x", a.PresharedKey), fmt.Sprint(a.PresharedKey)} {
			if strings.Contains(r.log.String(), secret) {
				t.Errorf("the log has %q", secret)
			}
			for _, entry := range r.w.Log() {
				if bytes.Contains(entry, []byte(secret)) {
					t.Errorf("the cluster's log has %q", secret)
				}
			}
		}
		if strings.Contains(r.log.String(), usetest.Terminal) {
			t.Error("the log has the IMSI")
		}
		// A flood doesn't fill the chain.
		r.unlimited()
		r.srv.hash = func([]byte, []byte, uint32) []byte { return nil } // wrong, and quickly
		for i := range 500 {
			req.RequestID, req.Password = fmt.Sprint("f", i), "incorrect horse"
			_, _ = r.srv.Connect(t.Context(), Request{Wire: req, From: home})
		}
		if n := len(r.recorded()); n > 1+recordBurst {
			t.Errorf("%d refusals of one source recorded", n)
		}
		for i := range 500 {
			req.RequestID = fmt.Sprint("g", i)
			_, _ = r.srv.Connect(t.Context(), Request{Wire: req, From: netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})})
		}
		if n := len(r.recorded()); n > 1+recordAllBurst {
			t.Errorf("%d refusals of all sources recorded", n)
		}
	})
}
