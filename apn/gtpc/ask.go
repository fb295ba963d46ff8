package gtpc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
)

// maxSequence is the highest sequence number of a request: the top bit marks
// what a command triggered (TS 29.274 7.6).
const maxSequence = 0x7fffff

// firstSequence makes it unlikely that the first requests after a failover look
// like retransmissions of the former holder's.
func firstSequence() uint32 { return rand.Uint32N(maxSequence) }

// request is a transaction that we begin. As data: the loop sends it when it is
// due, until it is answered or was sent often enough.
type request struct {
	to      netip.AddrPort
	reply   uint8                   // the type that answers it
	marshal func(seq uint32) []byte // called once
	done    func(error)             // called once, must not block

	seq   uint32
	bytes []byte
	sent  int
}

// timeout is when a request's sent-th transmission has waited long enough. T3
// is the same for all, so appending keeps them in order; one whose request was
// answered since is passed over.
type timeout struct {
	due  time.Time
	key  askedKey
	r    *request
	sent int
}

// askedKey is what an answer is matched by: the peer's address and the sequence
// number. A peer may answer from another port than it was asked at (TS 29.274
// 4.2.2 asks it not to; some do).
type askedKey struct {
	peer netip.Addr
	seq  uint32
}

// DeleteSession tells the peer of s that its PDN connection is over (Delete
// Bearer Request for the default bearer, TS 29.274 7.2.9.2) and waits for the
// answer, or N3 times T3 for none. A peer that doesn't know the session any
// more is as good as one that agrees. The session's record needs not exist any
// longer: revoking comes first, telling after.
func (s *Server) DeleteSession(ctx context.Context, session *command.Session) error {
	path := session.GetGtp()
	addr, ok := netip.AddrFromSlice(path.GetPeerC().GetAddress())
	if !ok {
		return ErrNoPath
	}
	done := make(chan error, 1)
	r := &request{
		to: netip.AddrPortFrom(addr.Unmap(), gtp.Port), reply: gtp.TypeDeleteBearerResponse,
		marshal: func(seq uint32) []byte {
			m := gtp.DeleteBearerRequest{TEID: path.GetPeerC().GetTeid(), Seq: seq, LinkedEBI: uint8(path.GetEbi())}
			return m.Marshal()
		},
		done: func(err error) { done <- err },
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

// ask begins a transaction.
func (l *loop) ask(now time.Time, r *request) {
	for range maxSequence {
		l.nextSeq = (l.nextSeq + 1) % (maxSequence + 1)
		if _, taken := l.asked[askedKey{r.to.Addr(), l.nextSeq}]; !taken {
			break
		}
	}
	r.seq = l.nextSeq
	r.bytes = r.marshal(r.seq)
	l.asked[askedKey{r.to.Addr(), r.seq}] = r
	l.transmit(now, r)
}

func (l *loop) transmit(now time.Time, r *request) {
	r.sent++
	k := askedKey{r.to.Addr(), r.seq}
	l.timeouts = append(l.timeouts, timeout{now.Add(l.s.cfg.T3), k, r, r.sent})
	l.send(r.to, r.bytes)
}

// resend repeats what is due, and gives up what was sent N3 times.
func (l *loop) resend(now time.Time) {
	for len(l.timeouts) > 0 && !now.Before(l.timeouts[0].due) {
		t := l.timeouts[0]
		l.timeouts = l.timeouts[1:]
		switch {
		case l.asked[t.key] != t.r || t.r.sent != t.sent: // answered since
		case t.sent >= l.s.cfg.N3:
			delete(l.asked, t.key)
			t.r.done(fmt.Errorf("%w: %s, asked %d times", ErrNoAnswer, t.r.to, t.sent))
		default:
			l.s.counts.add(countRetransmitted, nil)
			l.transmit(now, t.r)
		}
	}
}

// answered ends the transaction that a response belongs to. False: there is
// none; it is late, doubled or made up.
func (l *loop) answered(from netip.AddrPort, h gtp.Header, result error) bool {
	k := askedKey{from.Addr(), h.Seq}
	r := l.asked[k]
	if r == nil || r.reply != h.Type {
		l.s.drop(countOrphan, from, nil, nil)
		return false
	}
	delete(l.asked, k)
	r.done(result)
	return true
}

// outcomeOf says whether the peer has let the session go.
func outcomeOf(m *gtp.DeleteBearerResponse) error {
	if m.Cause.Accepted() || m.Cause == gtp.CauseContextNotFound {
		return nil
	}
	return fmt.Errorf("gtpc: the peer refused to delete the bearer: %s", m.Cause)
}

// versionRefused ends a transaction with a peer that speaks another version.
func (l *loop) versionRefused(from netip.AddrPort, h gtp.Header) {
	k := askedKey{from.Addr(), h.Seq}
	r := l.asked[k]
	if r == nil {
		l.s.drop(countOrphan, from, nil, nil)
		return
	}
	delete(l.asked, k)
	l.s.counts.add(countVersionRefused, func() { l.s.log.Warn("peer does not speak GTPv2", "peer", from) })
	r.done(ErrPeerVersion)
}

// abandon ends what is still asked when the loop is over.
func (l *loop) abandon() {
	for k, r := range l.asked {
		delete(l.asked, k)
		r.done(ErrNotServing)
	}
}
