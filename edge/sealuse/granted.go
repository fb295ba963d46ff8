package sealuse

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
)

// clockSlack is how much earlier than the reservation a grant begins: barrels
// take the time from heartbeats, so theirs is a little late, and nodes' clocks
// differ. A grant is held off by its counter, not by its beginning.
const clockSlack = 30 * time.Second

// Reserved reads the result of the reservation that ask led to. Again means
// that the records changed in between: gather the facts and Permit once more.
func Reserved(res *command.Result, ask Ask) (use *command.Use, again bool, refusal *wire.Problem) {
	switch res.GetCode() {
	case command.Code_OK:
		use = new(command.Use)
		if err := res.Into(use); err != nil || use.Id == 0 {
			return nil, false, wire.NewProblem(wire.CodeInternal, "The cluster's answer can't be read.")
		}
		// Another node may have been quicker with the same request id.
		step := repeat(use, ask)
		return step.Repeat, false, step.Refusal
	case command.Code_CONFLICT, command.Code_NOT_FOUND:
		return nil, true, FromResult(res)
	}
	return nil, false, FromResult(res)
}

// GrantOf is what the barrel is granted by a use, made of nothing but the
// record, so that every node makes the same.
func GrantOf(use *command.Use) grant.Claims {
	return grant.Claims{
		Barrel: use.Barrel, Order: use.Order, IMSI: use.Imsi, UseID: use.Id, Count: use.Count, Methods: use.Methods,
		Level: use.Level, Counter: use.GrantCounter, NotBefore: at(use.ReservedAt).Add(-clockSlack).Truncate(time.Second),
		NotAfter: at(use.NotAfter).Truncate(time.Second), SealType: use.SealType, EvidenceSeconds: use.EvidenceSeconds,
		User: use.User, DocumentDigest: use.DocumentDigest,
	}
}

// Granted answers the terminal with a use and its grant, signed with the
// gateway's grant key.
func Granted(use *command.Use, key ed25519.PrivateKey) (wire.UseAnswer, error) {
	claims := GrantOf(use)
	raw, err := grant.Sign(claims, key)
	if err != nil {
		return wire.UseAnswer{}, fmt.Errorf("grant of use %d: %w", use.Id, err)
	}
	return wire.UseAnswer{
		Use: use.Id, Grant: raw, Order: use.Order, Barrel: use.Barrel, Methods: use.Methods, Count: use.Count,
		Level: use.Level, SealType: use.SealType, NotAfter: claims.NotAfter, EvidenceSeconds: use.EvidenceSeconds,
		Counter: use.GrantCounter, DocumentDigest: use.DocumentDigest,
	}, nil
}
