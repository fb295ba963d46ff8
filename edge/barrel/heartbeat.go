package barrel

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// kindBarrel is the kind of decision about barrels in the audit chain.
const kindBarrel = "barrel"

// locksWithHeartbeat bounds the locks that an answer carries; the others are
// pushed, or come with the next one.
const locksWithHeartbeat = 4

// heartbeat is POST /hb (sealuse step 2). Whether the barrel is bound is looked
// up every time, and what was locked or revoked anywhere before counts: a barrel
// that was checked in, or turns up at another terminal's address, has no lease
// from then on.
func (s *Server) heartbeat(ctx context.Context, a *association, payload []byte) (any, error) {
	now := time.Now()
	var hb wire.Heartbeat
	if err := wire.UnmarshalCBOR(payload, &hb); err != nil {
		return nil, badRequest(err)
	}
	if !s.cfg.Leading() || s.cfg.Cluster.ReadIndex(ctx) != nil {
		p := wire.NewProblem(wire.CodeNoQuorum, "This node gives no leases.")
		p.RetryAfterSeconds = sealuse.RetrySeconds
		return nil, p
	}
	var (
		answer   wire.HeartbeatAnswer
		refusal  *wire.Problem
		imsi     string
		counter  uint64
		open     bool // the barrel has a use that isn't settled
		revision uint64
	)
	s.cfg.Cluster.View(func(m *state.Machine) {
		b, session := m.Barrel(a.id.barrel), m.SessionByAddress(a.from.Addr())
		imsi, counter, revision = session.GetImsi(), b.GetGrantCounter(), m.PolicyRevision()
		refusal = bound(a.id, b, session)
		open = m.OpenUseOfBarrel(a.id.barrel) != nil
		answer.Time = sealuse.Later(now, m.Clock()).UnixMilli()
		for _, l := range m.PendingLocks() {
			if l.Barrel == a.id.barrel && !l.BarrelAcked && len(answer.Locks) < locksWithHeartbeat && !s.isCarriedOut(l.Id) {
				answer.Locks = append(answer.Locks, lockOrder(l))
			}
		}
	})
	s.admitted(a, imsi, refusal, revision)
	if refusal != nil {
		s.leases.drop(a.id.barrel)
		return nil, refusal
	}
	switch {
	case hb.Counter > counter && a.alarmOnce():
		s.alarm(a, kindBarrel, fmt.Sprintf("barrel %s has seen grant counter %d, but the ledger gave at most %d", a.id.barrel, hb.Counter, counter))
	case hb.Counter < counter && !open && a.alarmOnce():
		// It signed for the last grant, and so had taken its counter as used: it has
		// lost its memory, or is another one, and may obey old grants again.
		s.alarm(a, kindBarrel, fmt.Sprintf("barrel %s has settled grant counter %d, and says now that it has seen %d at most", a.id.barrel, counter, hb.Counter))
	}
	// A barrel that was tampered with hears of its locks, but isn't there to be
	// used.
	if hb.State == wire.BarrelTampered {
		s.leases.drop(a.id.barrel)
		return answer, nil
	}
	s.leases.renew(a.id.barrel, now)
	answer.LeaseMillis = uint32(s.cfg.Lease.Milliseconds())
	return answer, nil
}

// bound decides whether a barrel is where it belongs: with the terminal that it
// is checked out with, whose session holds the source address.
func bound(id identity, b *command.Barrel, session *command.Session) *wire.Problem {
	switch {
	case !id.holds(b):
		return wire.NewProblem(wire.CodeBarrelRevoked, "")
	case session == nil:
		return wire.NewProblem(wire.CodeTerminalUnknown, "")
	case b.CheckedOutTo == "" || b.CheckedOutTo != session.Imsi:
		return wire.NewProblem(wire.CodeBarrelNotBound, "")
	}
	return nil
}

// admitted records how a barrel's heartbeats are judged, when that changes.
func (s *Server) admitted(a *association, imsi string, refusal *wire.Problem, revision uint64) {
	verdict, code := "ok", ""
	if refusal != nil {
		code = string(refusal.Code)
		verdict = code
	}
	a.mu.Lock()
	before := a.admission
	a.admission = verdict
	a.mu.Unlock()
	if verdict == before {
		return
	}
	s.log.Info("heartbeats of a barrel", "barrel", a.id.barrel, "from", a.from, "verdict", verdict)
	s.decided(command.New(clientID(a.id.barrel), "", clientID(a.id.barrel), &command.RecordDecision{
		Kind: kindBarrel, Subject: "heartbeat at " + a.from.Addr().String() + " terminal " + imsi,
		Allowed: refusal == nil, Code: code, PolicyRevision: revision,
	}))
}

func (a *association) alarmOnce() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.alarmed
	a.alarmed = true
	return first
}

// alarm is what administrators must hear of.
func (s *Server) alarm(a *association, kind, what string) {
	s.log.Warn("alarm", "kind", kind, "barrel", a.id.barrel, "what", what)
	if !a.events.Allow() {
		s.counts.add("drop-decision")
		return
	}
	s.decided(command.New(clientID(a.id.barrel), "", clientID(a.id.barrel), &command.RecordDecision{
		Kind: kind, Subject: "alarm", Code: string(wire.CodeInternal), Reasons: []string{plain(what)},
	}))
}

// plain makes a text of a barrel fit for a command: valid UTF-8 without control
// characters.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
