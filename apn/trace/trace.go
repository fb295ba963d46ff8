// Package trace follows the signalling of one subscriber and writes it as a
// packet capture (pcapng), with what the gateway decided as the comment of each
// packet: what an interoperability lab or an operator opens in Wireshark.
//
// The transport tells a Tracer of every message once it is known whom it is
// about. That costs next to nothing while nobody follows anybody; while somebody
// does, the transport is never kept waiting: what the reader can't take in time
// is counted as lost in the capture itself.
//
// A trace holds one subscriber's identity and locations, though not its password,
// whose octets are hidden, and so is its answer to a CHAP challenge. It exists only while
// somebody reads it, and is bounded in time, size and number.
package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/policy/ident"
)

// Event is one GTP-C message as it went over the wire.
type Event struct {
	Time        time.Time
	Sent        bool // by the gateway
	Local, Peer netip.AddrPort
	Datagram    []byte
	IMSI        string // whom it is about
	Comment     string // what was decided, for people
}

// Limits bound a trace. Zero values get the defaults, and no value goes over the
// most.
type Limits struct {
	Time  time.Duration // DefaultTime, at most MostTime
	Bytes int64         // of the capture: DefaultBytes, at most MostBytes
}

// The bounds of a trace.
const (
	DefaultTime        = 10 * time.Minute
	MostTime           = 24 * time.Hour
	DefaultBytes int64 = 16 << 20
	MostBytes    int64 = 1 << 30
	// MostTraces may run at once on a node.
	MostTraces = 8
	// backlog is how many messages of one trace may wait for its writer.
	backlog = 256
)

// ErrTooMany: MostTraces run already.
var ErrTooMany = fmt.Errorf("trace: %d traces run on this node already; end one of them", MostTraces)

// End says why a trace ended.
type End string

// The ends.
const (
	EndTime   End = "time"   // its time was up
	EndBytes  End = "bytes"  // its size was reached
	EndReader End = "reader" // whoever read it went away
)

// Summary is what became of a trace.
type Summary struct {
	Packets uint64
	Bytes   int64
	Lost    uint64 // messages that were not written, because the reader was too slow
	End     End
}

// Tracer hands messages to those who follow their subscriber. The zero value is
// ready.
type Tracer struct {
	count atomic.Int32 // of followers: lets Observe return at once

	mu        sync.RWMutex
	followers map[*follower]struct{} // guarded by mu
}

type follower struct {
	imsi   string
	events chan Event
	lost   atomic.Uint64
}

// Following tells whether anybody follows a subscriber. It is quick.
func (t *Tracer) Following() bool { return t.count.Load() > 0 }

// Observe takes a message. It doesn't block, and keeps nothing of e.Datagram
// that it doesn't copy.
func (t *Tracer) Observe(e Event) {
	if !t.Following() || e.IMSI == "" {
		return
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	copied := false
	for f := range t.followers {
		if f.imsi != e.IMSI {
			continue
		}
		if !copied {
			// Who may follow a subscriber isn't to learn its password.
			e.Datagram, copied = gtp.Mask(e.Datagram), true
		}
		select {
		case f.events <- e:
		default:
			f.lost.Add(1)
		}
	}
}

// Follow writes the messages of a subscriber to w as they come, each flushed at
// once, until a limit is reached or ctx ends, which are no errors. It fails with
// ErrTooMany, or when w does. begun is called once it is sure to begin, before
// the first byte is written; it may be nil.
func (t *Tracer) Follow(ctx context.Context, imsi ident.IMSI, w io.Writer, limits Limits, begun func()) (Summary, error) {
	f := &follower{imsi: imsi.String(), events: make(chan Event, backlog)}
	if err := t.add(f); err != nil {
		return Summary{}, err
	}
	defer t.remove(f)
	if begun != nil {
		begun()
	}
	ctx, cancel := context.WithTimeout(ctx, bound(limits.Time, DefaultTime, MostTime))
	defer cancel()
	c, err := newCapture(w, bound(limits.Bytes, DefaultBytes, MostBytes))
	if err != nil {
		return Summary{}, fmt.Errorf("trace: %w", err)
	}
	var lost uint64
	for {
		select {
		case <-ctx.Done():
			end := EndReader
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				end = EndTime
			}
			return c.summary(end, f.lost.Load()), nil
		case e := <-f.events:
			missed := f.lost.Load() - lost
			lost += missed
			full, err := c.write(e, missed)
			if err != nil {
				return c.summary(EndReader, lost), fmt.Errorf("trace: %w", err)
			}
			if full {
				return c.summary(EndBytes, f.lost.Load()), nil
			}
		}
	}
}

func (t *Tracer) add(f *follower) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.followers) >= MostTraces {
		return ErrTooMany
	}
	if t.followers == nil {
		t.followers = map[*follower]struct{}{}
	}
	t.followers[f] = struct{}{}
	t.count.Store(int32(len(t.followers)))
	return nil
}

func (t *Tracer) remove(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.followers, f)
	t.count.Store(int32(len(t.followers)))
}

func bound[T ~int64](v, otherwise, most T) T {
	if v <= 0 {
		return otherwise
	}
	return min(v, most)
}
