package gtpu

import "time"

// Answers to the probes of one session: ProbeRate a second, ProbeBurst at once.
const (
	ProbeRate  = 10
	ProbeBurst = 20

	probeCost = int64(time.Second) * units / ProbeRate
)

// probe tells whether pkt, which came up f, is a question that was answered here, or
// is to be passed over. The maximum bit rate doesn't apply.
func (p *Plane) probe(s *socket, f *flow, pkt []byte, now int64) bool {
	if p.cfg.Answer == nil {
		return false
	}
	answer := p.cfg.Answer(s.room[:0], pkt, f.session())
	switch {
	case answer == nil:
		return false
	case f.suspended:
		p.count.add(dropSuspended, 1)
	case !f.use.probed.spend(now, probeCost, ProbeBurst*probeCost):
		p.count.add(dropProbeLimit, 1)
	case !p.cfg.Holds():
		p.count.add(dropFenced, 1)
	case p.write(s, f, answer) == nil:
		p.count.add(probeAnswers, 1)
	}
	return true
}

// LastHeard tells when a session's terminal was last heard through its tunnel, be it
// with data or a probe, within a second. As with LastActive it counts as heard when
// the tunnel was made and when this node began to serve, and is false when this node
// can't know.
func (p *Plane) LastHeard(session uint64) (time.Time, bool) {
	s, f := p.socket.Load(), p.find(bySession, session)
	if s == nil || f == nil {
		return time.Time{}, false
	}
	return p.at(max(f.use.heard.Load(), s.since)), true
}
