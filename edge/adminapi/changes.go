package adminapi

import (
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// What a change is about.
const (
	ChangeOfPolicy  = "policy"
	ChangeOfDevices = "devices"
)

// The states of a change.
const (
	ChangePending  = "pending"
	ChangeInForce  = "in-force"
	ChangeRejected = "rejected"
	ChangeExpired  = "expired"  // nobody's approval helps any more
	ChangeOutdated = "outdated" // the policy that it was made for is replaced
)

// Change is something that one person wants and others have to agree to, or what
// became of it.
type Change struct {
	ID     uint64 `json:"id"`
	Kind   string `json:"kind"`
	State  string `json:"state"`
	Digest string `json:"digest"` // hexadecimal, of what it does: command.ChangeDigest
	// PolicyRevision is the revision that it was made for.
	PolicyRevision uint64    `json:"policy_revision"`
	Document       string    `json:"document,omitempty"` // of a policy, while it waits and only of one change
	Devices        []string  `json:"devices,omitempty"`  // what it does to which, in words, likewise
	Reason         string    `json:"reason,omitempty"`
	RollbackTo     uint64    `json:"rollback_to,omitempty"`
	Touches        []string  `json:"touches"`
	Effects        []string  `json:"effects"`
	Needed         uint32    `json:"needed"`
	ProposedBy     string    `json:"proposed_by"`
	Proposed       time.Time `json:"proposed"`
	// Expires has the nanoseconds: approvals sign it.
	Expires    time.Time  `json:"expires,omitzero"`
	Approvals  []Approval `json:"approvals"`
	EndedBy    string     `json:"ended_by,omitempty"`
	Ended      time.Time  `json:"ended,omitzero"`
	EndReason  string     `json:"end_reason,omitempty"`
	Revision   uint64     `json:"revision,omitempty"` // of the policy that it became
	BreakGlass bool       `json:"break_glass,omitempty"`
	ReviewDue  time.Time  `json:"review_due,omitzero"`
	ReviewedBy string     `json:"reviewed_by,omitempty"`
	Reviewed   time.Time  `json:"reviewed,omitzero"`
	Review     string     `json:"review,omitempty"`
}

// Approval is one person's signed yes.
type Approval struct {
	By          string    `json:"by"`
	At          time.Time `json:"at"`
	Certificate string    `json:"certificate"` // base64 of the DER
	Signature   string    `json:"signature"`   // base64
}

// ChangeOf shows a change at a time, by the cluster's clock, under the policy of a
// revision.
func ChangeOf(c *command.Change, now time.Time, revision uint64) Change {
	v := Change{
		ID: c.Id, Kind: ChangeOfPolicy, Digest: hex.EncodeToString(c.Digest), PolicyRevision: c.PolicyRevision,
		Reason: c.Reason, RollbackTo: c.RollbackTo, Touches: append([]string{}, c.Touches...), Effects: append([]string{}, c.Effects...),
		Needed: c.Needed, ProposedBy: c.ProposedBy, Proposed: timeOf(c.Proposed), Expires: timeOf(c.Expires), Approvals: []Approval{},
		EndedBy: c.EndedBy, Ended: timeOf(c.Ended), EndReason: c.EndReason, Revision: c.Revision,
		BreakGlass: c.BreakGlass, ReviewDue: timeOf(c.ReviewDue), ReviewedBy: c.ReviewedBy, Reviewed: timeOf(c.Reviewed), Review: c.Review,
	}
	if c.Devices != nil {
		v.Kind = ChangeOfDevices
	}
	for _, a := range c.Approvals {
		v.Approvals = append(v.Approvals, Approval{
			By: a.By, At: timeOf(a.At), Certificate: base64.StdEncoding.EncodeToString(a.Certificate), Signature: base64.StdEncoding.EncodeToString(a.Signature),
		})
	}
	switch {
	case c.State == command.ChangeState_IN_FORCE:
		v.State = ChangeInForce
	case c.State == command.ChangeState_REJECTED:
		v.State = ChangeRejected
	case now.UnixNano() >= c.Expires:
		v.State = ChangeExpired
	case c.PolicyRevision != revision:
		v.State = ChangeOutdated
	default:
		v.State = ChangePending
	}
	return v
}

// Statement is what an approver of the change signs, with the key of his
// certificate (command.SignApproval). A change of the policy is to be checked
// against its document first, see DocumentDigest.
func (c Change) Statement(approver string) ([]byte, error) {
	digest, err := hex.DecodeString(c.Digest)
	if err != nil {
		return nil, err
	}
	return command.ApprovalStatement(&command.Change{
		Id: c.ID, Digest: digest, PolicyRevision: c.PolicyRevision, ProposedBy: c.ProposedBy, Expires: c.Expires.UnixNano(),
	}, approver), nil
}

// DocumentDigest is the digest that a change of the policy has, in hexadecimal.
func DocumentDigest(base uint64, document []byte) string {
	d := command.ChangeDigest(&command.PutPolicy{BaseRevision: base, Document: document}, nil)
	return hex.EncodeToString(d[:])
}

// Proposal asks for a change of the policy. Either it has a document or it goes
// back to a former revision's.
type Proposal struct {
	Document     string `json:"document,omitempty"`
	BaseRevision uint64 `json:"base_revision"` // that the document was made on; it must be in force
	RollbackTo   uint64 `json:"rollback_to,omitempty"`
	Reason       string `json:"reason,omitempty"`
	BreakGlass   bool   `json:"break_glass,omitempty"`
}

// Plan is what a proposal would do, and whom it needs.
type Plan struct {
	BaseRevision uint64   `json:"base_revision"`
	Digest       string   `json:"digest"` // as the change would have
	Document     string   `json:"document,omitempty"`
	RollbackTo   uint64   `json:"rollback_to,omitempty"`
	Same         bool     `json:"same"` // the document is the one in force
	Touches      []string `json:"touches"`
	Settings     []string `json:"settings"` // what differs, in words
	Effects      []string `json:"effects"`  // on terminals, barrels, orders and sessions as they are
	Findings     []string `json:"findings"` // what lint says of the document over what there is, such as rules for devices that are gone
	Needed       uint32   `json:"needed"`   // approvals by other people
	BreakGlass   bool     `json:"break_glass"`
}

// Approve is the body of an approval.
type Approve struct {
	Digest    string `json:"digest"`    // of the change, as the approver saw it
	Signature string `json:"signature"` // base64, over Change.Statement
}

// Review is the body of a review of broken glass.
type Review struct {
	Review string `json:"review"`
}

// Revision is one revision of the policy.
type Revision struct {
	Revision uint64    `json:"revision"`
	SHA256   string    `json:"sha256"`
	Applied  time.Time `json:"applied"`
	Actor    string    `json:"actor"`            // who proposed it
	Change   uint64    `json:"change,omitempty"` // that made it; 0: put directly
	Document string    `json:"document,omitempty"`
}

// RevisionOf shows a revision without its document.
func RevisionOf(p *command.Policy) Revision {
	return Revision{Revision: p.Revision, SHA256: hex.EncodeToString(p.Digest), Applied: timeOf(p.Applied), Actor: p.Actor, Change: p.Change}
}
