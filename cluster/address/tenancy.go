package address

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// surrenderTimeout bounds how long a node that stops tries to say that it holds an
// address no more. Without that the others wait for its lease to expire.
const surrenderTimeout = time.Second

// tenancy brings one address up and down.
type tenancy struct {
	keeper  *Keeper
	address Address
	log     *slog.Logger
	pauses  chan pause
}

// pause has the address taken down that this node has because it leads, until its
// lease tells something new, or ends that.
type pause struct {
	down bool
	done chan struct{} // closed when it is
}

func (t *tenancy) pause(ctx context.Context, down bool) {
	p := pause{down, make(chan struct{})}
	select {
	case t.pauses <- p:
		<-p.done
	case <-ctx.Done():
	}
}

// run follows the lease until ctx ends.
func (t *tenancy) run(ctx context.Context) {
	tenures := t.address.Lease.Tenures()
	drop := func() {}
	var epoch uint64
	paused := false
	hold := func() {
		held := epoch
		drop = begin(func(ctx context.Context) { t.hold(ctx, held) })
	}
	for {
		changed := t.keeper.cluster.Changed()
		if to := t.movingTo(epoch); to != "" {
			drop()
			drop, paused = func() {}, false
			t.surrender(ctx, to)
			epoch = 0
		}
		select {
		case next := <-tenures:
			before := epoch
			epoch = next
			if before != 0 && next == before+1 && !paused {
				// The leader has its own address led now, instead of granted.
				t.log.Info("address stays up", "epoch", next)
				break
			}
			drop() // also before the same once more, which means that it was lost meanwhile
			drop, paused = func() {}, false
			if epoch != 0 {
				hold()
			}
		case p := <-t.pauses:
			switch {
			case p.down && epoch != 0 && !t.keeper.record(t.address.Name).GetGranted():
				drop()
				drop, paused = func() {}, true
			case !p.down && paused:
				paused = false
				hold()
			}
			close(p.done)
		case <-changed:
		case <-ctx.Done():
			drop()
			if r := t.keeper.record(t.address.Name); r.GetGranted() && r.Holder == t.keeper.cfg.Node {
				t.surrender(context.WithoutCancel(ctx), "")
			}
			return
		}
	}
}

// movingTo is where the address is asked to go that is held here in epoch.
func (t *tenancy) movingTo(epoch uint64) string {
	var r *command.GatewayAddress
	if epoch != 0 {
		r = t.keeper.record(t.address.Name)
	}
	if r.GetEpoch() != epoch || r.GetMovingTo() == t.keeper.cfg.Node {
		return ""
	}
	return r.GetMovingTo()
}

func (t *tenancy) surrender(ctx context.Context, to string) {
	ctx, cancel := context.WithTimeout(ctx, surrenderTimeout)
	defer cancel()
	if err := t.address.Lease.Surrender(ctx, to); err != nil {
		t.log.Warn("the address is down here, but the others don't know yet", "error", err)
	}
}

func (t *tenancy) hold(ctx context.Context, epoch uint64) {
	if !t.insist(ctx, "bring up", func() error { return t.up(ctx, epoch) }) {
		return
	}
	t.log.Info("address is up", "epoch", epoch)
	<-ctx.Done()
	if d := t.keeper.cfg.Driver; d != nil {
		if err := d.Down(t.address.IP); err != nil {
			t.log.Error("the address can't be taken off this machine", "error", err)
		}
	}
	t.address.OnDown()
	t.log.Info("address is down", "epoch", epoch)
}

func (t *tenancy) up(ctx context.Context, epoch uint64) error {
	d := t.keeper.cfg.Driver
	if err := t.address.OnUp(ctx, epoch); err != nil || d == nil {
		return err
	}
	err := d.Up(ctx, t.address.IP, epoch)
	if err != nil {
		t.address.OnDown()
	}
	return err
}

// insist repeats an attempt until it succeeds; false if ctx ended first.
func (t *tenancy) insist(ctx context.Context, what string, attempt func() error) bool {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := attempt()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.log.Warn("address: can't "+what+" yet", "error", err, "retry", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
}
