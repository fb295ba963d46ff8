// Package address carries out who holds which gateway address, of those that
// carriers and terminals send to.
//
// The [Keeper] of the node that leads decides who holds what, see plan: the only
// address of a cluster moves with leadership, several are spread over the nodes
// that live. The keeper of every node brings up what the node holds, by the lease
// that its cluster.AddressLease tells of, and takes it down when the lease goes.
// Between losing a lease and being told so a node may still have the address up;
// what it must not do then, it doesn't because it asks the lease before every batch
// of packets. A planned move is stricter: the address is down before its lease is
// surrendered, because then the next holder comes at once. So is a planned stop,
// which moves everything away, and hands leadership over.
//
// "Up" means that the listeners are bound, and that a [Driver] has brought the
// address to this machine. On loopback there is nothing to bring: 127.0.0.0/8 needs
// no configuring. Binding is tried again until it succeeds, since the holder before,
// if it lives on the same machine, may be a moment late to let go.
//
// The netlink driver puts the address on an interface and tells the neighbours, by
// gratuitous ARP or unsolicited Neighbor Advertisements, which it repeats. A holder
// that dies can't take it away again, and its machine would go on answering for it;
// so the driver gives the address a lifetime of a few seconds in the kernel, and
// renews it only while the node holds. Sockets are open before the address comes, and
// are closed after it went, so that no peer is ever told "port unreachable".
//
// The service driver tells a Service of Kubernetes which pod the holder is. There the
// address moves by decision of the API server, which knows nothing of leases: each
// write says which tenure it is of, and none overwrites a later one's.
package address

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// Pauses between attempts, doubling from the first to the last.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// stepDownTimeout bounds a planned handover: an election takes no longer.
const stepDownTimeout = 2 * time.Second

const (
	// yieldEvery is how often a leader looks whether it is to hand over.
	yieldEvery = 100 * time.Millisecond
	// yieldAgain is how long it serves on when nobody took the leadership: twice as long
	// after each time, up to yieldSeldom. Its addresses are down while it is offered, and
	// some seconds after.
	yieldAgain  = 10 * time.Second
	yieldSeldom = 5 * time.Minute
)

// Cluster is what a keeper needs of its node.
type Cluster interface {
	Leadership() <-chan bool
	Changed() <-chan struct{}
	View(fn func(*state.Machine))
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
}

// Leader is what it needs while its node leads; cluster.Node explains it.
type Leader interface {
	Authority(ctx context.Context) error
	Living() (names, drained []string, all bool)
	AddressFree(name string) (time.Duration, error)
	AssignAddress(ctx context.Context, name, node string, epoch uint64) (*command.GatewayAddress, error)
}

// Lease is the node's lease of one address; *cluster.AddressLease is.
type Lease interface {
	Tenures() <-chan uint64
	Barred(epoch uint64) bool
	Surrender(ctx context.Context, to string) error
}

// Address is one address, and how it is brought up.
type Address struct {
	Name  string // in the replicated state
	Lease Lease
	IP    netip.Addr // what Config.Driver moves

	// OnUp brings the address up, e.g. binds the listeners. epoch is that of the
	// address's new tenure. It returns when what arrives is served, or with an
	// error and nothing left up; then it is called again, after a pause. ctx ends
	// when the address is lost, which must break OnUp off.
	OnUp func(ctx context.Context, epoch uint64) error
	// OnDown takes the address down: once it returned, nothing more is sent from
	// it. It is called once for every OnUp that succeeded, after the driver took the
	// address away.
	OnDown func()
}

// Config says what a keeper keeps, and how.
type Config struct {
	Node      string    // this node's name
	Addresses []Address // of the cluster, the same on every node
	Driver    Driver    // nil: the addresses need no moving

	// Leave, if set, says to the other nodes that this one is about to stop, before it
	// gives anything up, so that nobody gives it any of that back.
	Leave func(ctx context.Context)
	// HandOver, if set, hands leadership over, to a node or, with an empty name, to
	// whoever is best: when Run is told to end, and when Yields, which is asked while
	// this node leads, says so. What is held because this node leads is down before.
	HandOver func(ctx context.Context, to string) error
	Yields   func() (to string, yields bool)

	Logger *slog.Logger // default slog.Default()
}

// Keeper holds addresses for its node, and assigns them while it leads.
type Keeper struct {
	cfg     Config
	cluster Cluster
	leader  Leader
	log     *slog.Logger
}

// New makes a keeper; Run sets it to work.
func New(cfg Config, c Cluster, l Leader) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Keeper{cfg: cfg, cluster: c, leader: l, log: cfg.Logger}
}

// Run keeps the addresses until ctx ends. When it returns, all of them are down
// here and surrendered and, with Config.HandOver, leadership has been handed over
// as far as possible.
func (k *Keeper) Run(ctx context.Context) {
	// They go on until the others know that this node stops.
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	var running sync.WaitGroup
	var tenancies []*tenancy
	for _, a := range k.cfg.Addresses {
		t := &tenancy{keeper: k, address: a, log: k.log.With("address", a.Name), pauses: make(chan pause)}
		tenancies = append(tenancies, t)
		running.Go(func() { t.run(holding) })
	}
	leadership := k.cluster.Leadership()
	resign := func() {}
	led := false
	var offered time.Time // the leadership, last, to nobody's use
	again := yieldAgain
	look := time.NewTicker(yieldEvery)
	defer look.Stop()
	for {
		select {
		case led = <-leadership:
			resign() // also before a second true, which means that another led meanwhile
			resign = func() {}
			offered, again = time.Time{}, yieldAgain
			if led {
				resign = begin(k.assign)
			}
		case <-look.C:
			if !led || k.cfg.Yields == nil || k.cfg.HandOver == nil || !offered.IsZero() && time.Since(offered) < again {
				break
			}
			if to, yields := k.cfg.Yields(); yields {
				resign()
				resign = func() {}
				if !k.yield(holding, tenancies, to) {
					resign = begin(k.assign)
					if !offered.IsZero() {
						again = min(2*again, yieldSeldom)
					}
					offered = time.Now()
				}
			}
		case <-ctx.Done():
			if k.cfg.Leave != nil {
				k.cfg.Leave(context.WithoutCancel(ctx))
			}
			resign()
			release()
			running.Wait()
			if led && k.cfg.HandOver != nil {
				_ = k.handOver(ctx, "")
			}
			return
		}
	}
}

// begin sets do to work. The function returned ends it, and returns when it has
// ended.
func begin(do func(ctx context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// yield hands leadership over while the node goes on, and tells whether that
// succeeded.
func (k *Keeper) yield(ctx context.Context, tenancies []*tenancy, to string) bool {
	for _, t := range tenancies {
		t.pause(ctx, true)
	}
	err := k.handOver(ctx, to)
	if err == nil {
		return true // each tenancy goes on when its lease tells something new
	}
	for _, t := range tenancies {
		t.pause(ctx, false)
	}
	return false
}

func (k *Keeper) handOver(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepDownTimeout)
	defer cancel()
	err := k.cfg.HandOver(ctx, to)
	if err != nil {
		k.log.Info("leadership was not handed over; the others elect when this node is gone", "error", err)
	}
	return err
}
