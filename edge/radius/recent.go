package radius

import (
	"crypto/sha256"
	"net/netip"
	"time"
)

// recent are the answers that were given lately, so that a repeated request gets
// the same again (RFC 5080 2.2.2). hostapd repeats for some ten seconds.
type recent struct {
	answers map[recentKey]recentAnswer
	order   []recentKey // as they came
}

type recentKey struct {
	from   netip.AddrPort
	digest [sha256.Size]byte // of the request
}

type recentAnswer struct {
	at     time.Time
	answer []byte
}

const (
	recentFor = 10 * time.Second
	maxRecent = 4096
)

func newRecent() recent { return recent{answers: make(map[recentKey]recentAnswer)} }

func keyOf(from netip.AddrPort, raw []byte) recentKey { return recentKey{from, sha256.Sum256(raw)} }

func (r *recent) find(k recentKey, now time.Time) []byte {
	a, ok := r.answers[k]
	if !ok || now.Sub(a.at) >= recentFor {
		return nil
	}
	return a.answer
}

// add keeps an answer, and forgets those that are over or too many.
func (r *recent) add(k recentKey, answer []byte, now time.Time) {
	for len(r.order) > 0 && (len(r.order) >= maxRecent || now.Sub(r.answers[r.order[0]].at) >= recentFor) {
		delete(r.answers, r.order[0])
		r.order = r.order[1:]
	}
	r.answers[k] = recentAnswer{now, answer}
	r.order = append(r.order, k)
}
