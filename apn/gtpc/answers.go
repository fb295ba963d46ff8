package gtpc

import (
	"net/netip"
	"time"
)

// key identifies a transaction that a peer began. Sequence numbers wrap and are
// reused, so the content counts too: only what is equal to the bit is a
// duplicate (TS 29.274 7.6).
type key struct {
	peer   netip.AddrPort
	seq    uint32
	digest [32]byte
}

// transactionState is what is known of a transaction.
type transactionState uint8

const (
	unheard transactionState = iota
	inFlight
	answeredBefore
)

// answers remembers transactions that peers began: those being worked on, whose
// number the job queue bounds, and answers for some time. The loop owns it.
type answers struct {
	keep  time.Duration
	most  int
	byKey map[key][]byte // nil: being worked on
	order []finished     // oldest first; also the order of expiry
}

type finished struct {
	key    key
	expiry time.Time
}

func newAnswers(keep time.Duration, most int) answers {
	return answers{keep: keep, most: most, byKey: map[key][]byte{}}
}

func (a *answers) get(now time.Time, k key) ([]byte, transactionState) {
	a.expire(now)
	response, ok := a.byKey[k]
	switch {
	case !ok:
		return nil, unheard
	case response == nil:
		return nil, inFlight
	}
	return response, answeredBefore
}

func (a *answers) begin(k key)  { a.byKey[k] = nil }
func (a *answers) forget(k key) { delete(a.byKey, k) }

func (a *answers) done(now time.Time, k key, response []byte) {
	a.byKey[k] = response
	a.order = append(a.order, finished{k, now.Add(a.keep)})
	if len(a.order) > a.most {
		a.drop(1)
	}
}

// expire forgets answers that are older than any retransmission.
func (a *answers) expire(now time.Time) {
	n := 0
	for n < len(a.order) && !now.Before(a.order[n].expiry) {
		n++
	}
	a.drop(n)
}

func (a *answers) drop(n int) {
	for _, f := range a.order[:n] {
		delete(a.byKey, f.key)
	}
	a.order = a.order[n:]
	if len(a.order) == 0 {
		a.order = nil // let the backing array go
	}
}

func (a *answers) nextExpiry() (time.Time, bool) {
	if len(a.order) == 0 {
		return time.Time{}, false
	}
	return a.order[0].expiry, true
}
