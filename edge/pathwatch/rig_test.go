package pathwatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// net is a network under a path, as the gateway's end of it.
type net struct {
	dead     bool          // nothing passes
	late     time.Duration // until an answer
	refuses  bool          // the gateway doesn't admit the terminal
	shy      bool          // nor before it sent data
	deaf     bool          // since a failover, until the next handshake
	connects bool          // a connection comes about while dead, too
}

// rig plays a terminal and a gateway in a time of its own.
type rig struct {
	t      *testing.T
	w      *Watcher
	now    time.Time
	nets   [3]net
	lease  time.Duration
	refuse bool // leases
	active Path // the gateway's
	sent   [3]int
	log    []string   // actions but probes, with their time
	queue  []upcoming // sorted
	check  func(Action)
}

type upcoming struct {
	at time.Time
	do func() Event // nil event: nothing
}

func newRig(t *testing.T, cfg Config) *rig {
	r := &rig{t: t, now: noon, w: New(cfg, noon), lease: 12 * time.Hour}
	for i := range r.nets {
		r.nets[i].late = 50 * time.Millisecond
	}
	r.nets[Fallback].connects = true
	return r
}

// in has something happen later.
func (r *rig) in(d time.Duration, do func() Event) {
	u := upcoming{r.now.Add(d), do}
	i := len(r.queue)
	for i > 0 && r.queue[i-1].at.After(u.at) {
		i--
	}
	r.queue = slices.Insert(r.queue, i, u)
}

// tell hands events to the watcher, now.
func (r *rig) tell(events ...Event) {
	r.t.Helper()
	for _, e := range events {
		for _, a := range r.w.Handle(r.now, e) {
			r.act(a)
		}
		if next := r.w.Next(); !next.IsZero() && !next.After(r.now) {
			r.t.Fatalf("at %v the watcher wants to be called at %v, which is no progress", r.now.Sub(noon), next.Sub(noon))
		}
	}
}

// run lets time pass.
func (r *rig) run(d time.Duration) {
	r.t.Helper()
	for end, steps := r.now.Add(d), 0; ; steps++ {
		if steps > 200_000 {
			r.t.Fatal("the watcher is busy with itself")
		}
		next := r.w.Next()
		if len(r.queue) > 0 && (next.IsZero() || !r.queue[0].at.After(next)) {
			u := r.queue[0]
			if u.at.After(end) {
				break
			}
			r.queue, r.now = r.queue[1:], u.at
			if e := u.do(); e != nil {
				r.tell(e)
			}
			continue
		}
		if next.IsZero() || next.After(end) {
			break
		}
		r.now = next
		r.tell(Tick{})
	}
}

// until runs to a time after noon.
func (r *rig) until(after time.Duration) {
	r.t.Helper()
	r.run(noon.Add(after).Sub(r.now))
	r.now = noon.Add(after)
}

func (r *rig) act(a Action) {
	if r.check != nil {
		r.check(a)
	}
	if p, ok := a.(SendProbe); ok {
		r.sent[p.Path]++
		if n := &r.nets[p.Path]; !n.dead && !n.deaf {
			r.in(n.late, func() Event {
				return ProbeAnswered{Path: p.Path, Nonce: p.Nonce, Active: r.active == p.Path, Admitted: !n.refuses && !n.shy}
			})
		}
		return
	}
	r.log = append(r.log, strings.TrimPrefix(fmt.Sprintf("%v %T%v", r.now.Sub(noon).Round(time.Millisecond), a, a), "pathwatch."))
	switch a := a.(type) {
	case Connect:
		n := &r.nets[a.Path]
		r.in(100*time.Millisecond, func() Event {
			n.deaf = false
			if n.dead && !n.connects {
				return ConnectFailed{Path: a.Path}
			}
			return Connected(a)
		})
	case Rekey:
		r.in(50*time.Millisecond, func() Event { r.nets[Fallback].deaf = false; return nil })
	case Announce:
		if n := &r.nets[a.Path]; !n.dead && !n.deaf && !n.refuses {
			r.active, n.shy = a.Path, false
		}
	case RequestConnection:
		over := a.Over
		if over == NoPath {
			over = Fallback
		}
		r.in(100*time.Millisecond, func() Event {
			if r.nets[over].dead || r.refuse {
				return RequestFailed{}
			}
			return Leased{RenewAfter: r.now.Add(r.lease * 2 / 3), Expires: r.now.Add(r.lease)}
		})
	}
}

// done returns what was done since it was asked last.
func (r *rig) done() []string {
	out := r.log
	r.log = nil
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], "pathwatch.", "")
	}
	return out
}

// expect fails unless exactly these were the actions, but for probes.
func (r *rig) expect(want ...string) {
	r.t.Helper()
	if got := r.done(); !slices.Equal(got, want) {
		r.t.Errorf("done:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// onCarrier is a terminal that has been on the carrier's path for a minute.
func onCarrier(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := newRig(t, cfg)
	r.tell(LinkUp{Carrier}, LinkUp{Fallback})
	r.until(time.Minute)
	if r.w.Path() != Carrier {
		t.Fatalf("on %v", r.w.Path())
	}
	r.log = nil
	return r
}
