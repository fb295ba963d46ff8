package phoneapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

const (
	resendLock = 3 * time.Second  // until the terminal acknowledges it
	keepAlive  = 15 * time.Second // between comments on a silent stream
	maxStreams = 4                // of one terminal; the oldest makes room
)

// streams are the event streams that are open on this node.
type streams struct {
	mu sync.Mutex
	by map[string][]*stream // by IMSI, the oldest first; guarded by mu
}

// stream is one terminal's open GET /v1/events.
type stream struct {
	locks chan *command.Lock // to be sent now; what doesn't fit is sent again anyway
	end   context.CancelFunc
}

func newStreams() *streams { return &streams{by: make(map[string][]*stream)} }

func (h *streams) open(imsi string, end context.CancelFunc) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := &stream{locks: make(chan *command.Lock, 8), end: end}
	open := append(h.by[imsi], st)
	if len(open) > maxStreams {
		open[0].end()
		open = open[1:]
	}
	h.by[imsi] = open
	return st
}

func (h *streams) close(imsi string, st *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := slices.DeleteFunc(h.by[imsi], func(o *stream) bool { return o == st })
	if h.by[imsi] = left; len(left) == 0 {
		delete(h.by, imsi)
	}
}

func (h *streams) push(l *command.Lock) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, st := range h.by[l.Imsi] {
		select {
		case st.locks <- l:
		default:
		}
	}
}

// Push sends a lock to its terminal at once, if that listens here. It waits for
// nothing, least of all a quorum: a lock that is not in the log yet has the id
// 0. Whether it arrived is known by the acknowledgement only; until then the
// lock is sent again out of the state, by whichever node the terminal is at.
func (s *Server) Push(l *command.Lock) { s.streams.push(l) }

// dispatch pushes locks as they come into the state here, until ctx ends.
func (s *Server) dispatch(ctx context.Context) error {
	seen := make(map[uint64]bool)
	for {
		changed := s.cfg.Cluster.Changed()
		var pending []*command.Lock
		s.cfg.Cluster.View(func(m *state.Machine) { pending = m.PendingLocks() })
		still := make(map[uint64]bool, len(pending))
		for _, l := range pending {
			still[l.Id] = true
			if !seen[l.Id] && !l.TerminalAcked {
				s.Push(l)
			}
		}
		seen = still
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// events is GET /v1/events: server-sent events (WHATWG HTML 9.2), for as long
// as the terminal has its session.
func (s *Server) events(c *call) error {
	ctx, end := context.WithCancel(c.r.Context())
	defer end()
	st := s.streams.open(c.imsi(), end)
	defer s.streams.close(c.imsi(), st)

	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	out := &eventWriter{c: c, rc: http.NewResponseController(c.w)}
	_ = out.rc.SetReadDeadline(time.Time{}) // nothing more is read
	out.write(": sealedge\n\n")

	resend := time.NewTicker(resendLock)
	defer resend.Stop()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	s.resend(c, out)
	for out.err == nil {
		select {
		case <-ctx.Done():
			return nil
		case l := <-st.locks:
			out.lock(l)
		case <-resend.C:
			if now, ok := s.lookup(c.from); !ok || now.session.Id != c.session.Id {
				return nil
			}
			s.resend(c, out)
		case <-alive.C:
			out.write(": alive\n\n")
		}
	}
	return nil
}

// resend sends every lock that this terminal has not acknowledged.
func (s *Server) resend(c *call, out *eventWriter) {
	var pending []*command.Lock
	s.cfg.Cluster.View(func(m *state.Machine) { pending = sealuse.LocksFor(m, c.imsi()) })
	for _, l := range pending {
		out.lock(l)
	}
}

// eventWriter writes events; its first error ends the stream.
type eventWriter struct {
	c   *call
	rc  *http.ResponseController
	err error
}

func (e *eventWriter) lock(l *command.Lock) {
	event := sealuse.LockEvent(l)
	if event.Created.IsZero() { // pushed before it is in the log
		event.Created = time.Now().UTC()
	}
	b, err := json.Marshal(event)
	if err != nil {
		e.err = err
		return
	}
	e.write(fmt.Sprintf("event: %s\nid: %d\ndata: %s\n\n", wire.EventLock, l.Id, b))
}

func (e *eventWriter) write(text string) {
	if e.err != nil {
		return
	}
	_ = e.rc.SetWriteDeadline(time.Now().Add(stallTimeout))
	if _, e.err = e.c.w.Write([]byte(text)); e.err == nil {
		e.err = e.rc.Flush()
	}
}

// acknowledge is POST /v1/locks/{lock}/ack.
func (s *Server) acknowledge(c *call) error {
	id, err := c.number("lock", 64)
	if err != nil {
		return err
	}
	var cmd *command.Command
	var refusal *wire.Problem
	var use *command.Use
	s.cfg.Cluster.View(func(m *state.Machine) {
		cmd, refusal = sealuse.Acknowledge(m, c.imsi(), id)
		use = m.Use(m.Lock(id).GetUse())
	})
	if refusal != nil {
		return refusal
	}
	if use != nil {
		s.begin(c, spanAcknowledge, use)
	}
	res, err := s.cfg.Cluster.Propose(c.r.Context(), cmd)
	if err != nil {
		return err
	}
	if p := sealuse.FromResult(res); p != nil {
		return p
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
