// Package pathchoice decides which of a terminal's two paths, the carrier's and the
// fallback, carries what is sent to it, and when the other one is let go of.
//
// The newest path on which the terminal sends data carries. That is for the terminal to
// choose, and it has chosen when it has sent: there is no other signal, none to be lost
// or forged. Probes and keepalives choose nothing, so that a terminal can keep a path
// warm, and look at it, without moving to it.
//
// Two things keep that from going wrong. Packets that were on their way when the
// terminal moved arrive later by the path that it has left: for a short time after a
// move data by that path says nothing. And a terminal whose two paths take turns, be it
// broken or hostile, must not have each turn written to the replicated log: a damper
// lets some moves pass at once, and then one in a while. While it holds, the session
// stays where it is; what comes up is taken from either path all the same, and the next
// report after the damper has let go moves it.
//
// The package is pure: it is told the time, and decides.
package pathchoice

import "time"

// Config is what a Chooser decides by. The zero value has the defaults.
type Config struct {
	// Burst is how many moves of a session pass at once, 4 unless set; Every is the
	// time in which it gains another, 5 s unless set.
	Burst int
	Every time.Duration
	// HoldDown is how long after a move data by the path that was left says nothing,
	// 2 s unless set.
	HoldDown time.Duration
}

// Verdict is what follows from data that came by the path that isn't the active one.
type Verdict uint8

const (
	// Move: the path becomes the active one.
	Move Verdict = iota + 1
	// Late: it was on its way when the terminal moved.
	Late
	// Damped: the session has moved too often.
	Damped
)

// Chooser decides for the sessions that one gateway address serves. It remembers
// those alone that have moved within the last Burst times Every. It isn't safe for
// concurrent use.
type Chooser struct {
	cfg   Config
	moves map[uint64]moved
	swept time.Time
}

// moved is what is remembered of a session: the damper is the generic cell rate
// algorithm, which needs one time.
type moved struct {
	full time.Time // when all moves are to be had again
	last time.Time
}

// New makes a Chooser that remembers nothing: who takes a gateway address over begins
// anew.
func New(cfg Config) *Chooser {
	if cfg.Burst == 0 {
		cfg.Burst = 4
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.HoldDown == 0 {
		cfg.HoldDown = 2 * time.Second
	}
	return &Chooser{cfg: cfg, moves: map[uint64]moved{}}
}

// Heard tells what follows from data of a session by the path that isn't the active
// one. It changes nothing: a move counts when it is made, see Moved.
func (c *Chooser) Heard(now time.Time, session uint64) Verdict {
	m, ok := c.moves[session]
	switch {
	case !ok:
		return Move
	case now.Sub(m.last) < c.cfg.HoldDown:
		return Late
	case m.full.Sub(now) > time.Duration(c.cfg.Burst-1)*c.cfg.Every:
		return Damped
	}
	return Move
}

// Moved notes that a session's other path has become the active one.
func (c *Chooser) Moved(now time.Time, session uint64) {
	c.sweep(now)
	m := c.moves[session]
	if m.full.Before(now) {
		m.full = now
	}
	// Moves that others decided on may be more than pass here.
	most := now.Add(time.Duration(c.cfg.Burst) * c.cfg.Every)
	if m.full = m.full.Add(c.cfg.Every); m.full.After(most) {
		m.full = most
	}
	m.last = now
	c.moves[session] = m
}

// sweep forgets sessions of which nothing is worth remembering, from time to time.
func (c *Chooser) sweep(now time.Time) {
	if now.Sub(c.swept) < c.cfg.Every {
		return
	}
	c.swept = now
	for id, m := range c.moves {
		if !m.full.After(now) && now.Sub(m.last) >= c.cfg.HoldDown {
			delete(c.moves, id)
		}
	}
}

// Remembered is how many sessions there is something to remember of.
func (c *Chooser) Remembered() int { return len(c.moves) }

// LetGo tells whether a session's other path, the one that isn't active, is let go of:
// nothing was heard by it, neither data nor a probe, for the grace time. since is when
// it ceased to be the active one, or this node began to listen: what was before that
// can't have been heard. A terminal that goes on probing the path keeps it, and so
// finds it ready when it comes back.
func LetGo(now, heard, since time.Time, grace time.Duration) bool {
	if since.After(heard) {
		heard = since
	}
	return now.Sub(heard) >= grace
}
