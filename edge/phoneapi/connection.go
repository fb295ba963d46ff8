package phoneapi

import (
	"net/http"

	"github.com/sealedge/sealedge/edge/wire"
)

// connect is POST /v1/connections: a terminal that is in a tunnel asks for the fallback
// path ahead of need.
func (s *Server) connect(c *call) error {
	if s.cfg.Connect == nil {
		return wire.NewProblem(wire.CodeNotFound, "This gateway has no fallback path.")
	}
	if c.r.ContentLength > wire.MaxConnectionRequest {
		return wire.NewProblem(wire.CodeTooLarge, "")
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, wire.MaxConnectionRequest)
	var req wire.ConnectionRequest
	if err := c.decode(&req); err != nil {
		// The decoder's words might quote the password.
		return wire.NewProblem(wire.CodeBadRequest, "Want one JSON object with the members of a connection request, and no other.")
	}
	answer, refusal := s.cfg.Connect(c.r.Context(), req, c.r.TLS, c.from, c.session)
	if refusal != nil { // what it is recorded by is not here
		return refusal
	}
	defer clear(answer.PresharedKey)
	return c.reply(http.StatusCreated, answer)
}
