package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ruling is what the document's table says of a request.
type ruling struct {
	any   bool // there are rules for the action
	place int  // of the first that matches, in the table; -1: none
}

// Rules tells whether the document has rules for an action: then what it decides may
// change with time, place and the groups of a terminal.
func (r *Rules) Rules(a Action) bool {
	if r == nil {
		return false
	}
	if x := r.index; x.current(r) && int(a) < len(x.actions) {
		return x.actions[a] != nil
	}
	return slices.ContainsFunc(r.Table, func(rule Rule) bool { return rule.Action == a })
}

// rule finds the first rule that matches.
func (r *Rules) rule(f *facts) ruling {
	if len(r.Table) == 0 {
		return ruling{place: -1}
	}
	if x := r.index; x.current(r) {
		l := x.actions[f.action]
		return ruling{any: l != nil, place: l.first(f, r.Zone)}
	}
	return r.walk(f)
}

// walk is rule without an index.
func (r *Rules) walk(f *facts) ruling {
	by := ruling{place: -1}
	for i := range r.Table {
		if r.Table[i].Action != f.action {
			continue
		}
		by.any = true
		if r.matches(&r.Table[i], f) {
			by.place = i
			break
		}
	}
	return by
}

// decided is the rule that decided; nil: none.
func (r *Rules) decided(by ruling) *Rule {
	if r == nil || !by.any || by.place < 0 || by.place >= len(r.Table) {
		return nil
	}
	return &r.Table[by.place]
}

// permits tells whether a rule decided, and for it.
func (r *Rules) permits(by ruling) bool {
	rule := r.decided(by)
	return rule != nil && rule.Permit
}

// require is what the rule that decided asks for; nothing if it forbids.
func (r *Rules) require(by ruling) Require {
	if rule := r.decided(by); rule != nil && rule.Permit {
		return rule.Require
	}
	return Require{}
}

// stricter is a seal type with what a rule asks for besides.
func (k SealType) stricter(q Require) SealType {
	if q.Level != 0 {
		k.Level = min(k.Level, q.Level)
	}
	if q.MaxCount != 0 {
		k.MaxCount = min(k.MaxCount, q.MaxCount)
	}
	if q.MaxWindow != 0 {
		k.MaxWindow = min(k.MaxWindow, q.MaxWindow)
	}
	if q.EvidenceWithin != 0 {
		within := max(1, uint32(q.EvidenceWithin/time.Second)) // 0 would ask for none
		if k.EvidenceSeconds == 0 || within < k.EvidenceSeconds {
			k.EvidenceSeconds = within
		}
	}
	return k
}

// whyNot gives the code and the words where the table refused; else nothing.
func (r *Rules) whyNot(id ruleID, by ruling) (Code, string) {
	if id != rulePermits {
		return "", ""
	}
	rule := r.decided(by)
	if rule == nil {
		return CodeNoRule, "no rule of the policy matches; see \"sealctl policy explain\""
	}
	return CodeRuleForbids, rule.forbids()
}

func (rule *Rule) forbids() string {
	if rule.Why == "" {
		return fmt.Sprintf("rule %s forbids it", rule.ID)
	}
	return fmt.Sprintf("rule %s forbids it: %s", rule.ID, rule.Why)
}

// requires are the words for credentials that the deciding rule asks for.
func (r *Rules) requires(f facts, shown Credentials) string {
	rule := r.decided(r.rule(&f))
	if rule == nil {
		return "a rule requires more than was shown"
	}
	return fmt.Sprintf("rule %s requires %s to be shown; missing: %s", rule.ID, rule.Require.Credentials, rule.Require.Credentials&^shown)
}

// trace is what became of every rule of the table, in its order.
func (d Decision) trace() []Reason {
	r := d.rules
	if r == nil || d.facts.action == 0 {
		return nil
	}
	out := make([]Reason, 0, len(r.Table))
	first := -1
	for i := range r.Table {
		rule := &r.Table[i]
		reason := Reason{Rule: rule.ID, Source: r.Sources["spec/rules/"+rule.ID], Document: true, Skipped: true}
		missed := r.missed(rule, &d.facts)
		switch {
		case rule.Action != d.facts.action:
			reason.Text = "is for " + rule.Action.String()
		case len(missed) > 0:
			reason.Text = "doesn't match; " + strings.Join(missed, "; ")
		case first >= 0:
			reason.Text = fmt.Sprintf("matches too, after rule %s", r.Table[first].ID)
		case rule.Permit:
			first = i
			reason.OK, reason.Skipped, reason.Text = true, false, "permits it"
			if rule.Why != "" {
				reason.Text += ": " + rule.Why
			}
		default:
			first = i
			reason.Skipped, reason.Text = false, rule.forbids()
		}
		out = append(out, reason)
	}
	return out
}
