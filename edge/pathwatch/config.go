package pathwatch

import (
	"cmp"
	"time"
)

// Config tunes a watcher. What is zero has the value in brackets, which is what the
// rules speak of.
type Config struct {
	InUse   time.Duration // between probes while in use [1 s]
	Idle    time.Duration // otherwise [15 s]; well below the gateway's grace for a path, 2 minutes
	Standby time.Duration // between probes of what isn't selected, in use, or is lost [5 s]
	Timeout time.Duration // of an answer [1 s]
	Losses  int           // unanswered probes in a row that make a path lost [3]

	Hold    time.Duration // without a loss before the return to the carrier [10 s]
	MaxHold time.Duration // after many flaps; a carrier that lasts as long is no flap [5 min]
	Damp    time.Duration // between two selections [3 s]
	Linger  time.Duration // of a fallback that is of no use [1 min]

	// KeepStandby keeps the fallback up always. It costs the battery, and saves the time
	// of a handshake at a switch.
	KeepStandby bool
	// Static says that the fallback needs no connection request: its configuration
	// was issued by an administrator.
	Static bool
	// NoFallback says that the terminal has none.
	NoFallback bool
	// FirstNonce of probes [1]. An app takes a random one, so that answers to an
	// earlier run are nobody's.
	FirstNonce uint64
}

// Times that aren't for tuning.
const (
	closer       = 5 * time.Second // the watcher looks closer after Traffic
	patience     = 3 * time.Second // with a carrier that is connecting, before the fallback is tried, too
	connectLimit = 30 * time.Second
	firstRetry   = time.Second // of a Connect that failed; doubles
	lastRetry    = 2 * time.Minute
	hurryRetry   = 15 * time.Second // at most, while no path lives
	firstAttach  = 30 * time.Second // of a bearer through which nothing is heard, anew; doubles
	lastAttach   = 5 * time.Minute
	settle       = 200 * time.Millisecond // of the gateway, to admit a terminal
	rekeyEvery   = 5 * time.Second
	staleAfter   = 10 * time.Second // of a fallback that doesn't answer: ask for another connection
	firstRequest = 5 * time.Second  // of a RequestConnection that failed; doubles
	lastRequest  = 5 * time.Minute
)

func (c Config) withDefaults() Config {
	c.InUse = cmp.Or(c.InUse, time.Second)
	c.Idle = cmp.Or(c.Idle, 15*time.Second)
	c.Standby = cmp.Or(c.Standby, 5*time.Second)
	c.Timeout = cmp.Or(c.Timeout, time.Second)
	c.Losses = cmp.Or(c.Losses, 3)
	c.Hold = cmp.Or(c.Hold, 10*time.Second)
	c.MaxHold = cmp.Or(c.MaxHold, 5*time.Minute)
	c.Damp = cmp.Or(c.Damp, 3*time.Second)
	c.Linger = cmp.Or(c.Linger, time.Minute)
	c.FirstNonce = cmp.Or(c.FirstNonce, 1)
	return c
}
