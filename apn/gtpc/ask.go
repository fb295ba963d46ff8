package gtpc

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// ask begins a transaction. False: it can't, and r was told.
func (l *loop) ask(now time.Time, r *request) bool {
	if !l.asked.begin(now, r) {
		r.done(now, nil, fmt.Errorf("gtpc: no sequence number is free for %s", r.to))
		return false
	}
	l.send(r.to, r.bytes, r.imsi, string(r.procedure))
	return true
}

// answered ends the transaction of ours that a response belongs to. False: there
// is none.
func (l *loop) answered(now time.Time, a arrival, p procedure) bool {
	h := a.m.Head()
	r := l.asked.answered(askedKey{a.peer.Addr(), h.Version, h.Seq}, p)
	if r == nil {
		l.orphan(a)
		return false
	}
	comment := ""
	if c := causeOf(a.m); c != 0 {
		comment = c.String()
	}
	l.arrived(a, r.imsi, comment)
	l.conclude(now, r, a.m, nil)
	return true
}

// versionRefused ends the transactions with a peer that speaks another version.
func (l *loop) versionRefused(now time.Time, a arrival) {
	refused := l.asked.refused(a.peer.Addr(), a.m.Head())
	if len(refused) == 0 {
		l.orphan(a)
		return
	}
	for _, r := range refused {
		l.arrived(a, r.imsi, string(r.procedure)+": not in this version")
		l.s.counts.add(countVersionRefused, func() {
			l.s.log.Warn("peer does not speak this version of GTP", "peer", a.peer, "version", r.version)
		})
		l.conclude(now, r, nil, ErrPeerVersion)
	}
}

func (l *loop) orphan(a arrival) {
	l.arrived(a, "", "dropped: "+countOrphan)
	l.s.drop(countOrphan, a.peer, nil, nil)
}

// conclude ends a transaction of ours, with an answer or an error.
func (l *loop) conclude(now time.Time, r *request, m gtp.Message, err error) {
	if r.procedure != echoing {
		cause := causeName(causeOf(m))
		if err != nil {
			cause = "no answer"
		}
		l.s.tallies.add(r.version, string(r.procedure), cause, l.nameOf(now, r.to.Addr()))
	}
	r.done(now, m, err)
}

// nameOf is peerName for a peer that was asked.
func (l *loop) nameOf(now time.Time, peer netip.Addr) string {
	carrier, _ := l.rules.at(now).CarrierOf(peer)
	return l.s.peerName(carrier, peer)
}

// update sends the Update Bearer Request that a command triggered, with the
// command's sequence number (TS 29.274 7.6), until the peer answers it. Until
// then the command counts as being worked on, and afterwards as answered with
// nothing.
func (l *loop) update(now time.Time, j job, reply Reply) {
	m := *reply.Update
	r := &request{
		procedure: updating, version: 2, to: j.key.peer, imsi: reply.IMSI, triggered: true, seq: j.key.seq,
		marshal: func(seq uint32) []byte {
			m.Seq = seq
			return m.Marshal()
		},
		done: func(now time.Time, answered gtp.Message, err error) {
			if errors.Is(err, ErrNotServing) {
				return
			}
			if cause := causeOf(answered); err == nil && !cause.Accepted() {
				err = fmt.Errorf("gtpc: refused: %s", cause)
			}
			if err != nil {
				l.s.counts.add(countUpdateRefused, func() {
					l.s.log.Warn("the peer did not update a bearer as it had commanded", "peer", j.key.peer, "err", err)
				})
			}
			l.answers.done(now, j.key, answer{imsi: reply.IMSI})
		},
	}
	if len(l.asked.byKey) >= maxAsked || !l.asked.begin(now, r) {
		// Too many, or another command of that number is not done yet. Nothing is
		// kept of this one, so its retransmission has its chance.
		l.answers.forget(j.key)
		l.s.drop(countOverload, j.key.peer, nil, errors.New("an update of that number is outstanding"))
		return
	}
	l.send(r.to, r.bytes, r.imsi, reply.Comment)
}

// abandon ends what is still asked when the loop is over.
func (l *loop) abandon() {
	now := time.Now()
	for k, r := range l.asked.byKey {
		delete(l.asked.byKey, k)
		r.done(now, nil, ErrNotServing)
	}
}
