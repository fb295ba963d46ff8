package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// A round of seal-use requests makes one use of each barrel: a barrel has one
// unsettled use at a time. A run is several rounds.
const (
	phones       = 256
	roundsPerRun = 4
)

// callsPerSecond stays below what the phone API lets one terminal ask.
const callsPerSecond = 15

// sealUses measures seal-use requests, first with a seal server that answers at
// once, then with the real one. Between rounds every use is settled by its
// barrel's signed word that nothing was stamped, untimed.
func (b *bench) sealUses(ctx context.Context, s *site, c *carrier.Carrier, subs []carrier.Subscriber) (err error) {
	list, err := s.terminals(ctx, c, subs[:phones])
	defer func() {
		for _, t := range list {
			if t != nil {
				t.close()
			}
		}
	}()
	if err != nil {
		return err
	}
	shut, err := s.stub(ctx)
	if err != nil {
		return err
	}
	err = b.useRounds(ctx, s, list, ordersOf("STUB"), "seal server excluded")
	if err = errors.Join(err, shut()); err != nil {
		return err
	}
	o, err := s.openOffice(ctx)
	if err != nil {
		return err
	}
	defer o.stop()
	orders := ordersOf("REAL")
	if err := o.approve(ctx, orders); err != nil {
		return err
	}
	return b.useRounds(ctx, s, list, orders, "seal server included")
}

// ordersOf numbers an order for each phone.
func ordersOf(name string) []string {
	var list []string
	for i := range phones {
		list = append(list, fmt.Sprintf("%s-%03d", name, i))
	}
	return list
}

func (b *bench) useRounds(ctx context.Context, s *site, list []*terminal, orders []string, name string) error {
	// One login for all: its cost is the seal server's password hash.
	var login wire.LoginAnswer
	err := patient(ctx, func() error {
		return list[0].call(ctx, "POST", wire.PathLogin, wire.LoginRequest{User: userName, Password: password}, &login)
	})
	if err != nil {
		return err
	}
	for _, t := range list {
		t.token = login.Token
	}
	p := &pace{begin: time.Now()}
	// A first round opens connections.
	if _, err := useRun(ctx, s, list, orders, p, hands, time.Nanosecond); err != nil {
		return err
	}
	for _, outstanding := range outstandings {
		var runs [][]sample
		for range b.runs {
			run, err := b.steady(ctx, s, func() ([]sample, error) { return useRun(ctx, s, list, orders, p, outstanding, b.time) })
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		b.report(figure("use", len(s.nodes), fmt.Sprintf("%d outstanding, %s", outstanding, name), runs))
	}
	return nil
}

// pace keeps the calls of each terminal below what the phone API lets it.
type pace struct {
	begin time.Time
	calls int // of each terminal
}

// await waits for n more calls' turn.
func (p *pace) await(ctx context.Context, n int) error {
	turn := p.begin.Add(time.Duration(p.calls) * time.Second / callsPerSecond)
	p.calls += n
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(turn)):
		return nil
	}
}

// useRun makes rounds until they took some time, at least one. After a change
// of leader the barrels are waited for.
func useRun(ctx context.Context, s *site, list []*terminal, orders []string, p *pace, outstanding int, long time.Duration) ([]sample, error) {
	if err := s.awaitBarrels(ctx, len(list)); err != nil {
		return nil, err
	}
	var run uses
	for n := 0; n == 0 || n < roundsPerRun && run.took < long; n++ {
		if err := p.await(ctx, 2); err != nil {
			return nil, err
		}
		one, err := useRound(ctx, s, list, orders, round{outstanding, len(list), max(long-run.took, time.Second)})
		if err != nil {
			return nil, err
		}
		run.join(one)
	}
	return append(run.samples(), run.cost(run.holder, run.nodes)...), nil
}

// uses are the requests of one round or more, and what they took of the
// processors.
type uses struct {
	measured
	holder, nodes time.Duration
}

func (u *uses) join(o uses) {
	u.calls += o.calls
	u.took += o.took
	u.latencies = append(u.latencies, o.latencies...)
	u.holder += o.holder
	u.nodes += o.nodes
}

// useRound makes a use of each terminal in turn, and settles them.
func useRound(ctx context.Context, s *site, list []*terminal, orders []string, r round) (u uses, err error) {
	answers := make([]wire.UseAnswer, r.most)
	holder, nodes, err := s.cpu()
	if err != nil {
		return u, err
	}
	u.measured, err = r.run(ctx, func(ctx context.Context, i int) (took time.Duration, err error) {
		begin := time.Now()
		answers[i], err = list[i].request(ctx, orders[i])
		return time.Since(begin), err
	})
	holderAfter, nodesAfter, errCPU := s.cpu()
	u.holder, u.nodes = holderAfter-holder, nodesAfter-nodes
	return u, errors.Join(err, errCPU, s.alive(), all(ctx, len(answers), hands, func(ctx context.Context, i int) error {
		if answers[i].Use == 0 {
			return nil
		}
		return list[i].settle(ctx, answers[i])
	}))
}
