package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// releaseUse proposes what became of a use whose barrel is lost.
func (s *Server) releaseUse(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.ReleaseUse
	u, p := s.lostUse(r, &b)
	if p != nil {
		return nil, p
	}
	if strings.TrimSpace(b.Reason) == "" {
		return nil, badRequest(errors.New("reason: missing: say what happened to the barrel, it goes into the audit chain"))
	}
	stamped := u.Count
	if b.Stamped != nil {
		stamped = *b.Stamped
	}
	return s.changeUse(r, c, &command.ReleaseUse{Use: u.Id, Stamped: stamped, Reason: b.Reason})
}

// confirmRelease carries out what another administrator proposed.
func (s *Server) confirmRelease(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.ConfirmRelease
	u, p := s.lostUse(r, &b)
	if p != nil {
		return nil, p
	}
	if u.GetRelease().GetProposedBy() == c.Actor() {
		return nil, refuse(http.StatusForbidden, "second-person-needed", "This takes two people.",
			fmt.Sprintf("%s proposed the release.", c.Name), "Have another seal administrator confirm it, with a certificate of his own.")
	}
	return s.changeUse(r, c, &command.ConfirmRelease{Use: u.Id, Stamped: b.Stamped, ProposedBy: b.ProposedBy})
}

// lostUse reads a request about a use that its barrel won't settle.
func (s *Server) lostUse(r *http.Request, body any) (u *command.Use, p *problem) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, badRequest(fmt.Errorf("id: %q is no number of a use", r.PathValue("id")))
	}
	if p := read(r, body); p != nil {
		return nil, p
	}
	s.cfg.Cluster.View(func(m *state.Machine) { u = m.Use(id) })
	switch {
	case u == nil:
		return nil, notFound(fmt.Sprintf("use %d", id))
	case u.State != command.UseState_SETTLED && s.cfg.Alive(u.Barrel):
		return nil, refuse(http.StatusConflict, "barrel-alive", "The barrel is not lost.",
			u.Barrel+" is heard from: it will settle the use by its own count.", "Wait for it; if it doesn't settle, lock it with 'sealctl barrel lock'.")
	}
	return u, nil
}

func (s *Server) changeUse(r *http.Request, c Caller, payload proto.Message) (any, *problem) {
	out := new(command.Use)
	code, p := s.proposeOnce(r, c, requestID(r), payload, out)
	if p != nil {
		if code == command.Code_ENDED {
			p = refuse(http.StatusConflict, wire.CodeUseEnded, "The change was refused.", p.Detail, "There is nothing to release any more.")
		}
		return nil, p
	}
	return adminapi.UseOf(out), nil
}
