package barrel

import (
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
)

// Transmission parameters (RFC 7252 4.8 and 4.8.2).
const (
	ackTimeout       = 2 * time.Second
	maxRetransmit    = 4
	exchangeLifetime = 247 * time.Second
	nonLifetime      = 145 * time.Second
	// responseWait is how long a separate response may take after its request
	// was acknowledged (RFC 7252 5.2.2 leaves it open).
	responseWait = 30 * time.Second
)

// maxRecent bounds the message ids that are remembered: more than a heartbeat
// a second for as long as an id lives. The oldest makes room.
const maxRecent = 512

// recent are the requests that were seen and their answers, so that a repeat is
// carried out once (RFC 7252 4.5). It belongs to one goroutine.
type recent struct {
	by    map[uint16]*seen
	order []uint16 // by when they were seen
}

type seen struct {
	until  time.Time
	answer []byte // nil while it is worked on
}

func newRecent() *recent { return &recent{by: make(map[uint16]*seen)} }

// find returns what is remembered of a message id.
func (r *recent) find(id uint16, now time.Time) *seen {
	e := r.by[id]
	if e == nil || now.After(e.until) {
		return nil
	}
	return e
}

func (r *recent) add(id uint16, kind message.Type, now time.Time) {
	life := exchangeLifetime
	if kind == message.NonConfirmable {
		life = nonLifetime
	}
	if _, again := r.by[id]; again {
		r.remove(id)
	}
	for len(r.order) >= maxRecent {
		delete(r.by, r.order[0])
		r.order = r.order[1:]
	}
	r.by[id] = &seen{until: now.Add(life)}
	r.order = append(r.order, id)
}

func (r *recent) remove(id uint16) {
	delete(r.by, id)
	for i, o := range r.order {
		if o == id {
			r.order = append(r.order[:i], r.order[i+1:]...)
			return
		}
	}
}

// outgoing is a confirmable request of ours on its way (RFC 7252 4.2).
type outgoing struct {
	id      uint16
	token   message.Token
	raw     []byte
	tries   int           // sendings so far
	timeout time.Duration // until the next one
	due     time.Time     // when to send again, or to give up
	acked   bool          // the response comes separately
}

// begin notes the first sending. The random number, 0 to 1, spreads the
// timeouts of peers that were lost at once (ACK_RANDOM_FACTOR is 1.5).
func (o *outgoing) begin(now time.Time, random float64) {
	o.tries = 1
	o.timeout = ackTimeout + time.Duration(random*float64(ackTimeout)/2)
	o.due = now.Add(o.timeout)
}

// again notes that due has come, and tells whether to send once more; if not,
// the request has failed.
func (o *outgoing) again() bool {
	if o.acked || o.tries > maxRetransmit {
		return false
	}
	o.tries++
	o.timeout *= 2
	o.due = o.due.Add(o.timeout)
	return true
}

// acknowledged stops the repetition; a response is to follow.
func (o *outgoing) acknowledged(now time.Time) {
	if !o.acked {
		o.acked, o.due = true, now.Add(responseWait)
	}
}
