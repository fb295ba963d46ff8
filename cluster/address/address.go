// Package address carries out who holds a gateway address, the one that carriers
// and terminals send to: it moves with leadership of the cluster.
//
// A [Keeper] watches whether its node leads. When it does, the keeper has the
// address acquired in the replicated state, which gives it a new epoch, and only
// then brings it up; when leadership goes, it takes it down. Between losing
// leadership and being told so a node may still have the address up; what it
// must not do then, it doesn't because it asks cluster.Node.Holds before every
// batch of packets. A planned stop is stricter: the address is down before
// leadership is handed over, because then the next leader comes at once.
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
package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
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

// Cluster is what a keeper needs of its node.
type Cluster interface {
	Leadership() <-chan bool
	Barrier(ctx context.Context) error
	View(fn func(*state.Machine))
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
}

// Config says what a keeper keeps, and how.
type Config struct {
	Name string // of the address in the replicated state
	Node string // this node's

	Address netip.Addr // what Driver moves
	Driver  Driver     // nil: the address needs no moving

	// OnUp brings the address up, e.g. binds the listeners. epoch is that of the
	// address's new tenure. It returns when what arrives is served, or with an
	// error and nothing left up; then it is called again, after a pause. ctx ends
	// when the address is lost, which must break OnUp off.
	OnUp func(ctx context.Context, epoch uint64) error
	// OnDown takes the address down: once it returned, nothing more is sent from
	// it. It is called once for every OnUp that succeeded, after the driver took the
	// address away.
	OnDown func()
	// StepDown, if set, hands leadership over when Run is told to end, after
	// OnDown.
	StepDown func(ctx context.Context) error

	Logger *slog.Logger // default slog.Default()
}

// Keeper holds one address whenever its node leads.
type Keeper struct {
	cfg     Config
	cluster Cluster
	log     *slog.Logger
}

// New makes a keeper; Run sets it to work.
func New(cfg Config, c Cluster) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Keeper{cfg: cfg, cluster: c, log: cfg.Logger.With("address", cfg.Name)}
}

// Run keeps the address until ctx ends. When it returns, the address is down and,
// with Config.StepDown, leadership has been handed over as far as possible.
func (k *Keeper) Run(ctx context.Context) {
	leadership := k.cluster.Leadership()
	drop := func() {}
	led := false
	for {
		select {
		case led = <-leadership:
			drop() // also before a second true, which means that another led meanwhile
			drop = func() {}
			if led {
				drop = k.begin()
			}
		case <-ctx.Done():
			drop()
			if led && k.cfg.StepDown != nil {
				k.stepDown(context.WithoutCancel(ctx))
			}
			return
		}
	}
}

// begin starts a tenure. The function returned ends it, and returns when the
// address is down.
func (k *Keeper) begin() (drop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	down := make(chan struct{})
	go func() {
		defer close(down)
		k.hold(ctx)
	}()
	return func() {
		cancel()
		<-down
	}
}

func (k *Keeper) hold(ctx context.Context) {
	var epoch uint64
	acquire := func() (err error) {
		epoch, err = k.acquire(ctx)
		return err
	}
	if !k.insist(ctx, "acquire", acquire) {
		return
	}
	if !k.insist(ctx, "bring up", func() error { return k.up(ctx, epoch) }) {
		return
	}
	k.log.Info("address is up", "epoch", epoch)
	<-ctx.Done()
	if k.cfg.Driver != nil {
		if err := k.cfg.Driver.Down(k.cfg.Address); err != nil {
			k.log.Error("the address can't be taken off this machine", "error", err)
		}
	}
	k.cfg.OnDown()
	k.log.Info("address is down", "epoch", epoch)
}

func (k *Keeper) up(ctx context.Context, epoch uint64) error {
	if err := k.cfg.OnUp(ctx, epoch); err != nil || k.cfg.Driver == nil {
		return err
	}
	err := k.cfg.Driver.Up(ctx, k.cfg.Address)
	if err != nil {
		k.cfg.OnDown()
	}
	return err
}

// acquire makes this node the holder in the replicated state. An attempt whose
// outcome is unknown may be repeated: it only costs an epoch.
func (k *Keeper) acquire(ctx context.Context) (epoch uint64, err error) {
	if err := k.cluster.Barrier(ctx); err != nil {
		return 0, err
	}
	want := &command.AcquireAddress{Name: k.cfg.Name, Node: k.cfg.Node}
	k.cluster.View(func(m *state.Machine) { want.Epoch = m.Address(k.cfg.Name).GetEpoch() })
	result, err := k.cluster.Propose(ctx, command.New("address", "", k.cfg.Node, want))
	if err != nil {
		return 0, err
	}
	got := new(command.GatewayAddress)
	if err := result.Into(got); err != nil {
		return 0, err
	}
	if got.Holder != k.cfg.Node {
		return 0, fmt.Errorf("%s holds it", got.Holder)
	}
	return got.Epoch, nil
}

// insist repeats an attempt until it succeeds; false if ctx ended first.
func (k *Keeper) insist(ctx context.Context, what string, attempt func() error) bool {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := attempt()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		k.log.Warn("address: can't "+what+" yet", "error", err, "retry", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
}

func (k *Keeper) stepDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepDownTimeout)
	defer cancel()
	if err := k.cfg.StepDown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		k.log.Info("leadership was not handed over; the others elect when this node is gone", "error", err)
	}
}
