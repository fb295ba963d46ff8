package gtpc

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// procedure is one that we begin.
type procedure string

const (
	echoing  procedure = "echo"
	deleting procedure = "network-initiated-delete" // Delete Bearer, or Delete PDP Context
	updating procedure = "update-bearer"
)

// request is a transaction that we begin. As data: the loop sends it when it is
// due, until it is answered or was sent often enough.
type request struct {
	procedure procedure
	version   uint8 // of GTP: 1 or 2
	to        netip.AddrPort
	imsi      string                  // whom it is about, for traces
	marshal   func(seq uint32) []byte // called once
	// done is called once, with the answer or an error. It must not block.
	done      func(now time.Time, answer gtp.Message, err error)
	triggered bool // by a command: seq is the command's

	seq   uint32
	bytes []byte
	began time.Time
	sent  int
}

// askedKey is what an answer is matched by, beside its type: the peer's address,
// the version and the sequence number. A peer may answer from another port than
// it was asked at (TS 29.274 4.2.2 asks it not to; some do).
type askedKey struct {
	peer    netip.Addr
	version uint8
	seq     uint32
}

func (r *request) key() askedKey { return askedKey{r.to.Addr(), r.version, r.seq} }

// timeout is when a request's sent-th transmission has waited long enough. T3
// is the same for all, so appending keeps them in order; one whose request was
// answered since is passed over.
type timeout struct {
	due  time.Time
	r    *request
	sent int
}

// asked holds the transactions that we began. The loop owns it.
type asked struct {
	t3       time.Duration
	n3       int
	byKey    map[askedKey]*request
	timeouts []timeout
	last     [3]uint32 // sequence number used, by version
}

// sequences are how many numbers our own requests have: 16 bits in GTPv1
// (TS 29.060 6), and 24 in GTPv2 but for the top bit, which marks what a command
// triggered (TS 29.274 7.6).
var sequences = [3]uint32{1: 1 << 16, 2: 1 << 23}

// newAsked begins anywhere, which makes it unlikely that the first requests
// after a failover look like retransmissions of the former holder's.
func newAsked(t3 time.Duration, n3 int) asked {
	return asked{
		t3: t3, n3: n3, byKey: map[askedKey]*request{},
		last: [3]uint32{1: rand.Uint32N(sequences[1]), 2: rand.Uint32N(sequences[2])},
	}
}

// begin gives a request its number and its octets. False: the number that it was
// triggered with is taken, or there is none left.
func (a *asked) begin(now time.Time, r *request) bool {
	if !r.triggered {
		last := a.last[r.version]
		if r.procedure == echoing {
			// The answer is believed as it comes from where we asked, which is so
			// only if nobody knows the number from an earlier request to himself.
			last = rand.Uint32N(sequences[r.version])
		}
		for range len(a.byKey) + 1 {
			last = (last + 1) % sequences[r.version]
			if r.seq = last; a.byKey[r.key()] == nil {
				break
			}
		}
		if r.procedure != echoing {
			a.last[r.version] = last
		}
	}
	if a.byKey[r.key()] != nil {
		return false
	}
	r.bytes = r.marshal(r.seq)
	r.began = now
	a.byKey[r.key()] = r
	a.sending(now, r)
	return true
}

func (a *asked) sending(now time.Time, r *request) {
	r.sent++
	a.timeouts = append(a.timeouts, timeout{now.Add(a.t3), r, r.sent})
}

// due returns the next request whose transmission has waited for T3: to be sent
// again, or, after N3 times, given up.
func (a *asked) due(now time.Time) (r *request, again, ok bool) {
	for len(a.timeouts) > 0 && !now.Before(a.timeouts[0].due) {
		t := a.timeouts[0]
		a.timeouts[0] = timeout{}
		a.timeouts = a.timeouts[1:]
		switch {
		case a.byKey[t.r.key()] != t.r || t.r.sent != t.sent: // answered since
		case t.sent >= a.n3:
			delete(a.byKey, t.r.key())
			return t.r, false, true
		default:
			a.sending(now, t.r)
			return t.r, true, true
		}
	}
	return nil, false, false
}

// answered takes out the request that a response answers. Nil: there is none;
// the response is late, doubled or made up.
func (a *asked) answered(k askedKey, p procedure) *request {
	r := a.byKey[k]
	if r == nil || r.procedure != p {
		return nil
	}
	delete(a.byKey, k)
	return r
}

// refused takes out the requests that a peer can't read. Its indication names
// the version that it does speak, so all that it was asked in the other one goes;
// the sequence number need not mean anything then (TS 29.060 8.2). There are peers
// that name the version they were asked in, with the number.
func (a *asked) refused(peer netip.Addr, h gtp.Header) (all []*request) {
	for k, r := range a.byKey {
		if k.peer == peer && (k.version != h.Version || k.seq == h.Seq) {
			delete(a.byKey, k)
			all = append(all, r)
		}
	}
	return all
}

func (a *asked) nextTimeout() (time.Time, bool) {
	if len(a.timeouts) == 0 {
		return time.Time{}, false
	}
	return a.timeouts[0].due, true
}
