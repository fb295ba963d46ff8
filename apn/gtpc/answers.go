package gtpc

import (
	"net/netip"
	"time"
)

// key identifies a transaction that a peer began. Sequence numbers wrap and are
// reused, so the content counts too: only what is equal to the bit is a
// duplicate (TS 29.274 7.6). The versions number their messages apart.
type key struct {
	peer    netip.AddrPort
	version uint8
	seq     uint32
	digest  [32]byte
}

// transactionState is what is known of a transaction.
type transactionState uint8

const (
	unheard transactionState = iota
	inFlight
	answeredBefore
)

// answer is what a transaction ended with. No response means that its duplicates
// get none either.
type answer struct {
	response []byte
	imsi     string // whom it was about, for traces
}

// answers remembers transactions that peers began: those being worked on, whose
// number the job queues bound, and answers for some time. The loop owns it.
type answers struct {
	keep            time.Duration
	most, mostBytes int
	bytes           int             // of the answers kept
	byKey           map[key]*answer // nil: being worked on
	order           []finished      // oldest first; also the order of expiry
}

type finished struct {
	key    key
	expiry time.Time
}

// answerOverhead is about what an answer costs beside its octets: twice its key,
// the map's slack and its own header.
const answerOverhead = 320

func (a *answer) size() int { return answerOverhead + cap(a.response) + len(a.imsi) }

func newAnswers(keep time.Duration, most, mostBytes int) answers {
	return answers{keep: keep, most: most, mostBytes: mostBytes, byKey: map[key]*answer{}}
}

func (a *answers) get(now time.Time, k key) (*answer, transactionState) {
	a.expire(now)
	found, ok := a.byKey[k]
	switch {
	case !ok:
		return nil, unheard
	case found == nil:
		return nil, inFlight
	}
	return found, answeredBefore
}

func (a *answers) begin(k key)  { a.byKey[k] = nil }
func (a *answers) forget(k key) { delete(a.byKey, k) }

func (a *answers) done(now time.Time, k key, with answer) {
	a.byKey[k] = &with
	a.bytes += with.size()
	a.order = append(a.order, finished{k, now.Add(a.keep)})
	for len(a.order) > a.most || a.bytes > a.mostBytes {
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
		a.bytes -= a.byKey[f.key].size()
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
