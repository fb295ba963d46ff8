package admin

import (
	"errors"
	"net/http"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
)

type problem = wire.Problem

// refuse makes a problem of the admin API.
func refuse(status int, code wire.Code, title, detail, hint string) *problem {
	return &problem{
		Type: "urn:sealedge:problem:" + string(code), Title: title, Status: status,
		Detail: detail, Code: code, Hint: hint,
	}
}

func badRequest(err error) *problem {
	return refuse(http.StatusBadRequest, wire.CodeBadRequest, "The request cannot be carried out as it is.", err.Error(), "Mend what the detail names and send it again.")
}

func notFound(what string) *problem {
	return refuse(http.StatusNotFound, wire.CodeNotFound, "There is no "+what+".", "", "List them to see which there are.")
}

// problemOf maps what proposing ended with.
func problemOf(err error) *problem {
	switch {
	case errors.Is(err, command.ErrNoQuorum):
		p := wire.NewProblem(wire.CodeNoQuorum, "Nothing was changed.")
		p.RetryAfterSeconds = 1
		p.Hint = "See which nodes are up with 'sealctl cluster status --stale', and try again. Reads work with --stale."
		return p
	case errors.Is(err, command.ErrNoRoom):
		return wire.NewProblem(wire.CodeNoRoom, err.Error())
	case errors.Is(err, command.ErrLevel):
		return refuse(http.StatusConflict, "upgrade-pending", "Not every node is upgraded.", err.Error(), "See the versions with 'sealctl cluster status', and upgrade the other nodes first.")
	case errors.Is(err, command.ErrUnknownOutcome):
		return wire.NewProblem(wire.CodeOutcomeUnknown, "")
	}
	return wire.NewProblem(wire.CodeInternal, err.Error())
}

// codes maps a command's outcome to a status, a code and a hint.
var codes = map[command.Code]struct {
	status int
	code   wire.Code
	hint   string
}{
	command.Code_CONFLICT:   {http.StatusConflict, "conflict", "Look at it again: somebody changed it meanwhile."},
	command.Code_NOT_FOUND:  {http.StatusNotFound, wire.CodeNotFound, "List them to see which there are."},
	command.Code_INVALID:    {http.StatusUnprocessableEntity, wire.CodeBadRequest, "Mend what the detail names."},
	command.Code_SUSPENDED:  {http.StatusConflict, wire.CodeOrderSuspended, "Resume it first."},
	command.Code_ENDED:      {http.StatusConflict, wire.CodeOrderEnded, "What is ended stays so; a new order is needed."},
	command.Code_BUSY:       {http.StatusConflict, wire.CodeBarrelBusy, "Wait until the barrel's use is settled or its lock acknowledged."},
	command.Code_REVOKED:    {http.StatusConflict, "device-revoked", "A revoked device never comes back: add it anew under another identity."},
	command.Code_DUPLICATE:  {http.StatusConflict, "conflict", "It is recorded already, with other content."},
	command.Code_FROZEN:     {http.StatusConflict, wire.CodeOrderFrozen, "See what is missing with 'sealctl epoch show'."},
	command.Code_NO_ADDRESS: {http.StatusConflict, "no-address", "Enlarge the pool of the access point in the policy."},
}

func problemOfResult(r *command.Result) *problem {
	c, ok := codes[r.Code]
	if !ok {
		return wire.NewProblem(wire.CodeInternal, r.Code.String()+": "+r.Message)
	}
	return refuse(c.status, c.code, "The change was refused.", r.Message, c.hint)
}
