package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// AdmitRequest asks whether a terminal may attach.
type AdmitRequest struct {
	IMSI       ident.IMSI
	Subscriber Subscriber   // of that IMSI; zero when the list hasn't got it
	MSISDN     ident.MSISDN // as the network told it; zero: it didn't
	IMEI       ident.IMEI   // zero: not told
	APN        ident.APN
	PLMN       ident.PLMN // the serving network
	RAT        RAT
	Path       PathKind
	Place      Place
	Told       time.Time   // when the carrier told the place last; zero: it tells it now
	Now        time.Time   // by the cluster's clock; zero: not known
	Shown      Credentials // what the terminal proved to be by
}

// Admit decides on an attach. Over the fallback path no network vouches for
// handset, number, PLMN or RAT, so those rules have nothing to judge there: the
// WireGuard key that is bound to the subscriber stands for them.
func (r *Rules) Admit(q AdmitRequest) Decision {
	if r == nil {
		return noPolicy()
	}
	s := &q.Subscriber
	listed := s.Found && !q.IMSI.IsZero() && s.IMSI == q.IMSI.String()
	carrier := q.Path == PathGTP
	told := !q.IMEI.IsZero()
	f := q.facts(r)
	by := r.rule(&f)
	require := r.require(by)
	h := r.handset(&q, require.Handset)
	_, served := r.APNs[q.APN]

	var t tally
	t.judge(rulePolicy, true)
	t.judge(ruleSIMListed, listed)
	t.judgeIf(listed, ruleSIMActive, s.State == StateActive)
	t.judgeIf(listed && carrier, ruleMSISDN, q.MSISDN.IsZero() || s.MSISDN == "" || s.MSISDN == q.MSISDN.String())
	t.judgeIf(carrier, ruleHandsetTold, told || !h.needed)
	t.judgeIf(listed && carrier && told, ruleHandsetBound, h.bound)
	t.judgeIf(listed && carrier && told && h.pooled, ruleHandsetPool, h.inPool)
	t.judge(ruleAPNKnown, served)
	t.judgeIf(listed, ruleAPNAllowed, slices.Contains(s.APNs, q.APN.String()) && !q.APN.IsZero())
	t.judgeIf(carrier, rulePLMN, len(r.Admission.PLMNs) == 0 || slices.Contains(r.Admission.PLMNs, q.PLMN))
	t.judgeIf(carrier, ruleRAT, len(r.Admission.RATs) == 0 || slices.Contains(r.Admission.RATs, q.RAT))
	t.judge(rulePath, carrier || q.Path == PathWireGuard && r.Fallback.Allowed && s.HasWireGuard)
	asked := r.Admission.Credentials[q.Path] & q.Path.Attaching()
	t.judgeIf(asked != 0, ruleCredentials, q.Shown.Has(asked))
	t.judgeIf(by.any, rulePermits, r.permits(by))
	t.judgeIf(require.Credentials != 0, ruleRequires, q.Shown.Has(require.Credentials))
	d := r.decide(t, q.APN.String(), f, by, func(id ruleID) (Code, string) { return q.whyNot(r, id) })
	d.BindHandset = d.Allowed && carrier && h.bind
	return d
}

func (q AdmitRequest) whyNot(r *Rules, id ruleID) (Code, string) {
	switch id {
	case ruleSIMListed:
		return CodeIMSIUnknown, fmt.Sprintf("IMSI %s is not on the allow-list; add it with \"sealctl device add\"", orNone(q.IMSI.String()))
	case ruleSIMActive:
		code := CodeSubscriberSuspended
		if q.Subscriber.State == StateRevoked {
			code = CodeSubscriberRevoked
		}
		return code, fmt.Sprintf("subscriber %s is %s", q.IMSI, q.Subscriber.State)
	case ruleMSISDN:
		return CodeMSISDNMismatch, fmt.Sprintf("the network says number %s, the allow-list %s", q.MSISDN, q.Subscriber.MSISDN)
	case ruleHandsetTold:
		return CodeHandsetMissing, "the handset did not tell its IMEI, and the subscriber or policy asks for it"
	case ruleHandsetBound:
		return CodeHandsetNotBound, fmt.Sprintf("handset %s is not bound to the SIM; bound: %s%s", q.IMEI, orNone(strings.Join(q.Subscriber.IMEIs, ", ")), q.announced())
	case ruleHandsetPool:
		return CodeHandsetNotInPool, fmt.Sprintf("handset %s is of model %s, which is not in the pool; in it: %s", q.IMEI, q.IMEI.TAC(), orNone(strings.Join(r.Admission.TACs, ", ")))
	case ruleCredentials:
		text := fmt.Sprintf("over the %s path %s must be shown; shown: %s", q.Path, r.Admission.Credentials[q.Path]&q.Path.Attaching(), q.Shown)
		if q.Path == PathWireGuard && q.Shown.Has(CredentialWireGuard) {
			text += "; the terminal shows more than its key when it asks for that path, or an operator issues it (\"sealctl fallback issue\")"
		}
		return CodeCredentialsMissing, text
	case ruleRequires:
		return CodeRuleRequires, r.requires(q.facts(r), q.Shown)
	case ruleAPNKnown:
		return CodeAPNUnknown, fmt.Sprintf("APN %s is not served here", orNone(q.APN.String()))
	case ruleAPNAllowed:
		return CodeAPNNotAllowed, fmt.Sprintf("the subscriber may not use APN %s; allowed: %s", orNone(q.APN.String()), orNone(strings.Join(q.Subscriber.APNs, ", ")))
	case rulePLMN:
		return CodePLMNNotAllowed, fmt.Sprintf("serving network %s is not allowed; allowed: %s", orNone(q.PLMN.String()), list(r.Admission.PLMNs))
	case ruleRAT:
		return CodeRATNotAllowed, fmt.Sprintf("radio access %s is not allowed; allowed: %s", q.RAT, list(r.Admission.RATs))
	case rulePath:
		switch {
		case q.Path != PathWireGuard:
			return CodeFallbackNotAllowed, q.Path.String() + " is refused"
		case !r.Fallback.Allowed:
			return CodeFallbackNotAllowed, "policy allows no fallback path"
		}
		return CodeFallbackNotAllowed, "no WireGuard key is bound to the subscriber"
	}
	return CodeNoPolicy, "refused"
}

// orNone stands in for a text that isn't there.
func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func list[T fmt.Stringer](values []T) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = v.String()
	}
	return strings.Join(names, ", ")
}
