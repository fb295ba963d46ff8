package sealuse_test

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

var fallbackKey = bytes.Repeat([]byte{7}, 32)

// onFallback puts the terminal on the fallback path, beside the carrier's, with a lease
// that shows something for some time; without a lifetime it has none.
func (s *stage) onFallback(shown policy.Credentials, lifetime time.Duration) {
	s.t.Helper()
	s.Do(&command.RaiseLevel{Level: command.Level})
	var sub *command.Subscriber
	s.View(func(m *state.Machine) { sub = proto.CloneOf(m.Subscriber(usetest.Terminal)) })
	sub.WireguardPublicKey = fallbackKey
	s.Do(&command.PutSubscriber{Subscriber: sub, AnyVersion: true})
	var revision, lease uint64
	look := func(m *state.Machine) {
		revision, sub, lease = m.PolicyRevision(), m.Subscriber(usetest.Terminal), m.FallbackLease(usetest.Terminal).GetNumber()
	}
	s.View(look)
	if lifetime > 0 {
		s.Do(&command.LeaseFallback{
			Imsi: usetest.Terminal, PublicKey: fallbackKey, PresharedKey: []byte("wrapped"), Shown: uint32(shown), LifetimeSeconds: uint32(lifetime / time.Second),
			PolicyRevision: revision, SubscriberVersion: sub.Version,
		})
		s.View(look)
	}
	s.Do(&command.AttachWireGuard{
		Imsi: usetest.Terminal, Apn: usetest.APN, PublicKey: fallbackKey, PolicyRevision: revision, SubscriberVersion: sub.Version, Lease: lease,
	})
}

// carrierGone ends the carrier's path.
func (s *stage) carrierGone() {
	s.t.Helper()
	var session *command.Session
	s.View(func(m *state.Machine) { session = m.SessionByKey(usetest.Terminal, usetest.APN) })
	s.Do(&command.ClosePath{Session: session.Id, Path: command.PathKind_GTP, LocalTeidC: session.Gtp.LocalTeidC})
}

// On the fallback a use is decided by what the terminal proved when it asked for that
// path, and by where its carrier saw it last; each for as long as it is good.
func TestUsesOverTheFallback(t *testing.T) {
	office := []policy.Rule{permit("office", policy.Match{Locations: []string{"office"}})}
	certified := []policy.Rule{with("certified", policy.CredentialWireGuard|policy.CredentialCertificate)}
	for _, c := range []struct {
		name  string
		rules []policy.Rule
		set   func(*stage)
		code  wire.Code // empty: granted
	}{
		{"by its key alone", nil, func(s *stage) { s.onFallback(0, 0) }, ""},
		{"more than its key is asked for", certified, func(s *stage) { s.onFallback(0, 0) }, wire.CodeRuleRequires},
		{"and was shown", certified, func(s *stage) { s.onFallback(policy.CredentialCertificate, time.Hour) }, ""},
		{"something else was", certified, func(s *stage) { s.onFallback(policy.CredentialPassword, time.Hour) }, wire.CodeRuleRequires},
		{"too long ago", certified, func(s *stage) {
			s.onFallback(policy.CredentialCertificate, time.Hour)
			s.now = s.now.Add(time.Hour)
		}, wire.CodeRuleRequires},
		{"the lease was taken back, and the path was its own", nil, func(s *stage) {
			s.onFallback(policy.CredentialCertificate, time.Hour)
			s.carrierGone()
			s.Do(&command.EndFallback{Imsi: usetest.Terminal})
		}, wire.CodeTerminalUnknown},
		{"in the office, beside the carrier", office, func(s *stage) { s.at(1); s.onFallback(0, 0) }, ""},
		{"elsewhere, beside the carrier", office, func(s *stage) { s.at(2); s.onFallback(0, 0) }, wire.CodeNoRule},
		{"was in the office", office, func(s *stage) { s.at(1); s.onFallback(0, 0); s.carrierGone(); s.now = s.now.Add(59 * time.Minute) }, ""},
		{"was in the office too long ago", office, func(s *stage) { s.at(1); s.onFallback(0, 0); s.carrierGone(); s.now = s.now.Add(time.Hour) }, wire.CodeNoRule},
		{"nobody knows where", office, func(s *stage) { s.onFallback(0, 0); s.carrierGone() }, wire.CodeNoRule},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.rules.Fallback = policy.Fallback{Allowed: true, PlaceAge: time.Hour}
			s.rules.Locations = map[string]policy.Location{"office": {ECGIs: []string{"46001-0000001"}}}
			s.rules.Table = c.rules
			s.rules.Index()
			c.set(s)
			use, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), usetest.Answer(s.now))
			switch {
			case c.code == "" && use == nil:
				t.Errorf("refused: %v", step.Refusal)
			case c.code != "" && (step.Refusal == nil || step.Refusal.Code != c.code):
				t.Errorf("%v, want %s", step.Refusal, c.code)
			}
		})
	}
}
