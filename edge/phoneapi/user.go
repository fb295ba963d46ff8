package phoneapi

import (
	"net/http"
	"time"

	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// status is GET /v1/status: is the tunnel up, is the barrel here.
func (s *Server) status(c *call) error {
	answer := wire.Status{
		Terminal: c.from.String(), APN: c.session.Apn, PolicyRevision: s.revision(), Barrels: []wire.BarrelOnline{},
	}
	s.cfg.Cluster.View(func(m *state.Machine) {
		answer.Time = sealuse.Later(time.Now(), m.Clock()).UTC()
		for b := range m.BarrelsOf(c.imsi()) {
			answer.Barrels = append(answer.Barrels, wire.BarrelOnline{Barrel: b.Id})
		}
	})
	for i := range answer.Barrels {
		answer.Barrels[i].Alive = s.cfg.Barrels.Alive(answer.Barrels[i].Barrel)
	}
	return c.reply(http.StatusOK, answer)
}

// login is POST /v1/login. The password goes through to the seal server, and
// nowhere else.
func (s *Server) login(c *call) error {
	if wait := s.logins.take(c.holder(), time.Now()); wait > 0 {
		return limited(wait)
	}
	var req wire.LoginRequest
	if err := c.decode(&req); err != nil {
		// The decoder's words might quote the password.
		return wire.NewProblem(wire.CodeBadRequest, "Want a JSON object with user and password.")
	}
	if req.User == "" || len(req.User) > 128 || req.Password == "" || len(req.Password) > 1024 {
		return wire.NewProblem(wire.CodeBadRequest, "Want a user of 1 to 128 and a password of 1 to 1024 characters.")
	}
	answer, err := s.cfg.Server.Login(c.r.Context(), req)
	if err != nil {
		p := sealuse.FromError(err)
		// Who types his password into the field of the name must not find it in
		// the log, or in the chain for ever.
		s.refused(c, sealuse.KindLogin, "user unknown", p)
		return p
	}
	s.record.decided(s.record.approvals, c.holder(), sealuse.Decided(sealuse.KindLogin, c.imsi(), "user "+req.User, nil, s.revision()))
	return c.reply(http.StatusOK, answer)
}

// orders is GET /v1/orders.
func (s *Server) orders(c *call) error {
	token, err := c.token()
	if err != nil {
		return err
	}
	list, err := s.cfg.Server.Orders(c.r.Context(), token)
	if err != nil {
		return err
	}
	if list.Orders == nil {
		list.Orders = []wire.Order{}
	}
	return c.reply(http.StatusOK, list)
}
