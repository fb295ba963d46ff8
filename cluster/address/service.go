package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

const (
	// checkEvery is the time between two looks at whether the EndpointSlice still says
	// what the holder wrote: somebody may have put it back, as "helm rollback --force" does.
	checkEvery = 5 * time.Second
	// withdrawTimeout bounds how long the giving up of an address waits for the API
	// server. It needn't succeed: the next holder overwrites what is left.
	withdrawTimeout = 500 * time.Millisecond
	// complainEvery is how often the same error is logged.
	complainEvery = 10 * time.Second
)

// Endpoint is where a Service is to send packets to when this node holds the address.
type Endpoint struct {
	Slice   string // name of the EndpointSlice, in the pod's namespace
	Address netip.Addr
	Ports   []Port
	Pod     string // its name
	Machine string // the Kubernetes node that it runs on; empty: not told
}

// Port is a UDP port, by its name in the Service.
type Port struct {
	Name   string
	Number uint16
}

// service is the Driver of that kind: the holder writes itself into the EndpointSlice
// of a Service without selector. The slice has the tenure that it was written in, and
// each write says which version of the slice it is made of, so that the API server
// refuses it when another came first. So who held before, and is late, never
// overwrites a later holder.
type service struct {
	store store
	here  Endpoint
	holds func(netip.Addr) bool
	life  func() int64
	log   *slog.Logger

	mu       sync.Mutex
	held     tenure            // guarded by mu; of the last Up
	end      func()            // guarded by mu; ends the tending and waits for it, nil if there is none
	counts   map[string]uint64 // guarded by mu
	trouble  string            // guarded by mu; the last error, empty since a success
	lamented time.Time         // guarded by mu; when it was logged
}

// store is where the EndpointSlice is.
type store interface {
	get(ctx context.Context) (endpointSlice, error)
	// put replaces the slice; errConflict if it isn't the one that was got any more.
	put(ctx context.Context, s endpointSlice) error
}

var (
	errConflict   = errors.New("the EndpointSlice was changed meanwhile")
	errSuperseded = errors.New("a later holder has written the EndpointSlice")
)

func newService(s Settings) (Driver, error) {
	api, err := inCluster(s.Endpoint.Slice)
	if err != nil {
		return nil, err
	}
	d := startService(api, s)
	// What will be missing when this node is to take over is better known now.
	if err := d.readable(); err != nil {
		d.complain("the EndpointSlice can't be read; this node tries again when it holds the address", err)
	}
	return d, nil
}

func startService(api store, s Settings) *service {
	d := &service{store: api, here: s.Endpoint, holds: s.Holds, life: s.Life, log: s.Logger, counts: map[string]uint64{}}
	for _, event := range []string{"endpoint-written", "endpoint-withdrawn", "endpoint-put-right", "write-conflict", "superseded", "request-failed"} {
		d.counts[event] = 0 // so that the first one is seen as a rise
	}
	return d
}

func (d *service) readable() error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	s, err := d.store.get(ctx)
	if err != nil {
		return err
	}
	_, err = s.tenure()
	return err
}

// Up implements Driver. It tries until it succeeds or ctx ends: the sockets stay open
// meanwhile, and where the slice says this pod already, they are being used.
func (d *service) Up(ctx context.Context, a netip.Addr, epoch uint64) error {
	t := tenure{d.life(), epoch}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		_, err := d.write(ctx, t, d.here.endpoints())
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			d.complain("the Service doesn't lead here yet", err)
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
			}
		}
		// A write may have been carried out of which nothing was heard.
		return errors.Join(ctx.Err(), d.withdraw(t))
	}
	d.count("endpoint-written")
	d.relieved()

	tending, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held, d.end = t, func() { cancel(); <-done }
	go func() {
		defer close(done)
		d.tend(tending, a, t)
	}()
	return nil
}

// Down implements Driver.
func (d *service) Down(netip.Addr) error {
	d.mu.Lock()
	t, end := d.held, d.end
	d.end = nil
	d.mu.Unlock()
	if end == nil {
		return nil
	}
	end()
	return d.withdraw(t)
}

// withdraw empties the slice if it is of the tenure.
func (d *service) withdraw(t tenure) error {
	ctx, cancel := context.WithTimeout(context.Background(), withdrawTimeout)
	defer cancel()
	wrote, err := d.write(ctx, t, []any{})
	switch {
	case errors.Is(err, errSuperseded):
		return nil
	case err != nil:
		d.count("request-failed")
		return fmt.Errorf("the Service may lead here until the next holder has written: %w", err)
	case wrote:
		d.count("endpoint-withdrawn")
	}
	return nil
}

// write has the slice say endpoints in a tenure, unless it does, and tells whether it
// had to be written. It empties what was written in that tenure only.
func (d *service) write(ctx context.Context, t tenure, endpoints []any) (wrote bool, err error) {
	for {
		s, err := d.store.get(ctx)
		if err != nil {
			return false, err
		}
		was, err := s.tenure()
		switch {
		case err != nil:
			return false, err
		case was.after(t):
			d.count("superseded")
			return false, fmt.Errorf("%w: it is at %s, this node at %s: %s", errSuperseded, was, t, d.here.superseded(was, t))
		case len(endpoints) == 0 && was != t:
			return false, nil
		case !s.say(t, endpoints, d.here.ports()):
			return false, nil
		}
		switch err := d.store.put(ctx, s); {
		case err == nil:
			return true, nil
		case !errors.Is(err, errConflict):
			return false, err
		}
		d.count("write-conflict")
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

// superseded says what it can be when a tenure is later than this node's, and what to do
// about it. Which of two clusters is the one that counts, nothing here can tell: not
// even their epochs' numbers, which are the same after two restores of one backup.
func (e Endpoint) superseded(was, is tenure) string {
	remove := fmt.Sprintf("kubectl annotate endpointslice %s %s- -n NAMESPACE", e.Slice, tenureKey)
	if was.life == is.life {
		return fmt.Sprintf("another node has held the address since, and nothing needs to be done; but if all volumes were deleted and this cluster began anew, run: %s", remove)
	}
	made := "never was"
	if is.life != 0 {
		made = "was at " + stamp(is.life)
	}
	return fmt.Sprintf("it was written by a cluster that was restored or recovered at %s, and this one %s; if this is the cluster that is to serve, a clock was wrong at one of the two: "+
		"see that no node of the other runs, set the clocks right, and run: %s", stamp(was.life), made, remove)
}

func stamp(life int64) string { return time.Unix(0, life).UTC().Format(time.RFC3339) }

// tend sees to it that the slice goes on saying this pod, while this node holds.
func (d *service) tend(ctx context.Context, a netip.Addr, t tenure) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !d.holds(a) {
			continue
		}
		switch wrote, err := d.write(ctx, t, d.here.endpoints()); {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.complain("whether the Service still leads here isn't known", err)
		case wrote:
			d.count("endpoint-put-right")
			d.log.Warn("somebody changed the EndpointSlice of the Service; it is put right", "endpointslice", d.here.Slice)
			d.relieved()
		default:
			d.relieved()
		}
	}
}

// Counters are what the driver has counted, by event.
func (d *service) Counters() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]uint64, len(d.counts))
	for event, n := range d.counts {
		all[event] = n
	}
	return all
}

func (d *service) count(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[event]++
}

// complain counts an error, and logs it if it is a new one or lasts.
func (d *service) complain(what string, err error) {
	d.count("request-failed")
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); err.Error() != d.trouble || now.Sub(d.lamented) >= complainEvery {
		d.trouble, d.lamented = err.Error(), now
		d.log.Error(what, "error", err)
	}
}

// relieved says that a trouble is over.
func (d *service) relieved() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trouble != "" {
		d.trouble = ""
		d.log.Info("the Service leads here", "endpointslice", d.here.Slice)
	}
}
