// Command soak tries whether mutated messages hurt sessions that are none of
// theirs:
//
//	go run ./tools/soak                     ten minutes, as "make soak"
//	go run ./tools/soak -time 30s -nodes 1
//	go run ./tools/soak -seed 42            the same choices again
//
// It starts a gateway of real processes on loopback and makes sessions over both
// versions of GTP, which are pinged in turn from then on. Meanwhile two further
// peers do everything that sessions can have done to them, and copies of what
// they say, bent in one to four places, go to the gateway in both planes at a
// bounded rate: from those peers, whose own sessions may come to harm; from
// them about the live sessions; from strangers; from the live sessions' own
// peers, but never so that it could be taken for a request of theirs; and from
// other peers of their carrier, unaltered.
//
// At the end every live session must be the one that it was, and answer; no
// process may have ended or caught a panic; and no node's memory may have grown
// since the warm-up, but for what caches that aren't full yet may gain: half a
// kilobyte for each result that the replicated state remembers, for ten minutes.
// With -time 20m and more they are full after the warm-up.
//
// What real messages there are to mutate depends on time; a seed repeats all
// choices that don't. Linux only: memory is read in /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak: "+err.Error())
		os.Exit(1)
	}
}

// options say how to soak.
type options struct {
	bin, dir string
	nodes    int
	sessions int
	time     time.Duration
	rate     int // of mutations, a second
	seed     uint64
	keep     bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	fs := flag.NewFlagSet("soak", flag.ContinueOnError)
	fs.StringVar(&o.bin, "bin", "build/bin", "`directory` of the programs under test")
	fs.StringVar(&o.dir, "dir", "build", "`directory` for data; what is made in it is removed when all is well")
	fs.IntVar(&o.nodes, "nodes", 3, "nodes of the gateway")
	fs.IntVar(&o.sessions, "sessions", 1000, "live sessions")
	fs.DurationVar(&o.time, "time", 10*time.Minute, "how long mutations are sent")
	fs.IntVar(&o.rate, "rate", 2000, "mutations a second")
	fs.Uint64Var(&o.seed, "seed", rand.Uint64(), "of all choices")
	fs.BoolVar(&o.keep, "keep", false, "keep data and logs")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.sessions < livePeers || o.sessions > 99_999 || o.nodes < 1 || o.nodes > 5 || o.time <= 0 || o.rate < 1 {
		return fmt.Errorf("want %d to 99999 sessions, 1 to 5 nodes, and a time and rate above 0", livePeers)
	}
	return o.soak(ctx, out)
}

// soak is the whole of it.
func (o options) soak(ctx context.Context, out io.Writer) (err error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "soak-")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer func() {
		if o.keep || err != nil {
			fmt.Fprintln(out, "data and logs are in "+dir)
			return
		}
		_ = os.RemoveAll(dir)
	}()
	fmt.Fprintf(out, "seed %d; %d nodes, %d live sessions, %d mutations a second for %v\n", o.seed, o.nodes, o.sessions, o.rate, o.time)
	s, err := newSite(ctx, dir, o.bin, o.nodes)
	if err != nil {
		return err
	}
	defer s.stop()
	t := test{options: o, site: s, out: out}
	if err := t.prepare(ctx); err != nil {
		return err
	}
	defer t.close()
	if err := t.strain(ctx); err != nil {
		return err
	}
	return t.judge(ctx)
}

// test is a soak under way.
type test struct {
	options
	site   *site
	out    io.Writer
	living *living
	worn   *worn
	attack *attack
	before map[string]adminapi.Session // live ones, by IMSI
	seen   [][]memory                  // of each node, since the warm-up
	epoch  uint64                      // of the gateway address, at first
}

func (t *test) close() {
	if t.attack != nil {
		t.attack.close()
	}
	if t.worn != nil {
		t.worn.close()
	}
	if t.living != nil {
		t.living.close()
	}
}

// prepare makes the sessions.
func (t *test) prepare(ctx context.Context) (err error) {
	if err := t.site.divide(ctx); err != nil {
		return err
	}
	if err := errors.Join(t.site.enlist(ctx, liveIMSI, t.sessions), t.site.enlist(ctx, wornIMSI, wornPeers*wornLines)); err != nil {
		return err
	}
	if t.living, err = newLiving(ctx, t.site, t.sessions); err != nil {
		return err
	}
	if t.worn, err = newWorn(t.site); err != nil {
		return err
	}
	if t.attack, err = newAttack(t.site, t.seed, t.living, t.worn); err != nil {
		return err
	}
	if t.before, err = t.site.live(ctx); err != nil {
		return err
	}
	if len(t.before) != t.sessions {
		return fmt.Errorf("the gateway has %d live sessions of %d", len(t.before), t.sessions)
	}
	status, err := t.site.status(ctx)
	t.epoch = status.Epoch
	return err
}

// divide tells the policy who has which subscribers.
func (s *site) divide(ctx context.Context) error {
	doc, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		return err
	}
	doc = fmt.Appendf(doc, carriersOf, s.ip(20, 0).String()+"/28", s.ip(20, 16).String()+"/28")
	return s.call(ctx, "PUT", "/v1/policy", adminapi.Policy{Document: string(doc), BaseRevision: 1}, nil)
}

// live lists the live sessions by IMSI.
func (s *site) live(ctx context.Context) (map[string]adminapi.Session, error) {
	list, err := adminapi.All[adminapi.Session]("/v1/sessions", func(path string, into any) error { return s.call(ctx, "GET", path, nil, into) })
	if err != nil {
		return nil, err
	}
	live := map[string]adminapi.Session{}
	for _, one := range list {
		if strings.HasPrefix(one.IMSI, liveIMSI) {
			live[one.IMSI] = one
		}
	}
	return live, nil
}

// strain sends mutations for the time, pings the live sessions in turn, and
// watches memory.
func (t *test) strain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.time)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	part := func(do func() error) {
		all.Go(func() {
			if err := do(); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	part(func() error { t.worn.run(ctx, t.seed); return nil })
	part(func() error { return t.attack.run(ctx, t.rate) })
	part(func() error { return t.pingInTurn(ctx) })
	part(func() error { return t.watch(ctx) })
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// pingsPerSecond are of all live sessions together.
const pingsPerSecond = 400

func (t *test) pingInTurn(ctx context.Context) error {
	const at = 4 // at once: one that waits doesn't hold up the others
	errs := make(chan error, at)
	for n := range at {
		go func() {
			tick := time.NewTicker(at * time.Second / pingsPerSecond)
			defer tick.Stop()
			for i := n; ; i += at {
				if err := t.living.ping(ctx, t.living.lines[i%len(t.living.lines)]); err != nil {
					errs <- err
					return
				}
				select {
				case <-ctx.Done():
					errs <- nil
					return
				case <-tick.C:
				}
			}
		}()
	}
	var all []error
	for range at {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// warmUp is half of the time, and at most as long as the replicated state remembers
// results, which is what grows for longest.
func (o options) warmUp() time.Duration { return min(o.time/2, 10*time.Minute) }

// watch notes the nodes' memory after the warm-up, and sees that they live.
func (t *test) watch(ctx context.Context) error {
	t.seen = make([][]memory, len(t.site.nodes))
	begin := time.Now()
	tick := time.NewTicker(min(time.Second, t.time/30))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := t.site.alive(); err != nil {
			return err
		}
		if time.Since(begin) < t.warmUp() {
			continue
		}
		for i, n := range t.site.nodes {
			m, err := n.memory()
			if err != nil {
				return err
			}
			t.seen[i] = append(t.seen[i], m)
		}
	}
}

// judge looks what became of everything, and says so.
func (t *test) judge(ctx context.Context) error {
	errs := []error{t.site.alive()}
	if err := t.living.pingAll(ctx); err != nil {
		errs = append(errs, err)
	}
	after, err := t.site.live(ctx)
	errs = append(errs, err, unchanged(t.before, after))
	counters, err := t.site.counters(ctx)
	errs = append(errs, err)
	for name, n := range counters {
		if strings.Contains(name, "panic") && n > 0 {
			errs = append(errs, fmt.Errorf("%s is %d", name, n))
		}
	}
	t.summary(after, counters)
	for i, n := range t.site.nodes {
		if len(t.seen[i]) == 0 {
			errs = append(errs, fmt.Errorf("the memory of %s was never seen", n.name))
			continue
		}
		g := growthOf(n.name, t.seen[i])
		fmt.Fprintf(t.out, "%s: heap %s after the warm-up, %s at the end; resident %s, %s\n",
			n.name, megabytes(g.before.heap), megabytes(g.after.heap), megabytes(g.before.resident), megabytes(g.after.resident))
		errs = append(errs, g.check())
	}
	if status, err := t.site.status(ctx); err == nil && status.Epoch != t.epoch {
		fmt.Fprintf(t.out, "The gateway address moved %d times.\n", status.Epoch-t.epoch)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintln(t.out, "soak: ok")
	return nil
}

// unchanged compares live sessions with what they were.
func unchanged(before, after map[string]adminapi.Session) error {
	var errs []error
	for imsi, was := range before {
		is, ok := after[imsi]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("the session of %s is gone", imsi))
		case is.ID != was.ID || is.Address != was.Address || is.Prefix6 != was.Prefix6 || is.Peer != was.Peer ||
			is.Protocol != was.Protocol || is.Suspended != was.Suspended || is.RAT != was.RAT:
			errs = append(errs, fmt.Errorf("the session of %s was %+v and is %+v", imsi, was, is))
		}
	}
	if len(after) != len(before) {
		errs = append(errs, fmt.Errorf("%d live sessions are %d", len(before), len(after)))
	}
	return errors.Join(errs[:min(len(errs), 10)]...)
}

// summary prints what was done and what the gateway counted.
func (t *test) summary(after map[string]adminapi.Session, counters map[string]uint64) {
	total := uint64(0)
	for _, n := range t.attack.sent {
		total += n
	}
	fmt.Fprintf(t.out, "%d mutations of %d kinds of messages:\n", total, len(t.attack.kinds))
	for r, n := range t.attack.sent {
		fmt.Fprintf(t.out, "  %8d %v\n", n, role(r))
	}
	fmt.Fprintf(t.out, "  %8d not sent: they might have been a live session's own, or their sender had no use for them\n", t.attack.spared)
	fmt.Fprintf(t.out, "%d rounds of everything with %d worn sessions; %d of %d live sessions are as they were; %d pings answered, %d sent again\n",
		t.worn.rounds.Load(), wornPeers*wornLines, len(after), len(t.before), t.living.pings.Load(), t.living.again.Load())
	var names []string
	for name := range counters {
		if counters[name] > 0 && (strings.HasPrefix(name, "gtpc.") || strings.HasPrefix(name, "gtpu.")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	fmt.Fprintln(t.out, "The gateway counted:")
	for _, name := range names {
		fmt.Fprintf(t.out, "  %8d %s\n", counters[name], name)
	}
}
