package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// ErrNoMember: there is no member of that name or id, or several of the name.
var ErrNoMember = errors.New("no such member of the cluster")

// Membership is what the API needs of the cluster's members.
type Membership interface {
	Members() []adminapi.Member
	// Remove takes a member out and returns its id. It fails with ErrNoMember, with
	// command.ErrUnknownOutcome, or with the reason why nothing was changed.
	Remove(ctx context.Context, member string) (id string, err error)
}

func (s *Server) members(*http.Request, Caller) (any, *problem) {
	return adminapi.Whole(s.cfg.Membership.Members()), nil
}

// removeMember is for a dead node, or one that is taken out of service. What was
// asked for, by whom and why stands in the audit chain before it is done.
func (s *Server) removeMember(r *http.Request, c Caller) (any, *problem) {
	member, reason := r.PathValue("member"), r.URL.Query().Get("reason")
	if reason == "" {
		return nil, badRequest(errors.New("reason: missing: say why, it goes into the audit chain"))
	}
	if !s.cfg.Node.Status().IsLeader {
		return nil, refuse(http.StatusConflict, "not-leader", "This node does not lead.", "Only the leader changes the membership.", "See who leads with 'sealctl cluster status'; sealctl finds it by itself.")
	}
	decision := &command.RecordDecision{Kind: "membership", Subject: member, Allowed: true, Code: "remove", Reasons: []string{reason}}
	if p := s.propose(r, c, decision, nil); p != nil {
		return nil, p
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	id, err := s.cfg.Membership.Remove(ctx, member)
	switch {
	case err == nil:
		s.cfg.Logger.Info("a member was removed", "operator", c.Name, "member", id, "reason", reason)
		return adminapi.Removed{ID: id}, nil
	case errors.Is(err, command.ErrUnknownOutcome):
		return nil, problemOf(err)
	case errors.Is(err, ErrNoMember):
		return nil, refuse(http.StatusNotFound, "not-found", "There is no such member.", err.Error(), "See them with 'sealctl cluster members'.")
	}
	return nil, refuse(http.StatusConflict, "conflict", "The member was not removed.", err.Error(), "See 'sealctl cluster members', and try again when what the detail names is mended.")
}
