package admin

import (
	"net/http"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/ident"
)

// exportRouter answers with what a travel router has to know. There is a secret in
// it: who asked for it stands in the audit chain.
func (s *Server) exportRouter(r *http.Request, c Caller) (any, *problem) {
	imsi, err := ident.ParseIMSI(r.PathValue("imsi"))
	if err != nil {
		return nil, badRequest(err)
	}
	if p := s.linearize(r); p != nil {
		return nil, p
	}
	router, p := s.cfg.Router(imsi.String())
	if p != nil {
		return nil, p
	}
	if p := s.propose(r, c, &command.RecordDecision{Kind: "router-export", Subject: imsi.String(), Allowed: true, Code: "router-export", PolicyRevision: router.Revision}, nil); p != nil {
		return nil, p
	}
	return router, nil
}
