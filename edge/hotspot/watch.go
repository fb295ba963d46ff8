package hotspot

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

// Proposer puts a command into the replicated log; cluster.Node does.
type Proposer interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
}

// Watch judges as a Guard does, and puts into the audit chain what is new of it:
// access points ask about a device again and again. A device that is on no list is
// an alarm besides.
type Watch struct {
	guard *Guard
	to    Proposer
	log   *slog.Logger
	queue chan *command.Command

	alarms, dropped atomic.Uint64

	mu    sync.Mutex
	last  map[asked]told           // guarded by mu, bounded by maxTold
	rates map[string]*rate.Limiter // guarded by mu, by terminal; bounded by maxTold
}

// asked is a device on a terminal's hotspot.
type asked struct {
	imsi string
	mac  ident.MAC
}

// told is what went into the chain about it, or should have.
type told struct {
	code wire.Code // empty: it may
	at   time.Time
}

// Bounds of what goes into the chain: the same decision once in tellAgain, and of
// one terminal no more than tellBurst at once and one every tellEvery.
const (
	tellAgain = time.Hour
	tellEvery = 10 * time.Second
	tellBurst = 20
	maxTold   = 1 << 14
	maxQueue  = 256
)

// NewWatch makes a watch; Run puts into the log what it saw.
func NewWatch(g *Guard, to Proposer, log *slog.Logger) *Watch {
	return &Watch{
		guard: g, to: to, log: log, queue: make(chan *command.Command, maxQueue),
		last: make(map[asked]told), rates: make(map[string]*rate.Limiter),
	}
}

// Judge tells whether a device may be on a terminal's hotspot: nil, or a
// *wire.Problem with the reasons. It never waits.
func (w *Watch) Judge(imsi string, mac ident.MAC) error {
	err := w.guard.Judge(imsi, mac)
	p := sealuse.FromError(err)
	now := time.Now()
	if !w.isNew(asked{imsi, mac}, p, now) {
		return err
	}
	terminal, _ := ident.ParseIMSI(imsi)
	var revision uint64
	if r := w.guard.Rules(); r != nil {
		revision = r.Revision
	}
	alarm := ""
	if p != nil && p.Code == wire.CodeMACNotAllowed {
		alarm = "a device with MAC " + mac.String() + ", which may be on no hotspot, came to this one"
		w.alarms.Add(1)
		w.log.Warn("alarm", "terminal", terminal, "what", alarm)
	} else if p != nil {
		w.log.Info("refused", "kind", sealuse.KindHotspot, "terminal", terminal, "mac", mac, "code", p.Code)
	}
	if !w.rate(imsi).AllowN(now, 1) {
		w.dropped.Add(1)
		return err
	}
	w.put(sealuse.Decided(sealuse.KindHotspot, imsi, "mac "+mac.String(), p, revision))
	if alarm != "" {
		w.put(sealuse.Alarmed(imsi, alarm, revision))
	}
	return err
}

// isNew notes a decision, and tells whether it differs from the last one or that is
// long ago.
func (w *Watch) isNew(a asked, p *wire.Problem, now time.Time) bool {
	t := told{at: now}
	if p != nil {
		t.code = p.Code
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was, known := w.last[a]
	if known && was.code == t.code && now.Sub(was.at) < tellAgain {
		return false
	}
	if !known && len(w.last) >= maxTold {
		clear(w.last)
	}
	w.last[a] = t
	return true
}

func (w *Watch) rate(imsi string) *rate.Limiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.rates[imsi]
	if l == nil {
		if len(w.rates) >= maxTold {
			clear(w.rates)
		}
		l = rate.NewLimiter(rate.Every(tellEvery), tellBurst)
		w.rates[imsi] = l
	}
	return l
}

func (w *Watch) put(c *command.Command) {
	c.RequestId = "hotspot:" + rand.Text() // once, even if the answer to proposing it is lost
	select {
	case w.queue <- c:
	default:
		w.dropped.Add(1)
	}
}

// Run proposes what was seen, until ctx ends. What finds no quorum is tried again
// for as long as the queue can hold what comes behind it.
func (w *Watch) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-w.queue:
			for !w.propose(ctx, c) && len(w.queue) < maxQueue {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(time.Second):
				}
			}
		}
		if n := w.dropped.Swap(0); n > 0 {
			w.log.Warn("decisions on hotspots not recorded in the audit chain: too many came at once", "count", n)
		}
	}
}

func (w *Watch) propose(ctx context.Context, c *command.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := w.to.Propose(ctx, c); err != nil {
		w.log.Warn("decision on a hotspot not recorded yet", "err", err)
		return false
	}
	return true
}

// Alarms is how many devices that are on no list came, since the node started.
func (w *Watch) Alarms() uint64 { return w.alarms.Load() }
