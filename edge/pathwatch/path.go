package pathwatch

import "time"

// recent is how many probes of a path may be answered still.
const recent = 4

// path is what the watcher knows of one path.
type path struct {
	link       bool      // there is a network to connect over
	up         bool      // there is a bearer, or a tunnel
	connecting bool      // Connect wasn't answered yet
	tried      time.Time // when Connect was said last
	retry      time.Time // no Connect before
	hurry      time.Time // nor before this one, though nothing lives
	backoff    time.Duration

	nonces   [recent]uint64 // of the last probes; 0: none
	sent     time.Time      // when the last one was sent; zero: none since it is up
	waiting  bool           // for its answer
	soon     time.Time      // the next one is due then at the latest; zero: as ever
	lost     int            // probes in a row
	died     time.Time      // when the last of Losses was lost; zero: it isn't dead
	heard    time.Time      // the last answer; zero: none since it is up, or died
	admitted bool           // said that answer
	steady   time.Time      // no loss since; zero: there was no answer after the last loss

	rekeys int       // since it died
	rekey  time.Time // when the next one is due
}

// start makes the path one that is up and of which nothing is known.
func (p *path) start() {
	*p = path{link: p.link, up: true, tried: p.tried, backoff: p.backoff}
}

// end makes the path one that is down.
func (p *path) end() {
	*p = path{link: p.link, retry: p.retry, hurry: p.hurry, backoff: p.backoff, tried: p.tried}
}

func (p *path) dead() bool { return !p.died.IsZero() }

// alive tells whether the gateway answers through the path.
func (p *path) alive() bool { return p.up && !p.heard.IsZero() && !p.dead() }

// usable tells whether the gateway answers, and admits the terminal.
func (p *path) usable() bool { return p.alive() && p.admitted }

// probed notes a probe.
func (p *path) probed(now time.Time, nonce uint64) {
	copy(p.nonces[1:], p.nonces[:])
	p.nonces[0], p.sent, p.waiting, p.soon = nonce, now, true, time.Time{}
}

// lose counts a probe that wasn't answered in time.
func (p *path) lose(now time.Time, losses int) {
	p.waiting, p.steady = false, time.Time{}
	if p.lost++; p.lost >= losses && !p.dead() {
		p.died, p.heard, p.admitted = now, time.Time{}, false
		p.rekeys, p.rekey = 0, now
	}
}

// answer takes an answer; false: to no probe of late.
func (p *path) answer(now time.Time, a ProbeAnswered) bool {
	for i, n := range p.nonces {
		if n == 0 || n != a.Nonce {
			continue
		}
		p.nonces[i] = 0
		p.lost, p.died, p.heard, p.admitted, p.backoff = 0, time.Time{}, now, a.Admitted, 0
		if i == 0 {
			p.waiting = false
			if p.steady.IsZero() {
				p.steady = now
			}
		}
		return true
	}
	return false
}

// fail notes that Connect failed.
func (p *path) fail(now time.Time, after time.Duration) {
	p.backoff = double(p.backoff, firstRetry, lastRetry)
	p.connecting = false
	p.retry, p.hurry = now.Add(max(after, p.backoff)), now.Add(max(after, min(p.backoff, hurryRetry)))
}

// double is the wait that follows one of d.
func double(d, first, last time.Duration) time.Duration {
	if d == 0 {
		return first
	}
	return min(2*d, last)
}
