package admin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func (s *Server) policy(*http.Request, Caller) (any, *problem) {
	p, _ := s.current()
	if p == nil {
		return nil, notFound("policy yet")
	}
	return adminapi.Policy{Revision: p.Revision, SHA256: hex.EncodeToString(p.Digest), Document: string(p.Document)}, nil
}

// putPolicy is the short way of POST /v1/changes: a document on its base.
func (s *Server) putPolicy(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.Policy
	if p := read(r, &b); p != nil {
		return nil, p
	}
	if b.Document == "" {
		return nil, badRequest(errors.New("document: missing"))
	}
	v, p := s.proposePolicy(r, c, adminapi.Proposal{Document: b.Document, BaseRevision: b.BaseRevision})
	if p != nil || v.State == adminapi.ChangePending {
		return s.answerChange(v, p)
	}
	out := adminapi.Policy{Revision: v.Revision}
	s.cfg.Cluster.View(func(m *state.Machine) { out.SHA256 = hex.EncodeToString(m.PolicyAt(v.Revision).GetDigest()) })
	return out, nil
}

// policyHistory lists the revisions that are kept, the newest first.
func (s *Server) policyHistory(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, numberKey)
	if bad != nil {
		return nil, bad
	}
	var list any
	s.cfg.Cluster.View(func(m *state.Machine) {
		var kept []*command.Policy
		if m.Policy() != nil {
			kept = append(kept, m.Policy())
		}
		former := slices.Collect(m.FormerPolicies())
		slices.Reverse(former)
		kept = append(kept, former...)
		kept = slices.DeleteFunc(kept, func(x *command.Policy) bool { return p.after != 0 && x.Revision >= p.after })
		list = show(p, slices.Values(kept), (*command.Policy).GetRevision, adminapi.RevisionOf)
	})
	return list, nil
}

func (s *Server) policyRevision(r *http.Request, _ Caller) (any, *problem) {
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 64)
	if err != nil || n == 0 {
		return nil, badRequest(fmt.Errorf("revision: %q is no number of a revision", r.PathValue("n")))
	}
	var was *command.Policy
	s.cfg.Cluster.View(func(m *state.Machine) { was = m.PolicyAt(n) })
	if was == nil {
		p := notFound(fmt.Sprintf("revision %d", n))
		p.Hint = "See which are kept with 'sealctl policy history'; older ones are in the audit chain."
		return nil, p
	}
	v := adminapi.RevisionOf(was)
	v.Document = string(was.Document)
	return v, nil
}
