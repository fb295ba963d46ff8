package gtpc

import (
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// refusals remembers which Creates were refused for want of room, so that a
// duplicate isn't carried out after its peer was told no: the session would be
// nobody's. A flood of refusals must not push the answers out that sessions
// hang on, and so they have a memory of their own: the key and the cause, out of
// which the same octets are made again. What was refused long ago goes first; a
// peer that didn't hear the refusal may then try anew, which harms nobody. The
// loop owns it.
type refusals struct {
	keep   time.Duration // at least; twice that at most
	most   int           // in each generation
	young  map[key]gtp.Cause
	old    map[key]gtp.Cause
	turned time.Time
}

func newRefusals(keep time.Duration, most int) refusals {
	return refusals{keep: keep, most: most, young: map[key]gtp.Cause{}}
}

func (r *refusals) get(now time.Time, k key) (gtp.Cause, bool) {
	r.turn(now)
	if c, ok := r.young[k]; ok {
		return c, true
	}
	c, ok := r.old[k]
	return c, ok
}

func (r *refusals) put(now time.Time, k key, c gtp.Cause) {
	if len(r.young) == 0 {
		r.turned = now
	}
	r.young[k] = c
	r.turn(now)
}

// turn makes the young the old when their time has come or they are too many.
func (r *refusals) turn(now time.Time) {
	switch age := now.Sub(r.turned); {
	case len(r.young) == 0 && len(r.old) == 0:
		return
	case age >= 2*r.keep:
		r.young, r.old = map[key]gtp.Cause{}, nil
	case age >= r.keep || len(r.young) >= r.most:
		r.young, r.old = map[key]gtp.Cause{}, r.young
	default:
		return
	}
	r.turned = now
}
