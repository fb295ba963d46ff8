package policy

import (
	"log/slog"
	"strconv"
	"strings"
)

// Code says stably why a decision refused: for the mapping to a GTP cause or
// an HTTP problem. It is empty when the decision allows.
type Code string

// The codes. Those of a seal use are the problem codes of the phone API.
const (
	CodeNoPolicy Code = "no-policy" // no policy is in force

	CodeIMSIUnknown         Code = "imsi-unknown"
	CodeSubscriberSuspended Code = "subscriber-suspended"
	CodeSubscriberRevoked   Code = "subscriber-revoked"
	CodeMSISDNMismatch      Code = "msisdn-mismatch"
	CodeHandsetMissing      Code = "handset-missing"
	CodeHandsetNotBound     Code = "handset-not-bound"
	CodeAPNUnknown          Code = "apn-unknown"
	CodeAPNNotAllowed       Code = "apn-not-allowed"
	CodePLMNNotAllowed      Code = "plmn-not-allowed"
	CodeRATNotAllowed       Code = "rat-not-allowed"
	CodeFallbackNotAllowed  Code = "fallback-not-allowed"
	CodeHandsetNotInPool    Code = "handset-not-in-pool"
	CodeCredentialsMissing  Code = "credentials-missing" // what the path asks for was not shown

	CodeNoRule       Code = "no-rule"       // there are rules for it, and none matches
	CodeRuleForbids  Code = "rule-forbids"  // the first that matches
	CodeRuleRequires Code = "rule-requires" // what the first that matches asks for was not shown

	CodeMACNotAllowed    Code = "mac-not-allowed"
	CodeTerminalUnknown  Code = "terminal-unknown" // not listed, or not active
	CodeAddressMismatch  Code = "address-mismatch"
	CodeServerNotAllowed Code = "server-not-allowed"
	CodeClockSkew        Code = "clock-skew"
	CodeBarrelNotBound   Code = "barrel-not-bound" // not this terminal's, or not the seal of the order
	CodeBarrelOffline    Code = "barrel-offline"
	CodeOrderNotOpen     Code = "order-not-open"
	CodeOrderSuspended   Code = "order-suspended"
	CodeOrderExhausted   Code = "order-exhausted"
	CodeEvidenceOverdue  Code = "evidence-overdue"
	CodeServerRefused    Code = "server-refused"
	CodeLevelNotMet      Code = "level-not-met" // what is asked or answered is weaker than policy
)

// Reason is what one rule said.
type Reason struct {
	Rule    string // stable id, e.g. "handset-bound"; of a rule of the document its own
	Source  string // "policy.yaml:12" where the document governs the rule, else empty
	OK      bool
	Skipped bool   // there was nothing to judge; OK is false then
	Text    string // for people
	// Document: it is a rule of the document's table. OK is then the rule that
	// decided, if it permits; one that doesn't match, or comes after, is skipped.
	Document bool
}

// String is the reason on one line.
func (r Reason) String() string {
	var b strings.Builder
	switch {
	case r.OK:
		b.WriteString("ok ")
	case r.Skipped:
		b.WriteString("-- ")
	default:
		b.WriteString("NO ")
	}
	b.WriteString(r.Rule)
	if r.Source != "" {
		b.WriteString(" (" + r.Source + ")")
	}
	if r.Text != "" {
		b.WriteString(": " + r.Text)
	}
	return b.String()
}

// Decision is the answer to one question, with all that was judged. The zero
// value refuses.
type Decision struct {
	Allowed  bool
	Code     Code   // of the first rule that failed; empty when allowed
	Revision uint64 // of the rules that decided; 0 when there were none
	// BindHandset: the handset is to become the subscriber's only one, on first
	// use or as announced.
	BindHandset bool

	rules   *Rules
	subject string // APN or seal type: whose keys of the document govern
	tally   tally
	denials []denial // of the failed rules, in their order
	facts   facts
	ruling  ruling
}

type denial struct {
	code Code
	text string
}

// Reasons returns what every rule said, in the order of judging. It makes the
// words anew on each call; ask for them to log or to answer, not on each packet.
func (d Decision) Reasons() []Reason {
	out := make([]Reason, 0, len(ruleTable))
	failed := 0
	for id := range ruleID(len(ruleTable)) {
		bit := ruleSet(1) << id
		if d.tally.judged&bit == 0 {
			continue
		}
		reason := Reason{Rule: ruleTable[id].id, Source: d.rules.source(id, d.subject, d.ruling)}
		switch {
		case d.tally.failed&bit != 0:
			reason.Text = d.denials[failed].text
			failed++
		case d.tally.skipped&bit != 0:
			reason.Skipped, reason.Text = true, "not judged"
		default:
			reason.OK, reason.Text = true, ruleTable[id].ok
		}
		out = append(out, reason)
	}
	return append(out, d.trace()...)
}

// Denials returns the words of the rules that failed; none when allowed.
func (d Decision) Denials() []string {
	var out []string
	for _, n := range d.denials {
		out = append(out, n.text)
	}
	return out
}

// LogValue gives the outcome, the code and the ids of the rules that failed.
// The words stay out, as they may name a person's identifiers.
func (d Decision) LogValue() slog.Value {
	if d.Allowed {
		return slog.GroupValue(slog.Bool("allowed", true), slog.Uint64("revision", d.Revision))
	}
	var failed []string
	for id := range ruleID(len(ruleTable)) {
		if d.tally.failed&(1<<id) != 0 {
			failed = append(failed, ruleTable[id].id)
		}
	}
	return slog.GroupValue(slog.Bool("allowed", false), slog.String("code", string(d.Code)),
		slog.String("failed", strings.Join(failed, " ")), slog.Uint64("revision", d.Revision))
}

// tally collects verdicts without allocating.
type tally struct {
	judged, failed, skipped ruleSet
}

func (t *tally) judge(id ruleID, ok bool) {
	t.judged |= 1 << id
	if !ok {
		t.failed |= 1 << id
	}
}

// judgeIf judges only where there is something to judge.
func (t *tally) judgeIf(there bool, id ruleID, ok bool) {
	if there {
		t.judge(id, ok)
		return
	}
	t.judged |= 1 << id
	t.skipped |= 1 << id
}

// decide turns a tally into a decision; why gives the code and the words of a
// rule that failed.
func (r *Rules) decide(t tally, subject string, f facts, by ruling, why func(ruleID) (Code, string)) Decision {
	d := Decision{Allowed: t.failed == 0, rules: r, subject: subject, tally: t, facts: f, ruling: by, Revision: r.Revision}
	if d.Allowed {
		return d
	}
	for id := range ruleID(len(ruleTable)) {
		if t.failed&(1<<id) != 0 {
			code, text := r.whyNot(id, by)
			if code == "" {
				code, text = why(id)
			}
			d.denials = append(d.denials, denial{code, text})
		}
	}
	d.Code = d.denials[0].code
	return d
}

// noPolicy is the decision of rules that aren't there.
func noPolicy() Decision {
	d := Decision{Code: CodeNoPolicy, denials: []denial{{CodeNoPolicy, "no policy is in force; apply one with \"sealctl policy apply\""}}}
	d.tally.judge(rulePolicy, false)
	return d
}

// source finds the line that governs a rule: of its key, or of the nearest key
// above it that the document has.
func (r *Rules) source(id ruleID, subject string, by ruling) string {
	key := ruleTable[id].key
	if r == nil || r.Sources == nil || key == "" {
		return ""
	}
	key = strings.ReplaceAll(key, "*", subject)
	key = strings.ReplaceAll(key, "#", strconv.Itoa(r.SealTypes[subject].Level))
	if rule := r.decided(by); rule != nil {
		key = strings.ReplaceAll(key, "@", rule.ID)
	}
	for {
		if s, ok := r.Sources[key]; ok {
			return s
		}
		cut := strings.LastIndexByte(key, '/')
		if cut < 0 {
			return ""
		}
		key = key[:cut]
	}
}
