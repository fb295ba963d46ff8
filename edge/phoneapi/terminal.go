package phoneapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// lookup finds the terminal that holds an inner address. It is asked at every
// request: a session that has ended, or a subscriber that is no longer active,
// counts at once.
func (s *Server) lookup(from netip.Addr) (t terminal, ok bool) {
	t.from = from
	s.cfg.Cluster.View(func(m *state.Machine) {
		if t.session = m.SessionByAddress(from); t.session != nil {
			t.subscriber = m.Subscriber(t.session.Imsi)
		}
	})
	return t, t.subscriber.GetState() == command.DeviceState_ACTIVE
}

// presented tells whether the client has shown the certificate on record, by
// the SHA-256 of its DER.
func presented(conn *tls.ConnectionState, want []byte) bool {
	if conn == nil || len(conn.PeerCertificates) == 0 {
		return false
	}
	got := sha256.Sum256(conn.PeerCertificates[0].Raw)
	return subtle.ConstantTimeCompare(got[:], want) == 1
}

// settleTime is how long an answer waits for this node to apply what another
// has already committed.
const settleTime = 2 * time.Second

// await waits until the state here satisfies ready, at most settleTime.
func (s *Server) await(ctx context.Context, ready func(*state.Machine) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		changed := s.cfg.Cluster.Changed()
		ok := false
		s.cfg.Cluster.View(func(m *state.Machine) { ok = ready(m) })
		if ok {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// ownUse finds the use in the path, which must be this terminal's.
func (s *Server) ownUse(c *call) (*command.Use, error) {
	id, err := c.number("use", 64)
	if err != nil {
		return nil, err
	}
	var use *command.Use
	find := func(m *state.Machine) bool {
		use = m.Use(id)
		return use != nil
	}
	s.cfg.Cluster.View(func(m *state.Machine) { find(m) })
	// The grant may have come from a node that was ahead of this one; but a
	// number out of the blue doesn't make us wait.
	if use == nil && s.justAhead(id) {
		s.await(c.r.Context(), find)
	}
	if use == nil || use.Imsi != c.imsi() {
		return nil, wire.NewProblem(wire.CodeUseUnknown, fmt.Sprintf("Use %d.", id))
	}
	return use, nil
}

// justAhead tells whether a use may have been granted while this node was
// behind: its number is the next after one that is known, or nearly.
func (s *Server) justAhead(id uint64) (near bool) {
	s.cfg.Cluster.View(func(m *state.Machine) {
		near = uint64(m.Counts().Uses)+16 > id
	})
	return near
}

// propose puts a step's command into the log, and gives the use that came of
// it.
func (s *Server) propose(c *call, step sealuse.Step) (*command.Use, error) {
	switch {
	case step.Refusal != nil:
		return nil, step.Refusal
	case step.Repeat != nil:
		return step.Repeat, nil
	}
	res, err := s.cfg.Cluster.Propose(c.r.Context(), step.Propose)
	if err != nil {
		return nil, err
	}
	if p := sealuse.FromResult(res); p != nil {
		return nil, p
	}
	use := new(command.Use)
	if err := res.Into(use); err != nil {
		return nil, err
	}
	return use, nil
}
