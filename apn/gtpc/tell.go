package gtpc

import (
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/policy/ident"
)

// tell logs what became of a request, with the reasons of a refusal.
func (p *Procedures) tell(peer netip.AddrPort, m gtp.Message, o session.Outcome, cause gtp.Cause) {
	imsi, _ := ident.ParseIMSI(o.IMSI)
	h := m.Head()
	args := []any{"type", h.Type, "seq", h.Seq, "imsi", imsi, "apn", o.APN, "cause", cause.String()}
	if f, ok := m.(*gtp.Faulty); ok {
		args = append(args, "err", f.Err)
	}
	if o.Decision != nil {
		args = append(args, "decision", *o.Decision)
	}
	if !cause.Accepted() {
		p.warn(peer, "GTP-C request", args...)
		return
	}
	if args, ok := p.brief.line(time.Now(), peer, args); ok {
		p.log.Info("GTP-C request", args...)
	}
}

// warn writes a line about a request that came to nothing, unless its peer has
// had too many of them: a peer that is let in must not fill the log either.
func (p *Procedures) warn(peer netip.AddrPort, what string, args ...any) {
	if args, ok := p.quiet.line(time.Now(), peer, args); ok {
		p.log.Warn(what, args...)
	}
}

// quiet bounds the lines of one kind: so many a second for each peer. It is safe
// for concurrent use.
type quiet struct {
	pace     pace
	mu       sync.Mutex
	peers    *buckets[netip.Addr] // guarded by mu
	unlogged int                  // guarded by mu: since the last line
}

// Lines of a peer in a second: about what came to nothing, and about the rest.
var (
	refusalLines    = perSecond(10)
	acceptanceLines = perSecond(100)
)

func newQuiet(p pace) *quiet { return &quiet{pace: p, peers: newBuckets[netip.Addr]()} }

// line tells whether a line may be written, and gives it the peer and how many
// weren't before it.
func (q *quiet) line(now time.Time, peer netip.AddrPort, args []any) ([]any, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := q.peers.of(now, peer.Addr())
	if !own.allows(now, q.pace) {
		q.unlogged++
		return nil, false
	}
	own.spend(now, q.pace)
	args = append(args, "peer", peer)
	if q.unlogged > 0 {
		args = append(args, "unlogged", q.unlogged)
		q.unlogged = 0
	}
	return args, true
}
