package sealuse_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// at has the carrier say where the terminal is: in a cell of 46001.
func (s *stage) at(cell byte) {
	s.t.Helper()
	var session *command.Session
	s.View(func(m *state.Machine) { session = m.SessionByKey(usetest.Terminal, usetest.APN) })
	s.Do(&command.ModifySession{
		Session: session.Id, LocalTeidC: session.Gtp.LocalTeidC,
		UserLocation: []byte{0x18, 0x64, 0xf0, 0x10, 0, 1, 0x64, 0xf0, 0x10, 0, 0, 0, cell},
	})
}

// group puts the terminal into groups.
func (s *stage) group(groups ...string) {
	s.t.Helper()
	var sub *command.Subscriber
	s.View(func(m *state.Machine) { sub = proto.CloneOf(m.Subscriber(usetest.Terminal)) })
	sub.Groups = groups
	s.Do(&command.PutSubscriber{Subscriber: sub, AnyVersion: true})
}

// The rules of the policy decide where, when, by whom and with what a seal is used.
func TestRulesOfUses(t *testing.T) {
	day := policy.Hours{Days: [7]bool{true, true, true, true, true, true, true}, From: 7 * 60, To: 9 * 60} // it is 8 o'clock
	for _, c := range []struct {
		name  string
		rules []policy.Rule
		path  policy.Credentials // that the document asks for, of the carrier's path
		set   func(*stage)
		shown policy.Credentials
		code  wire.Code // empty: granted
		words string
	}{
		{name: "in the office", rules: []policy.Rule{permit("office", policy.Match{Locations: []string{"office"}})}, set: func(s *stage) { s.at(1) }},
		{
			name: "on the way", rules: []policy.Rule{permit("office", policy.Match{Locations: []string{"office"}})}, set: func(s *stage) { s.at(2) },
			code: wire.CodeNoRule, words: "No rule of the policy",
		},
		{name: "nobody knows where", rules: []policy.Rule{permit("office", policy.Match{Locations: []string{"office"}})}, code: wire.CodeNoRule},
		{name: "by day", rules: []policy.Rule{permit("day", policy.Match{Hours: &day})}},
		{name: "at night", rules: []policy.Rule{permit("day", policy.Match{Hours: &day})}, set: func(s *stage) { s.now = s.now.Add(time.Hour) }, code: wire.CodeNoRule},
		{name: "of the group", rules: []policy.Rule{permit("finance", policy.Match{Groups: []string{"finance"}})}, set: func(s *stage) { s.group("finance", "staff") }},
		{name: "of another", rules: []policy.Rule{permit("finance", policy.Match{Groups: []string{"finance"}})}, set: func(s *stage) { s.group("staff") }, code: wire.CodeNoRule},
		{
			name: "forbidden", rules: []policy.Rule{{ID: "audit", Action: policy.ActionUse, Match: policy.Match{SealTypes: []string{"company"}}, Why: "the seals are being counted"}},
			code: wire.CodeRuleForbids, words: "Rule audit forbids it: the seals are being counted.",
		},
		{name: "rules for something else", rules: []policy.Rule{{ID: "audit", Action: policy.ActionAttach}}},
		{
			name: "a credential short", rules: []policy.Rule{with("two", policy.CredentialSIM|policy.CredentialCertificate|policy.CredentialBarrelPSK)}, shown: policy.CredentialBarrelPSK,
			code: wire.CodeRuleRequires, words: "missing: certificate",
		},
		{
			name: "all credentials", rules: []policy.Rule{with("two", policy.CredentialSIM|policy.CredentialCertificate|policy.CredentialBarrelPSK)},
			shown: policy.CredentialBarrelPSK | policy.CredentialCertificate,
		},
		{name: "the path's credential missing", path: policy.CredentialBarrelCert, shown: policy.CredentialBarrelPSK, code: wire.CodeCredentialsMissing, words: "missing: barrel-certificate"},
		{name: "the path's credential", path: policy.CredentialBarrelCert, shown: policy.CredentialBarrelCert},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.shown = c.shown
			s.rules.Locations = map[string]policy.Location{"office": {ECGIs: []string{"46001-0000001"}}}
			s.rules.Table = c.rules
			if c.path != 0 {
				s.rules.Admission.Credentials = map[policy.PathKind]policy.Credentials{policy.PathGTP: c.path}
			}
			s.rules.Index()
			if c.set != nil {
				c.set(s)
			}
			answer := usetest.Answer(s.now)
			use, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), answer)
			if c.code == "" {
				if use == nil {
					t.Fatalf("refused: %v", step.Refusal)
				}
				return
			}
			if step.Refusal == nil || step.Refusal.Code != c.code || !strings.Contains(step.Refusal.Detail, c.words) {
				t.Fatalf("%v, want %s with %q", step.Refusal, c.code, c.words)
			}
			for _, r := range step.Refusal.Reasons {
				for _, rule := range c.rules {
					if r.Rule == rule.ID {
						t.Errorf("the terminal is told of %+v", r)
					}
				}
			}
		})
	}
}

func permit(id string, m policy.Match) policy.Rule {
	return policy.Rule{ID: id, Action: policy.ActionUse, Permit: true, Match: m}
}

func with(id string, c policy.Credentials) policy.Rule {
	return policy.Rule{ID: id, Action: policy.ActionUse, Permit: true, Require: policy.Require{Credentials: c}}
}

// What a rule requires more strictly than the seal type is what is granted.
func TestRuleNarrowsTheGrant(t *testing.T) {
	s := newStage(t)
	s.rules.Table = []policy.Rule{{ID: "soon", Action: policy.ActionUse, Permit: true, Require: policy.Require{MaxCount: 2, EvidenceWithin: time.Minute}}}
	s.rules.Index()
	if use := s.granted(); use.EvidenceSeconds != 60 || use.Count != 2 {
		t.Errorf("%+v", use)
	}
	s = newStage(t)
	s.rules.Table = []policy.Rule{{ID: "once", Action: policy.ActionUse, Permit: true, Require: policy.Require{MaxCount: 1}}}
	_, step := s.request(usetest.Address(usetest.Terminal), usetest.Request("r1", s.now), usetest.Answer(s.now))
	if step.Refusal == nil || step.Refusal.Code != wire.CodeLevelNotMet || step.Alarm == "" {
		t.Errorf("%+v", step)
	}
}
