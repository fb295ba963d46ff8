package pathwatch

import "time"

// busy tells whether somebody would notice a path that is lost.
func (w *Watcher) busy() bool { return w.uses > 0 || !w.due(w.closer) }

// wantsFallback tells whether the fallback is of use now.
func (w *Watcher) wantsFallback() bool {
	if w.cfg.NoFallback {
		return false
	}
	c := &w.paths[Carrier]
	want := w.uses > 0 || w.cfg.KeepStandby || w.active == Fallback
	switch {
	case want:
	case c.connecting:
		want = w.due(c.tried.Add(patience))
	case !c.up:
		want = true
	default:
		want = c.lost > 0 || c.alive() && !c.admitted
	}
	if want {
		w.wanted = w.now
	}
	return want
}

// connectCarrier attaches, and attaches anew when a bearer has been dead for long: the
// gateway may have given it up without the terminal's hearing of it.
func (w *Watcher) connectCarrier() {
	c := &w.paths[Carrier]
	if c.up && c.dead() && w.due(c.died.Add(w.attach)) {
		w.attach = min(2*w.attach, lastAttach)
		c.end()
		w.ended(Carrier)
	}
	w.connect(Carrier)
}

func (w *Watcher) connect(which Path) {
	p, retry := &w.paths[which], w.paths[which].retry
	if !w.paths[w.active].usable() {
		retry = p.hurry
	}
	if p.link && !p.up && !p.connecting && w.due(retry) {
		p.connecting, p.tried = true, w.now
		w.wake(w.now.Add(connectLimit))
		if which == Carrier {
			w.wake(w.now.Add(patience))
		}
		w.do(Connect{which})
	}
}

// connectFallback brings the tunnel up, and has it shake hands anew while it is silent.
func (w *Watcher) connectFallback(want bool) {
	f := &w.paths[Fallback]
	if want && w.leased() {
		w.connect(Fallback)
	}
	if f.up && f.dead() && want && w.due(f.rekey) {
		w.do(Rekey{f.rekeys})
		f.rekeys++
		f.rekey = w.now.Add(rekeyEvery)
		w.wake(f.rekey)
	}
}

// leased tells whether the fallback may be used as far as the lease goes.
func (w *Watcher) leased() bool {
	return w.cfg.Static || w.now.Before(w.lease.Expires)
}

// fresh tells whether the last answer is new enough to rely on the path.
func (w *Watcher) fresh(p *path) bool {
	return w.now.Sub(p.heard) <= w.cfg.Timeout+w.cfg.InUse
}

// choose selects a path, if another one has to carry.
func (w *Watcher) choose() {
	to := NoPath
	c, f := &w.paths[Carrier], &w.paths[Fallback]
	switch selected := &w.paths[w.active]; {
	case w.active == Carrier && selected.usable():
		return
	case w.active == Fallback && selected.usable():
		if c.usable() && !c.steady.IsZero() && w.due(c.steady.Add(w.hold)) && w.fresh(c) {
			to = Carrier
		}
	case w.active != Carrier && c.usable() && w.fresh(c):
		to = Carrier
	case w.active != Fallback && f.usable() && w.fresh(f):
		to = Fallback
	}
	if to == NoPath || !w.selected.IsZero() && !w.due(w.selected.Add(w.cfg.Damp)) {
		return
	}
	w.take(to)
}

func (w *Watcher) take(to Path) {
	if to == Fallback && w.last == Carrier {
		if w.returned && w.now.Sub(w.selected) < w.cfg.MaxHold {
			w.hold = min(2*w.hold, w.cfg.MaxHold)
		} else {
			w.hold = w.cfg.Hold
		}
	}
	if to == Carrier && w.last != Carrier {
		w.returned = w.last == Fallback
	}
	w.active, w.last, w.selected = to, to, w.now
	w.do(Select{to})
	w.announce(to)
}

// release gives the fallback up when it has been of no use for a while.
func (w *Watcher) release(want bool) {
	f := &w.paths[Fallback]
	if f.up && !want && w.active == Carrier && w.due(w.wanted.Add(w.cfg.Linger)) {
		f.end()
		w.do(Release{Fallback})
	}
}

// ask asks for a connection if there is none, if it is to be renewed, or if it seems to
// be good for nothing any more.
func (w *Watcher) ask(want bool) {
	if w.requesting && w.over != NoPath && !w.paths[w.over].usable() {
		w.requesting = false // it is lost with the path, or as good as that
	}
	if w.cfg.Static || w.cfg.NoFallback || w.requesting {
		return
	}
	over := NoPath
	if w.paths[w.active].usable() {
		over = w.active
	} else if !w.paths[Fallback].link {
		return // nobody to ask
	}
	f := &w.paths[Fallback]
	wanted := !w.leased() && (want || over != NoPath)
	if !w.lease.Expires.IsZero() {
		w.wake(w.lease.Expires)
		wanted = wanted || w.due(w.lease.RenewAfter)
	}
	if f.up && f.dead() && want {
		wanted = wanted || w.due(f.died.Add(staleAfter)) && w.granted.Before(f.died)
	}
	if wanted && w.due(w.request) {
		w.requesting, w.requested, w.over = true, w.now, over
		w.wake(w.now.Add(connectLimit))
		w.do(RequestConnection{over})
	}
}

func (w *Watcher) requestFailed(after time.Duration) {
	if !w.requesting {
		return
	}
	w.requests = double(w.requests, firstRequest, lastRequest)
	w.requesting, w.request = false, w.now.Add(max(after, w.requests))
}

// probe sends the probes that are due.
func (w *Watcher) probe() {
	for _, which := range []Path{Carrier, Fallback} {
		p := &w.paths[which]
		if !p.up || p.waiting {
			continue // one at a time
		}
		due := p.sent.Add(w.interval(which))
		if !p.soon.IsZero() && p.soon.Before(due) {
			due = p.soon
		}
		if !p.sent.IsZero() && !w.due(due) {
			continue
		}
		p.probed(w.now, w.nonce)
		w.do(SendProbe{which, w.nonce})
		if w.nonce++; w.nonce == 0 {
			w.nonce = 1
		}
		w.wake(w.now.Add(w.cfg.Timeout))
	}
}

// interval is the time between probes of a path.
func (w *Watcher) interval(which Path) time.Duration {
	p, selected := &w.paths[which], &w.paths[w.active]
	others := w.active != NoPath && which != w.active && selected.usable() && selected.lost == 0
	switch {
	case p.dead() && (others || !w.busy()):
		return w.cfg.Standby
	case !p.alive(), p.lost > 0:
		return w.cfg.InUse // to know
	case which == Carrier && w.active == Fallback && others:
		return max(w.cfg.InUse, min(w.hold/10, w.cfg.Idle)) // it is to return
	case others && w.busy():
		return w.cfg.Standby
	case others, which == w.active && !w.busy():
		return w.cfg.Idle
	}
	return w.cfg.InUse
}
