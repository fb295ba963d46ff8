package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/pathchoice"
	"github.com/sealedge/sealedge/policy"
)

// proposer is the replicated log; *cluster.Node is.
type proposer interface {
	viewer
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
}

// paths turns what the planes notice into commands: a terminal that came to the
// other path, one that is heard from elsewhere, a tunnel whose far end is gone. Only
// the holder of the gateway address notices anything.
type paths struct {
	cluster proposer
	rules   func() *policy.Rules
	gateway string // name of the gateway address
	log     *slog.Logger
	now     func() time.Time

	work sync.WaitGroup
	slot chan struct{} // bounds the proposals under way

	mu      sync.Mutex
	choice  *pathchoice.Chooser  // guarded by mu
	refused map[[32]byte]refusal // guarded by mu: by WireGuard key, at most one a listed terminal
	places  map[uint64]place     // guarded by mu: by session, where it was heard from lately

	count pathCounts
}

// pathCounts counts what became of what was noticed.
type pathCounts struct{ moves, late, damped, dropped, roams, released atomic.Uint64 }

// place is where a session is heard from outside, on the fallback path.
type place struct {
	key  [32]byte
	from netip.AddrPort
	told time.Time // when it was last put on record
	news bool      // it isn't yet
}

// step is what is to be done about something that was noticed.
type step struct {
	what    string
	command *command.Command
	done    func(*command.Result) // hears that it was carried out; may be nil
}

// proposeTime bounds a proposal that nobody waits for; what it was about is
// noticed again.
const proposeTime = 5 * time.Second

func newPaths(c proposer, rules func() *policy.Rules, gateway string, log *slog.Logger) *paths {
	return &paths{
		cluster: c, rules: rules, gateway: gateway, log: log, now: time.Now, slot: make(chan struct{}, 64),
		choice: pathchoice.New(pathchoice.Config{}), refused: map[[32]byte]refusal{}, places: map[uint64]place{},
	}
}

// propose proposes without keeping the packet path waiting. When too many are
// under way the event is dropped: it will be noticed again.
func (p *paths) propose(build func() *step) {
	select {
	case p.slot <- struct{}{}:
	default:
		p.count.dropped.Add(1)
		return
	}
	p.work.Go(func() {
		defer func() { <-p.slot }()
		s := build()
		if s == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), proposeTime)
		defer cancel()
		r, err := p.cluster.Propose(ctx, s.command)
		switch {
		case err != nil:
			p.log.Warn(s.what+": not committed", "err", err)
		case r.Code != command.Code_OK:
			p.log.Info(s.what+": not done", "code", r.Code, "why", r.Message)
		default:
			p.log.Info(s.what)
			if s.done != nil {
				s.done(r)
			}
		}
	})
}

// wait returns when no proposal is under way.
func (p *paths) wait() { p.work.Wait() }

// tunnelLost follows an Error Indication: the peer has no tunnel for the
// session any more, so it has lost the bearer (TS 23.007 21). teid is our
// end of the tunnel: the indication may be older than the session's path.
func (p *paths) tunnelLost(session uint64, teid uint32) {
	p.propose(func() *step {
		var s *command.Session
		p.cluster.View(func(m *state.Machine) { s = m.Session(session) })
		if s.GetGtp() == nil || s.Gtp.LocalTeidU != teid {
			return nil
		}
		return &step{what: "carrier has lost a tunnel", command: command.New("paths", "", "gtp-u", &command.ClosePath{
			Session: session, Path: command.PathKind_GTP, LocalTeidC: s.Gtp.LocalTeidC, Reason: "error indication from the peer",
		})}
	})
}

// backOnCarrier follows uplink packets through the carrier while the fallback
// is the active path.
func (p *paths) backOnCarrier(session uint64) {
	p.propose(func() *step {
		var s *command.Session
		p.cluster.View(func(m *state.Machine) { s = m.Session(session) })
		if s.GetGtp() == nil || s.Active == command.PathKind_GTP {
			return nil
		}
		return p.move(s, command.PathKind_GTP, "gtp-u")
	})
}

// move makes a path the active one that a session has, if it hasn't moved too often.
func (p *paths) move(s *command.Session, to command.PathKind, actor string) *step {
	if !p.mayMove(s.Id) {
		return nil
	}
	return &step{
		"terminal is on its other path",
		command.New("paths", "", actor, &command.SelectPath{Session: s.Id, Path: to}),
		func(*command.Result) { p.moved(s.Id) },
	}
}

// mayMove asks whether data by the path that isn't the active one moves a session.
func (p *paths) mayMove(session uint64) bool {
	p.mu.Lock()
	verdict := p.choice.Heard(p.now(), session)
	p.mu.Unlock()
	switch verdict {
	case pathchoice.Late:
		p.count.late.Add(1)
	case pathchoice.Damped:
		p.count.damped.Add(1)
		p.log.Debug("terminal goes to and fro between its paths; it stays where it is for now", "session", session)
	}
	return verdict == pathchoice.Move
}

func (p *paths) moved(session uint64) {
	p.count.moves.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choice.Moved(p.now(), session)
}

// Counters returns how often sessions moved between their paths, how often they
// didn't because the packet was late or the damper held, and what else was done.
func (p *paths) Counters() map[string]uint64 {
	c := &p.count
	return map[string]uint64{
		"moves": c.moves.Load(), "late": c.late.Load(), "damped": c.damped.Load(), "dropped": c.dropped.Load(),
		"roams": c.roams.Load(), "released": c.released.Load(),
	}
}
