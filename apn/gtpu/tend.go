package gtpu

import (
	"context"
	"math/bits"
	"time"
)

// tick is how often a served plane looks for what is due.
const tick = time.Second

// tend does what no packet prompts, until ctx is done: Router Advertisements and
// Echo Requests.
func (p *Plane) tend(ctx context.Context, s *socket) {
	t := time.NewTicker(tick)
	defer t.Stop()
	var at int
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !p.cfg.Holds() {
			continue
		}
		now := p.clock()
		p.welcome(s, now)
		at = p.sweep(s, at, now)
		p.supervise(s, now)
	}
}

// newTunnel is one whose terminal has heard of no router yet.
type newTunnel struct {
	session uint64
	local   uint32
	at      int64
}

// announce has the terminal of a tunnel that was just made told its prefix.
// While nothing is served there is nobody to tell: who takes over a gateway
// address finds terminals that know, and the sweep reminds them. p.mu is held.
func (p *Plane) announce(f *flow, now int64) {
	if p.socket.Load() != nil {
		p.made = append(p.made, newTunnel{f.session(), f.local(), now})
	}
}

// welcome sends the unsolicited Router Advertisement of tunnels that are a tick
// old: the peer must have had our answer before, or it throws the packet away.
func (p *Plane) welcome(s *socket, now int64) {
	p.mu.Lock()
	n := 0
	for n < len(p.made) && now-p.made[n].at >= int64(tick) {
		n++
	}
	old := p.made[:n:n]
	if p.made = p.made[n:]; len(p.made) == 0 {
		p.made = nil
	}
	p.mu.Unlock()
	for _, t := range old {
		f := p.find(bySession, t.session)
		if f != nil && f.local() == t.local && f.has[byPrefix] && !f.suspended {
			p.advertise(s, f, now)
		}
	}
}

// sweepTime is how long the sweep takes for all tunnels. It has no list of its
// own and no timers: it goes round the index, a piece each tick, which also
// spreads what it sends.
const sweepTime = 10 * time.Minute

// sweep repeats the Router Advertisements of the tunnels in the next piece of
// the index, from slot at, that are due, and returns where it got to. A slot
// that moves while the index grows is met in the next round, which is early
// enough.
func (p *Plane) sweep(s *socket, at int, now int64) int {
	slots := p.index[byPrefix].table.Load().slots
	for range (len(slots)-1)/int(sweepTime/tick) + 1 {
		if at >= len(slots) {
			at = 0
		}
		f := slots[at].Load()
		at++
		if f == nil || f == tombstone || f.suspended {
			continue
		}
		const due = int64(advertiseInterval - sweepTime)
		last := s.since - spread(f.session(), due) // may be before the clock's begin
		if told := f.use.advertised.Load(); told != 0 {
			last = max(last, told)
		}
		if now-last >= due {
			p.advertise(s, f, now)
		}
	}
	return at
}

// spread is a time under whole, another for each session: as if that long before
// this node began to serve, the terminal had been told. The factor isn't the
// index's: what is due together must not stand together there.
func spread(session uint64, whole int64) int64 {
	part, _ := bits.Mul64(session*0xd1342543de82ef95, uint64(whole))
	return int64(part)
}
