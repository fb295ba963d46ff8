package sealuse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// RetrySeconds is after how long a request that found no quorum, or whose
// outcome is not known, is worth repeating: a failover takes less.
const RetrySeconds = 1

// FromDecision is the problem of a refusing decision, with all reasons that
// failed.
func FromDecision(d policy.Decision) *wire.Problem {
	code := wire.Code(d.Code)
	if _, known := code.Kind(); !known {
		code = wire.CodeInternal
	}
	p := wire.NewProblem(code, sentence(strings.Join(d.Denials(), "; ")))
	p.Reasons = Reasons(d)
	return p
}

// Reasons are a decision's reasons as they are answered. Where the policy
// document says so, and whom its other rules are for, is not the terminal's business.
func Reasons(d policy.Decision) []wire.Reason {
	var out []wire.Reason
	for _, r := range d.Reasons() {
		if !r.Skipped && !r.Document {
			out = append(out, wire.Reason{Rule: r.Rule, OK: r.OK, Text: r.Text})
		}
	}
	return out
}

// FromResult is the problem of a command that was applied and refused; nil if
// it was carried out.
func FromResult(res *command.Result) *wire.Problem {
	var code wire.Code
	switch res.GetCode() {
	case command.Code_OK:
		return nil
	case command.Code_CONFLICT:
		code = wire.CodeConflict
	case command.Code_NOT_FOUND:
		code = wire.CodeUseUnknown
	case command.Code_INVALID:
		code = wire.CodeRequestReused
	case command.Code_EXHAUSTED:
		code = wire.CodeOrderExhausted
	case command.Code_SUSPENDED:
		code = wire.CodeOrderSuspended
	case command.Code_FROZEN:
		code = wire.CodeOrderFrozen
	case command.Code_ENDED:
		code = wire.CodeOrderEnded
	case command.Code_BUSY:
		code = wire.CodeBarrelBusy
	case command.Code_REVOKED:
		code = wire.CodeBarrelRevoked
	case command.Code_DUPLICATE:
		code = wire.CodeReceiptConflict
	default:
		code = wire.CodeInternal
	}
	return wire.NewProblem(code, sentence(res.GetMessage()))
}

// FromError is the problem of a call that failed: of proposing a command, or of
// asking the seal server. A *wire.Problem in the chain is itself.
func FromError(err error) *wire.Problem {
	var p *wire.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return p
	case errors.Is(err, command.ErrNoQuorum):
		p = wire.NewProblem(wire.CodeNoQuorum, "Nothing was changed.")
		p.RetryAfterSeconds = RetrySeconds
	case errors.Is(err, command.ErrNoRoom):
		p = wire.NewProblem(wire.CodeNoRoom, "")
		p.RetryAfterSeconds = 60
	case errors.Is(err, command.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p = wire.NewProblem(wire.CodeOutcomeUnknown, "")
		p.RetryAfterSeconds = RetrySeconds
	default:
		p = wire.NewProblem(wire.CodeInternal, "")
	}
	return p
}

// serverRefusals are the codes that a seal server may answer with; any other is
// CodeServerRefused, so that it can't put words into the gateway's mouth.
var serverRefusals = map[wire.Code]bool{
	wire.CodeOrderUnknown: true, wire.CodeOrderNotOpen: true, wire.CodeOrderExhausted: true,
	wire.CodeOrderSuspended: true, wire.CodeServerRefused: true,
}

// serverRefused is the problem of an answer that did not pass.
func serverRefused(a wire.VerifyAnswer) *wire.Problem {
	code := a.Code
	if !serverRefusals[code] {
		code = wire.CodeServerRefused
	}
	detail := "The seal server gave no reason."
	if a.Reason != "" {
		detail = sentence("The seal server says: " + words(a.Reason))
	}
	if !a.NotBefore.IsZero() && !a.NotAfter.IsZero() && code == wire.CodeOrderNotOpen {
		detail += fmt.Sprintf(" The window is %s to %s.", stamp(a.NotBefore), stamp(a.NotAfter))
	}
	return wire.NewProblem(code, detail)
}

// words makes a text from outside fit for a log, an answer and a command: valid
// UTF-8, no control characters, at most 300 bytes.
func words(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return strings.TrimSpace(s)
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	r, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(r)) + s[n:]
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}
