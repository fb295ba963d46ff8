package admin

import (
	"errors"
	"net/http"
	"strings"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func (s *Server) epoch(*http.Request, Caller) (any, *problem) {
	var e adminapi.Epoch
	s.cfg.Cluster.View(func(m *state.Machine) { e = adminapi.EpochOf(m.Epoch(), m.Unaccounted(), m.Uncounted()) })
	return e, nil
}

// closeEpoch opens the orders again. The caller says by it that no barrel is
// missing from the list.
func (s *Server) closeEpoch(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.CloseEpoch
	if p := read(r, &b); p != nil {
		return nil, p
	}
	if p := s.propose(r, c, &command.CloseEpoch{Epoch: b.Epoch}, nil); p != nil {
		return nil, p
	}
	return s.epoch(r, c)
}

// excuseBarrel counts a barrel that will never report, when another administrator
// has said the same.
func (s *Server) excuseBarrel(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.ExcuseBarrel
	if p := read(r, &b); p != nil {
		return nil, p
	}
	if strings.TrimSpace(b.Reason) == "" {
		return nil, badRequest(errors.New("reason: missing: say why it can't report, it goes into the audit chain"))
	}
	out := new(command.Barrel)
	if p := s.propose(r, c, &command.ExcuseBarrel{Barrel: r.PathValue("id"), Unaccounted: b.Unaccounted, Reason: b.Reason}, out); p != nil {
		return nil, p
	}
	return s.epoch(r, c)
}
