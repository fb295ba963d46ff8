package barrel

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/wire"
)

const (
	// lookAgain is how often locks that were not acknowledged are sent again,
	// besides the repetitions of CoAP's own.
	lookAgain = time.Second
	// settleTime is how long Run lets changes of the state gather.
	settleTime = 20 * time.Millisecond
	// revokedGrace is how long a revoked barrel is kept connected to take its
	// lock. Its lease is gone at once.
	revokedGrace   = 5 * time.Second
	proposeTimeout = 2 * time.Second
)

// Run does what no message asks for, until ctx ends: it sends the locks of the
// state, cuts barrels off that were revoked or got another identity, notes
// locks that were carried out, and records decisions.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.acknowledge(ctx) })
	g.Go(func() error { return s.recordDecisions(ctx) })
	return g.Wait()
}

// watch looks at the state whenever it changed, and each second.
func (s *Server) watch(ctx context.Context) error {
	revoked := make(map[*association]time.Time) // since when
	for {
		changed := s.cfg.Cluster.Changed()
		s.review(revoked, time.Now())
		if !pause(ctx, settleTime) {
			return nil
		}
		again := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case <-changed:
			again.Stop()
		case <-again.C:
		}
	}
}

// review compares the associations with the state.
func (s *Server) review(revoked map[*association]time.Time, now time.Time) {
	all := s.associations()
	pending := make(map[string][]*command.Lock)
	gone := make(map[*association]bool)
	s.cfg.Cluster.View(func(m *state.Machine) {
		for _, l := range m.PendingLocks() {
			if !l.BarrelAcked {
				pending[l.Barrel] = append(pending[l.Barrel], l)
			}
		}
		for _, a := range all {
			gone[a] = !a.id.holds(m.Barrel(a.id.barrel))
		}
	})
	for _, a := range all {
		if gone[a] {
			if _, known := revoked[a]; !known {
				revoked[a] = now
				a.revoke()
				s.log.Warn("barrel is revoked, suspended or has another identity now", "barrel", a.id.barrel, "from", a.from)
			}
			s.leases.drop(a.id.barrel)
		}
		due := 0
		for _, l := range pending[a.id.barrel] {
			if !s.isCarriedOut(l.Id) {
				due++
				a.push(l)
			}
		}
		if since, is := revoked[a]; is && (due == 0 || now.Sub(since) >= revokedGrace) {
			a.cut("the barrel is revoked, suspended or has another identity now")
		}
	}
	for a := range revoked {
		if !slices.Contains(all, a) {
			delete(revoked, a)
		}
	}
}

func (a *association) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revoked = true
}

func (a *association) isRevoked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.revoked
}

// lockOrder is a lock as the barrel is told of it.
func lockOrder(l *command.Lock) wire.LockOrder {
	return wire.LockOrder{ID: l.Id, Use: l.Use, Reason: clip(l.Reason), Order: l.Order, Counter: l.GrantCounter}
}

// clip keeps what people wrote short enough for a datagram.
func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// noteCarriedOut remembers that a barrel carried a lock out until the state has
// it, so that it isn't sent again meanwhile. A lock that was pushed before it
// had an id can't be noted: it comes again with one.
func (s *Server) noteCarriedOut(barrel string, lock uint64) {
	s.mu.Lock()
	s.lockedAt[barrel] = time.Now()
	if lock == 0 {
		s.mu.Unlock()
		return
	}
	s.carriedOut[lock] = barrel
	s.mu.Unlock()
	select {
	case s.acks <- struct{}{}:
	default:
	}
}

// Locked is when a barrel last said here that it carried a lock out; the zero time
// if it never did. Also a lock counts that was pushed before it was recorded.
func (s *Server) Locked(barrel string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lockedAt[barrel]
}

// Lease is for how long a barrel may stay unlocked after its last heartbeat.
func (s *Server) Lease() time.Duration { return s.cfg.Lease }

func (s *Server) isCarriedOut(lock uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.carriedOut[lock]
	return is
}

// acknowledge proposes to note the locks that were carried out, until all are.
func (s *Server) acknowledge(ctx context.Context) error {
	for {
		left := false
		for lock, barrel := range s.unnoted() {
			p, cancel := context.WithTimeout(ctx, proposeTimeout)
			_, err := s.cfg.Cluster.Propose(p, ackLock(barrel, lock))
			cancel()
			if err != nil {
				left = true
				s.log.Warn("a lock was carried out, but that is not recorded yet", "lock", lock, "barrel", barrel, "err", err)
			} else {
				s.mu.Lock()
				delete(s.carriedOut, lock)
				s.mu.Unlock()
			}
		}
		var again <-chan time.Time
		if left {
			again = time.After(lookAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.acks:
		case <-again:
		}
	}
}

// unnoted are the locks that were carried out and are not known in the state.
func (s *Server) unnoted() map[uint64]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[uint64]string, len(s.carriedOut))
	for lock, barrel := range s.carriedOut {
		out[lock] = barrel
	}
	return out
}

func ackLock(barrel string, lock uint64) *command.Command {
	return command.New(clientID(barrel), "", clientID(barrel), &command.AckLock{Lock: lock, Barrel: true})
}

func clientID(barrel string) string { return "barrel:" + barrel }

// decided takes a decision in for the audit chain, without waiting.
func (s *Server) decided(c *command.Command) {
	select {
	case s.record <- c:
	default:
		s.counts.add("drop-decision")
	}
}

// recordDecisions proposes what was taken in. A decision that finds no quorum
// is tried again for as long as the queue can hold what comes behind it.
func (s *Server) recordDecisions(ctx context.Context) error {
	for {
		var c *command.Command
		select {
		case <-ctx.Done():
			return nil
		case c = <-s.record:
		}
		for !s.recorded(ctx, c) && len(s.record) < cap(s.record) {
			if !pause(ctx, lookAgain) {
				return nil
			}
		}
	}
}

func (s *Server) recorded(ctx context.Context, c *command.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if _, err := s.cfg.Cluster.Propose(ctx, c); err != nil {
		s.log.Warn("decision not recorded yet", "err", err)
		return false
	}
	return true
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
