package pathwatch

import "time"

// Watcher is the machine. It belongs to one goroutine.
type Watcher struct {
	cfg   Config
	now   time.Time // of the last event
	next  time.Time // zero: nothing to come
	out   []Action
	nonce uint64

	paths  [3]path // by Path
	active Path    // what is selected
	last   Path    // what was selected last, also if it ended
	uses   int
	closer time.Time // the watcher looks closer until then

	selected  time.Time     // when
	returned  bool          // the carrier was selected after the fallback
	hold      time.Duration // before the next return
	wanted    time.Time     // when the fallback was last of use
	announced time.Time
	attach    time.Duration // how long a bearer may be dead

	lease      Leased // zero: none
	requesting bool
	requested  time.Time
	over       Path      // that way
	granted    time.Time // when the lease came
	request    time.Time // none before
	requests   time.Duration
}

// New makes a watcher of a terminal that is on no path. It does nothing before it is
// told of a network (LinkUp). Now is of the clock that all later times are of; one that
// goes back stands still.
func New(cfg Config, now time.Time) *Watcher {
	cfg = cfg.withDefaults()
	return &Watcher{cfg: cfg, now: now, nonce: cfg.FirstNonce, hold: cfg.Hold, attach: firstAttach}
}

// Path tells which path is selected.
func (w *Watcher) Path() Path { return w.active }

// Next tells when Handle is to be called with a Tick, unless there is another event
// before; the zero Time: not at all.
func (w *Watcher) Next() time.Time { return w.next }

// Handle tells the watcher of an event, and what is to be done.
func (w *Watcher) Handle(now time.Time, e Event) []Action {
	if now.Before(w.now) {
		now = w.now
	}
	w.now, w.next, w.out = now, time.Time{}, nil
	w.apply(e)
	w.expire()
	want := w.wantsFallback()
	w.connectCarrier()
	w.connectFallback(want)
	w.choose()
	w.release(want)
	w.ask(want)
	w.probe()
	return w.out
}

func (w *Watcher) do(a Action) { w.out = append(w.out, a) }

// wake has the watcher called again at t.
func (w *Watcher) wake(t time.Time) {
	if t.After(w.now) && (w.next.IsZero() || t.Before(w.next)) {
		w.next = t
	}
}

// due tells whether t has come; if it hasn't, the watcher is called again then.
func (w *Watcher) due(t time.Time) bool {
	if w.now.Before(t) {
		w.wake(t)
		return false
	}
	return true
}

// of is the state of a path that an event names.
func (w *Watcher) of(p Path) *path {
	if p != Carrier && (p != Fallback || w.cfg.NoFallback) {
		return new(path) // nobody's
	}
	return &w.paths[p]
}

// ended takes the selection from a path that is down.
func (w *Watcher) ended(p Path) {
	if w.active == p {
		w.active = NoPath
	}
}

func (w *Watcher) apply(e Event) {
	switch e := e.(type) {
	case LinkUp:
		p := w.of(e.Path)
		p.link, p.retry, p.hurry, p.backoff = true, time.Time{}, time.Time{}, 0
	case LinkDown:
		p := w.of(e.Path)
		p.link = false
		p.end()
		w.ended(e.Path)
	case Connected:
		if p := w.of(e.Path); p.link {
			p.start()
			w.ended(e.Path) // what was up before is another one
		}
	case ConnectFailed:
		if p := w.of(e.Path); p.connecting {
			p.fail(w.now, e.RetryAfter)
		}
	case Disconnected:
		if p := w.of(e.Path); p.up {
			p.end()
			w.ended(e.Path)
		}
	case ProbeAnswered:
		w.answered(e)
	case Traffic:
		w.closer = w.now.Add(closer)
	case UseBegan:
		w.uses++
	case UseEnded:
		w.uses = max(0, w.uses-1)
	case Leased:
		w.lease, w.granted, w.requesting, w.requests, w.request = e, w.now, false, 0, time.Time{}
		if f := &w.paths[Fallback]; f.up {
			f.rekeys, f.rekey = 0, w.now.Add(rekeyEvery)
			w.do(Rekey{})
		}
	case RequestFailed:
		w.requestFailed(e.RetryAfter)
	}
}

func (w *Watcher) answered(e ProbeAnswered) {
	p := w.of(e.Path)
	if !p.up || !p.answer(w.now, e) {
		return
	}
	if e.Path == Carrier {
		w.attach = firstAttach
	}
	behind := e.Path == w.active && e.Admitted && !e.Active
	waiting := e.Path == Fallback && !e.Admitted && !w.paths[w.active].usable()
	if (behind || waiting) && w.now.Sub(w.announced) >= w.cfg.InUse {
		w.announce(e.Path)
		p.soon = w.now.Add(settle)
	}
}

func (w *Watcher) announce(on Path) {
	w.announced = w.now
	w.do(Announce{on})
}

// expire gives up what wasn't answered in time.
func (w *Watcher) expire() {
	for i := range w.paths {
		p := &w.paths[i]
		if p.waiting && w.due(p.sent.Add(w.cfg.Timeout)) {
			p.lose(w.now, w.cfg.Losses)
		}
		if p.connecting && w.due(p.tried.Add(connectLimit)) {
			p.fail(w.now, 0)
		}
	}
	if w.requesting && w.due(w.requested.Add(connectLimit)) {
		w.requestFailed(0)
	}
}
