package gtpc

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What is counted, besides the parser's reasons (gtp.Reason...).
const (
	countReceived        = "received"
	countSent            = "sent"
	countPeerNotAllowed  = "peer-not-allowed"
	countRequest         = "request"            // handed to a worker
	countEcho            = "echo"               // answered
	countVersion         = "version-answered"   // another GTP version, answered
	countInFlight        = "duplicate-absorbed" // of a request that is being worked on
	countRepeated        = "duplicate-answered" // with the earlier answer
	countOverload        = "overload"           // no worker and no place to wait
	countNoAnswer        = "no-answer"          // the handler said nothing
	countOrphan          = "orphan-response"    // to nothing that we asked
	countVersionRefused  = "version-refused"    // the peer doesn't speak version 2
	countHandlerPanic    = "handler-panic"
	countWriteError      = "write-error"
	countFenced          = "not-holder"  // not sent: another node may hold the address
	countPathFailed      = "path-failed" // an Echo Request of ours went unanswered
	countPeerRestarted   = "peer-restarted"
	countRetransmitted   = "retransmitted" // requests of ours
	countReadError       = "read-error"
	logEvery             = 10 * time.Second
	logFirst             = 3
	loggedBytes          = 512 // of a datagram that made trouble
	datagramSize         = 65535
	maxConsecutiveErrors = 64
)

// counters counts by reason and says which occurrence is worth a line in the
// log: the first few of each reason, then one in a while.
type counters struct {
	mu     sync.Mutex // guards both maps
	counts map[string]uint64
	lines  map[string]*rate.Sometimes
}

// add counts one and runs log when a line may be written.
func (c *counters) add(reason string, log func()) {
	c.mu.Lock()
	if c.counts == nil {
		c.counts = map[string]uint64{}
		c.lines = map[string]*rate.Sometimes{}
	}
	c.counts[reason]++
	line := c.lines[reason]
	if line == nil {
		line = &rate.Sometimes{First: logFirst, Interval: logEvery}
		c.lines[reason] = line
	}
	c.mu.Unlock()
	if log != nil {
		line.Do(log)
	}
}

func (c *counters) snapshot() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		return map[string]uint64{}
	}
	return maps.Clone(c.counts)
}
