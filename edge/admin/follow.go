package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

const (
	roundEvery  = 200 * time.Millisecond
	aliveEvery  = 2 * time.Second  // which barrels hold a live lease isn't in the log
	askEvery    = 5 * time.Second  // whether the node sees the others, and the caller may still watch
	sayEvery    = 15 * time.Second // something, so that everybody knows that the other is there
	watchAtMost = time.Hour        // then the client comes back, with a new handshake
)

// follower tells one client what happens.
type follower struct {
	server  *Server
	request *http.Request
	out     *events
	kinds   []string
	at      uint64 // sequence number of the audit chain up to which all was told
	resumed bool   // at is the client's, who knows what was before
	stale   bool
	alive   map[string]bool // barrels, as they were told
	said    time.Time
}

func (f *follower) wants(kind string) bool { return slices.Contains(f.kinds, kind) }

// run goes on until the client is gone or refused, the server ends, or it is time
// for another handshake.
func (f *follower) run() {
	if f.out.begin() != nil {
		return
	}
	end := time.NewTimer(watchAtMost)
	look, alive, ask := time.NewTicker(roundEvery), time.NewTicker(aliveEvery), time.NewTicker(askEvery)
	defer func() { end.Stop(); look.Stop(); alive.Stop(); ask.Stop() }()
	err := f.begin()
	for err == nil {
		select {
		case <-f.request.Context().Done():
			return
		case <-f.server.ending:
			return
		case <-end.C:
			return
		case <-look.C:
			err = f.look()
		case <-alive.C:
			err = f.livenesses()
		case <-ask.C:
			err = f.ask()
		}
		if now := time.Now(); err == nil && now.Sub(f.said) >= sayEvery {
			f.said, err = now, f.out.comment()
		}
	}
	f.server.cfg.Logger.Debug("a watch is over", "err", err)
}

// begin tells everything, or what came after the last round that the client has.
func (f *follower) begin() error {
	if !f.resumed {
		f.server.cfg.Cluster.View(func(m *state.Machine) { f.at, _ = m.AuditHead() })
		return f.everything()
	}
	if f.wants(adminapi.WatchBarrels) {
		// What was told of leases is not known any more, so all barrels are told.
		f.alive = map[string]bool{}
	}
	return errors.Join(f.look(), f.livenesses())
}

// everything tells all records, as they are at one place in the chain. Audit
// entries up to there that weren't told are told as well.
func (f *follower) everything() error {
	var records []any
	var head uint64
	f.server.cfg.Cluster.View(func(m *state.Machine) {
		head, _ = m.AuditHead()
		if f.wants(adminapi.WatchSessions) {
			for s := range m.Sessions() {
				records = append(records, s)
			}
		}
		if f.wants(adminapi.WatchUses) {
			for u := range m.Uses() {
				records = append(records, u)
			}
		}
		if f.wants(adminapi.WatchBarrels) {
			for b := range m.Barrels() {
				records = append(records, b)
			}
		}
	})
	f.alive = map[string]bool{}
	if f.wants(adminapi.WatchSessions) || f.wants(adminapi.WatchUses) || f.wants(adminapi.WatchBarrels) {
		if err := f.out.send(adminapi.EventReset, "", struct{}{}); err != nil {
			return err
		}
	}
	return f.tell(records, head)
}

// ended is a session that is there no more.
type ended uint64

// look tells what changed since the last time.
func (f *follower) look() error {
	var head uint64
	var records []any
	known := true
	f.server.cfg.Cluster.View(func(m *state.Machine) {
		if head, _ = m.AuditHead(); head == f.at {
			return
		}
		var changes []state.Touched
		changes, known = m.TouchedSince(f.at)
		for _, c := range changes {
			if r := f.changed(m, c); r != nil {
				records = append(records, r)
			}
		}
	})
	switch {
	case head == f.at && !f.resumed:
		return nil
	case !known && head < f.at:
		return f.overtaken(head)
	case !known:
		return f.everything()
	}
	return f.tell(records, head)
}

// changed is the record that a change is of; nil: the client didn't ask for it.
func (f *follower) changed(m *state.Machine, c state.Touched) any {
	switch {
	case c.Kind == state.SessionRecord && f.wants(adminapi.WatchSessions):
		if s := m.Session(c.ID); s != nil {
			return s
		}
		return ended(c.ID)
	case c.Kind == state.UseRecord && f.wants(adminapi.WatchUses):
		return m.Use(c.ID)
	case c.Kind == state.BarrelRecord && f.wants(adminapi.WatchBarrels):
		return m.Barrel(c.Name)
	}
	return nil
}

// overtaken waits for a node that is behind the one that the client watched before.
func (f *follower) overtaken(head uint64) error {
	if f.server.linearize(f.request) != nil {
		return f.say(true)
	}
	var now uint64
	f.server.cfg.Cluster.View(func(m *state.Machine) { now, _ = m.AuditHead() })
	if now >= f.at || now > head {
		return nil // it is catching up
	}
	// The id is of another cluster, or of what a restore has lost.
	f.at = now
	return f.everything()
}

// tell sends records, the audit entries up to head, and that this is all.
func (f *follower) tell(records []any, head uint64) error {
	for _, r := range records {
		if err := f.record(r); err != nil {
			return err
		}
	}
	if f.wants(adminapi.WatchAudit) {
		if err := f.audit(head); err != nil {
			return err
		}
	}
	return f.round(head)
}

// round tells that all up to head was told.
func (f *follower) round(head uint64) error {
	f.at, f.resumed, f.said = head, false, time.Now()
	if err := f.out.send(adminapi.EventAt, strconv.FormatUint(head, 10), adminapi.At{Sequence: head}); err != nil {
		return err
	}
	return f.out.flush()
}

func (f *follower) record(r any) error {
	switch r := r.(type) {
	case *command.Session:
		return f.out.send(adminapi.EventSession, "", adminapi.SessionOf(r))
	case ended:
		return f.out.send(adminapi.EventSessionEnded, "", adminapi.SessionEnded{ID: uint64(r)})
	case *command.Use:
		return f.out.send(adminapi.EventUse, "", adminapi.UseOf(r))
	case *command.Barrel:
		f.alive[r.Id] = f.server.cfg.Alive(r.Id)
		return f.out.send(adminapi.EventBarrel, "", adminapi.BarrelOf(r, f.alive[r.Id]))
	}
	return nil
}

// audit sends the entries up to head that weren't sent.
func (f *follower) audit(head uint64) error {
	if head <= f.at {
		return nil
	}
	err := f.server.cfg.Node.AuditRange(f.request.Context(), f.at+1, func(e *command.AuditEntry) error {
		if e.Sequence > head {
			return errHead
		}
		line, err := adminapi.AuditLineOf(e)
		if err != nil {
			return err
		}
		return f.out.send(adminapi.EventAudit, "", line)
	})
	if errors.Is(err, errHead) {
		return nil
	}
	return err
}

// livenesses tells the barrels whose lease began or ended.
func (f *follower) livenesses() error {
	if !f.wants(adminapi.WatchBarrels) || f.resumed {
		return nil
	}
	var changed []*command.Barrel
	f.server.cfg.Cluster.View(func(m *state.Machine) {
		for b := range m.Barrels() {
			if was, told := f.alive[b.Id]; !told || was != f.server.cfg.Alive(b.Id) {
				changed = append(changed, b)
			}
		}
	})
	for _, b := range changed {
		if err := f.record(b); err != nil {
			return err
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return f.round(f.at)
}

// ask sees whether the node still knows what happens, and the caller may still know
// it.
func (f *follower) ask() error {
	if _, p := f.server.authenticate(f.request); p != nil {
		return errors.Join(errOver, f.out.send(adminapi.EventEnd, "", p), f.out.flush())
	}
	ctx, cancel := context.WithTimeout(f.request.Context(), time.Second)
	defer cancel()
	return f.say(f.server.cfg.Cluster.ReadIndex(ctx) != nil)
}

// say tells when the node loses or finds the others.
func (f *follower) say(stale bool) error {
	if stale == f.stale {
		return nil
	}
	f.stale = stale
	event := adminapi.EventFresh
	if stale {
		event = adminapi.EventStale
	}
	if err := f.out.send(event, "", struct{}{}); err != nil {
		return err
	}
	return f.out.flush()
}
