package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// policyDiff compares a document with the policy in force over what there is.
func (s *Server) policyDiff(r *http.Request, c Caller) (any, *problem) {
	if p := s.mayAsk(r, c); p != nil {
		return nil, p
	}
	var asked adminapi.PolicyDiff
	if p := read(r, &asked); p != nil {
		return nil, p
	}
	after, _, err := bundle.Parse("policy", []byte(asked.Document))
	if err != nil {
		return nil, badRequest(err)
	}
	before, p := s.rulesInForce()
	if p != nil {
		return nil, p
	}
	population := s.population()
	diff := bundle.Diff(before, after, population)
	out := adminapi.PolicyDifference{
		Touches: []string{}, Settings: []adminapi.PolicySetting{}, Effects: []adminapi.PolicyEffect{}, Findings: []adminapi.PolicyFinding{},
	}
	if before != nil {
		out.Revision, out.Needed = before.Revision, before.Control.Needed(diff.Touches)
	}
	for _, t := range diff.Touches {
		out.Touches = append(out.Touches, string(t))
	}
	for _, x := range diff.Settings {
		out.Settings = append(out.Settings, adminapi.PolicySetting{Key: x.Key, Old: x.Old, New: x.New, Touch: string(x.Touch), Where: x.Where, WhereOld: x.WhereOld})
	}
	for _, e := range diff.Effects {
		v := adminapi.PolicyEffect{Kind: e.Kind, Loses: e.Loses, Count: e.Count, Text: e.Text, Who: []adminapi.PolicyAffected{}}
		for _, a := range e.Who {
			v.Who = append(v.Who, adminapi.PolicyAffected(a))
		}
		out.Effects = append(out.Effects, v)
	}
	for _, f := range bundle.Lint(after, &population) {
		out.Findings = append(out.Findings, adminapi.PolicyFinding(f))
	}
	return out, nil
}

// mayAsk treats a question that is too long for a query as the read that it is.
func (s *Server) mayAsk(r *http.Request, c Caller) *problem {
	if r.URL.Query().Get("stale") == "true" {
		return nil
	}
	return s.mayRead(r, c)
}

// rulesInForce compiles the policy in force; nil when there is none.
func (s *Server) rulesInForce() (*policy.Rules, *problem) {
	var now *command.Policy
	s.cfg.Cluster.View(func(m *state.Machine) { now = m.Policy() })
	if now == nil {
		return nil, nil
	}
	rules, err := bundle.Compile(now)
	if err != nil {
		return nil, refuse(http.StatusConflict, "policy-unreadable", "The policy in force does not compile here.", err.Error(), "Put a document in force that this version reads.")
	}
	return rules, nil
}

// policyExplain says what would be decided on a question, and why.
func (s *Server) policyExplain(r *http.Request, c Caller) (any, *problem) {
	if p := s.mayAsk(r, c); p != nil {
		return nil, p
	}
	var asked adminapi.PolicyQuestion
	if p := read(r, &asked); p != nil {
		return nil, p
	}
	rules, p := s.rulesInForce()
	if asked.Document != "" {
		var err error
		if rules, _, err = bundle.Parse("policy", []byte(asked.Document)); err != nil {
			return nil, badRequest(err)
		}
	} else if p != nil {
		return nil, p
	}
	q, err := s.question(asked)
	if err == nil {
		err = q.Complete(rules)
	}
	if err != nil {
		return nil, badRequest(err)
	}
	d := q.Ask(rules)
	return adminapi.PolicyAnswer{
		Allowed: d.Allowed, Code: string(d.Code), Rule: bundle.Decider(d), Revision: d.Revision, Text: bundle.Answer(d),
		Assumed: append([]string{}, q.Assumed()...), Reasons: adminapi.ReasonsOf(d),
	}, nil
}

// question puts one together out of what there is and what is given instead.
func (s *Server) question(asked adminapi.PolicyQuestion) (*bundle.Question, error) {
	action, err := policy.ParseAction(asked.Action)
	if err != nil {
		return nil, fmt.Errorf("action: %w", err)
	}
	given := asked.Given
	var want bundle.Question // what is given, to read identifiers in their canonical form
	keys := make([]string, 0, len(given))
	for key := range given {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := want.Set(key, given[key]...); err != nil {
			return nil, err
		}
	}
	if len(given["imsi"]) == 0 {
		return nil, errors.New("imsi: missing: say whom it is about")
	}
	q := &bundle.Question{Action: action}
	var sub *command.Subscriber
	var lease *command.FallbackLease
	s.cfg.Cluster.View(func(m *state.Machine) {
		q.Now = m.Clock()
		imsi := want.Terminal.IMSI
		q.OfTerminal(view.Subscriber(m.Subscriber(imsi)), imsi)
		sub, lease = m.Subscriber(imsi), m.FallbackLease(imsi)
		switch ses := sessionOf(m, imsi, want.APN); {
		case action == policy.ActionAttach && want.Path == policy.PathWireGuard:
			q.Access = view.Where(ses, want.Path)
		case ses != nil && action != policy.ActionAttach:
			path := policy.PathKind(ses.Active)
			if want.Path != 0 {
				path = want.Path
			}
			apn, _ := ident.ParseAPN(ses.Apn)
			q.OfSession(path, apn, view.Where(ses, path))
		}
		if id := want.Barrel.ID; id != "" {
			rec := m.Barrel(id)
			mac, _ := ident.ParseMAC(rec.GetMac())
			q.OfBarrel(view.Barrel(rec), id, mac)
		} else if rec := m.BarrelByMAC(want.MAC.String()); rec != nil {
			q.OfBarrel(view.Barrel(rec), rec.Id, want.MAC)
		}
	})
	if q.Now.IsZero() || q.Now.Unix() == 0 {
		q.Now = time.Now()
	}
	for _, key := range keys {
		if key == "imsi" || key == "barrel" {
			continue
		}
		if err := q.Set(key, given[key]...); err != nil {
			return nil, err
		}
	}
	if action == policy.ActionAttach && q.Path == policy.PathWireGuard && len(given["shown"]) == 0 && sub != nil {
		q.OfFallback(view.ByFallback(sub.WireguardPublicKey, view.Lease(lease, q.Now)))
	}
	return q, nil
}

// sessionOf is the session of a terminal on an APN, or its only one.
func sessionOf(m *state.Machine, imsi string, apn ident.APN) *command.Session {
	if !apn.IsZero() {
		return m.SessionByKey(imsi, apn.String())
	}
	list := slices.Collect(m.SessionsByIMSI(imsi))
	if len(list) != 1 {
		return nil
	}
	return list[0]
}
