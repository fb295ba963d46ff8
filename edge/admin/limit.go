package admin

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// mostCallers bounds who is remembered; more at a time are strangers, which are
// told apart by address only.
const mostCallers = 10_000

// limits holds each caller to a rate.
type limits struct {
	perSecond rate.Limit // 0: no limit
	burst     int

	mu      sync.Mutex
	callers map[string]*rate.Limiter // guarded by mu
}

func newLimits(perSecond int) *limits {
	return &limits{perSecond: rate.Limit(perSecond), burst: 2 * perSecond, callers: map[string]*rate.Limiter{}}
}

// admit tells whether a caller may call now, and if not, when.
func (l *limits) admit(caller string, now time.Time) (wait time.Duration, ok bool) {
	if l.perSecond == 0 {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.callers[caller]
	if one == nil {
		if len(l.callers) >= mostCallers {
			for k, idle := range l.callers {
				if idle.TokensAt(now) >= float64(l.burst) {
					delete(l.callers, k)
				}
			}
		}
		if one = rate.NewLimiter(l.perSecond, l.burst); len(l.callers) < mostCallers {
			l.callers[caller] = one
		} else {
			return time.Second, false
		}
	}
	r := one.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// limitKey is whose calls are counted together: each token has its own rate, so
// that a program that runs wild doesn't keep its owner out.
func limitKey(r *http.Request, c Caller) string {
	if c.Name != "" {
		return c.Actor() + " " + c.Token
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "from " + host
}
