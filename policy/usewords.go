package policy

import (
	"fmt"
	"strings"
	"time"
)

// whyNot gives the code and the words of a rule that a use request failed.
func (q UseRequest) whyNot(r *Rules, id ruleID) (Code, string) {
	a, b := q.Answer, q.Barrel
	kind, besides := r.ruled(&q)
	switch id {
	case ruleTerminalListed:
		return CodeTerminalUnknown, "the terminal is not on the allow-list"
	case ruleTerminalActive:
		return CodeTerminalUnknown, fmt.Sprintf("the terminal is %s", q.Terminal.State)
	case ruleAddressOwn:
		return CodeAddressMismatch, fmt.Sprintf("the request says terminal address %s, its tunnel has %s", q.TerminalAddress, q.addresses())
	case ruleServer:
		return CodeServerNotAllowed, fmt.Sprintf("seal server %q is not allowed; allowed: %s", q.ServerAddress, orNone(list(r.Servers)))
	case ruleClock:
		return CodeClockSkew, fmt.Sprintf("the terminal's clock says %s, the gateway's %s: more than %s apart; set the terminal's clock",
			clock(q.Time), clock(q.Now), r.ClockTolerance)
	case ruleBarrelListed:
		return CodeBarrelNotBound, "the barrel is not on the allow-list"
	case ruleBarrelActive:
		return CodeBarrelNotBound, fmt.Sprintf("barrel %s is %s", b.ID, b.State)
	case ruleBarrelCheckedOut:
		return CodeBarrelNotBound, b.notWith()
	case ruleBarrelAlive:
		return CodeBarrelOffline, fmt.Sprintf("barrel %s does not heartbeat; bring it into the terminal's hotspot", b.ID)
	case ruleLedgerOpen:
		return q.Ledger.whyNot()
	case ruleSealTypeKnown:
		return CodeLevelNotMet, fmt.Sprintf("policy has no seal type %q, which barrel %s holds", b.SealType, b.ID)
	case rulePathForLevel:
		return CodeLevelNotMet, fmt.Sprintf("seals of level %d are not used over this path (%s)", kind.Level, q.Path)
	case ruleCredentials:
		return CodeCredentialsMissing, fmt.Sprintf("over the %s path %s must be shown; missing: %s", q.Path, r.Admission.Credentials[q.Path], r.Admission.Credentials[q.Path]&^q.Shown)
	case ruleRequires:
		return CodeRuleRequires, r.requires(q.facts(r), q.Shown)
	case ruleServerPassed:
		return CodeServerRefused, "the seal server refused: " + orNone(a.Words)
	case ruleSealTypeMatches:
		return CodeBarrelNotBound, fmt.Sprintf("the order is for the %q seal, barrel %s holds the %q seal", a.SealType, b.ID, b.SealType)
	case ruleLevel:
		return CodeLevelNotMet, fmt.Sprintf("the seal server answered level %d; policy asks for level %d or stronger for the %s seal", a.Level, kind.Level, b.SealType)
	case ruleMethods:
		return CodeLevelNotMet, fmt.Sprintf("the seal server answered methods [%s]; policy asks for %s",
			strings.Join(a.Methods, ", "), r.Levels[kind.Level].Methods|r.Levels[a.Level].Methods|besides)
	case ruleCount:
		return CodeLevelNotMet, fmt.Sprintf("the order permits %d stampings; policy allows 1 to %d for the %s seal", a.Count, kind.MaxCount, b.SealType)
	case ruleWindowOpen:
		return CodeOrderNotOpen, fmt.Sprintf("the order is open from %s to %s; it is %s", clock(a.NotBefore), clock(a.NotAfter), clock(q.Now))
	case ruleWindowLength:
		return CodeLevelNotMet, fmt.Sprintf("the order's window is %s long; policy allows %s for the %s seal", a.NotAfter.Sub(a.NotBefore), kind.MaxWindow, b.SealType)
	case ruleUsesLeft:
		return CodeOrderExhausted, fmt.Sprintf("of %d stampings %d are made and %d granted", a.Count, q.Ledger.Confirmed, q.Ledger.Reserved)
	}
	return CodeNoPolicy, "refused"
}

func (l Ledger) whyNot() (Code, string) {
	switch {
	case l.State == StateRevoked:
		return CodeOrderNotOpen, "the order is ended: " + orNone(l.Reason)
	case l.EvidenceOverdue:
		return CodeEvidenceOverdue, "an image of an earlier stamping is due and missing; send it first"
	case l.State == StateSuspended:
		return CodeOrderSuspended, "the order is suspended: " + orNone(l.Reason)
	}
	return CodeOrderSuspended, "the order is " + l.State.String()
}

// clock writes a time for people.
func clock(t time.Time) string {
	if t.IsZero() {
		return "(no time)"
	}
	return t.UTC().Format(time.RFC3339)
}

// addresses names what the tunnel has.
func (q UseRequest) addresses() string {
	switch v4, v6 := q.SessionAddress.IsValid(), q.SessionPrefix.IsValid(); {
	case v4 && v6:
		return fmt.Sprintf("%s and %s", q.SessionAddress, q.SessionPrefix)
	case v6:
		return q.SessionPrefix.String()
	case v4:
		return q.SessionAddress.String()
	}
	return "none"
}
