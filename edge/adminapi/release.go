package adminapi

import (
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// Release is what administrators say became of a use whose barrel is lost.
type Release struct {
	Stamped     uint32    `json:"stamped"`
	Reason      string    `json:"reason"`
	ProposedBy  string    `json:"proposed_by"`
	Proposed    time.Time `json:"proposed"`
	Until       time.Time `json:"until"`                  // it can be confirmed
	ConfirmedBy string    `json:"confirmed_by,omitempty"` // empty: nobody yet
	Confirmed   time.Time `json:"confirmed"`
}

func releaseOf(r *command.UseRelease) *Release {
	if r == nil {
		return nil
	}
	return &Release{
		Stamped: r.Stamped, Reason: r.Reason, ProposedBy: r.ProposedBy, Proposed: timeOf(r.Proposed),
		Until: timeOf(r.Proposed).Add(command.ReleaseFor), ConfirmedBy: r.ConfirmedBy, Confirmed: timeOf(r.Confirmed),
	}
}

// ReleaseUse is the body of a request that proposes to release a use.
type ReleaseUse struct {
	Stamped *uint32 `json:"stamped,omitempty"` // how many count as stamped; nil: all
	Reason  string  `json:"reason"`
}

// ConfirmRelease is the body of a request that releases a use. It says what was
// proposed, as the caller has seen it.
type ConfirmRelease struct {
	Stamped    uint32 `json:"stamped"`
	ProposedBy string `json:"proposed_by"`
}
