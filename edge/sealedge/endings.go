package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// endings tells apart who ended a GTP path. The carrier is told of an ending
// with a Delete Bearer Request (TS 29.274 7.2.9.2) unless it asked for it
// itself, or has made the session anew: its own request is its knowledge.
// What the carrier asks for passes through here on its way to the log.
type endings struct {
	proposer

	mu    sync.Mutex
	known map[uint32]time.Time // guarded by mu: local control TEIDs whose ending the carrier asked for
}

// rememberEnding bounds how long an ending that never came to be is remembered.
const rememberEnding = time.Minute

func newEndings(p proposer) *endings { return &endings{proposer: p, known: map[uint32]time.Time{}} }

// Propose notes what the carrier asks to end, and proposes it. It notes before:
// the tunnels follow the log, and may see the ending sooner than the proposer
// its result.
func (e *endings) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	ends := e.endedBy(c)
	for _, teid := range ends {
		e.note(teid)
	}
	r, err := e.proposer.Propose(ctx, c)
	if errors.Is(err, command.ErrNoQuorum) || err == nil && r.Code != command.Code_OK {
		for _, teid := range ends { // nothing ended
			e.take(teid)
		}
	}
	return r, err
}

// endedBy lists the local control TEIDs of the GTP paths that a command is going
// to end. Those that an OpenSession replaces within its own session need no
// mention, see tunnels.put.
func (e *endings) endedBy(c *command.Command) (teids []uint32) {
	switch c.Type {
	case command.Type_CLOSE_PATH:
		p := new(command.ClosePath)
		if proto.Unmarshal(c.Payload, p) == nil && p.LocalTeidC != 0 {
			teids = append(teids, p.LocalTeidC)
		}
	case command.Type_RELEASE_PATHS:
		// What a peer has lost it need not be told of.
		p := new(command.ReleasePaths)
		if proto.Unmarshal(c.Payload, p) != nil {
			return nil
		}
		e.View(func(m *state.Machine) {
			lost, _ := m.Lost(p)
			for _, s := range lost {
				teids = append(teids, s.Gtp.LocalTeidC)
			}
		})
	case command.Type_OPEN_SESSION:
		p := new(command.OpenSession)
		if proto.Unmarshal(c.Payload, p) != nil {
			return nil
		}
		e.View(func(m *state.Machine) {
			for s := range m.SessionsByIMSI(p.Imsi) {
				if s.Gtp != nil && s.Apn != p.Apn && s.Gtp.Ebi == p.Gtp.GetEbi() {
					teids = append(teids, s.Gtp.LocalTeidC)
				}
			}
		})
	}
	return teids
}

func (e *endings) note(teid uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for t, at := range e.known {
		if time.Since(at) > rememberEnding {
			delete(e.known, t)
		}
	}
	e.known[teid] = time.Now()
}

// take tells whether the carrier asked for this ending, and forgets it.
func (e *endings) take(teid uint32) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.known[teid]
	delete(e.known, teid)
	return ok
}

// tellCarrier has the carrier drop a GTP path that ended here. Only the holder
// of the session's address can. It must not block: it is called with the tunnels
// locked.
func (g *gateway) tellCarrier(was *command.Session) {
	f := g.faceOf(was)
	ours := !g.endings.take(was.Gtp.LocalTeidC) && f.lease.Held()
	g.departures.down(was.Id, ours)
	if !ours {
		return
	}
	f.paths.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // T3 times N3 is shorter
		defer cancel()
		err := f.control.DeleteSession(ctx, was)
		g.departures.answered(was.Id, err)
		switch {
		case errors.Is(err, gtpc.ErrNotServing):
		case err != nil:
			g.log.Warn("carrier not told of a session's end; its next packet will tell it", "session", was.Id, "err", err)
		default:
			g.log.Info("carrier told of a session's end", "session", was.Id)
		}
	})
}
