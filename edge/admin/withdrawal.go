package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// Taking a device out of service is one person's and immediate: nothing is waited
// for before it is done. The answer waits a little for what comes of it, so that it
// can say how long that took.
const (
	// watchFor is for how long, unless ?wait= says otherwise.
	watchFor  = 2 * time.Second
	watchMost = 10 * time.Second
	lookEvery = 2 * time.Millisecond
)

func (s *Server) revokeTerminal(r *http.Request, c Caller) (any, *problem) {
	imsi := r.PathValue("imsi")
	return s.withdraw(r, c, s.barrelsOf(imsi), func(reason string) proto.Message { return &command.RevokeSubscriber{Imsi: imsi, Reason: reason} })
}

func (s *Server) suspendTerminal(r *http.Request, c Caller) (any, *problem) {
	imsi := r.PathValue("imsi")
	return s.withdraw(r, c, s.barrelsOf(imsi), func(reason string) proto.Message { return &command.SuspendDevice{Imsi: imsi, Reason: reason} })
}

func (s *Server) revokeBarrel(r *http.Request, c Caller) (any, *problem) {
	id := r.PathValue("id")
	return s.withdraw(r, c, []string{id}, func(reason string) proto.Message { return &command.RevokeBarrel{Id: id, Reason: reason} })
}

func (s *Server) suspendBarrel(r *http.Request, c Caller) (any, *problem) {
	id := r.PathValue("id")
	return s.withdraw(r, c, []string{id}, func(reason string) proto.Message { return &command.SuspendDevice{Barrel: id, Reason: reason} })
}

// barrelsOf are those in a terminal's custody. They are reached through it, so they
// are told while they can be: with the commit its sessions end.
func (s *Server) barrelsOf(imsi string) (barrels []string) {
	s.cfg.Cluster.View(func(m *state.Machine) {
		for b := range m.BarrelsOf(imsi) {
			barrels = append(barrels, b.Id)
		}
	})
	return barrels
}

// withdraw takes a device out of service, telling the barrels first.
func (s *Server) withdraw(r *http.Request, c Caller, barrels []string, cmd func(reason string) proto.Message) (any, *problem) {
	wait := watchFor
	if text := r.URL.Query().Get("wait"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > watchMost {
			return nil, badRequest(fmt.Errorf("wait: %q is no time from 0s to %s", text, watchMost))
		}
		wait = d
	}
	reason, p := reasonOf(r)
	if p != nil {
		return nil, p
	}
	w := &withdrawal{server: s, began: time.Now(), open: map[string]bool{}}
	for _, b := range barrels {
		s.pushFor(b, reason)
	}
	out := new(command.Revocation)
	if p := s.propose(r, c, cmd(reason), out); p != nil {
		return nil, p
	}
	w.what, w.answer = out, adminapi.Revoked{Sessions: []uint64{}, Uses: append([]uint64{}, out.Uses...), Locks: append([]uint64{}, out.Locks...)}
	w.answer.Timing.Committed = w.after(time.Now())
	for _, ses := range out.Sessions {
		w.answer.Sessions = append(w.answer.Sessions, ses.Id)
	}
	w.watch(r.Context(), wait)
	return w.answer, nil
}

// withdrawal follows what comes of one.
type withdrawal struct {
	server *Server
	began  time.Time
	what   *command.Revocation
	answer adminapi.Revoked
	open   map[string]bool // barrels that haven't locked, as far as is known
}

// after is a point in time in milliseconds since the request came.
func (w *withdrawal) after(t time.Time) float64 {
	return float64(t.Sub(w.began).Microseconds()) / 1000
}

// watch looks until all is done, or it has waited long enough.
func (w *withdrawal) watch(ctx context.Context, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !w.look() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.look()
			w.rest()
			return
		}
	}
	w.rest()
}

// look notes what is done. It is true when all is.
func (w *withdrawal) look() bool {
	locked, ended := w.locks(), w.sessions()
	return locked && ended
}

func (w *withdrawal) locks() bool {
	last := w.began
	clear(w.open)
	w.server.cfg.Cluster.View(func(m *state.Machine) {
		for _, id := range w.what.Locks {
			if l := m.Lock(id); l != nil && !l.BarrelAcked {
				w.open[l.Barrel] = true
			}
		}
	})
	if w.server.cfg.Locked != nil {
		for b := range w.open {
			// It was told before the commit: what it says then counts, also when the
			// record of the lock knows nothing of it.
			if at := w.server.cfg.Locked(b); at.After(w.began) {
				delete(w.open, b)
				last = later(last, at)
			}
		}
	}
	t := &w.answer.Timing
	if len(w.open) > 0 || len(w.what.Locks) == 0 || t.Locked != nil {
		return len(w.open) == 0
	}
	if last.Equal(w.began) {
		last = time.Now()
	}
	ms := w.after(last)
	t.Locked = &ms
	return true
}

// sessions notes the ends of sessions. Those that end at another node are that
// node's to know of.
func (w *withdrawal) sessions() bool {
	t := &w.answer.Timing
	if w.server.cfg.Departed == nil || len(w.what.Sessions) == 0 || t.TunnelsDown != nil && t.CarrierAnswered != nil {
		return true
	}
	var down, answered time.Time
	all, told := true, 0
	for _, ses := range w.what.Sessions {
		if w.elsewhere(ses) {
			continue
		}
		d := w.server.cfg.Departed(ses.Id)
		if d.Down.Before(w.began) { // not yet, or a path before
			return false
		}
		down = later(down, d.Down)
		if !d.Told {
			continue
		}
		told++
		if d.Err != "" {
			t.Carrier = d.Err
			continue
		}
		if d.Answered.IsZero() {
			all = false
		}
		answered = later(answered, d.Answered)
	}
	if !down.IsZero() {
		ms := w.after(down)
		t.TunnelsDown = &ms
	}
	if all && !answered.IsZero() {
		ms := w.after(answered)
		t.CarrierAnswered = &ms
	}
	return all
}

// elsewhere tells whether a session's tunnel ends at another node.
func (w *withdrawal) elsewhere(ses *command.Session) bool {
	var holder string
	w.server.cfg.Cluster.View(func(m *state.Machine) { holder = m.Address(ses.GatewayAddress).GetHolder() })
	if holder == "" || holder == w.server.cfg.Name {
		return false
	}
	if t := &w.answer.Timing; !slices.Contains(t.Elsewhere, holder) {
		t.Elsewhere = append(t.Elsewhere, holder)
	}
	return true
}

// rest tells what isn't done yet.
func (w *withdrawal) rest() {
	for b := range w.open {
		w.answer.Timing.Unlocked = append(w.answer.Timing.Unlocked, b)
	}
	slices.Sort(w.answer.Timing.Unlocked)
	if len(w.open) > 0 {
		w.answer.Timing.LeaseSeconds = w.server.cfg.Lease.Seconds()
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
