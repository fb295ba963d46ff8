package session

import (
	"errors"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

// admitCauses maps what policy says to what the peer is told. Why each was
// chosen is in docs/causes.md, which a test compares with this table.
var admitCauses = map[policy.Code]gtp.Cause{
	policy.CodeNoPolicy:            gtp.CauseSystemFailure,
	policy.CodeIMSIUnknown:         gtp.CauseAPNDenied,
	policy.CodeSubscriberSuspended: gtp.CauseAPNDenied,
	policy.CodeSubscriberRevoked:   gtp.CauseAPNDenied,
	policy.CodeMSISDNMismatch:      gtp.CauseAPNDenied,
	policy.CodeHandsetNotBound:     gtp.CauseAPNDenied,
	policy.CodeHandsetMissing:      gtp.CauseAPNDenied,
	policy.CodeAPNUnknown:          gtp.CauseMissingOrUnknownAPN,
	policy.CodeAPNNotAllowed:       gtp.CauseAPNDenied,
	policy.CodePLMNNotAllowed:      gtp.CauseNotAuthorised,
	policy.CodeRATNotAllowed:       gtp.CauseRATDisallowed,
	policy.CodeFallbackNotAllowed:  gtp.CauseNotAuthorised,
	policy.CodeHandsetNotInPool:    gtp.CauseAPNDenied,
	policy.CodeCredentialsMissing:  gtp.CauseAuthenticationFailed,
	policy.CodeRuleRequires:        gtp.CauseAuthenticationFailed,
	policy.CodeRuleForbids:         gtp.CauseNotAuthorised,
	policy.CodeNoRule:              gtp.CauseNotAuthorised,
}

// CauseOf maps a policy decision's code to the cause that a carrier is told. A
// code that isn't known is "service denied": better vague than wrong.
func CauseOf(code policy.Code) gtp.Cause {
	if c, ok := admitCauses[code]; ok {
		return c
	}
	return gtp.CauseNotAuthorised
}

// resultCauses maps the results of commands.
var resultCauses = map[command.Code]gtp.Cause{
	command.Code_OK:         gtp.CauseAccepted,
	command.Code_NOT_FOUND:  gtp.CauseContextNotFound,
	command.Code_NO_ADDRESS: gtp.CauseAddressesOccupied,
	command.Code_REVOKED:    gtp.CauseAPNDenied,
	command.Code_CONFLICT:   gtp.CauseSystemFailure, // deciding again came to no end
}

func causeOfResult(r *command.Result) gtp.Cause {
	if c, ok := resultCauses[r.GetCode()]; ok {
		return c
	}
	return gtp.CauseSystemFailure
}

// CauseOfError maps what proposing ended with. The second value is false when
// nothing must be answered: the command may be carried out yet, and the
// retransmission will learn it.
func CauseOfError(err error) (gtp.Cause, bool) {
	if errors.Is(err, command.ErrUnknownOutcome) {
		return 0, false
	}
	if errors.Is(err, command.ErrNoRoom) {
		return gtp.CauseNoResources, true
	}
	return gtp.CauseSystemFailure, true
}
