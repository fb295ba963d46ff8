package drill

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// CanaryConfig says who the canary is. The gateway has to know it: its address
// is among the allowed peers, its subscribers are on the allow-list.
type CanaryConfig struct {
	Address netip.Addr // of the canary, as a carrier's node
	Gateway netip.Addr // outer address of the gateway
	Inner   netip.Addr // the gateway's address inside the tunnel, which answers pings
	// Sessions are attached for the time of the drills, and probed.
	Sessions []carrier.Subscriber
	// Churn attach and detach all the time; optional. What the gateway
	// acknowledged to them must be so afterwards.
	Churn []carrier.Subscriber
	// Every is the time between two probes, which the sessions send in turn;
	// zero means 2 ms.
	Every time.Duration
}

// Canary is a carrier's node with sessions, whose packets say whether the
// gateway forwards.
type Canary struct {
	cfg     CanaryConfig
	began   time.Time
	tap     *tap
	carrier *carrier.Carrier
	bearers []*carrier.Bearer
	churn   *churn // nil: none
	use     *use   // nil: none
	stop    context.CancelFunc
	tasks   sync.WaitGroup

	mu     sync.Mutex
	first  uint64  // number of probes[0]; guarded by mu
	probes []probe // guarded by mu
}

// Timers of the canary's signalling: impatient, so that how long a procedure
// takes over a failover is not what its repetitions make of it.
const (
	canaryT3 = 200 * time.Millisecond
	canaryN3 = 50
)

// NewCanary attaches the sessions and begins to probe.
func NewCanary(ctx context.Context, cfg CanaryConfig) (_ *Canary, err error) {
	if len(cfg.Sessions) == 0 {
		return nil, errors.New("the canary has no session: give it a subscriber")
	}
	if cfg.Every <= 0 {
		cfg.Every = 2 * time.Millisecond
	}
	c := &Canary{cfg: cfg, began: time.Now(), tap: newTap()}
	c.carrier, err = carrier.New(carrier.Config{
		Address: cfg.Address, Gateway: cfg.Gateway, T3: canaryT3, N3: canaryN3, Listen: c.tap.listen,
	})
	if err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for _, who := range cfg.Sessions {
		b, err := c.carrier.Attach(ctx, who)
		if err != nil {
			return nil, fmt.Errorf("canary: %w", err)
		}
		b.Handle(c.answered)
		c.bearers = append(c.bearers, b)
	}
	c.tasks.Go(func() { c.probe(life) })
	if len(cfg.Churn) > 0 {
		c.churn = newChurn(c.carrier, cfg.Churn)
		c.tasks.Go(func() { c.churn.run(life) })
	}
	return c, nil
}

// Close detaches the sessions, as far as the gateway answers soon.
func (c *Canary) Close() {
	c.stop()
	c.tasks.Wait()
	if c.use != nil {
		c.use.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, b := range c.bearers {
		_ = b.Detach(ctx) // one that is gone already is none to detach
	}
	if c.churn != nil {
		c.churn.leave(ctx)
	}
	_ = c.carrier.Close()
}

// now is the canary's time.
func (c *Canary) now() time.Duration { return time.Since(c.began) }

// probe sends echoes, of one session after the other.
func (c *Canary) probe(ctx context.Context) {
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s := int(n % uint64(len(c.bearers)))
		b := c.bearers[s]
		packet := echoRequest(b.Address(), c.cfg.Inner, n)
		c.mu.Lock()
		c.probes = append(c.probes, probe{session: s, sent: c.now()})
		c.mu.Unlock()
		_ = b.Send(packet) // a session that ended sends nothing, and is silent
	}
}

// answered takes a downlink packet of any session.
func (c *Canary) answered(packet []byte) {
	at := c.now()
	n, ok := echoReply(packet)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := n - c.first; n >= c.first && i < uint64(len(c.probes)) && c.probes[i].answered == 0 {
		c.probes[i].answered = at
	}
}

// begin forgets the probes before the last moment: what is measured next needs
// no older ones.
func (c *Canary) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := min(len(c.probes), int(500*time.Millisecond/c.cfg.Every))
	gone := len(c.probes) - keep
	c.first += uint64(gone)
	c.probes = append([]probe(nil), c.probes[gone:]...)
}

// seen are the probes since begin.
func (c *Canary) seen() []probe {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]probe(nil), c.probes...)
}

// servedSince tells whether every session got an answer to a probe that it sent
// after a moment.
func (c *Canary) servedSince(at time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	served, left := make([]bool, len(c.bearers)), len(c.bearers)
	for i := len(c.probes) - 1; i >= 0 && c.probes[i].sent > at; i-- {
		if p := c.probes[i]; p.answered != 0 && !served[p.session] {
			served[p.session] = true
			left--
		}
	}
	return left == 0
}

// awaitServed waits until every session is served.
func (c *Canary) awaitServed(ctx context.Context) error {
	since := c.now()
	if !wait(ctx, 2*time.Millisecond, func() bool { return c.servedSince(since) }) {
		return errors.New("the canary's sessions are not served")
	}
	return nil
}

// lost lists sessions that ended, with the reason.
func (c *Canary) lost() (all []string) {
	for i, b := range c.bearers {
		if err := b.Err(); err != nil {
			all = append(all, fmt.Sprintf("session of %s: %v", c.cfg.Sessions[i].IMSI, err))
		}
	}
	return all
}

// wait looks again and again until something is so; false if ctx ended first.
func wait(ctx context.Context, every time.Duration, so func() bool) bool {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
