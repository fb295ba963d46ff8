package address

import (
	"context"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

const (
	// lookEvery is how soon the leader notices what no entry tells: that a lease has
	// expired, or that somebody doesn't answer any more.
	lookEvery = 20 * time.Millisecond
	// introduction is how long a new leader waits until all have answered it, before
	// it takes those for dead that didn't: one that does nothing but lead no more
	// keeps its address.
	introduction = 60 * time.Millisecond
	// calm is how long the same nodes must have been living before an address is
	// moved for better spread.
	calm = 10 * time.Second
	// assignTimeout bounds one decision's way into the log.
	assignTimeout = time.Second
)

// assign decides who holds what, for as long as this node leads.
func (k *Keeper) assign(ctx context.Context) {
	if k.leader.Authority(ctx) != nil {
		return
	}
	began := time.Now()
	var living []string
	since := began
	for pause := lookEvery; ; {
		changed := k.cluster.Changed()
		now, drained, all := k.leader.Living()
		slices.Sort(now)
		if !slices.Equal(now, living) {
			living, since = now, time.Now()
		}
		// The only address is the leader's, whoever else lives.
		if all || len(k.cfg.Addresses) == 1 || time.Since(began) >= introduction {
			s, err := k.look(living, drained, time.Since(since) >= calm)
			if err == nil {
				err = k.carryOut(ctx, plan(s))
			}
			if pause = lookEvery; err != nil && ctx.Err() == nil {
				k.log.Warn("addresses: not assigned yet", "error", err)
				pause = 5 * lookEvery
			}
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// look gathers what there is to decide on.
func (k *Keeper) look(living, drained []string, settled bool) (situation, error) {
	s := situation{leader: k.cfg.Node, living: living, drained: drained, settled: settled}
	for _, a := range k.cfg.Addresses {
		r := k.record(a.Name)
		if r == nil {
			r = &command.GatewayAddress{Name: a.Name}
		}
		free := r.Holder == ""
		switch {
		case free:
		case r.Holder == k.cfg.Node && !r.Granted:
			free = a.Lease.Barred(r.Epoch)
		case r.Holder == k.cfg.Node && r.MovingTo == "":
			// The leader has it granted, which is worse than having it led: who leads
			// next would have to wait.
			free = true
		case r.Holder == k.cfg.Node:
		default:
			left, err := k.leader.AddressFree(a.Name)
			if err != nil {
				return situation{}, err
			}
			free = left == 0
		}
		s.addresses = append(s.addresses, standing{r, free})
	}
	return s, nil
}

func (k *Keeper) record(name string) (r *command.GatewayAddress) {
	k.cluster.View(func(m *state.Machine) { r = m.Address(name) })
	return r
}

func (k *Keeper) carryOut(ctx context.Context, todo []decision) error {
	for _, d := range todo {
		ctx, cancel := context.WithTimeout(ctx, assignTimeout)
		err := k.decide(ctx, d)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) decide(ctx context.Context, d decision) error {
	if !d.move {
		r, err := k.leader.AssignAddress(ctx, d.address.Name, d.to, d.address.Epoch)
		if err == nil && len(k.cfg.Addresses) > 1 {
			k.log.Info("address assigned", "address", r.Name, "holder", r.Holder, "epoch", r.Epoch)
		}
		return err
	}
	k.log.Info("address is to move", "address", d.address.Name, "from", d.address.Holder, "to", d.to)
	result, err := k.cluster.Propose(ctx, command.New("address", "", k.cfg.Node, &command.MoveAddress{
		Name: d.address.Name, To: d.to, Epoch: d.address.Epoch,
	}))
	if err != nil {
		return err
	}
	return result.Into(new(command.GatewayAddress))
}
