package gtpc

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What is counted, besides the parser's reasons (gtp.Reason...).
const (
	countReceived       = "received"
	countSent           = "sent"
	countRequest        = "request"                     // accepted for a worker
	countEcho           = "echo"                        // answered
	countVersion        = "version-answered"            // another GTP version, answered
	countInFlight       = "duplicate-absorbed"          // of a request that is being worked on, or that gets no answer
	countRepeated       = "duplicate-answered"          // with the earlier answer
	countOverload       = "overload"                    // no worker and no place to wait
	countRefused        = "create-refused"              // for want of room or time
	countNoAnswer       = "no-answer"                   // the handler said nothing
	countOrphan         = "orphan-response"             // to nothing that we asked
	countVersionRefused = "version-refused"             // the peer doesn't speak the version it was asked in
	countExtensions     = "supported-extension-headers" // heard
	countHeadersTold    = "extension-headers-told"      // to a peer that sent one of another kind
	countHandlerPanic   = "handler-panic"
	countWriteError     = "write-error"
	countReadError      = "read-error"
	countFenced         = "not-holder"      // not sent: another node may hold the address
	countPathFailed     = "path-failed"     // Echo Requests of ours went unanswered
	countPathRestored   = "path-restored"   // and the peer was heard again
	countRestartCounter = "restart-counter" // heard in an Echo, and not the one before
	countUpdateRefused  = "update-refused"  // by the peer whose command brought it about, or unanswered
	countRetransmitted  = "retransmitted"   // requests of ours

	// Of the firewall.
	countPeerNotAllowed   = "peer-not-allowed"
	countPeerNotOfCarrier = "peer-not-of-carrier"
	countVersionNotOfPeer = "version-not-of-peer"
	countIMSINotOfPeer    = "imsi-not-of-peer"
	countPLMNNotOfPeer    = "plmn-not-of-peer"
	countRATNotOfPeer     = "rat-not-of-peer"
	countNamedNotOfPeer   = "address-not-of-peer"
	countCreateRate       = "create-rate"
	countCreateRatePeer   = "create-rate-peer"
)

const (
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
