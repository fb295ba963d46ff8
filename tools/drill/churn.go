package drill

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// churn attaches and detaches subscribers all the time. Each procedure is a
// write to the replicated log; what was acknowledged has to be there.
type churn struct {
	carrier *carrier.Carrier
	pause   time.Duration // after each procedure

	mu    sync.Mutex // held during a procedure
	users []*user    // guarded by mu
	acked int        // procedures that were acknowledged; guarded by mu
	// Since begin, guarded by mu: when they were, and what was refused.
	done    []time.Time
	refused []string
}

// user is a subscriber that comes and goes.
type user struct {
	who     carrier.Subscriber
	bearer  *carrier.Bearer // nil: detached
	at      time.Time       // of the last procedure
	unclear bool            // the last procedure had no answer: it may have been carried out or not
}

// clock shows times of one round.
const clock = "15:04:05.000"

const churnPause = 20 * time.Millisecond

func newChurn(c *carrier.Carrier, subs []carrier.Subscriber) *churn {
	ch := &churn{carrier: c, pause: churnPause}
	for _, s := range subs {
		ch.users = append(ch.users, &user{who: s})
	}
	return ch
}

func (c *churn) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		c.step(ctx, n%len(c.users))
		select {
		case <-ctx.Done():
		case <-time.After(c.pause):
		}
	}
}

// step carries out one procedure.
func (c *churn) step(ctx context.Context, i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[i]
	var err error
	if u.bearer == nil {
		u.bearer, err = c.carrier.Attach(ctx, u.who)
	} else {
		err = u.bearer.Detach(ctx)
		u.bearer = nil
	}
	// What was refused because it couldn't be decided may be carried out yet, or not.
	u.unclear, u.at = err != nil, time.Now()
	switch refused := (*carrier.RefusedError)(nil); {
	case err == nil:
		c.acked++
		c.done = append(c.done, time.Now())
	case errors.As(err, &refused):
		c.refused = append(c.refused, err.Error())
	}
}

// firstAfter is when the first procedure was acknowledged that ended after a
// moment.
func (c *churn) firstAfter(at time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearchFunc(c.done, at, time.Time.Compare)
	if i == len(c.done) {
		return time.Time{}, false
	}
	return c.done[i], true
}

// begin forgets when procedures ended; it returns how many were acknowledged.
func (c *churn) begin() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done, c.refused = nil, nil
	return c.acked
}

// compare lists acknowledged procedures that the gateway's sessions don't show,
// while none is under way, and what was refused.
func (c *churn) compare(sessions func() ([]adminapi.Session, error)) (acked int, lost, refused []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, err := sessions()
	if err != nil {
		return c.acked, nil, nil, err
	}
	is := map[string]adminapi.Session{}
	for _, s := range list {
		is[s.IMSI] = s
	}
	for _, u := range c.users {
		s, there := is[u.who.IMSI.String()]
		switch {
		case u.unclear:
		case u.bearer == nil && there:
			lost = append(lost, fmt.Sprintf("the detach of %s was acknowledged at %s, and there is session %d, opened at %s",
				u.who.IMSI, u.at.UTC().Format(clock), s.ID, s.Opened.UTC().Format(clock)))
		case u.bearer != nil && !there:
			lost = append(lost, fmt.Sprintf("the attach of %s was acknowledged at %s, and there is no session", u.who.IMSI, u.at.UTC().Format(clock)))
		case u.bearer != nil && s.Address != u.bearer.Address().String():
			lost = append(lost, fmt.Sprintf("%s was given %s and has %s", u.who.IMSI, u.bearer.Address(), s.Address))
		}
	}
	return c.acked, lost, c.refused, nil
}

// leave detaches whoever is attached.
func (c *churn) leave(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.users {
		if u.bearer != nil {
			_ = u.bearer.Detach(ctx) // the canary is leaving anyway
			u.bearer = nil
		}
	}
}

// kept lists sessions that the gateway doesn't have any more, or that have other
// addresses.
func kept(who []carrier.Subscriber, address func(i int) netip.Addr, list []adminapi.Session) (lost []string) {
	is := map[string]string{}
	for _, s := range list {
		is[s.IMSI] = s.Address
	}
	for i, w := range who {
		switch got, there := is[w.IMSI.String()]; {
		case !there:
			lost = append(lost, fmt.Sprintf("the gateway has no session of %s", w.IMSI))
		case got != address(i).String():
			lost = append(lost, fmt.Sprintf("%s had %s and has %s", w.IMSI, address(i), got))
		}
	}
	return lost
}
