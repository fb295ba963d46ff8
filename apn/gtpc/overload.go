package gtpc

import (
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// offer is the next job for a worker: a Create only when nothing else waits.
func (l *loop) offer() (to offered, next job) {
	switch {
	case len(l.others.jobs) > 0:
		return offered{&l.others}, l.others.jobs[0]
	case len(l.creates.jobs) > 0:
		return offered{&l.creates}, l.creates.jobs[0]
	}
	return offered{}, job{}
}

// offered is the class of the job on offer, or none.
type offered struct{ *class }

// out is never ready when there is nothing on offer.
func (o offered) out() chan<- job {
	if o.class == nil {
		return nil
	}
	return o.class.out
}

// beginCreate has a Create wait for a worker, or refuses it at once, which costs
// next to nothing: a peer that is told can turn to its terminal, where one that
// isn't would ask again and add to the load.
func (l *loop) beginCreate(now time.Time, j job) {
	if cause, ok := l.refusals.get(now, j.key); ok {
		l.s.counts.add(countRepeated, nil)
		l.arrived(j.arrival, imsiOf(j.arrival.m), "duplicate of a request that was refused")
		l.send(j.key.peer, refusal(j, cause), imsiOf(j.arrival.m), "repeated")
		return
	}
	j.span = l.s.request(j.arrival)
	if l.s.cfg.Full() {
		l.refuse(now, j, gtp.CauseNoResources)
		return
	}
	l.refuseLate(now)
	if !l.creates.push(now, j) {
		l.refuse(now, j, gtp.CauseEntityCongestion)
		return
	}
	l.answers.begin(j.key)
	l.s.counts.add(countRequest, nil)
}

// refuseLate refuses the Creates that have waited for too long.
func (l *loop) refuseLate(now time.Time) {
	for {
		at, ok := l.creates.deadline(l.s.cfg.QueueTime)
		if !ok || now.Before(at) {
			return
		}
		j := l.creates.pop()
		l.answers.forget(j.key)
		l.refuse(now, j, gtp.CauseEntityCongestion)
	}
}

// refuse answers a Create that nobody will carry out.
func (l *loop) refuse(now time.Time, j job, cause gtp.Cause) {
	a, h := j.arrival, j.arrival.m.Head()
	l.s.counts.add(countRefused, func() {
		l.s.log.Warn("GTP-C Creates are being refused", "peer", a.peer, "cause", cause.String(), "waiting", len(l.creates.jobs))
	})
	l.s.tallies.add(h.Version, procedureName(h), causeName(cause), a.name)
	l.arrived(a, imsiOf(a.m), cause.String())
	l.refusals.put(now, j.key, cause)
	l.send(a.peer, refusal(j, cause), imsiOf(a.m), cause.String())
	l.measured(a, cause)
	answered(j.span, cause)
}

// refusal is the same octets each time it is made for the same request.
func refusal(j job, cause gtp.Cause) []byte {
	r := gtp.Refusal{TEID: gtp.SenderTEID(j.arrival.m), Reason: &gtp.Error{Cause: cause, Reason: countRefused}}
	return r.Marshal(j.arrival.m)
}
