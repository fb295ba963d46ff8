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
	p.log.Info("GTP-C request", append(args, "peer", peer)...)
}

// warn writes a line about a request that came to nothing, unless its peer has
// had too many of them: a peer that is let in must not fill the log either.
func (p *Procedures) warn(peer netip.AddrPort, what string, args ...any) {
	unlogged, ok := p.quiet.line(time.Now(), peer.Addr())
	if !ok {
		return
	}
	args = append(args, "peer", peer)
	if unlogged > 0 {
		args = append(args, "unlogged", unlogged)
	}
	p.log.Warn(what, args...)
}

// quiet bounds the lines about refusals: so many a second for each peer. It is
// safe for concurrent use.
type quiet struct {
	mu       sync.Mutex
	peers    *buckets[netip.Addr] // guarded by mu
	unlogged int                  // guarded by mu: since the last line
}

// refusalLines are a peer's in a second.
var refusalLines = perSecond(10)

// line tells whether a line may be written, and how many weren't before it.
func (q *quiet) line(now time.Time, peer netip.Addr) (unlogged int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := q.peers.of(now, peer)
	if !own.allows(now, refusalLines) {
		q.unlogged++
		return 0, false
	}
	own.spend(now, refusalLines)
	unlogged, q.unlogged = q.unlogged, 0
	return unlogged, true
}
