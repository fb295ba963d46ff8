package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/command"
)

// endings tells apart who ended a GTP path. The carrier is told of an ending
// with a Delete Bearer Request (TS 29.274 7.2.9.2) unless it asked for it
// itself, or has made the session anew: its own request is its knowledge.
// What the carrier asks for passes through here on its way to the log.
type endings struct {
	*cluster.Node

	mu    sync.Mutex
	known map[uint32]time.Time // guarded by mu: local control TEIDs whose ending the carrier asked for
}

// rememberEnding bounds how long an ending that never came to be is remembered.
const rememberEnding = time.Minute

func newEndings(n *cluster.Node) *endings { return &endings{Node: n, known: map[uint32]time.Time{}} }

// Propose notes what the carrier asks to end, and proposes it.
func (e *endings) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if c.Type == command.Type_CLOSE_PATH {
		p := new(command.ClosePath)
		if proto.Unmarshal(c.Payload, p) == nil && p.LocalTeidC != 0 {
			e.note(p.LocalTeidC)
		}
	}
	r, err := e.Node.Propose(ctx, c)
	if err == nil && r.Code == command.Code_OK && c.Type == command.Type_OPEN_SESSION {
		opened := new(command.Opened)
		if proto.Unmarshal(r.Payload, opened) == nil {
			for _, was := range opened.Replaced {
				e.note(was.GetGtp().GetLocalTeidC())
			}
		}
	}
	return r, err
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
// of the gateway address can. It must not block: it is called with the tunnels
// locked.
func (g *gateway) tellCarrier(was *command.Session) {
	if g.endings.take(was.Gtp.LocalTeidC) || !g.node.Holds() {
		return
	}
	g.paths.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // T3 times N3 is shorter
		defer cancel()
		err := g.control.DeleteSession(ctx, was)
		switch {
		case errors.Is(err, gtpc.ErrNotServing):
		case err != nil:
			g.log.Warn("carrier not told of a session's end; its next packet will tell it", "session", was.Id, "err", err)
		default:
			g.log.Info("carrier told of a session's end", "session", was.Id)
		}
	})
}
