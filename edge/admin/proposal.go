package admin

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// accepted is an answer to what isn't carried out yet: others have to agree.
type accepted struct{ document any }

// A proposal is a change of the policy that was compared with the policy in force:
// here, never by the client.
type proposal struct {
	adminapi.Proposal
	now      *command.Policy // nil: there is none yet
	old, new *policy.Rules
	put      *command.PutPolicy
	touches  []policy.Touch
	needed   uint32
}

// proposed reads and judges a proposal.
func (s *Server) proposed(asked adminapi.Proposal) (*proposal, *problem) {
	x := &proposal{Proposal: asked}
	x.now, x.old = s.current()
	document := []byte(asked.Document)
	if asked.RollbackTo != 0 {
		var was *command.Policy
		s.cfg.Cluster.View(func(m *state.Machine) { was = m.PolicyAt(asked.RollbackTo) })
		switch {
		case was == nil:
			p := notFound(fmt.Sprintf("revision %d", asked.RollbackTo))
			p.Hint = "See which are kept with 'sealctl policy history'; older ones are in the audit chain."
			return nil, p
		case asked.RollbackTo == x.now.GetRevision():
			return nil, badRequest(fmt.Errorf("rollback_to: revision %d is in force", asked.RollbackTo))
		case len(document) > 0 && !bytes.Equal(document, was.Document):
			return nil, badRequest(fmt.Errorf("document: it is not that of revision %d; leave it out", asked.RollbackTo))
		}
		document = was.Document
	}
	if len(document) == 0 {
		return nil, badRequest(errors.New("document: missing"))
	}
	var pools []*command.Pool
	var err error
	if x.new, pools, err = bundle.Parse("policy", document); err != nil {
		return nil, badRequest(err)
	}
	if have := x.now.GetRevision(); asked.BaseRevision != have {
		return nil, refuse(http.StatusConflict, "conflict", "The policy was changed meanwhile.",
			fmt.Sprintf("Revision %d is in force; the document was made on revision %d.", have, asked.BaseRevision),
			"See what changed with 'sealctl policy history', take it into your document, and plan anew.")
	}
	x.put = &command.PutPolicy{BaseRevision: asked.BaseRevision, Document: document, Pools: pools}
	if x.now != nil {
		x.touches = bundle.Touched(x.old, x.new)
		x.needed = controlOf(x.old).Needed(x.touches)
	}
	return x, nil
}

// same tells whether the document is the one in force, to the letter.
func (x *proposal) same() bool { return bytes.Equal(x.now.GetDocument(), x.put.Document) }

// mayBreakGlass tells whether the policy lets a caller do without the others.
func mayBreakGlass(c policy.ChangeControl, reason string) *problem {
	switch {
	case !c.BreakGlass:
		return refuse(http.StatusForbidden, "break-glass-forbidden", "The policy in force has no glass to break.",
			"spec.changeControl.breakGlass is false.", "Have the change approved.")
	case strings.TrimSpace(reason) == "":
		return badRequest(errors.New("reason: missing: say why this can't wait for the others, it goes into the audit chain"))
	}
	return nil
}

// proposePolicy puts a document in force, or up for approval.
func (s *Server) proposePolicy(r *http.Request, c Caller, asked adminapi.Proposal) (*adminapi.Change, *problem) {
	if p := s.linearize(r); p != nil {
		return nil, p
	}
	id := "change:" + requestID(r)
	if again, p := s.changeAgain(c, id); again != nil || p != nil {
		if again != nil && asked.Document != "" && adminapi.DocumentDigest(asked.BaseRevision, []byte(asked.Document)) != again.Digest {
			return nil, usedBefore()
		}
		return again, p
	}
	if asked.BaseRevision == 0 {
		if again, p := s.firstAgain(r, c, asked); again != nil || p != nil {
			return again, p
		}
	}
	x, p := s.proposed(asked)
	if p != nil {
		return nil, p
	}
	if x.now == nil { // there is nobody yet whom a policy could ask
		out := new(command.Policy)
		if p := s.propose(r, c, x.put, out); p != nil {
			return nil, p
		}
		return firstPolicy(c, asked, out), nil
	}
	return s.proposeChange(r, c, id, &command.ProposeChange{
		Policy: x.put, Reason: asked.Reason, RollbackTo: asked.RollbackTo, Touches: textsOf(x.touches), Effects: s.effects(x.old, x.new),
		Needed: x.needed, BreakGlass: asked.BreakGlass, PolicyRevision: x.now.Revision,
	}, controlOf(x.old))
}

// firstPolicy shows the first policy as the change that it was.
func firstPolicy(c Caller, asked adminapi.Proposal, p *command.Policy) *adminapi.Change {
	at := time.Unix(0, p.Applied).UTC()
	return &adminapi.Change{
		Kind: adminapi.ChangeOfPolicy, State: adminapi.ChangeInForce, Digest: adminapi.DocumentDigest(0, []byte(asked.Document)), Reason: asked.Reason,
		Touches: []string{}, Effects: []string{}, Approvals: []adminapi.Approval{},
		ProposedBy: c.Actor(), Proposed: at, EndedBy: c.Actor(), Ended: at, Revision: p.Revision,
	}
}

// firstAgain is the answer to the first policy when it is put once more.
func (s *Server) firstAgain(r *http.Request, c Caller, asked adminapi.Proposal) (*adminapi.Change, *problem) {
	var answered *command.Result
	s.cfg.Cluster.View(func(m *state.Machine) { answered = m.Answered(clientOf(c), requestID(r)) })
	out := new(command.Policy)
	if answered.GetCode() != command.Code_OK || answered.Into(out) != nil {
		return nil, nil // it is judged anew
	}
	if digest := sha256.Sum256([]byte(asked.Document)); !bytes.Equal(digest[:], out.Digest) {
		return nil, usedBefore()
	}
	return firstPolicy(c, asked, out), nil
}

// proposeChange proposes what was decided upon, by what the policy says of approvals.
func (s *Server) proposeChange(r *http.Request, c Caller, id string, p *command.ProposeChange, control policy.ChangeControl) (*adminapi.Change, *problem) {
	p.LifetimeSeconds, p.ReviewSeconds = seconds(control.Lifetime), seconds(control.ReviewWithin)
	p.BreakGlass = p.BreakGlass && p.Needed > 0
	if p.BreakGlass {
		if bad := mayBreakGlass(control, p.Reason); bad != nil {
			return nil, bad
		}
	}
	out := new(command.Change)
	if code, bad := s.proposeOnce(r, c, id, p, out); bad != nil {
		return nil, changeProblem(code, bad)
	}
	if out.BreakGlass {
		s.cfg.Logger.Error("GLASS BROKEN: a change is in force without the approvals it needs", "change", out.Id, "operator", c.Name,
			"needed", out.Needed, "reason", out.Reason, "review_due", time.Unix(0, out.ReviewDue).UTC())
	}
	return s.shown(out), nil
}

// seconds of a duration, at least one.
func seconds(d time.Duration) uint32 { return uint32(max(1, min(d/time.Second, 1<<31))) }

// shown is a change as it is now.
func (s *Server) shown(c *command.Change) *adminapi.Change {
	var v adminapi.Change
	s.cfg.Cluster.View(func(m *state.Machine) { v = adminapi.ChangeOf(c, m.Clock(), m.PolicyRevision()) })
	return &v
}

// changeAgain is the answer to a proposal that was answered before.
func (s *Server) changeAgain(c Caller, id string) (*adminapi.Change, *problem) {
	var answered *command.Result
	s.cfg.Cluster.View(func(m *state.Machine) { answered = m.Answered(clientOf(c), id) })
	if answered == nil {
		return nil, nil
	}
	if answered.Code != command.Code_OK {
		return nil, changeProblem(answered.Code, problemOfResult(answered))
	}
	out := new(command.Change)
	if err := answered.Into(out); err != nil {
		return nil, problemOf(err)
	}
	return s.shown(out), nil
}

// usedBefore refuses the key of another request.
func usedBefore() *problem {
	return refuse(http.StatusUnprocessableEntity, wire.CodeBadRequest, "The change was refused.", "The Idempotency-Key was used for another request.", "Take a new one.")
}

// changeProblem says of changes what a command's outcome means for them.
func changeProblem(code command.Code, p *problem) *problem {
	switch code {
	case command.Code_ENDED:
		return refuse(http.StatusConflict, "change-ended", "The change does not wait any more.", p.Detail, "See it with 'sealctl change show'; what is still wanted has to be proposed again.")
	case command.Code_BUSY:
		return refuse(http.StatusConflict, "too-many-changes", "Too many changes wait.", p.Detail, "See them with 'sealctl change list'.")
	case command.Code_CONFLICT:
		p.Hint = "Look at it again with 'sealctl policy history' and 'sealctl change list', and propose it anew."
	}
	return p
}

// planned answers what a proposal would do.
func (s *Server) planned(asked adminapi.Proposal) (any, *problem) {
	x, p := s.proposed(asked)
	if p != nil {
		return nil, p
	}
	plan := adminapi.Plan{
		BaseRevision: x.BaseRevision, Digest: adminapi.DocumentDigest(x.BaseRevision, x.put.Document), RollbackTo: asked.RollbackTo, Same: x.same(),
		Touches: textsOf(x.touches), Settings: []string{}, Findings: []string{}, Effects: s.effects(x.old, x.new), Needed: x.needed, BreakGlass: controlOf(x.old).BreakGlass,
	}
	if asked.RollbackTo != 0 {
		plan.Document = string(x.put.Document)
	}
	population := s.population()
	for _, f := range bundle.Lint(x.new, &population) {
		plan.Findings = append(plan.Findings, f.Text)
	}
	for _, setting := range bundle.Settings(x.old, x.new) {
		plan.Settings = append(plan.Settings, setting.String())
	}
	return plan, nil
}

// effects are what a document means to the allow-list, the orders and the sessions
// as they are, in words.
func (s *Server) effects(old, new *policy.Rules) []string {
	out := []string{}
	for _, e := range bundle.Diff(old, new, s.population()).Effects {
		out = append(out, e.Text)
	}
	return out
}
