package gtpc

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
)

// DeleteSession tells the peer of s that its PDN connection is over, in the
// version of GTP that its path was made with: by a Delete Bearer Request for the
// default bearer (TS 29.274 7.2.9.2) or a Delete PDP Context Request with
// teardown (TS 29.060 7.3.5). It waits for the answer, or N3 times T3 for none.
// A peer that doesn't know the session any more is as good as one that agrees.
// The session's record needs not exist any longer: revoking comes first, telling
// after.
func (s *Server) DeleteSession(ctx context.Context, session *command.Session) error {
	path := session.GetGtp()
	addr, ok := netip.AddrFromSlice(path.GetPeerC().GetAddress())
	if !ok {
		return ErrNoPath
	}
	addr = addr.Unmap()
	if _, ok := prefixOf(s.bounds.Load().allowed, addr); !ok {
		// Its F-TEID named an address that isn't a peer's, or is none any more.
		// Nobody else is to be bothered.
		return fmt.Errorf("%w: %s is no allowed peer", ErrNoPath, addr)
	}
	done := make(chan error, 1)
	r := &request{
		procedure: deleting, version: 2, to: netip.AddrPortFrom(addr, gtp.Port), imsi: session.GetImsi(),
		marshal: func(seq uint32) []byte {
			m := gtp.DeleteBearerRequest{TEID: path.GetPeerC().GetTeid(), Seq: seq, LinkedEBI: uint8(path.GetEbi())}
			return m.Marshal()
		},
		done: func(_ time.Time, m gtp.Message, err error) {
			if err == nil {
				err = refusalOf(m)
			}
			done <- err
		},
	}
	if path.GetVersion() == 1 {
		r.version = 1
		r.marshal = func(seq uint32) []byte {
			m := gtp.DeletePDPContextRequest{
				Header: gtp.Header{Version: 1, TEID: path.GetPeerC().GetTeid(), HasTEID: true, Seq: seq},
				NSAPI:  uint8(path.GetEbi()), Teardown: true,
			}
			return m.Marshal()
		}
	}
	s.mu.Lock()
	l := s.loop
	s.mu.Unlock()
	if l == nil {
		return ErrNotServing
	}
	select {
	case l.orders <- r:
	case <-l.gone:
		return ErrNotServing
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refusalOf says whether the peer has let the session go.
func refusalOf(m gtp.Message) error {
	cause := causeOf(m)
	if cause.Accepted() || cause == gtp.CauseContextNotFound {
		return nil
	}
	return fmt.Errorf("gtpc: the peer refused to delete the session: %s", cause)
}

// causeOf is what a peer answered to a request of ours; 0 when its answer has no
// cause.
func causeOf(m gtp.Message) gtp.Cause {
	switch m := m.(type) {
	case *gtp.DeleteBearerResponse:
		return m.Cause
	case *gtp.DeletePDPContextResponse:
		return m.Cause
	case *gtp.UpdateBearerResponse:
		return m.Cause
	}
	return 0
}
