package gtpu

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// minEchoInterval is how often a path may be asked (TS 29.281 7.2.1).
const minEchoInterval = time.Minute

// maxPaths bounds how many peers are asked for an Echo. A control plane peer
// names user-plane addresses as it likes, and each would be sent to.
const maxPaths = 4096

// path is the way to one user-plane peer.
type path struct {
	due     int64 // when something is to be sent or given up
	first   int64 // when the request was first sent
	seq     uint16
	sent    int // how often it was, 0 while none is outstanding
	failed  bool
	replies netip.AddrPort // where Echo Requests go
}

// question is an Echo Request to be sent.
type question struct {
	to  netip.AddrPort
	seq uint16
}

// supervise asks the peers that are due, repeats what wasn't answered, and
// reports who didn't answer at all.
func (p *Plane) supervise(s *socket, now int64) {
	if p.cfg.EchoInterval == 0 {
		return
	}
	var ask []question
	var failed []netip.Addr
	p.mu.Lock()
	p.adopt(now)
	for addr, w := range p.paths {
		if now < w.due {
			continue
		}
		if w.sent >= p.cfg.N3 {
			w.sent = 0
			w.due = w.first + int64(p.cfg.EchoInterval)
			if !w.failed {
				w.failed = true
				failed = append(failed, addr)
			}
			if now < w.due {
				continue
			}
		}
		if w.sent == 0 {
			p.echoes++
			w.seq, w.first = p.echoes, now
		}
		w.sent++
		w.due = now + int64(p.cfg.T3)
		ask = append(ask, question{w.replies, w.seq})
	}
	p.mu.Unlock()
	for _, q := range ask {
		var room [16]byte
		p.answer(s, q.to, echoRequestsOut, gtp.AppendUserEchoRequest(room[:0], q.seq))
	}
	for _, addr := range failed {
		p.count.add(pathFailures, 1)
		if p.cfg.OnPathFailed != nil {
			p.cfg.OnPathFailed(addr)
		}
	}
}

// adopt takes peers under supervision while there is room, each at a time of
// its own. p.mu is held.
func (p *Plane) adopt(now int64) {
	if len(p.paths) == min(len(p.peers), maxPaths) {
		return
	}
	for addr, n := range p.peers {
		if len(p.paths) == maxPaths {
			return
		}
		if p.paths[addr] == nil {
			p.paths[addr] = &path{due: now + rand.Int64N(int64(p.cfg.EchoInterval)), replies: n.to}
		}
	}
}

// quiet forgets what is outstanding, for nothing was heard while nothing was
// served. What has failed stays so until it answers.
func (p *Plane) quiet(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made = nil
	for _, w := range p.paths {
		w.sent, w.due = 0, now+rand.Int64N(int64(p.cfg.EchoInterval))
	}
}

// echoResponse notes that a peer has answered. An answer to nothing that is
// outstanding proves nothing.
func (p *Plane) echoResponse(from netip.Addr, h gtp.UserHeader) {
	p.mu.Lock()
	w := p.paths[from]
	if w == nil || w.sent == 0 || !h.HasSeq || h.Seq != w.seq {
		p.mu.Unlock()
		p.count.add(dropEchoUnexpected, 1)
		return
	}
	w.sent, w.due = 0, w.first+int64(p.cfg.EchoInterval)
	restored := w.failed
	w.failed = false
	p.mu.Unlock()
	p.count.add(echoResponsesIn, 1)
	if !restored {
		return
	}
	p.count.add(pathRecoveries, 1)
	if p.cfg.OnPathRestored != nil {
		p.cfg.OnPathRestored(from)
	}
}
